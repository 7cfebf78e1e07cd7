//! A rehearsal: an operator's own apps on simulated nodes, with a good new image each, and what would happen then.
//!
//! Coordinator and agents are the real ones. Nothing goes wrong but what the operator asks for: on the nodes that are named, the
//! new containers fall ill. Hours in which nothing can happen are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_agent::engine::EventKind;
use nightshift_agent::engine::simulated::{Happening, SimulatedEngine};
use nightshift_core::event::Recorded;
use nightshift_core::ids::{AppName, NodeName};
use nightshift_core::labels::{Labels, Selector};
use nightshift_core::release::TestResult;
use nightshift_core::rollout::{Rollout, WaitKind, WaitingOn};
use nightshift_core::spec::{AppSpec, HealthCheck, InstanceSelector};
use serde_json::json;
use tokio::time::sleep;

use super::chance::Chance;
use super::notes::Notes;
use super::run::block_on;
use super::scenario::Fixed;
use super::world::{AppPlan, Plan, World, good_image};

/// How long a simulated pull takes.
pub(crate) const PULL: Duration = Duration::from_secs(20);
/// How long a simulated container takes to end, and to become healthy, or unhealthy where that is asked for.
pub(crate) const STOP: Duration = Duration::from_secs(2);
pub(crate) const HEALTHY: Duration = Duration::from_secs(10);
const ILL: Duration = Duration::from_secs(8);
/// How often the tag is looked at.
const WATCH: Duration = Duration::from_secs(2);
/// How long it takes until the fleet stands and the new image is there and tested.
const PRELUDE: TimeDelta = TimeDelta::seconds(69);
/// How often is looked at what is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// Looks at rest before the next window is skipped to, or everything is over: the driver looks at its level every 5 s.
const REST: u32 = 12;
/// Looks at most: a hundred nodes, each watched for ten minutes, one after another, need a fifth of it.
const LOOKS: u32 = 300_000;
/// Longest time that is looked ahead.
const HORIZON: TimeDelta = TimeDelta::days(400);

/// What is rehearsed.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) specs: Vec<AppSpec>,
    pub(crate) nodes: Vec<NodeName>,
    /// Where the new containers fall ill.
    pub(crate) fail: BTreeSet<NodeName>,
    pub(crate) start: DateTime<Utc>,
}

/// What an app waited for, from one instant on.
#[derive(Debug, Clone)]
pub(crate) struct Waited {
    pub(crate) at: DateTime<Utc>,
    pub(crate) app: AppName,
    pub(crate) wait: WaitingOn,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Rehearsed {
    pub(crate) log: Vec<Recorded>,
    pub(crate) waited: Vec<Waited>,
    /// The rollouts as they stand at the end.
    pub(crate) rollouts: Vec<Rollout>,
    /// What apps still wait for at the end.
    pub(crate) left: Vec<(AppName, WaitingOn)>,
    pub(crate) ended: DateTime<Utc>,
    /// Whether it was broken off, because it went on for too long.
    pub(crate) endless: bool,
}

/// Rehearses.
pub(crate) fn rehearse(script: Script) -> Rehearsed {
    block_on(async move {
        let fail = script.fail.clone();
        let world = World::build(plan(script), Chance::new(0), Notes::default()).await;
        for node in world.nodes.iter().filter(|node| fail.contains(&node.name)) {
            tokio::spawn(fall_ill(node.engine.clone()));
        }
        world.start().await;
        sleep(Duration::from_secs(5)).await;
        let mut pushed = Vec::new();
        for app in 0..world.plan.apps.len() {
            let mut image = good_image(world.clock.now(), HEALTHY);
            image.pull_takes = PULL;
            image.behaviour.stop_takes = STOP;
            pushed.push(world.push(app, image));
        }
        // The watcher sees it first, as with a CI that pushes and then reports.
        sleep(WATCH * 2).await;
        for (app, digest) in pushed.iter().enumerate() {
            world.report(app, digest, TestResult::Passed).await;
        }
        let (waited, endless) = watch(&world).await;
        finish(&world, waited, endless).await
    })
}

fn plan(script: Script) -> Plan {
    let Script { specs, nodes, start, .. } = script;
    // The fleet comes about before the curtain rises.
    let start = start - PRELUDE;
    let all: Vec<usize> = (0..nodes.len()).collect();
    let apps = specs.into_iter().map(|mut spec| {
        // The simulated nodes are those that the selector means, and their containers say themselves how they are.
        spec.nodes = Selector::default();
        spec.health = HealthCheck::Docker;
        let (container, labels) = instance(&spec);
        let mut first = good_image(start - TimeDelta::days(8), HEALTHY);
        first.behaviour.stop_takes = STOP;
        let body = json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}}});
        AppPlan {
            spec,
            container,
            labels,
            on: all.clone(),
            nights: Vec::new(),
            first,
            body,
            fixed: Fixed::default(),
            beside: None,
        }
    });
    Plan {
        start,
        apps: apps.collect(),
        nodes: nodes.into_iter().map(|name| (name, Labels::new())).collect(),
        heartbeat_interval: Duration::from_secs(60),
        watch_interval: WATCH,
        unknown_after: Duration::from_secs(120),
        skew: false,
    }
}

