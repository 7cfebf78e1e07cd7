//! The coordinator's judgement, from event to event, on fleets that the tests play: one file for each theme.

mod agents;
mod alarms;
mod bench;
mod commands;
mod failures;
mod nodes;
mod order;
mod reports;
mod restart;
mod scale;
mod walk;
mod windows;
