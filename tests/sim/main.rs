//! The whole-system simulation: seeds, crash points, and a check that it can see.
//!
//! A failing seed prints the command that replays it. Once it is understood and mended it goes into `seeds.txt`, where it is
//! replayed for ever.

#![expect(clippy::print_stderr, reason = "a test says which seeds it played")]

mod batch;
mod crash_points;
#[cfg(feature = "mutations")]
mod mutations;
mod seeds;
