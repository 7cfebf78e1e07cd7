//! Configuration files: TOML text in, validated types out, with every problem reported at once and at its place.
//!
//! [`read`] runs a decoder over a file. A decoder is a plain function that asks a [`Table`] for the keys it knows; unknown keys,
//! wrong types, values out of range and syntax errors become [`Problems`]. [`read_app`] reads app files; agent and coordinator
//! read theirs with the same tools. Opening files, and resolving relative paths in them, is left to the shells.

mod app;
mod builder;
mod health;
mod hooks;
mod host;
mod nearest;
mod problem;
mod quiet;
mod reader;
mod rebuild;
mod self_test;
mod shared;
mod table;
mod update;
mod words;

pub use app::{app_keys, read_app};
pub use host::{CoordinatorUrl, Host, InvalidHost, RegistryHost};
pub use nearest::nearest;
pub use problem::{PROBLEM_LIMIT, Problem, Problems};
pub use reader::{FILE_LIMIT_BYTES, known_keys, read};
pub use shared::{EmptySecret, ImagePattern, InvalidImagePattern, LogConfig, LogFormat, Secret, log};
pub use table::Table;
