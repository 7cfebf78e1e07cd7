//! The way forward, from the order to the commit: the first thing that is not yet so is the next thing to do.

use std::time::Duration;

use super::action::Action;
use super::hooks;
use super::names;
use super::observed::{Observed, Sight};
use super::part::{Old, Part, Was, grace, is_up};
use super::record::{Downtime, Record, failure};
use super::refused::node_or;
use super::unit;
use super::watch::Verdict;
use crate::container::{ContainerView, RunState};
use crate::duration;
use crate::mutation::{Rule, broken};
use crate::spec::{HookPoint, UpdateOrder};
use crate::step::{Failure, FailureKind, StepPhase};

/// What was found on the way: the next action, or nothing left to do here.
type Found = Result<Option<Action>, Failure>;

fn precondition(reason: impl Into<String>) -> Failure {
    failure(FailureKind::Precondition, reason)
}

/// The next action, or why the step must be taken back.
pub(super) fn action(record: &mut Record, seen: &Observed) -> Result<Action, Failure> {
    if record.phase >= StepPhase::Monitored {
        return Ok(after_commit(record, seen));
    }
    if record.instance.old.is_none() {
        preflight(record, seen)?;
    }
    in_time(record)?;
    if let Some(action) = prepare(record, seen)? {
        return Ok(action);
    }
    for (part, sight) in record.parts().zip(seen.parts()) {
        if sight.new.is_none() {
            return Err(failure(
                FailureKind::Engine,
                format!("the new container of `{}` was removed by someone", part.name),
            ));
        }
        if !record.old_touched {
            still_as_planned(part, sight)?;
        }
    }
    let swapped = match record.order.order {
        UpdateOrder::StopFirst => stop_first(record, seen)?,
        UpdateOrder::StartFirst => start_first(record, seen)?,
    };
    if let Some(action) = swapped {
        return Ok(action);
    }
    // Where nothing ran, nothing is started, and there is nothing to watch.
    record.reach(StepPhase::Monitored);
    Ok(after_commit(record, seen))
}

/// Looks at the old container for the first time. Nothing was done before, and nothing is done when this fails.
fn preflight(record: &mut Record, seen: &Observed) -> Result<(), Failure> {
    let order = &record.order;
    let (name, id) = (&order.container, order.container_id.short());
    in_time(record)?;
    let Some(view) = &seen.instance.old else {
        return Err(precondition(format!("container `{name}` ({id}) is gone")));
    };
    if view.name != *name {
        return Err(precondition(format!("container {id} is called `{}` now, planned was `{name}`", view.name)));
    }
    record.instance.old = Some(Old::found(view)?);
    record.reach(StepPhase::Preflight);
    Ok(())
}

/// Until a hook is called, or a container starts or is touched, nothing has begun for others. What takes too long until then, a
/// slow pull or an engine that does not answer, is given up: the coordinator has judged the window for a step that begins at
/// once, and judges it anew. A pulled image is there by then.
fn in_time(record: &Record) -> Result<(), Failure> {
    let begun = record.old_touched || record.instance.watch.begun || !record.hooks.begun.is_empty();
    if begun || record.timers.waited <= record.order.start_within {
        return Ok(());
    }
    let limit = duration::format(record.order.start_within);
    Err(failure(
        FailureKind::NotAccepted,
        format!("it could not be begun within {limit}: the engine or the pull took longer"),
    ))
}

