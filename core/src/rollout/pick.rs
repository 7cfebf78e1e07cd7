//! Which step may be ordered next, and what stands in the way.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::{App, Availability};
use crate::container::{Health, RunState};
use crate::fleet::{ConnectedNode, NodeImage};
use crate::ids::NodeName;
use crate::instance::InstanceView;
use crate::quiet::{Closed, WindowState};
use crate::rollout::plan::running_digest;
use crate::rollout::waiting::OVERDUE_MARGIN;
use crate::rollout::{Action, Context, Rollout, Step, StepFate, StepState, WaitingOn};
use crate::step::Purpose;

/// An instance by node and container name.
pub(super) type Place = (NodeName, String);

/// What keeps a pending step from being ordered.
pub(super) enum Obstacle {
    /// Time, or somebody else, removes it.
    Wait(WaitingOn),
    /// Nothing will: the step is left out.
    Skip(StepFate, String),
}

impl Rollout {
    /// Instances of the app that do not serve, and why; those in work by this rollout included.
    pub(super) fn unavailable(&self, context: &Context<'_>) -> BTreeMap<Place, WaitingOn> {
        let mut away = BTreeMap::new();
        let Some(app) = context.catalog.app(self.app()) else { return away };
        for (node, container) in app.adopted.keys() {
            if let Some(reason) = unavailable_instance(context, app, node, container) {
                away.insert((node.clone(), container.clone()), reason);
            }
        }
        for step in self.in_flight() {
            away.insert((step.node.clone(), step.container.clone()), self.step_wait(step, context));
        }
        away
    }

    /// Why one waits for a step in flight.
    pub(super) fn step_wait(&self, step: &Step, context: &Context<'_>) -> WaitingOn {
        let (node, container) = (step.node.clone(), step.container.clone());
        if step.state == StepState::Unknown {
            let since = context.fleet.last_seen(&node).unwrap_or(context.settled_at);
            let alarm_at = since + TimeDelta::from_std(context.unknown_after).unwrap_or(TimeDelta::MAX);
            return WaitingOn::Unknown { node, container, alarm_at };
        }
        let limit = self.spec.update.worst_case(step.canary) + OVERDUE_MARGIN;
        let running = step.started_at.map(|at| (context.now - at).to_std().unwrap_or_default());
        WaitingOn::Step { node, container, phase: step.phase, overdue: running.is_some_and(|time| time > limit) }
    }

    /// What keeps one pending step from being ordered, apart from the window and the other instances.
    pub(super) fn obstacle(&self, step: &Step, context: &Context<'_>) -> Option<Obstacle> {
        let node = &step.node;
        let wait = |reason| Some(Obstacle::Wait(reason));
        let laggard = |reason: String| Some(Obstacle::Skip(StepFate::Laggard, reason));
        match context.catalog.node(node).map(|known| known.availability) {
            Some(Availability::Active) => {}
            Some(Availability::Pause | Availability::Drain) => return laggard(format!("node {node} takes no part")),
            None => return laggard(format!("node {node} is no longer in the fleet")),
        }
        let Some(connected) = context.fleet.node(node) else { return wait(WaitingOn::NodeDown { node: node.clone() }) };
        if let Some(error) = &connected.engine_error {
            return wait(WaitingOn::EngineDown { node: node.clone(), error: error.clone() });
        }
        if connected.instances.is_none() {
            return wait(WaitingOn::NodeDown { node: node.clone() });
        }
        if let Some(until) = step.not_before.filter(|until| *until > context.now) {
            let reason = step.reason.clone().unwrap_or_default();
            return wait(WaitingOn::PutOff { node: node.clone(), container: step.container.clone(), reason, until });
        }
        let Some(instance) = context.fleet.instance(self.app(), node, &step.container) else {
            return laggard("the container is no longer there".into());
        };
        if instance.runs(&step.to) {
            return Some(Obstacle::Skip(StepFate::AtTarget, "it runs the target already".into()));
        }
        if instance.container_id != step.container_id && step.purpose == Purpose::Update {
            return laggard("the container was replaced by someone else since the rollout was planned".into());
        }
        if let Some(reason) = &instance.refusal {
            return laggard(format!("it cannot be replaced: {reason}"));
        }
        self.node_obstacle(step, connected, context)
    }

