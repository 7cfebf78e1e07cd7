//! How everything ended after the faults had stopped.

use std::collections::BTreeSet;

use nightshift_agent::engine::Engine as _;
use nightshift_agent::engine::simulated::SimulatedRegistry;
use nightshift_core::event::Event;
use nightshift_core::ids::NodeName;
use nightshift_core::rollout::{Rollout, WaitKind, WaitingOn};
use serde_json::Value;

use super::super::world::{World, policy_of, volumes_of};
use super::engines::needs_a_person;

/// How far a fleet is from rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing more will happen without a person, a push, or an unhealthy instance that recovers.
    AtRest,
    /// A window opens in so many seconds, and nothing happens before.
    Until(i64),
    /// Something is going on.
    Busy,
}

/// How far the fleet is from rest.
pub(crate) async fn standing(world: &World) -> Standing {
    let names: Vec<NodeName> = world.nodes.iter().map(|node| node.name.clone()).collect();
    let unfinished = |node: &std::sync::Arc<super::super::node::Node>| {
        node.steps().is_none_or(|steps| steps.iter().any(|step| !step.phase.is_end()))
    };
    if world.nodes.iter().any(unfinished) {
        return Standing::Busy;
    }
    let registry = world.source.registry.clone();
    let looked = world.view(move |view| {
        let back = names.iter().all(|name| view.fleet.node(name).is_some_and(|node| node.instances.is_some()));
        let flying = view.control.rollouts().iter().any(|rollout| rollout.in_flight().next().is_some());
        let mut kinds = BTreeSet::new();
        let mut until = Vec::new();
        let mut waits = Vec::new();
        for app in view.control.catalog().apps() {
            match view.control.open_rollout(&app.spec.name) {
                Some(open) => {
                    let found = view.control.rollout_waits(open, view.fleet, view.now).into_iter();
                    waits.extend(found.filter(|wait| !is_in_vain(wait, open, &registry)));
                }
                None => waits.extend(view.control.app_waits(app, view.fleet, view.now)),
            }
        }
        for wait in &waits {
            kinds.insert(wait.kind());
            if wait.kind() == WaitKind::Window {
                until.extend(wait.until());
            }
        }
        let moving = [WaitKind::Step, WaitKind::Image, WaitKind::Delay].iter().any(|kind| kinds.contains(kind));
        let at_rest = back && !flying && !moving;
        (at_rest, until.into_iter().min().map(|at| (at - view.now).num_seconds()))
    });
    match looked.await {
        Some((true, Some(seconds))) => Standing::Until(seconds),
        Some((true, None)) => Standing::AtRest,
        Some((false, _)) | None => Standing::Busy,
    }
}

/// Whether a rollout waits for an image that no registry will ever give again, be it the new one or one to go back to that a
/// node never had: that is all that it can say, until its deadline or a person ends it.
fn is_in_vain(wait: &WaitingOn, rollout: &Rollout, registry: &SimulatedRegistry) -> bool {
    let WaitingOn::Image { node: waiting, failure: Some(_) } = wait else { return false };
    let mut pending = rollout.current_steps().filter(|step| step.is_pending() && step.node == *waiting);
    pending.any(|step| !registry.has(&rollout.spec.image.repository, &step.to))
}

pub(super) async fn judge(world: &World) -> Vec<String> {
    let mut wrong = rollouts(world).await;
    let broken = broken(world);
    for original in &world.originals {
        let node = &world.nodes[original.node];
        let instance_name = original.beside.as_ref().unwrap_or(&original.name);
        if broken.contains(&(node.name.clone(), instance_name.clone())) {
            continue;
        }
        wrong.extend(instance(world, original).await);
    }
    for node in &world.nodes {
        let unfinished = node.steps().unwrap_or_default().into_iter().find(|step| !step.phase.is_end());
        if let Some(step) = unfinished {
            wrong.push(format!("L1 is broken: step {} on {} never ends: it is {}", step.key, node.name, step.phase));
        }
    }
    wrong
}