/// Everything that can be done while the old containers go on undisturbed.
fn prepare(record: &mut Record, seen: &Observed) -> Found {
    if !record.calls_tried {
        return Ok(Some(Action::TryCalls));
    }
    for (part, sight) in record.parts_mut().zip(seen.parts()) {
        if part.new_id.is_none() {
            // The reply to a creation was lost, or the agent died before it could write it down.
            part.new_id = sight.new.as_ref().map(|view| view.id.clone());
        }
    }
    if record.image_id.is_none() {
        record.image_id = seen.image.clone();
    }
    let Some(image_id) = record.image_id.clone() else {
        return Ok(Some(Action::Pull { reference: record.pull_reference() }));
    };
    record.reach(StepPhase::Pulled);
    let old_image = record.instance.old.as_ref().map(|old| old.image_id.clone());
    for image_id in old_image.into_iter().chain([image_id]) {
        if !record.kept_images.contains(&image_id) {
            let tag = names::keep_tag(&record.order.app, &image_id);
            return Ok(Some(Action::KeepImage { image_id, tag }));
        }
    }
    for (index, (part, sight)) in record.parts().zip(seen.parts()).enumerate() {
        let Some(blueprint) = &part.blueprint else {
            return Ok(Some(Action::Plan));
        };
        if part.new_id.is_none() {
            let name = names::temporary(&part.name, &record.order.key);
            let body = unit::create_body(&blueprint.create_body, record.parts().take(index), &record.order.key);
            return Ok(Some(Action::Create { name, body }));
        }
        let missing = blueprint.connects.iter().find(|(network, _)| !sight.new_networks.contains(network));
        if let (Some((network, body)), false, Some(_)) = (missing, record.old_touched, &sight.new) {
            return Ok(Some(Action::Connect { network: network.clone(), body: body.clone() }));
        }
    }
    record.reach(StepPhase::Created);
    Ok(None)
}

