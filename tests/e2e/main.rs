//! The product end to end: the built program against three real Docker engines and a real registry.
//!
//! `scripts/test` starts the engines and names them in the environment (`support::Surroundings`); without them each test
//! says that it is skipped. Every scenario has its own apps, containers and repositories, so all can run at the same time.
//! What happened is read from the engines' own event streams, not from what the program says of itself.

mod support;

mod adopt;
mod builder;
mod chaos;
mod ci;
mod crashes;
mod engine_gone;
mod engines;
mod failing;
mod freshness;
mod haproxy;
mod killed;
mod mistakes;
mod partition;
mod people;
mod rebuild;
mod recovery;
mod registries;
mod rollback;
mod rollout;
mod self_test;
mod signatures;
mod start_first;
mod steering;
mod waiting;
mod watching;
mod week;
