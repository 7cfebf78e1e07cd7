//! A whole fleet in one thread under virtual time, from one seed: the coordinator and the agents are the real ones; engines,
//! registry, network, disks and clocks are simulated, and fail.
//!
//! [`run()`] plays one seed and judges it against the invariants. The same seed is the same run, to the last line of its trace.

mod chance;
mod check;
mod clock;
mod coordinator;
pub mod crash_points;
mod director;
mod disk;
mod fuse;
mod hours;
mod network;
mod night;
mod node;
mod notes;
mod operators;
mod outside;
mod registry;
pub(crate) mod rehearsal;
mod run;
mod scenario;
mod store;
mod witness;
mod world;

pub use run::{Outcome, run};
