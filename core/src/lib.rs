//! The domain of Nightshift: every rule of the product, pure and total.
//!
//! Nothing here reads a clock, draws a random number, opens a file or speaks to a network: time and facts come in as
//! arguments, decisions go out as values. The shells (`agent`, `coordinator`) act on them, and store before they act.

pub mod adoption;
pub mod alarm;
pub mod catalog;
pub mod config;
pub mod container;
pub mod control;
pub mod docker_config;
pub mod duration;
pub mod enablement;
pub mod event;
pub mod fence;
pub mod fleet;
pub mod freshness;
pub mod ids;
pub mod image;
pub mod instance;
pub mod invariants;
pub mod job;
pub mod labels;
pub mod mutation;
pub mod platform;
pub mod precedence;
pub mod quiet;
pub mod rebuild;
pub mod recreate;
pub mod release;
pub mod replace;
pub mod rollout;
pub mod secret;
pub mod signature;
pub mod spec;
pub mod step;
pub mod tags;
#[cfg(test)]
mod testing;
