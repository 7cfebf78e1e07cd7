//! Configuration files: TOML text in, validated types out, with every problem reported at once and at its place.
//!
//! [`read`] runs a decoder over a file. A decoder is a plain function that asks a [`Table`] for the keys it knows; unknown keys,
//! wrong types, values out of range and syntax errors become [`Problems`]. Agent and coordinator
//! read their files with the same tools. Opening files, and resolving relative paths in them, is left to the shells.

mod nearest;
mod problem;
mod reader;
mod table;

pub use nearest::nearest;
pub use problem::{PROBLEM_LIMIT, Problem, Problems};
pub use reader::{FILE_LIMIT_BYTES, known_keys, read};
pub use table::Table;
