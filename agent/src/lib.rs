//! The Nightshift agent: what runs on each Docker host.

pub mod config;
pub mod engine;
pub mod journal;
pub mod prober;
pub mod worker;
