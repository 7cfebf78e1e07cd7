//! Which step may be ordered next, and what stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::{App, Availability};
use crate::container::{Health, RunState};
use crate::fleet::{ConnectedNode, NodeImage, PULL_BACKOFF_LIMIT};
use crate::ids::{ContainerId, NodeName, RolloutId};
use crate::image::Digest;
use crate::instance::InstanceView;
use crate::mutation::{Rule, broken};
use crate::rollout::plan::{rival, running_digest, unfit};
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

/// What each node works on: found once for a decision, not once for each step.
pub(super) struct Busy<'a> {
    own: BTreeMap<&'a NodeName, &'a Step>,
    others: BTreeMap<&'a NodeName, &'a RolloutId>,
}

impl<'a> Busy<'a> {
    pub(super) fn of(rollout: &'a Rollout, context: &'a Context<'_>) -> Self {
        let others = context.open.iter().filter(|other| other.id != rollout.id);
        Self {
            own: rollout.in_flight().map(|step| (&step.node, step)).collect(),
            others: others.flat_map(|other| other.in_flight().map(|step| (&step.node, &other.id))).collect(),
        }
    }
}

/// Where a step's instance is.
pub(super) fn place_of(step: &Step) -> Place {
    (step.node.clone(), step.container.clone())
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
            away.insert(place_of(step), self.step_wait(step, context));
        }
        away
    }

    /// Whether a step's instance is failing by itself, rather than starting, or stopped by somebody.
    pub(super) fn is_failing(&self, step: &Step, context: &Context<'_>) -> bool {
        let instance = context.fleet.instance(self.app(), &step.node, &step.container);
        instance.is_some_and(|found| match (found.state, found.health) {
            (RunState::Running, Health::Unhealthy) | (RunState::Restarting | RunState::Dead, _) => true,
            (RunState::Running, Health::None | Health::Starting | Health::Healthy)
            | (RunState::Created | RunState::Paused | RunState::Removing | RunState::Exited, _) => false,
        })
    }

    /// The container that a step would replace, and what it runs.
    pub(super) fn found(&self, step: &Step, context: &Context<'_>) -> (ContainerId, Option<Digest>) {
        let app = context.catalog.app(self.app());
        let instance = context.fleet.instance(self.app(), &step.node, &step.container);
        let (Some(app), Some(instance)) = (app, instance) else {
            return (step.container_id.clone(), step.from.clone());
        };
        match app.replaced(&step.node, instance) {
            Some(replaced) => {
                let id = replaced.new.clone().unwrap_or_else(|| step.container_id.clone());
                (id, Some(replaced.digest.clone()))
            }
            None => (instance.container_id.clone(), running_digest(app, instance)),
        }
    }

    /// Why one waits for a step in flight.
    pub(super) fn step_wait(&self, step: &Step, context: &Context<'_>) -> WaitingOn {
        let (node, container) = (step.node.clone(), step.container.clone());
        if step.state == StepState::Unknown {
            let since = context.fleet.last_seen(&node).unwrap_or(context.settled_at);
            let alarm_at = since + TimeDelta::from_std(context.unknown_after).unwrap_or(TimeDelta::MAX);
            return WaitingOn::Unknown { node, container, alarm_at };
        }
        let limit = self.spec.worst_case(step.canary) + OVERDUE_MARGIN;
        let running = step.started_at.map(|at| (context.now - at).to_std().unwrap_or_default());
        WaitingOn::Step { node, container, phase: step.phase, overdue: running.is_some_and(|time| time > limit) }
    }

    /// What keeps one pending step from being ordered, apart from the window and the other instances.
    pub(super) fn obstacle(&self, step: &Step, busy: &Busy<'_>, context: &Context<'_>) -> Option<Obstacle> {
        let node = &step.node;
        let wait = |reason| Some(Obstacle::Wait(reason));
        let laggard = |reason: String| Some(Obstacle::Skip(StepFate::Laggard, reason));
        let Some(known) = context.catalog.node(node) else {
            return laggard(format!("node {node} is no longer in the fleet"));
        };
        match known.availability {
            Availability::Active => {}
            Availability::Pause | Availability::Drain => return laggard(format!("node {node} takes no part")),
        }
        let app = context.catalog.app(self.app())?;
        if !app.spec.nodes.matches(&known.labels) {
            return laggard(format!("the app no longer selects node {node}"));
        }
        if self.has_no_window(app, known) {
            return laggard(format!("no allow window names node {node}"));
        }
        let Some(connected) = context.fleet.node(node) else { return wait(WaitingOn::NodeDown { node: node.clone() }) };
        if let Some(error) = &connected.engine_error {
            return wait(WaitingOn::EngineDown { node: node.clone(), error: error.clone() });
        }
        if connected.instances.is_none() {
            return wait(WaitingOn::NodeDown { node: node.clone() });
        }
        if let Some(until) = step.put_off_until(context.now) {
            let reason = step.reason.clone().unwrap_or_default();
            return wait(WaitingOn::PutOff { node: node.clone(), container: step.container.clone(), reason, until });
        }
        let Some(instance) = connected.instance(self.app(), &step.container) else {
            return laggard("the container is no longer there".into());
        };
        if let Some(skip) = unwanted(app, step, instance) {
            return Some(skip);
        }
        if let Some(unfit) = unfit(app, connected, &step.to) {
            return laggard(unfit.to_string());
        }
        if let Some(other) = rival(app, context.catalog, &known.labels, connected, &step.container) {
            return laggard(format!("app {other} selects it, too"));
        }
        self.node_obstacle(step, connected, busy, context)
    }

    fn node_obstacle(
        &self,
        step: &Step,
        connected: &ConnectedNode,
        busy: &Busy<'_>,
        context: &Context<'_>,
    ) -> Option<Obstacle> {
        let node = &step.node;
        if let Some(rollout) = busy.others.get(node).filter(|_| !broken(Rule::OneStep)) {
            return Some(Obstacle::Wait(WaitingOn::NodeBusy { node: node.clone(), rollout: (*rollout).clone() }));
        }
        if let Some(own) = busy.own.get(node) {
            return Some(Obstacle::Wait(self.step_wait(own, context)));
        }
        if !self.spec.update.pre_pull {
            return None;
        }
        let failure = match connected.image(self.app(), &step.to) {
            Some(NodeImage::Present) => return None,
            Some(NodeImage::Failed { error, retry_at }) => Some((error.clone(), *retry_at)),
            Some(NodeImage::Requested | NodeImage::Pulling(_)) | None => None,
        };
        Some(Obstacle::Wait(WaitingOn::Image { node: node.clone(), failure }))
    }

    /// Requests for images that nodes with pending steps do not have yet.
    pub(super) fn prepulls(&self, context: &Context<'_>) -> Vec<Action> {
        let mut wanted = BTreeSet::new();
        for step in self.current_steps().filter(|step| step.is_pending()) {
            let Some(connected) = context.fleet.node(&step.node) else { continue };
            let due = match connected.image(self.app(), &step.to) {
                None => true,
                Some(NodeImage::Failed { retry_at, .. }) => is_due(*retry_at, context.now),
                Some(NodeImage::Requested | NodeImage::Pulling(_) | NodeImage::Present) => false,
            };
            if due {
                wanted.insert((&step.node, &step.to));
            }
        }
        let action = |(node, digest): (&NodeName, &Digest)| Action::Prepull {
            node: node.clone(),
            app: self.app().clone(),
            digest: digest.clone(),
        };
        wanted.into_iter().map(action).collect()
    }
}

