//! A rehearsal: an operator's own apps on simulated nodes, with a good new image each, and what would happen then.
//!
//! Coordinator and agents are the real ones, and the files hold as they are written. Nothing goes wrong but what the operator
//! asks for: on the nodes that are named, the new containers fall ill. Hooks are not called: each is taken as done at once.
//! Hours in which nothing can happen are skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_agent::engine::ExecOutcome;
use nightshift_agent::engine::simulated::SimulatedImage;
use nightshift_core::event::Recorded;
use nightshift_core::ids::{AppName, NodeName};
use nightshift_core::labels::{Labels, Selector};
use nightshift_core::release::TestResult;
use nightshift_core::rollout::{Rollout, WaitKind, WaitingOn};
use nightshift_core::spec::{AppSpec, HealthCheck, HookCall, HookPoint, InstanceSelector, TestKind};
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
    /// Labels of nodes. Where nobody has any, every node has an instance of each app, whatever the selectors of the apps say.
    pub(crate) labels: BTreeMap<NodeName, Labels>,
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
        let (fail, commands) = (script.fail.clone(), commands_of_hooks(&script.specs));
        let world = World::build(plan(script), Chance::new(0), Notes::default()).await;
        for node in &world.nodes {
            node.engine.set_allergy(fail.contains(&node.name).then_some(ILL));
            for command in &commands {
                let words: Vec<&str> = command.iter().map(String::as_str).collect();
                node.engine.answer_command(&words, Some(ExecOutcome { exit_code: 0, output: String::new() }));
            }
        }
        world.start().await;
        sleep(Duration::from_secs(5)).await;
        let mut pushed = Vec::new();
        for app in 0..world.plan.apps.len() {
            pushed.push(world.push(app, image_of(&world.plan.apps[app].spec, world.clock.now())));
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
    let Script { specs, nodes, labels, start, .. } = script;
    // The fleet comes about before the curtain rises.
    let start = start - PRELUDE;
    let labelled = !labels.is_empty();
    let of = |name: &NodeName| labels.get(name).cloned().unwrap_or_default();
    let nodes: Vec<(NodeName, Labels)> = nodes.into_iter().map(|name| (name.clone(), of(&name))).collect();
    let apps = specs.into_iter().map(|mut spec| {
        // Simulated images bring no tests along: their self-tests count as passed, as CI's do.
        spec.gate.tests.retain(|kind| *kind != TestKind::SelfTest);
        spec.self_test = None;
        if !labelled {
            spec.nodes = Selector::default();
        }
        // What is rehearsed is the rollout: its image counts as chosen by the rule for tags, and as signed.
        spec.tags = None;
        spec.gate.tests.retain(|kind| *kind != TestKind::Signature);
        spec.gate.signature_keys.clear();
        let (container, labels) = instance(&spec);
        let selected = nodes.iter().enumerate().filter(|(_, (_, labels))| spec.nodes.matches(labels));
        AppPlan {
            container,
            labels,
            on: selected.map(|(position, _)| position).collect(),
            nights: Vec::new(),
            // Every node has it already.
            first: SimulatedImage { pull_takes: Duration::ZERO, ..image_of(&spec, start - TimeDelta::days(8)) },
            body: json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}}}),
            fixed: Fixed::default(),
            beside: None,
            spec,
        }
    });
    Plan {
        start,
        apps: apps.collect(),
        nodes,
        heartbeat_interval: Duration::from_secs(60),
        watch_interval: WATCH,
        unknown_after: Duration::from_secs(120),
        skew: false,
    }
}

/// A good image for an app: with a health check of its own, which says the same as the one of the app's file.
fn image_of(spec: &AppSpec, created: DateTime<Utc>) -> SimulatedImage {
    let mut image = good_image(created, HEALTHY);
    image.pull_takes = PULL;
    image.behaviour.stop_takes = STOP;
    if let HealthCheck::Exec { command } = &spec.health {
        let words: Vec<&str> = iter::once("CMD").chain(command.iter().map(String::as_str)).collect();
        image.config["Healthcheck"]["Test"] = json!(words);
    }
    image
}

/// What hooks run inside containers.
fn commands_of_hooks(specs: &[AppSpec]) -> BTreeSet<Vec<String>> {
    let hooks = specs.iter().flat_map(|spec| HookPoint::ALL.into_iter().filter_map(|point| spec.hooks.at(point)));
    let command = |call: &HookCall| match call {
        HookCall::Exec { command } => Some(command.clone()),
        HookCall::Http { .. } => None,
    };
    hooks.filter_map(|hook| command(&hook.call)).collect()
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
