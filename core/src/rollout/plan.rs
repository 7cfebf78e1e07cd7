//! Which instances a rollout would replace, in which order, and which it leaves alone and why.

use crate::catalog::{App, Availability, Catalog};
use crate::fleet::{ConnectedNode, Fleet};
use crate::ids::{AppName, NodeName};
use crate::image::Digest;
use crate::instance::InstanceView;
use crate::labels::Labels;
use crate::platform::{self, Platform};
use crate::rollout::PlannedStep;

/// Label of a node whose instances go first.
const CANARY_LABEL: &str = "canary";

/// An instance as a possible step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The step that it would be.
    pub step: PlannedStep,
    /// Why it would be left out.
    pub skipped: Option<Skip>,
}

/// Why an instance is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// It runs the target already.
    AtTarget,
    /// It runs something newer: nothing goes back in time by itself.
    Newer,
    /// Its node takes no part.
    NodeAway(Availability),
    /// It cannot be replaced exactly.
    Refused(String),
    /// The target was not built for its node.
    Platform(Unfit),
    /// Another app selects the same container: neither replaces it.
    Contested(AppName),
    /// No allow window names its node, though others are named.
    NoWindow,
}

/// A node, and a digest that was not built for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What the node runs.
    pub node: Platform,
    /// The digest.
    pub digest: Digest,
    /// What that was built for.
    pub built_for: Vec<Platform>,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, digest, built_for } = self;
        write!(f, "the node is {node}, and {} has only {}", digest.short(), platform::list(built_for))
    }
}

/// Why a digest cannot run on a node, as far as both are known.
pub(super) fn unfit(app: &App, node: &ConnectedNode, to: &Digest) -> Option<Unfit> {
    let (release, platform) = (app.release(to)?, node.facts.platform.as_ref());
    if release.fits(platform) {
        return None;
    }
    Some(Unfit { node: platform?.clone(), digest: to.clone(), built_for: release.platforms.clone() })
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtTarget => write!(f, "runs the target already"),
            Self::Newer => write!(f, "runs a newer digest"),
            Self::NodeAway(Availability::Pause) => write!(f, "the node is paused"),
            Self::NodeAway(Availability::Drain) => write!(f, "the node is drained"),
            Self::NodeAway(Availability::Active) => write!(f, "the node takes no part"),
            Self::Refused(reason) => write!(f, "cannot be replaced: {reason}"),
            Self::Platform(unfit) => unfit.fmt(f),
            Self::Contested(other) => write!(f, "is selected by app {other}, too"),
            Self::NoWindow => write!(f, "is on a node that no allow window names"),
        }
    }
}

/// Every instance of an app on connected nodes as a possible step towards a digest, in the order in which they go: nodes
/// labelled `canary` first, then by name; on a node by name, unless labels say which goes first ([`crate::precedence`]).
#[must_use]
pub fn candidates(app: &App, catalog: &Catalog, fleet: &Fleet, to: &Digest, backwards: bool) -> Vec<Candidate> {
    let mut found: Vec<(bool, &InstanceView, Candidate)> = Vec::new();
    for (node, connected, instance) in fleet.located(&app.spec.name) {
        let Some(known) = catalog.node(node) else { continue };
        if !app.spec.nodes.matches(&known.labels) {
            continue;
        }
        let step = planned(app, node, instance, to);
        let rival = rival(app, catalog, &known.labels, connected, &instance.container).cloned().map(Skip::Contested);
        let unfit = || unfit(app, connected, to).map(Skip::Platform);
        let skipped = skip(app, known.availability, instance, &step, backwards).or_else(unfit).or(rival);
        found.push((!is_canary(&known.labels), instance, Candidate { step, skipped }));
    }
    found.sort_by(|(a_late, _, a), (b_late, _, b)| {
        (a_late, &a.step.node, &a.step.container).cmp(&(b_late, &b.step.node, &b.step.container))
    });
    by_precedence(found.into_iter().map(|(_, instance, candidate)| (instance, candidate)).collect())
}