/// Whether a fetch is to be tried again; one that seems to be far ahead is so because the clock was set back.
fn is_due(retry_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    retry_at <= now || (retry_at - now).to_std().is_ok_and(|pause| pause > PULL_BACKOFF_LIMIT * 2)
}

/// Why a step is not to be done to the instance that is there now.
fn unwanted(app: &App, step: &Step, instance: &InstanceView) -> Option<Obstacle> {
    let laggard = |reason: String| Some(Obstacle::Skip(StepFate::Laggard, reason));
    let replaced = app.replaced(&step.node, instance);
    let runs = |digest: &Digest| replaced.map_or_else(|| instance.runs(digest), |replaced| replaced.digest == *digest);
    if runs(&step.to) {
        return Some(Obstacle::Skip(StepFate::AtTarget, "it runs the target already".into()));
    }
    let id = replaced.and_then(|replaced| replaced.new.as_ref()).unwrap_or(&instance.container_id);
    let same = *id == step.container_id;
    match step.purpose {
        Purpose::Update if !same => {
            return laggard("the container was replaced by someone else since the rollout was planned".into());
        }
        // Whatever container runs the digest that is gone back from goes back.
        Purpose::Rollback if !same && !step.from.as_ref().is_some_and(runs) => {
            return laggard("someone else has put something different there since".into());
        }
        Purpose::Update | Purpose::Rollback => {}
    }
    instance.refusal.as_ref().and_then(|reason| laggard(format!("it cannot be replaced: {reason}")))
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
    let instance = connected.instance(&app.spec.name, container)?;
    if instance.is_available() || broken(Rule::Unavailable) {
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
