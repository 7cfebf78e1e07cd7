//! The Nightshift agent: what runs on each Docker host.

pub mod backoff;
pub mod config;
pub mod credentials;
pub mod dial;
pub mod engine;
pub mod files;
pub mod hooks;
pub mod identity;
pub mod inventory;
pub mod jobs;
pub mod journal;
pub mod limits;
pub mod prober;
pub mod reason;
pub mod service;
pub mod session;
pub mod storage;
pub mod surroundings;
pub mod worker;
