//! The command line as a script or a person meets it: the built program against a scripted coordinator.
//!
//! The coordinator here is a double for the program's output and exit codes alone: it answers from fixtures over real TLS and
//! decides nothing. What a real coordinator does is tested end to end elsewhere.

mod ci_examples;
mod connection;
mod double;
mod files;
mod fixture;
mod follow;
mod golden;
mod refusals;
mod rehearse;
