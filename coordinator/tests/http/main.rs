//! What a coordinator serves by plain HTTPS, asked by a real client over real TLS, and by clients that misbehave.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod bad_input;
mod hooks;
mod limits;
mod metrics;
mod reports;
mod scene;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod support;
