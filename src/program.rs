//! The program: reads the command line, runs one verb, and turns its outcome into an exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli;
use crate::failure::Failure;

/// Does what the command line asks.
#[must_use]
pub fn run() -> ExitCode {
    // Exactly one TLS provider in the whole program; an error means that it is set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome =
        catch_unwind(AssertUnwindSafe(|| cli::run(cli::Cli::parse()))).unwrap_or_else(|_| Err(Failure::internal()));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report();
            failure.exit().into()
        }
    }
}
