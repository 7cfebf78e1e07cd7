//! The coordinator's judgement, from event to event, on fleets that the tests play: one file for each theme.

mod adversities;
mod agents;
mod alarms;
mod bench;
mod builds;
mod commands;
mod failures;
mod jobs;
mod node_windows;
mod nodes;
mod order;
mod platforms;
mod rebuilds;
mod reports;
mod restart;
mod scale;
mod signatures;
mod supersede;
mod tags;
mod walk;
mod windows;