/// Instances that could not be brought back: someone must act, and the log says so.
fn broken(world: &World) -> BTreeSet<(NodeName, String)> {
    let mut steps = std::collections::BTreeMap::new();
    let mut counts = std::collections::BTreeMap::new();
    let mut broken = BTreeSet::new();
    for recorded in world.host.events.log() {
        if let Event::RolloutPlanned { rollout, steps: planned, .. }
        | Event::RollbackPlanned { rollout, steps: planned } = &recorded.event
        {
            for step in planned {
                let count: &mut u32 = counts.entry(rollout.clone()).or_default();
                steps.insert((rollout.clone(), *count), (step.node.clone(), step.container.clone()));
                *count += 1;
            }
        }
        if let Event::StepReported { rollout, report } = &recorded.event
            && needs_a_person(report.phase)
        {
            broken.extend(steps.get(&(rollout.clone(), report.key.step.0)).cloned());
        }
    }
    broken
}

/// Exactly one container under its own name, old or new, running, with its data.
async fn instance(world: &World, original: &super::super::world::Original) -> Vec<String> {
    let node = &world.nodes[original.node];
    let blame = |what: String| format!("I6 is broken on {}: {what}", node.name);
    let containers = match node.engine.list().await {
        Ok(containers) => containers,
        Err(error) => return vec![blame(format!("its engine does not answer: {error}"))],
    };
    let mut wrong = Vec::new();
    let name = &original.name;
    let mine = |other: &str| other == name || other.starts_with(&format!("{name}.nightshift-"));
    let all: Vec<_> = containers.iter().filter(|container| mine(&container.name)).collect();
    let names: Vec<_> = all.iter().map(|container| container.name.as_str()).collect();
    if names != [name.as_str()] {
        return vec![blame(format!("instead of one container {name} there are {names:?}"))];
    }
    let Ok(inspect) = node.engine.inspect(&all[0].id.0).await else {
        return vec![blame(format!("{name} cannot be inspected"))];
    };
    let status = inspect.pointer("/State/Status").and_then(Value::as_str).unwrap_or_default();
    if !matches!(status, "running" | "restarting") {
        wrong.push(blame(format!("{name} is {status}")));
    }
    if volumes_of(&inspect) != original.volumes {
        wrong.push(blame(format!("{name} has lost its data: {:?}", volumes_of(&inspect))));
    }
    let policy = policy_of(&inspect);
    if policy != original.policy {
        wrong.push(blame(format!("{name} has the restart policy {policy}, it had {}", original.policy)));
    }
    if let Some(host) = &original.beside {
        let host = containers.iter().find(|container| container.name == *host).map(|host| host.id.0.clone());
        let lives_in = inspect.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
        if lives_in.strip_prefix("container:").map(str::to_owned) != host {
            wrong.push(blame(format!("{name} lives in {lives_in}, which is not {host:?}")));
        }
    }
    wrong
}

/// Every rollout has ended, or shows what it waits for; and that is nothing that should have come by now.
async fn rollouts(world: &World) -> Vec<String> {
    let registry = world.source.registry.clone();
    let looked = world.view(move |view| {
        let mut wrong = Vec::new();
        for rollout in view.control.rollouts().into_iter().filter(|rollout| !rollout.is_over()) {
            let waits = view.control.rollout_waits(rollout, view.fleet, view.now);
            let (id, state) = (&rollout.id, rollout.state);
            if waits.is_empty() {
                wrong.push(format!("L1 is broken: {id} is {state} and waits for nothing"));
            }
            let stuck = |wait: &&WaitingOn| matches!(wait.kind(), WaitKind::Step | WaitKind::Image);
            let stuck = waits.iter().filter(|wait| !is_in_vain(wait, rollout, &registry)).find(stuck);
            if let Some(wait) = stuck {
                wrong.push(format!("L1 is broken: {id} is {state} and still waits: {wait}"));
            }
        }
        wrong
    });
    looked.await.unwrap_or_else(|| vec!["L1 is broken: there is no coordinator".to_owned()])
}
