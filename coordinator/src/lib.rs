//! The coordinator of a fleet: what it knows, whom it trusts, what it watches, and what it decides.
//!
//! The rules are in `nightshift_core`; this crate holds the shells around them. Modules in reading order.

pub mod config;
pub mod data_dir;
pub mod driver;
pub mod http;
pub(crate) mod metrics;
pub mod operator;
pub mod registry;
pub mod secret;
pub mod service;
pub mod sessions;
pub mod store;
pub mod triggers;
pub mod trust;
pub mod watcher;