    fn node_obstacle(&self, step: &Step, connected: &ConnectedNode, context: &Context<'_>) -> Option<Obstacle> {
        let node = &step.node;
        let busy = context.open.iter().find(|other| other.id != self.id && other.in_flight().any(|s| s.node == *node));
        if let Some(other) = busy {
            return Some(Obstacle::Wait(WaitingOn::NodeBusy { node: node.clone(), rollout: other.id.clone() }));
        }
        if let Some(own) = self.in_flight().find(|other| other.node == *node) {
            return Some(Obstacle::Wait(self.step_wait(own, context)));
        }
        if !self.spec.update.pre_pull {
            return None;
        }
        let failure = match connected.images.get(&(self.app().clone(), step.to.clone())) {
            Some(NodeImage::Present) => return None,
            Some(NodeImage::Failed { error, retry_at }) => Some((error.clone(), *retry_at)),
            Some(NodeImage::Requested | NodeImage::Pulling(_)) | None => None,
        };
        Some(Obstacle::Wait(WaitingOn::Image { node: node.clone(), failure }))
    }

    /// Requests for images that nodes with pending steps do not have yet.
    pub(super) fn prepulls(&self, context: &Context<'_>) -> Vec<Action> {
        let mut wanted = BTreeMap::new();
        for step in self.current_steps().filter(|step| step.is_pending()) {
            let due = match context.fleet.image_on(&step.node, self.app(), &step.to) {
                None => context.fleet.node(&step.node).is_some(),
                Some(NodeImage::Failed { retry_at, .. }) => *retry_at <= context.now,
                Some(NodeImage::Requested | NodeImage::Pulling(_) | NodeImage::Present) => false,
            };
            if due {
                wanted.insert((step.node.clone(), step.to.clone()), ());
            }
        }
        let action = |(node, digest)| Action::Prepull { node, app: self.app().clone(), digest };
        wanted.into_keys().map(action).collect()
    }

    /// Whether a step may start now by the quiet hours in force, and why not.
    pub(super) fn window(&self, canary: bool, context: &Context<'_>) -> Result<Option<DateTime<Utc>>, WaitingOn> {
        let in_force = context.catalog.app(self.app()).map_or(&self.spec, |app| &app.spec);
        if self.purpose == Purpose::Rollback || self.is_retreat() {
            return Ok(None);
        }
        let Some(quiet) = &in_force.quiet_hours else {
            return if self.overrides.now { Ok(None) } else { Err(WaitingOn::NoQuietHours) };
        };
        if self.overrides.now {
            let frozen = matches!(quiet.at(context.now), WindowState::Closed { because: Closed::Frozen { .. }, .. });
            if !frozen || self.overrides.freeze {
                return Ok(None);
            }
        }
        let open = quiet.may_start(context.now, self.spec.update.worst_case(canary)).map_err(WaitingOn::Window)?;
        Ok(Some(open.starts))
    }
}

fn unavailable_instance(context: &Context<'_>, app: &App, node: &NodeName, container: &str) -> Option<WaitingOn> {
    let known = context.catalog.node(node)?;
    if known.availability != Availability::Active || !app.spec.nodes.matches(&known.labels) {
        return None;
    }
    let Some(connected) = context.fleet.node(node) else { return Some(WaitingOn::NodeDown { node: node.clone() }) };
    if let Some(error) = &connected.engine_error {
        return Some(WaitingOn::EngineDown { node: node.clone(), error: error.clone() });
    }
    if connected.instances.is_none() {
        return Some(WaitingOn::NodeDown { node: node.clone() });
    }
    let instance = context.fleet.instance(&app.spec.name, node, container)?;
    if instance.is_available() {
        return None;
    }
    let state = describe(instance);
    Some(WaitingOn::Unavailable { node: node.clone(), container: container.to_owned(), state })
}

/// What is wrong with an instance, in a word or two.
fn describe(instance: &InstanceView) -> String {
    let word = match (instance.state, instance.health) {
        (RunState::Running, Health::Starting) => "still starting",
        (RunState::Running, Health::Unhealthy) => "unhealthy",
        (RunState::Running, Health::None | Health::Healthy) => "running",
        (RunState::Created, _) => "created, never started",
        (RunState::Paused, _) => "paused",
        (RunState::Restarting, _) => "restarting",
        (RunState::Removing, _) => "being removed",
        (RunState::Exited, _) => "stopped",
        (RunState::Dead, _) => "dead",
    };
    word.to_owned()
}

/// What an instance runs now, for the order's record.
pub(super) fn runs_now(step: &Step, context: &Context<'_>, rollout: &Rollout) -> Option<crate::image::Digest> {
    let app = context.catalog.app(rollout.app())?;
    let instance = context.fleet.instance(rollout.app(), &step.node, &step.container)?;
    running_digest(app, instance)
}