/// Within each node, each after those that its labels put before it; else as they stand. In a circle of labels there is no
/// right order, and the one by name stays.
fn by_precedence(sorted: Vec<(&InstanceView, Candidate)>) -> Vec<Candidate> {
    let mut ordered = Vec::with_capacity(sorted.len());
    let mut here: Vec<(&InstanceView, Candidate)> = Vec::new();
    for (instance, candidate) in sorted {
        if here.first().is_some_and(|(_, first)| first.step.node != candidate.step.node) {
            ordered.extend(on_one_node(std::mem::take(&mut here)));
        }
        here.push((instance, candidate));
    }
    ordered.extend(on_one_node(here));
    ordered
}

fn on_one_node(mut left: Vec<(&InstanceView, Candidate)>) -> Vec<Candidate> {
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |instance: &InstanceView| left.iter().any(|(other, _)| instance.after.contains(&other.container));
        let free = left.iter().position(|(instance, _)| !waits(instance)).unwrap_or(0);
        ordered.push(left.remove(free).1);
    }
    ordered
}

/// The same for a rollout that keeps to the quiet hours: where no window names the node, no step could ever start.
#[must_use]
pub fn candidates_in_windows(
    app: &App,
    catalog: &Catalog,
    fleet: &Fleet,
    to: &Digest,
    backwards: bool,
) -> Vec<Candidate> {
    let mut all = candidates(app, catalog, fleet, to, backwards);
    for candidate in all.iter_mut().filter(|candidate| candidate.skipped.is_none()) {
        if catalog.node(&candidate.step.node).is_some_and(|node| app.has_no_window(node)) {
            candidate.skipped = Some(Skip::NoWindow);
        }
    }
    all
}

/// Another app that selects the same container of a node with these labels: two that move it to and fro would never come to rest.
#[must_use]
pub fn rival<'a>(
    app: &App,
    catalog: &'a Catalog,
    labels: &Labels,
    node: &'a ConnectedNode,
    container: &str,
) -> Option<&'a AppName> {
    let found = node.instances.iter().flatten();
    let others = found.filter(|one| one.container == container && one.app != app.spec.name);
    others
        .filter_map(|one| catalog.app(&one.app))
        .find(|other| other.spec.nodes.matches(labels))
        .map(|other| &other.spec.name)
}

fn is_canary(labels: &Labels) -> bool {
    labels.get(CANARY_LABEL).is_some_and(|value| value != "false")
}

fn planned(app: &App, node: &NodeName, instance: &InstanceView, to: &Digest) -> PlannedStep {
    let replaced = app.replaced(node, instance);
    let new = replaced.and_then(|replaced| replaced.new.clone());
    PlannedStep {
        node: node.clone(),
        container: instance.container.clone(),
        container_id: new.unwrap_or_else(|| instance.container_id.clone()),
        from: replaced.map_or_else(|| running_digest(app, instance), |replaced| Some(replaced.digest.clone())),
        to: to.clone(),
    }
}

/// The digest that counts as running: the newest known one of those under which the engine knows the image.
#[must_use]
pub fn running_digest(app: &App, instance: &InstanceView) -> Option<Digest> {
    instance.digests.iter().max_by_key(|digest| app.age_rank(digest)).cloned()
}

fn skip(
    app: &App,
    availability: Availability,
    instance: &InstanceView,
    step: &PlannedStep,
    back: bool,
) -> Option<Skip> {
    let replaced = app.replaced(&step.node, instance);
    if replaced.map_or_else(|| instance.runs(&step.to), |replaced| replaced.digest == step.to) {
        return Some(Skip::AtTarget);
    }
    match availability {
        Availability::Active => {}
        Availability::Pause | Availability::Drain => return Some(Skip::NodeAway(availability)),
    }
    let rank = step.from.as_ref().and_then(|digest| app.age_rank(digest));
    if !back && rank > app.age_rank(&step.to) {
        return Some(Skip::Newer);
    }
    instance.refusal.clone().map(Skip::Refused)
}