/// The last look before an old container is touched for the first time.
fn still_as_planned(part: &Part, sight: &Sight) -> Result<(), Failure> {
    let name = &part.name;
    let (Some(view), Some(old)) = (&sight.old, &part.old) else {
        return Err(precondition(format!("container `{name}` was removed meanwhile")));
    };
    if view.name != *name {
        return Err(precondition(format!("container `{name}` was renamed to `{}` meanwhile", view.name)));
    }
    if view.restart_policy != old.restart_policy {
        return Err(precondition(format!("the restart policy of container `{name}` was changed meanwhile")));
    }
    match (old.was, view.state) {
        (_, RunState::Paused) => Err(precondition(format!("container `{name}` was paused meanwhile"))),
        (_, RunState::Removing | RunState::Dead) => {
            Err(precondition(format!("container `{name}` was removed meanwhile")))
        }
        (Was::Stopped, RunState::Running | RunState::Restarting) => {
            Err(precondition(format!("container `{name}` was started meanwhile")))
        }
        (Was::RunningHealthy | Was::Running | Was::Restarting, RunState::Created | RunState::Exited) => {
            Err(precondition(format!("container `{name}` was stopped meanwhile")))
        }
        (Was::Stopped, RunState::Created | RunState::Exited)
        | (Was::RunningHealthy | Was::Running | Was::Restarting, RunState::Running | RunState::Restarting) => Ok(()),
    }?;
    let planned = part.blueprint.as_ref().and_then(|blueprint| blueprint.settings);
    match (planned, sight.old_settings) {
        (Some(planned), Some(now)) if planned != now => {
            Err(precondition(format!("the settings of container `{name}` were changed meanwhile")))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// The old ones give way, then the new ones start.
fn stop_first(record: &mut Record, seen: &Observed) -> Found {
    if let Some(action) = out_of_service(record, &[HookPoint::Before, HookPoint::Drain]) {
        return Ok(Some(action));
    }
    if let Some(action) = swap(record, seen)? {
        return Ok(Some(action));
    }
    if broken(Rule::OldKept)
        && seen.instance.new.as_ref().is_some_and(is_up)
        && let Some(old) = &seen.instance.old
    {
        return Ok(Some(Action::RemoveOld { old: old.id.clone() }));
    }
    start_and_watch(record, seen, Started::Alone)
}

/// The new one starts and becomes healthy, then the old one gives way. Both serve meanwhile.
fn start_first(record: &mut Record, seen: &Observed) -> Found {
    if let Some(action) = out_of_service(record, &[HookPoint::Before]) {
        return Ok(Some(action));
    }
    let old_is_up = seen.instance.old.as_ref().is_some_and(is_up);
    if old_is_up {
        if let Some(action) = start_and_watch(record, seen, Started::BesideTheOld)? {
            return Ok(Some(action));
        }
        if let Some(action) = out_of_service(record, &[HookPoint::Drain]) {
            return Ok(Some(action));
        }
    }
    if let Some(action) = swap(record, seen)? {
        return Ok(Some(action));
    }
    start_and_watch(record, seen, Started::Alone)
}

/// The next hook that is about the old container, which serves. One that is stopped, or fails by itself, does not.
fn out_of_service(record: &mut Record, points: &[HookPoint]) -> Option<Action> {
    let id = record.instance.id.clone();
    let served = record.instance.old.as_ref().is_some_and(|old| matches!(old.was, Was::RunningHealthy | Was::Running));
    if !served || record.old_touched {
        return None;
    }
    hooks::due(record, points, &id)
}

/// Old and new ones change places: policies and names of all, then the old ones stop, the instance last.
fn swap(record: &mut Record, seen: &Observed) -> Found {
    let sights: Vec<&Sight> = seen.parts().collect();
    let parts: Vec<Part> = record.parts().cloned().collect();
    let mut action = None;
    for (part, sight) in parts.iter().zip(&sights) {
        action = action.or(give_way(part, sight, record)?);
    }
    for (part, sight) in parts.iter().zip(&sights) {
        let wrong_name = sight.new.as_ref().filter(|new| new.name != part.name);
        action = action.or(wrong_name.map(|new| Action::RenameNewIn { new: new.id.clone(), name: part.name.clone() }));
    }
    for (part, sight) in parts.iter().zip(&sights).rev() {
        let stop = sight.old.as_ref().filter(|view| is_up(view)).zip(part.old.as_ref());
        action = action.or(stop.map(|(view, old)| Action::StopOld { old: view.id.clone(), grace: old.grace }));
    }
    // From the next change on, a failure has something to take back.
    record.old_touched |= action.is_some();
    let stops_the_instance = matches!(&action, Some(Action::StopOld { old, .. }) if *old == record.instance.id);
    if stops_the_instance && record.timers.downtime == Downtime::NotYet {
        record.timers.downtime = Downtime::Running(Duration::ZERO);
    }
    if action.is_none() {
        record.reach(StepPhase::OldStopped);
    }
    Ok(action)
}

/// Parks one old container: restart policy and name. Once it was touched, an old container that someone removed is no
/// reason to stop: nothing else is there to run.
fn give_way(part: &Part, sight: &Sight, record: &Record) -> Found {
    let Some(view) = &sight.old else { return Ok(None) };
    let name = &part.name;
    if !part.ran() && is_up(view) {
        return Err(precondition(format!("container `{name}` was started by someone meanwhile")));
    }
    if view.state == RunState::Paused {
        return Err(precondition(format!("container `{name}` was paused by someone meanwhile")));
    }
    let parked = names::parked(name, &record.order.key);
    if record.old_touched && view.name != *name && view.name != parked {
        // Who gives it another name wants to keep it, and after the commit it would be removed.
        return Err(precondition(format!("container `{name}` was renamed by someone meanwhile")));
    }
    let old = || view.id.clone();
    Ok(if !is_parked(view) && !broken(Rule::ParkedPolicy) {
        Some(Action::ParkRestartPolicy { old: old() })
    } else if view.name == *name && is_up(view) && (part.was_restarting() || view.state == RunState::Restarting) {
        // Between two runs the engine cannot rename it (`sandbox … not found`), and there is no service to keep up.
        Some(Action::StopOld { old: old(), grace: grace(view) })
    } else if view.name == *name {
        Some(Action::RenameOldAway { old: old(), name: parked })
    } else {
        None
    })
}

/// Whether no restart of the engine starts the container.
pub(super) fn is_parked(view: &ContainerView) -> bool {
    matches!(view.restart_policy.get("Name").and_then(serde_json::Value::as_str), None | Some("" | "no"))
}

/// Which containers run while the new ones are watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Started {
    /// The old one serves, too: to be healthy is enough to go on.
    BesideTheOld,
    /// Only the new ones: they must be healthy for the whole monitor period.
    Alone,
}

/// Starts the new containers, each when those before it run, and watches all of them. `None`: they are good.
fn start_and_watch(record: &mut Record, seen: &Observed, started: Started) -> Found {
    let mut wait: Option<Action> = None;
    let count = 1 + record.dependents.len();
    for (index, sight) in seen.parts().take(count).enumerate() {
        let ran = record.parts().nth(index).is_some_and(Part::ran);
        let Some(new) = sight.new.as_ref().filter(|_| ran) else { continue };
        match watched(record, index, new, started)? {
            Some(Action::Wait(time)) => {
                let least = if let Some(Action::Wait(other)) = wait { other.min(time) } else { time };
                wait = Some(Action::Wait(least));
            }
            Some(action) => return Ok(Some(action)),
            None => {}
        }
    }
    if let Some(action) = in_service(record, seen) {
        return Ok(Some(action));
    }
    Ok(wait)
}

/// The hook that says that the new instance serves, once it is healthy.
fn in_service(record: &mut Record, seen: &Observed) -> Option<Action> {
    let new = seen.instance.new.as_ref().filter(|_| record.instance.ran() && record.instance.watch.was_healthy)?;
    hooks::due(record, &[HookPoint::After], &new.id)
}

/// Looks after one new container: starts it, judges it.
fn watched(record: &mut Record, index: usize, new: &ContainerView, started: Started) -> Found {
    let order = record.order.clone();
    let Some(part) = record.parts_mut().nth(index) else { return Ok(None) };
    let watch = &mut part.watch;
    if watch.is_to_start(new) {
        if watch.spent >= order.healthy_deadline {
            let limit = duration::format(order.healthy_deadline);
            return Err(failure(FailureKind::Engine, format!("the engine did not start it within {limit}")));
        }
        return Ok(Some(Action::Start { new: new.id.clone() }));
    }
    if started == Started::Alone {
        watch.left_alone();
    }
    let verdict =
        if index == 0 { watch.judge(new, &order) } else { watch.judge_dependent(new, part.old.as_ref(), &order) };
    let (is_healthy, name) = (watch.healthy_for.is_some(), part.name.clone());
    if index == 0 {
        if record.instance.watch.was_healthy {
            record.reach(StepPhase::Healthy);
            record.timers.downtime = match (record.timers.downtime, order.order) {
                (Downtime::NotYet, UpdateOrder::StartFirst) => Downtime::Over(Duration::ZERO),
                (downtime, UpdateOrder::StartFirst | UpdateOrder::StopFirst) => over(downtime),
            };
        }
        record.reach(StepPhase::Started);
    }
    match verdict {
        Verdict::Wait(_) if started == Started::BesideTheOld && is_healthy => Ok(None),
        Verdict::Wait(time) => Ok(Some(Action::Wait(time))),
        Verdict::Probe => Ok(Some(Action::Probe { new: new.id.clone(), check: order.health })),
        Verdict::Bad(reason) => {
            let reason = if index == 0 { reason } else { format!("container `{name}`, which depends on it: {reason}") };
            record.culprit = (index > 0).then(|| new.id.clone());
            let kind = match new.state {
                RunState::Created => node_or(FailureKind::EngineRefused, &reason),
                // Where the engine itself could not start it again, as after its own restart, its words say whose fault
                // that is.
                RunState::Running
                | RunState::Paused
                | RunState::Restarting
                | RunState::Removing
                | RunState::Exited
                | RunState::Dead => node_or(FailureKind::Unhealthy, &new.error),
            };
            Err(failure(kind, reason))
        }
        Verdict::Good => Ok(None),
    }
}

/// The downtime ends, if it goes on.
pub(super) fn over(downtime: Downtime) -> Downtime {
    match downtime {
        Downtime::Running(time) => Downtime::Over(time),
        Downtime::NotYet | Downtime::Over(_) | Downtime::Unknown => downtime,
    }
}

/// The new container is the instance now. What is left cannot fail the step any more: what the engine refuses again and
/// again is left lying, for the reports name it.
fn after_commit(record: &mut Record, seen: &Observed) -> Action {
    let order = &record.order;
    // What depends on another container goes first.
    let old = seen.parts().rev().filter_map(|sight| sight.old.as_ref());
    let mut wanted: Vec<Action> = old.map(|view| Action::RemoveOld { old: view.id.clone() }).collect();
    if let Some(image_id) = &record.image_id {
        let repository = order.image.repository.clone();
        if !record.followed_tagged {
            let (image_id, tag) = (image_id.clone(), order.image.tag.clone());
            wanted.push(Action::TagFollowed { image_id, repository: repository.clone(), tag });
        }
        if !record.images_cleaned {
            let (app, image_id) = (order.app.clone(), image_id.clone());
            wanted.push(Action::CleanImages { app, repository, image_id, keep: order.keep_images });
        }
    }
    if let Some(action) = wanted.into_iter().find(|action| !record.exhausted(action)) {
        return action;
    }
    record.reach(StepPhase::Committed);
    Action::End
}
