//! A rollout as lines that follow each other, one for each change: for logs, pipes, and people without a terminal.

use std::collections::BTreeMap;

use crate::output::table::{or_nothing, short_digest};
use crate::view::Wait;
use crate::view::rollout::{Pull, Rollout, Step};

/// What is new since the last look; at the first look what has happened already.
pub(crate) fn changes(before: Option<&Rollout>, after: &Rollout) -> Vec<String> {
    let mut lines = Vec::new();
    if before.is_none() {
        let from = short_digest(after.from.as_deref());
        let to = short_digest(after.to.as_deref());
        lines.push(format!("rollout {} of {}: {from} to {to}", after.id, after.app));
        if let Some(reason) = &after.reason {
            lines.push(format!("reason: {reason}"));
        }
    }
    if before.is_none_or(|before| before.state != after.state) && after.outcome().is_none() {
        lines.push(after.state.replace('_', " "));
    }
    lines.extend(pull_changes(before, after));
    lines.extend(step_changes(before, after));
    let known = before.map(|before| before.waiting_on.as_slice()).unwrap_or_default();
    // How far a step is has a line of its own.
    let told = |wait: &&Wait| wait.kind != "step" && !known.iter().any(|old| old.message == wait.message);
    let new = after.waiting_on.iter().filter(told);
    lines.extend(new.map(|wait| format!("waiting on {}: {}", wait.kind, wait.message)));
    if after.outcome().is_some() && before.is_none_or(|before| before.outcome().is_none()) {
        lines.push(ending(after));
    }
    lines
}

/// How it ended, in one line.
pub(crate) fn ending(rollout: &Rollout) -> String {
    let (done, total) = rollout.progress();
    let to = short_digest(rollout.to.as_deref());
    format!("{}: {done} of {total} steps committed, target {to}", rollout.state.replace('_', " "))
}

fn step_changes(before: Option<&Rollout>, after: &Rollout) -> Vec<String> {
    let known: BTreeMap<u32, &Step> =
        before.iter().flat_map(|before| &before.steps).map(|step| (step.index, step)).collect();
    let is_new = |step: &&Step| match known.get(&step.index) {
        Some(old) => (&old.state, &old.reason) != (&step.state, &step.reason),
        None => !step.is_pending(),
    };
    after.steps.iter().filter(is_new).map(Step::line).collect()
}

fn pull_changes(before: Option<&Rollout>, after: &Rollout) -> Vec<String> {
    let known: BTreeMap<&str, &Pull> =
        before.iter().flat_map(|before| &before.pulls).map(|pull| (pull.node.as_str(), pull)).collect();
    let is_new = |pull: &&Pull| match known.get(pull.node.as_str()) {
        Some(old) => (old.present, &old.failure) != (pull.present, &pull.failure),
        None => true,
    };
    let line = |pull: &Pull| match (&pull.failure, pull.present) {
        (_, true) => format!("{}: image is there", pull.node),
        (Some(failure), false) => format!("{}: pull failed, will be tried again: {failure}", pull.node),
        (None, false) => format!("{}: pulling", pull.node),
    };
    after.pulls.iter().filter(is_new).map(line).collect()
}

/// The state of one step in the line that the live view keeps for it.
pub(crate) fn step_line(step: &Step) -> String {
    let canary = if step.canary { ", canary" } else { "" };
    format!("{}{canary}", step.line())
}

/// What the live view says under its steps.
pub(crate) fn wait_line(rollout: &Rollout) -> String {
    match rollout.waiting_on.as_slice() {
        [] if rollout.outcome().is_some() => ending(rollout),
        [] => rollout.state.replace('_', " "),
        waits => {
            let reasons: Vec<_> = waits.iter().map(|wait| format!("{}: {}", wait.kind, wait.message)).collect();
            format!("{}, waiting on {}", rollout.state.replace('_', " "), or_nothing(Some(&reasons.join("; "))))
        }
    }
}
