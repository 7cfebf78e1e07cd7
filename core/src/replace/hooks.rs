//! Which hooks of the step were called, and what came of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::record::{Record, failure};
use crate::ids::ContainerId;
use crate::spec::HookPoint;
use crate::step::FailureKind;

/// What came of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOutcome {
    /// It did what it had to do.
    Done,
    /// It says: not this time. With its own words.
    Skip(String),
    /// It failed, or took too long.
    Failed(String),
}

/// The hooks of a step, as far as they were called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookLog {
    /// Called; it may have had its effect, whatever came of it.
    pub begun: BTreeSet<HookPoint>,
    /// Came back well.
    pub done: BTreeSet<HookPoint>,
    /// [`HookPoint::After`] was called for the old container that stays, and came back well.
    pub put_back: bool,
}

/// The next hook on the way forward, of those up to `last`; `None` when all of them are done.
pub(super) fn due(record: &mut Record, points: &[HookPoint], container: &ContainerId) -> Option<Action> {
    let waiting = points.iter().copied().filter(|point| !record.hooks.done.contains(point));
    let (point, hook) = waiting.filter_map(|point| Some((point, record.order.hooks.at(point)?.clone()))).next()?;
    record.hooks.begun.insert(point);
    Some(Action::Hook { point, container: container.clone(), hook })
}

/// The hook that puts the old container back into service: due when one was called that may have taken it out, or that has
/// put the new one in its place.
pub(super) fn put_back(record: &Record, old: &ContainerId) -> Option<Action> {
    let taken_out = !record.hooks.begun.is_empty() && !record.hooks.put_back;
    let hook = record.order.hooks.after.clone().filter(|_| taken_out)?;
    Some(Action::Hook { point: HookPoint::After, container: old.clone(), hook })
}

impl Record {
    /// Folds in what came of a hook.
    pub fn hooked(&mut self, action: &Action, outcome: HookOutcome) {
        let Action::Hook { point, container, .. } = action else { return };
        let point = *point;
        let for_old = self.failure.is_some();
        debug_assert!(!for_old || *container == self.instance.id, "on the way back only the old one is put back");
        let refusal = match outcome {
            HookOutcome::Done if for_old => {
                self.hooks.put_back = true;
                return;
            }
            HookOutcome::Done => {
                self.hooks.done.insert(point);
                return;
            }
            HookOutcome::Skip(words) if !for_old && point != HookPoint::After => {
                if point == HookPoint::Before {
                    // Who says "not now" has taken nothing out of service.
                    self.hooks.begun.remove(&point);
                }
                let reason = format!("the `{point}` hook asks to skip it this time{}", told(&words));
                self.failure = Some(failure(FailureKind::Skipped, reason));
                return;
            }
            HookOutcome::Skip(words) => format!("it asks to skip, too late{}", told(&words)),
            HookOutcome::Failed(words) => words,
        };
        self.refused(action, &refusal, false);
    }
}

fn told(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}
