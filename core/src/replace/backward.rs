//! The way back: the old container gets its name, its restart policy and its state again, the new one goes.
//!
//! The service comes first: where one thing cannot be restored, the others still are. Nothing of the old container is
//! ever removed.

use super::action::Action;
use super::forward::{is_parked, over};
use super::hooks;
use super::names;
use super::observed::{Observed, Sight};
use super::part::{Part, grace, is_up};
use super::record::{Record, TRY_LIMIT};
use super::refused::way_out;
use super::watch::Verified;
use crate::container::ContainerView;
use crate::spec::UpdateOrder;
use crate::step::StepPhase;

/// The next action on the way back.
pub(super) fn action(record: &mut Record, seen: &Observed) -> Action {
    for (part, sight) in record.parts_mut().zip(seen.parts()) {
        if part.new_id.is_none() {
            part.new_id = sight.new.as_ref().map(|view| view.id.clone());
        }
    }
    if !record.old_touched {
        return leave_untouched(record, seen);
    }
    record.reach(StepPhase::RollingBack);
    if seen.parts().any(|sight| sight.old.is_none()) {
        return broken(record, "it was removed by someone");
    }
    if let Some(action) = take_log(record, seen).or_else(|| clear_the_way(record, seen)) {
        return action;
    }
    if let Some(action) = restore(record, seen) {
        return action;
    }
    if let Some(action) = verify(record, seen) {
        return action;
    }
    if let Some(action) = back_in_service(record).or_else(|| remove_new(record, seen)) {
        return action;
    }
    let restored = record.parts().zip(seen.parts()).all(|(part, sight)| is_restored(part, sight));
    if !restored {
        return broken(record, "it runs as before, but not all of it could be restored");
    }
    finish(record, seen)
}

/// No old container was touched: only the new ones have to go.
fn leave_untouched(record: &mut Record, seen: &Observed) -> Action {
    let action = take_log(record, seen).or_else(|| back_in_service(record)).or_else(|| remove_new(record, seen));
    if let Some(action) = action {
        return action;
    }
    record.reach(StepPhase::Untouched);
    Action::End
}

/// The last words of the container that failed, if any was started.
fn take_log(record: &Record, seen: &Observed) -> Option<Action> {
    if record.log_taken {
        return None;
    }
    let started = |view: &&ContainerView| view.started_at.is_some();
    let mut new = seen.parts().filter_map(|sight| sight.new.as_ref()).filter(started);
    let failed = match &record.culprit {
        Some(culprit) => new.find(|view| view.id == *culprit),
        None => seen.instance.new.as_ref().filter(started),
    };
    failed.map(|view| Action::TakeLog { new: view.id.clone() })
}

/// The old one serves: whatever was taken out of service by a hook is put back. That it fails is told and no more, when
/// it was tried often enough: the containers are as they were.
fn back_in_service(record: &mut Record) -> Option<Action> {
    let id = record.instance.id.clone();
    let hook = hooks::put_back(record, &id)?;
    if !record.exhausted(&hook) {
        return Some(hook);
    }
    record.hooks.put_back = true;
    if let Some(failure) = &mut record.failure {
        failure.reason.push_str(
            "; and the `after` hook, which puts the old container back into service, failed again and again; hint: see \
             whether it is in service",
        );
    }
    None
}

/// Removes the new containers, what depends on another one first: gently, for it may be serving, else by force.
fn remove_new(record: &Record, seen: &Observed) -> Option<Action> {
    let new = seen.parts().rev().filter_map(|sight| sight.new.as_ref());
    let steps = new.flat_map(|view| {
        let stop = is_up(view).then(|| Action::StopNew { new: view.id.clone(), grace: grace(view) });
        stop.into_iter().chain([Action::RemoveNew { new: view.id.clone() }])
    });
    // A loop over what is left: a container that cannot be removed does not keep the others.
    steps.into_iter().find(|action| !record.exhausted(action))
}

