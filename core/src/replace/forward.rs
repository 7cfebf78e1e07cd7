//! The way forward, from the order to the commit: the first thing that is not yet so is the next thing to do.

use std::time::Duration;

use super::action::Action;
use super::names;
use super::observed::Observed;
use super::record::{Downtime, Old, Record, Was, failure, grace, node_or};
use super::watch::Verdict;
use crate::container::{ContainerView, Health, RunState};
use crate::duration;
use crate::spec::UpdateOrder;
use crate::step::{Failure, FailureKind, StepPhase};

fn precondition(reason: impl Into<String>) -> Failure {
    failure(FailureKind::Precondition, reason)
}

/// The next action, or why the step must be taken back.
pub(super) fn action(record: &mut Record, seen: &Observed) -> Result<Action, Failure> {
    if record.phase >= StepPhase::Monitored {
        return Ok(after_commit(record, seen));
    }
    let old = match &record.old {
        Some(old) => old.clone(),
        None => preflight(record, seen)?,
    };
    if let Some(action) = prepare(record, seen, &old)? {
        return Ok(action);
    }
    let Some(new) = &seen.new else {
        return Err(failure(FailureKind::Engine, "the new container was removed by someone"));
    };
    if !record.old_touched {
        still_as_planned(record, seen, &old)?;
    }
    // Once it was touched, an old container that someone removed is no reason to stop: nothing else is there to run.
    if let Some(old_view) = &seen.old
        && let Some(action) = give_way(record, old_view, new, &old)?
    {
        return Ok(action);
    }
    let final_name = &record.order.container;
    if new.name != *final_name {
        return Ok(Action::RenameNewIn { new: new.id.clone(), name: final_name.clone() });
    }
    if let Some(old_view) = seen.old.as_ref().filter(|view| is_up(view)) {
        if record.timers.downtime == Downtime::NotYet {
            record.timers.downtime = Downtime::Running(Duration::ZERO);
        }
        return Ok(Action::StopOld { old: old_view.id.clone(), grace: old.grace });
    }
    record.reach(StepPhase::OldStopped);
    if old.was == Was::Stopped {
        // State is kept: what did not run is not started, and there is nothing to watch.
        record.reach(StepPhase::Monitored);
        return Ok(after_commit(record, seen));
    }
    start_and_watch(record, seen, new)
}

/// Looks at the old container for the first time. Nothing was done before, and nothing is done when this fails.
fn preflight(record: &mut Record, seen: &Observed) -> Result<Old, Failure> {
    let order = &record.order;
    let (name, id) = (&order.container, order.container_id.short());
    if order.order == UpdateOrder::StartFirst {
        return Err(failure(
            FailureKind::NotAccepted,
            "this agent does not know the order `start-first`; hint: set `order = \"stop-first\"` in the app's `[update]`",
        ));
    }
    if record.timers.waited > order.start_within {
        let limit = duration::format(order.start_within);
        let reason = format!("it could not be begun within {limit}, for the engine did not answer");
        return Err(failure(FailureKind::NotAccepted, reason));
    }
    let Some(view) = &seen.old else {
        return Err(precondition(format!("container `{name}` ({id}) is gone")));
    };
    if view.name != *name {
        return Err(precondition(format!("container {id} is called `{}` now, planned was `{name}`", view.name)));
    }
    if view.auto_remove {
        return Err(precondition(format!(
            "container `{name}` has `--rm`: the engine would remove it when it stops, so it could not be taken back"
        )));
    }
    let was = match view.state {
        RunState::Running if view.health == Health::Healthy => Was::RunningHealthy,
        RunState::Running => Was::Running,
        RunState::Restarting => Was::Restarting,
        RunState::Created | RunState::Exited => Was::Stopped,
        RunState::Paused => {
            return Err(precondition(format!(
                "container `{name}` is paused, and a paused container is not silently resumed; hint: `docker unpause {name}`"
            )));
        }
        RunState::Removing | RunState::Dead => {
            return Err(precondition(format!("container `{name}` is being removed")));
        }
    };
    let old =
        Old { image_id: view.image_id.clone(), was, restart_policy: view.restart_policy.clone(), grace: grace(view) };
    record.old = Some(old.clone());
    record.reach(StepPhase::Preflight);
    Ok(old)
}

