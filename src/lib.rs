//! Nightshift, the program. A library, so that its simulation can be tested from outside.

mod cli;
mod client;
mod context;
mod failure;
mod follow;
mod output;
mod program;
mod role;
pub mod simulation;
mod view;

pub use program::run;