/// Takes names, and where only one may run also ports and volumes, away from the new containers: gently, else by removing
/// them.
fn clear_the_way(record: &Record, seen: &Observed) -> Option<Action> {
    let parts: Vec<(&Part, &Sight)> = record.parts().zip(seen.parts()).collect();
    parts.into_iter().rev().find_map(|(part, sight)| {
        let view = sight.new.as_ref()?;
        let id = || view.id.clone();
        let may_come_back = view.started_at.is_some() && !is_parked(view);
        let park = may_come_back.then(|| Action::ParkNewPolicy { new: id() });
        let must_stop = is_up(view) && record.order.order == UpdateOrder::StopFirst;
        let stop = must_stop.then(|| Action::StopNew { new: id(), grace: grace(view) });
        let holds_name = view.name == part.name;
        let temporary = || names::temporary(&part.name, &record.order.key);
        let rename = holds_name.then(|| Action::RenameNewOut { new: id(), name: temporary() });
        let in_the_way: Vec<Action> = park.into_iter().chain(stop).chain(rename).collect();
        let by_force = (!in_the_way.is_empty()).then(|| Action::RemoveNew { new: id() });
        in_the_way.into_iter().chain(by_force).find(|action| !record.exhausted(action))
    })
}

fn restore(record: &Record, seen: &Observed) -> Option<Action> {
    record.parts().zip(seen.parts()).find_map(|(part, sight)| {
        let (view, old) = (sight.old.as_ref()?, part.old.as_ref()?);
        let name = &part.name;
        let rename = (view.name != *name).then(|| Action::RenameOldBack { old: view.id.clone(), name: name.clone() });
        let policy = (view.restart_policy != old.restart_policy)
            .then(|| Action::RestoreRestartPolicy { old: view.id.clone(), policy: old.restart_policy.clone() });
        rename.into_iter().chain(policy).find(|action| !record.exhausted(action))
    })
}

fn is_restored(part: &Part, sight: &Sight) -> bool {
    let as_before = |view: &ContainerView| {
        view.name == part.name && part.old.as_ref().is_some_and(|old| old.restart_policy == view.restart_policy)
    };
    sight.old.as_ref().is_some_and(as_before)
}

/// Starts the old containers and sees that they are what they were, each when those before it are up. `None`: all are.
fn verify(record: &mut Record, seen: &Observed) -> Option<Action> {
    let order = record.order.clone();
    let mut wait = None;
    for (index, sight) in seen.parts().enumerate() {
        let Some(part) = record.parts_mut().nth(index) else { continue };
        let (Some(view), Some(old)) = (&sight.old, &part.old) else { continue };
        if part.verified {
            continue;
        }
        let starts = part.old_starts;
        let (name, was) = (part.name.clone(), old.was);
        match part.verify.judge(view, was, starts, &order) {
            Verified::Wait(time) => {
                let least: std::time::Duration = wait.map_or(time, |other: std::time::Duration| other.min(time));
                wait = Some(least);
            }
            Verified::No(why) => return Some(broken(record, &of(index, &name, &why))),
            Verified::Start => {
                let start = Action::StartOld { old: view.id.clone() };
                if record.exhausted(&start) || starts >= TRY_LIMIT {
                    let why = format!("it does not stay up (exit code {})", view.exit_code);
                    return Some(broken(record, &of(index, &name, &why)));
                }
                return Some(start);
            }
            Verified::Yes => {
                part.verified = true;
                if index == 0 {
                    record.timers.downtime = over(record.timers.downtime);
                }
            }
        }
    }
    wait.map(Action::Wait)
}

fn of(index: usize, name: &str, why: &str) -> String {
    if index == 0 { why.to_owned() } else { format!("container `{name}`, which depends on it: {why}") }
}

fn finish(record: &mut Record, seen: &Observed) -> Action {
    if let Some(failure) = &mut record.failure {
        for new in seen.parts().filter_map(|sight| sight.new.as_ref()) {
            failure.reason.push_str(&format!(
                "; the failed container `{}` could not be removed and is left; hint: `docker rm -f {}`",
                new.name,
                new.id.short()
            ));
        }
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
        failure.reason.push_str(&way_out(&failure.reason, &record.order.container_id));
    }
    record.reach(StepPhase::Broken);
    Action::End
}
