//! What a record learns from an engine that refuses, or does not answer.

use super::action::Action;
use super::names;
use super::part::Part;
use super::record::{Record, TRY_LIMIT, failure, pause_after, shortened};
use crate::ids::ContainerId;
use crate::spec::HookPoint;
use crate::step::{FailureKind, StepPhase};

/// What a look is called where it is refused.
const LOOK: &str = "look at the containers";

/// The kind of a refusal, unless the words speak of the node and not of the image: a call that is forbidden, no space, a port
/// that someone
/// else has, or an engine that lost hold of its own runtime, as after a crash (`task … already exists`). None of these
/// must bar a version from the whole fleet.
pub(super) fn node_or(kind: FailureKind, message: &str) -> FailureKind {
    let message = message.to_lowercase();
    let of_node = [
        "no space left on device",
        // A socket proxy, or a plugin of the engine, that forbids the call.
        "refused with status 401",
        "refused with status 403",
        "port is already allocated",
        "address already in use",
        "already exists",
        "ttrpc: closed",
        "transport is closing",
        "context deadline exceeded",
        "context canceled",
    ];
    if of_node.iter().any(|words| message.contains(words)) { FailureKind::Engine } else { kind }
}

/// What a person can do about an old container that an engine refused, in these words, to bring back.
pub(super) fn way_out(words: &str, old: &ContainerId) -> String {
    match ghost(words) {
        Some(id) => format!(
            "; hint: a crash of the engine left a process that holds the container; on the node, \
             `pkill -9 -f 'containerd-shim.* -id {id}'`, then `docker start {id}`"
        ),
        None => format!("; hint: on the node, see what `docker start {}` says", old.short()),
    }
}

