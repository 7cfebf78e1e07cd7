//! The way back: the old container gets its name, its restart policy and its state again, the new one goes.
//!
//! The service comes first: where one thing cannot be restored, the others still are. Nothing of the old container is
//! ever removed.

use super::action::Action;
use super::forward::{is_parked, over};
use super::names;
use super::observed::Observed;
use super::record::{Old, Record, TRY_LIMIT, grace};
use super::watch::Verified;
use crate::container::{ContainerView, RunState};
use crate::step::StepPhase;

/// The next action on the way back.
pub(super) fn action(record: &mut Record, seen: &Observed) -> Action {
    if record.new_id.is_none() {
        record.new_id = seen.new.as_ref().map(|view| view.id.clone());
    }
    let Some(old) = record.old.clone().filter(|_| record.old_touched) else {
        return leave_untouched(record, seen);
    };
    record.reach(StepPhase::RollingBack);
    let Some(old_view) = &seen.old else {
        return broken(record, "it was removed by someone");
    };
    if let Some(action) = clear_the_way(record, seen.new.as_ref()) {
        return action;
    }
    if let Some(action) = restore(record, old_view, &old) {
        return action;
    }
    if !record.verified {
        let starts = record.old_starts;
        match record.timers.verify.judge(old_view, old.was, starts, &record.order) {
            Verified::Wait(time) => return Action::Wait(time),
            Verified::No(why) => return broken(record, &why),
            Verified::Start => {
                let start = Action::StartOld { old: old_view.id.clone() };
                return if record.exhausted(&start) || starts >= TRY_LIMIT {
                    broken(record, &format!("it does not stay up (exit code {})", old_view.exit_code))
                } else {
                    start
                };
            }
            Verified::Yes => {
                record.verified = true;
                record.timers.downtime = over(record.timers.downtime);
            }
        }
    }
    let restored = old_view.name == record.order.container && old_view.restart_policy == old.restart_policy;
    if !restored {
        return broken(record, "it runs as before, but not all of it could be restored");
    }
    finish(record, seen)
}

/// The old container was never touched: only the new one, never started, has to go.
fn leave_untouched(record: &mut Record, seen: &Observed) -> Action {
    if let Some(remove) = remove_new(record, seen) {
        return remove;
    }
    record.reach(StepPhase::Untouched);
    Action::End
}

fn remove_new(record: &Record, seen: &Observed) -> Option<Action> {
    let remove = Action::RemoveNew { new: seen.new.as_ref()?.id.clone() };
    (!record.exhausted(&remove)).then_some(remove)
}

/// Takes ports, volumes and name away from the new container: gently, else by removing it.
fn clear_the_way(record: &Record, new: Option<&ContainerView>) -> Option<Action> {
    let view = new?;
    let id = || view.id.clone();
    if !record.log_taken && view.started_at.is_some() {
        return Some(Action::TakeLog { new: id() });
    }
    let is_up = matches!(view.state, RunState::Running | RunState::Restarting | RunState::Paused);
    let may_come_back = view.started_at.is_some() && !is_parked(view);
    let park = may_come_back.then(|| Action::ParkNewPolicy { new: id() });
    let stop = is_up.then(|| Action::StopNew { new: id(), grace: grace(view) });
    let holds_name = view.name == record.order.container;
    let rename = holds_name.then(|| Action::RenameNewOut { new: id(), name: names::temporary(&record.order) });
    let in_the_way: Vec<Action> = park.into_iter().chain(stop).chain(rename).collect();
    let by_force = (!in_the_way.is_empty()).then(|| Action::RemoveNew { new: id() });
    in_the_way.into_iter().chain(by_force).find(|action| !record.exhausted(action))
}

fn restore(record: &Record, view: &ContainerView, old: &Old) -> Option<Action> {
    let name = &record.order.container;
    let rename = (view.name != *name).then(|| Action::RenameOldBack { old: view.id.clone(), name: name.clone() });
    let policy = (view.restart_policy != old.restart_policy)
        .then(|| Action::RestoreRestartPolicy { old: view.id.clone(), policy: old.restart_policy.clone() });
    rename.into_iter().chain(policy).find(|action| !record.exhausted(action))
}

fn finish(record: &mut Record, seen: &Observed) -> Action {
    if let Some(remove) = remove_new(record, seen) {
        return remove;
    }
    if let (Some(new), Some(failure)) = (&seen.new, &mut record.failure) {
        failure.reason.push_str(&format!(
            "; the failed container `{}` could not be removed and is left; hint: `docker rm -f {}`",
            new.name,
            new.id.short()
        ));
    }
    record.reach(StepPhase::RolledBack);
    Action::End
}

/// Someone must act: says why, and everything that was refused.
fn broken(record: &mut Record, why: &str) -> Action {
    let tried: Vec<String> = record
        .tried
        .iter()
        .map(|(words, tried)| format!("could not {words} ({} times): {}", tried.count, tried.message))
        .collect();
    if let Some(failure) = &mut record.failure {
        let id = record.order.container_id.short();
        failure.reason.push_str(&format!("; and the old container {id} was not brought back: {why}"));
        for text in tried {
            failure.reason.push_str("; ");
            failure.reason.push_str(&text);
        }
    }
    record.reach(StepPhase::Broken);
    Action::End
}