/// A container that the app's file means.
fn instance(spec: &AppSpec) -> (String, Labels) {
    let app = spec.name.to_string();
    match &spec.instances {
        InstanceSelector::Label { key, value } => (app, [(key.clone(), value.clone())].into()),
        InstanceSelector::Name(pattern) => (pattern.as_str().replace('*', "1"), Labels::new()),
        InstanceSelector::Image => (app, Labels::new()),
    }
}

/// Lets every container that Nightshift makes on this engine fall ill.
async fn fall_ill(engine: SimulatedEngine) {
    let mut seen = 0;
    loop {
        sleep(LOOK).await;
        let history = engine.history();
        let starts = history[seen..].iter().filter(|happened| {
            happened.event.kind == EventKind::Start && happened.event.labels.contains_key("nightshift.step")
        });
        for happened in starts {
            sleep(ILL.saturating_sub(happened.at.elapsed())).await;
            engine.let_happen(&happened.event.id, Happening::Unhealthy);
        }
        seen = history.len();
    }
}

type Waits = Vec<(AppName, WaitingOn)>;

/// Looks on until nothing more happens.
async fn watch(world: &World) -> (Vec<Waited>, bool) {
    let (mut waited, mut known, mut rests) = (Vec::new(), BTreeMap::new(), 0);
    for _ in 0..LOOKS {
        sleep(LOOK).await;
        let Some((busy, waits)) = look(world).await else { continue };
        let now = world.clock.now();
        let told: BTreeMap<(AppName, String), ()> =
            waits.iter().map(|(app, wait)| ((app.clone(), wait.to_string()), ())).collect();
        for (app, wait) in &waits {
            if !known.contains_key(&(app.clone(), wait.to_string())) {
                waited.push(Waited { at: now, app: app.clone(), wait: wait.clone() });
            }
        }
        known = told;
        rests = if busy { 0 } else { rests + 1 };
        if rests < REST {
            continue;
        }
        let until = waits.iter().filter_map(|(_, wait)| wait.until()).min();
        match until {
            Some(until) if until - world.plan.start > HORIZON => return (waited, false),
            Some(until) => world.clock.step((until - now).max(TimeDelta::zero())),
            None => return (waited, false),
        }
        rests = 0;
    }
    (waited, true)
}

/// Whether something is going on, and what apps wait for.
async fn look(world: &World) -> Option<(bool, Waits)> {
    let names: Vec<NodeName> = world.nodes.iter().map(|node| node.name.clone()).collect();
    world
        .view(move |view| {
            let there = names.iter().all(|name| view.fleet.node(name).is_some_and(|node| node.instances.is_some()));
            let flying = view.control.rollouts().iter().any(|rollout| rollout.in_flight().next().is_some());
            let mut waits = Waits::new();
            for app in view.control.catalog().apps() {
                let name = app.spec.name.clone();
                let found = match view.control.open_rollout(&name) {
                    Some(open) => view.control.rollout_waits(open, view.fleet, view.now),
                    None => view.control.app_waits(app, view.fleet, view.now),
                };
                waits.extend(found.into_iter().map(|wait| (name.clone(), wait)));
            }
            let moving = waits.iter().any(|(_, wait)| match wait.kind() {
                WaitKind::Step | WaitKind::Image | WaitKind::Node | WaitKind::Health => true,
                WaitKind::Window | WaitKind::Tests | WaitKind::Operator | WaitKind::Delay | WaitKind::App => false,
            });
            (!there || flying || moving, waits)
        })
        .await
}

async fn finish(world: &World, waited: Vec<Waited>, endless: bool) -> Rehearsed {
    let rollouts = world.view(|view| view.control.rollouts().into_iter().rev().cloned().collect()).await;
    let left = look(world).await.map(|(_, waits)| waits);
    Rehearsed {
        log: world.host.events.log(),
        waited,
        rollouts: rollouts.unwrap_or_default(),
        left: left.unwrap_or_default(),
        ended: world.clock.now(),
        endless,
    }
}