/// The container of which the engine's runtime still holds a task, from a start that a crash cut off. Engine 20.10 never lets
/// go of it by itself, not even when it is restarted; later ones replace it.
fn ghost(words: &str) -> Option<&str> {
    let (before, _) = words.split_once(": already exists")?;
    let (_, id) = before.rsplit_once("task ")?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

impl Record {
    /// Folds in that the engine refused an action, in its own words. Not for an engine that is away, and only when a
    /// second look says that the action is still to be done. `transient`: while nothing was touched, trying again makes sense.
    pub fn refused(&mut self, action: &Action, message: &str, transient: bool) {
        let message = shortened(message);
        let count = self.count(&self.words_for(action), &message);
        let waits = transient && count < TRY_LIMIT && matches!(action, Action::Pull { .. } | Action::TryCalls);
        let kind = self.refusal_of(action, &message).filter(|_| !waits);
        self.failed(action, kind, &message, count);
    }

    /// Folds in that an action had no answer, or none that can be understood, and that a second look, which the engine did
    /// answer, says that it is still to be done. That may pass, so it is tried again; not for ever.
    pub fn unanswered(&mut self, action: &Action, message: &str) {
        let message = shortened(message);
        let count = self.count(&self.words_for(action), &message);
        let kind = self.refusal_of(action, &message).filter(|_| count >= TRY_LIMIT);
        // Silence says nothing about the version.
        let kind = kind.map(|kind| if kind.blames_the_version() { FailureKind::Engine } else { kind });
        self.failed(action, kind, &message, count);
    }

    /// Folds in that the engine refuses a look at what it holds, and says whether the step ends by that: as long as nothing
    /// was made there is nothing to take back. Later, the next look must be waited for.
    pub fn not_seen(&mut self, message: &str) -> bool {
        let message = shortened(message);
        let count = self.count(LOOK, &message);
        let planned = self.instance.blueprint.is_some() || self.instance.new_id.is_some();
        let nothing_made = !planned && !self.old_touched;
        if self.phase.is_end() || !nothing_made || count < TRY_LIMIT {
            return false;
        }
        self.failure = Some(failure(FailureKind::Engine, format!("could not {LOOK}: {message}")));
        self.reach(StepPhase::Untouched);
        true
    }

    fn count(&mut self, words: &str, message: &str) -> u32 {
        let tried = self.tried.entry(words.to_owned()).or_default();
        tried.count += 1;
        message.clone_into(&mut tried.message);
        tried.count
    }

    fn failed(&mut self, action: &Action, kind: Option<FailureKind>, message: &str, count: u32) {
        match (kind, action) {
            (Some(kind), Action::Hook { point, .. }) => {
                self.failure = Some(failure(kind, hook_failed(*point, message)))
            }
            (Some(kind), _) => {
                self.failure = Some(failure(kind, format!("could not {}: {message}", self.words_for(action))));
            }
            (None, Action::TakeLog { .. }) => self.log_taken = true,
            (None, Action::Probe { .. } | Action::Wait(_) | Action::End) => {}
            (None, _) => self.timers.pause = pause_after(count),
        }
    }

    /// Whether an action was refused as often as it may be.
    pub(super) fn exhausted(&self, action: &Action) -> bool {
        self.tried.get(&self.words_for(action)).is_some_and(|tried| tried.count >= TRY_LIMIT)
    }

    /// The action's words, and which container it is about where that is not the instance.
    fn words_for(&self, action: &Action) -> String {
        let temporary = |part: &Part| names::temporary(&part.name, &self.order.key);
        let is = |part: &Part, id: &ContainerId| part.id == *id || part.new_id.as_ref() == Some(id);
        let of_dependent = |part: &&Part| match (action, action.container()) {
            (Action::Create { name, .. }, _) => *name == temporary(part),
            (Action::Connect { body, .. }, _) => {
                body.get("Container").and_then(serde_json::Value::as_str) == Some(&temporary(part))
            }
            (_, Some(id)) => is(part, id),
            (_, None) => false,
        };
        let words = action.words();
        let dependent = self.dependents.iter().find(of_dependent);
        dependent.map_or_else(|| words.to_owned(), |part| format!("{words} of `{}`", part.name))
    }

    /// What a refused action says about a step that goes forward; none where it is tried again, or does not matter.
    fn refusal_of(&self, action: &Action, message: &str) -> Option<FailureKind> {
        match action {
            Action::Pull { .. } => Some(FailureKind::Pull),
            Action::TryCalls | Action::KeepImage { .. } | Action::Plan => Some(FailureKind::Precondition),
            Action::Create { .. } | Action::Connect { .. } | Action::Start { .. } => {
                Some(node_or(FailureKind::EngineRefused, message))
            }
            Action::ParkRestartPolicy { .. }
            | Action::RenameOldAway { .. }
            | Action::RenameNewIn { .. }
            | Action::StopOld { .. } => Some(FailureKind::Engine),
            Action::Hook { .. } if self.failure.is_none() => Some(FailureKind::Hook),
            Action::Hook { .. }
            | Action::TakeLog { .. }
            | Action::Probe { .. }
            | Action::Wait(_)
            | Action::End
            | Action::RemoveOld { .. }
            | Action::TagFollowed { .. }
            | Action::CleanImages { .. }
            | Action::ParkNewPolicy { .. }
            | Action::StopNew { .. }
            | Action::RenameNewOut { .. }
            | Action::RenameOldBack { .. }
            | Action::RestoreRestartPolicy { .. }
            | Action::StartOld { .. }
            | Action::RemoveNew { .. } => None,
        }
    }
}

fn hook_failed(point: HookPoint, message: &str) -> String {
    format!("the `{point}` hook failed: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_do_depends_on_the_engines_words() {
        let id = "01d46bf5dd00f4d8f6048a33be5b8225f856115bef4830a81c922815c6465148";
        let by_hand = "; hint: on the node, see what `docker start aaaaaaaaaaaa` says";
        let ghost = format!("refused with status 409: task {id}: already exists");
        for (words, expect) in [
            ("port is already allocated", by_hand),
            ("task : already exists", by_hand),
            ("task of the day: already exists", by_hand),
            (&ghost, &format!("containerd-shim.* -id {id}'`, then `docker start {id}`")),
        ] {
            let said = way_out(words, &ContainerId("a".repeat(64)));
            assert!(said.ends_with(expect), "{words}: {said}");
        }
    }
}