/// Everything that can be done while the old container goes on undisturbed.
fn prepare(record: &mut Record, seen: &Observed, old: &Old) -> Result<Option<Action>, Failure> {
    if !record.calls_tried {
        return Ok(Some(Action::TryCalls));
    }
    if record.new_id.is_none() {
        // The reply to a creation was lost, or the agent died before it could write it down.
        record.new_id = seen.new.as_ref().map(|view| view.id.clone());
    }
    if record.image_id.is_none() {
        record.image_id = seen.image.clone();
    }
    let Some(image_id) = record.image_id.clone() else {
        return Ok(Some(Action::Pull { reference: record.pull_reference() }));
    };
    record.reach(StepPhase::Pulled);
    for image_id in [&old.image_id, &image_id] {
        if !record.kept_images.contains(image_id) {
            let tag = names::keep_tag(&record.order.app, image_id);
            return Ok(Some(Action::KeepImage { image_id: image_id.clone(), tag }));
        }
    }
    let Some(blueprint) = &record.blueprint else {
        return Ok(Some(Action::Plan));
    };
    if record.new_id.is_none() {
        let name = names::temporary(&record.order);
        return Ok(Some(Action::Create { name, body: blueprint.create_body.clone() }));
    }
    let missing = blueprint.connects.iter().find(|(network, _)| !seen.new_networks.contains(network));
    if let (Some((network, body)), false, Some(_)) = (missing, record.old_touched, &seen.new) {
        return Ok(Some(Action::Connect { network: network.clone(), body: body.clone() }));
    }
    record.reach(StepPhase::Created);
    Ok(None)
}

/// The last look before the old container is touched for the first time.
fn still_as_planned(record: &Record, seen: &Observed, old: &Old) -> Result<(), Failure> {
    let name = &record.order.container;
    let Some(view) = &seen.old else {
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
    let planned = record.blueprint.as_ref().and_then(|blueprint| blueprint.settings);
    match (planned, seen.old_settings) {
        (Some(planned), Some(now)) if planned != now => {
            Err(precondition(format!("the settings of container `{name}` were changed meanwhile")))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// Parks the old container: restart policy and name. The stop comes later.
fn give_way(
    record: &mut Record,
    view: &ContainerView,
    new: &ContainerView,
    old: &Old,
) -> Result<Option<Action>, Failure> {
    let name = &record.order.container;
    if old.was == Was::Stopped && is_up(view) {
        return Err(precondition(format!("container `{name}` was started by someone meanwhile")));
    }
    if view.state == RunState::Paused {
        return Err(precondition(format!("container `{name}` was paused by someone meanwhile")));
    }
    let parked = names::parked(&record.order);
    if record.old_touched && view.name != *name && view.name != parked {
        // Who gives it another name wants to keep it, and after the commit it would be removed.
        return Err(precondition(format!("container `{name}` was renamed by someone meanwhile")));
    }
    let old_id = view.id.clone();
    let action = if !is_parked(view) {
        Some(Action::ParkRestartPolicy { old: old_id })
    } else if view.name == *name && is_up(view) && (old.was == Was::Restarting || view.state == RunState::Restarting) {
        // Between two runs the engine cannot rename it (`sandbox … not found`), and there is no service to keep up.
        Some(Action::StopOld { old: old_id, grace: old.grace })
    } else if view.name == *name {
        Some(Action::RenameOldAway { old: old_id, name: parked })
    } else {
        None
    };
    // From the next change on, a failure has something to take back.
    record.old_touched |= action.is_some() || new.name != *name || is_up(view);
    Ok(action)
}

/// Whether no restart of the engine starts the container.
pub(super) fn is_parked(view: &ContainerView) -> bool {
    matches!(view.restart_policy.get("Name").and_then(serde_json::Value::as_str), None | Some("" | "no"))
}

fn is_up(view: &ContainerView) -> bool {
    match view.state {
        RunState::Running | RunState::Restarting | RunState::Paused => true,
        RunState::Created | RunState::Removing | RunState::Exited | RunState::Dead => false,
    }
}

fn start_and_watch(record: &mut Record, seen: &Observed, new: &ContainerView) -> Result<Action, Failure> {
    let watch = &mut record.timers.watch;
    watch.begun = true;
    let never_started = new.state == RunState::Created && new.error.is_empty();
    if never_started {
        let limit = record.order.healthy_deadline;
        if watch.spent >= limit {
            let limit = duration::format(limit);
            return Err(failure(FailureKind::Engine, format!("the engine did not start it within {limit}")));
        }
        return Ok(Action::Start { new: new.id.clone() });
    }
    let verdict = watch.judge(new, &record.order);
    if record.timers.watch.was_healthy {
        record.reach(StepPhase::Healthy);
        record.timers.downtime = over(record.timers.downtime);
    }
    record.reach(StepPhase::Started);
    match verdict {
        Verdict::Wait(time) => Ok(Action::Wait(time)),
        Verdict::Probe => Ok(Action::Probe { new: new.id.clone(), check: record.order.health.clone() }),
        Verdict::Bad(reason) if new.state == RunState::Created => {
            Err(failure(node_or(FailureKind::EngineRefused, &reason), reason))
        }
        // Where the engine itself could not start it again, as after its own restart, its words say whose fault that is.
        Verdict::Bad(reason) => Err(failure(node_or(FailureKind::Unhealthy, &new.error), reason)),
        Verdict::Good => {
            record.reach(StepPhase::Monitored);
            Ok(after_commit(record, seen))
        }
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
    let mut wanted = Vec::new();
    if let Some(view) = &seen.old {
        wanted.push(Action::RemoveOld { old: view.id.clone() });
    }
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
