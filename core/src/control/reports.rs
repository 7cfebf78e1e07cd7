//! What agents report becomes facts: steps, instances, nodes. What is no news becomes none.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::App;
use crate::container::RunState;
use crate::control::Control;
use crate::event::{Actor, Event, Recorded, is_news};
use crate::fleet::{ConnectedNode, Fleet};
use crate::ids::NodeName;
use crate::image::Digest;
use crate::instance::InstanceView;
use crate::labels::Labels;
use crate::mutation::{Rule, broken};
use crate::release::{KnownGoodBy, Release};
use crate::rollout::{PUT_OFF_LIMIT, Rollout, Step, StepFate, StepState, running_digest};
use crate::spec::FailureAction;
use crate::step::{FailureKind, Purpose, StepKey, StepPhase, StepReport};

/// First pause before a step is ordered again that touched nothing; doubles each time.
const PUT_OFF_FIRST: Duration = Duration::from_secs(10);

impl Control {
    /// A node's agent connected with these labels and the steps in its journal.
    #[must_use]
    pub fn connected(
        &self,
        node: &NodeName,
        labels: &Labels,
        steps: &[StepReport],
        now: DateTime<Utc>,
    ) -> Vec<Recorded> {
        let mut events = Vec::new();
        if self.catalog.node(node).is_none_or(|known| known.labels != *labels) {
            let event = Event::NodeLabelled { node: node.clone(), labels: labels.clone() };
            events.push(Recorded { at: now, by: Actor::node(node), event });
        }
        for report in furthest(steps) {
            events.extend(self.reported(node, report, now));
        }
        for rollout in self.open.iter().filter_map(|id| self.rollouts.get(id)) {
            for step in rollout.in_flight().filter(|step| step.node == *node) {
                let key = rollout.key(step);
                if !steps.iter().any(|report| report.key == key) && !broken(Rule::LostOrder) {
                    events.push(lost(rollout, step, now));
                }
            }
        }
        events
    }

    /// A node said how far a step is. Old news, and reports of steps that are not its own, bring nothing about.
    #[must_use]
    pub fn reported(&self, node: &NodeName, report: &StepReport, now: DateTime<Utc>) -> Vec<Recorded> {
        let Some(rollout) = self.rollouts.get(&report.key.rollout) else { return Vec::new() };
        let Some(step) = rollout.step(report.key.step).filter(|step| step.node == *node) else { return Vec::new() };
        let back_again = step.state == StepState::Unknown && step.phase.is_none_or(|known| known <= report.phase);
        let current = step.is_in_flight() && step.generation == report.key.generation;
        let news = back_again || is_news(step.phase, report.phase) || broken(Rule::LaterPhase);
        if !current || !news {
            return Vec::new();
        }
        let by = Actor::node(node);
        let mut events = Vec::new();
        let event = Event::StepReported { rollout: rollout.id.clone(), report: report.clone() };
        events.push(event);
        match report.phase {
            StepPhase::Committed => events.extend(self.proven(rollout, step)),
            StepPhase::RolledBack | StepPhase::Broken => events.extend(self.blamed(rollout, step, report)),
            StepPhase::Untouched => {
                events.extend(self.blamed(rollout, step, report));
                events.extend(put_off(rollout, step, report, now));
            }
            StepPhase::Assigned
            | StepPhase::Preflight
            | StepPhase::Pulled
            | StepPhase::Created
            | StepPhase::OldStopped
            | StepPhase::Started
            | StepPhase::Healthy
            | StepPhase::Monitored
            | StepPhase::RollingBack => {}
        }
        events.into_iter().map(|event| Recorded { at: now, by: by.clone(), event }).collect()
    }

    /// A committed step survived its monitor period: its digest is known-good.
    fn proven(&self, rollout: &Rollout, step: &Step) -> Option<Event> {
        let release = self.catalog.app(rollout.app())?.release(&step.to);
        if release.is_some_and(|release| release.known_good.is_some() || release.quarantine.is_some()) {
            return None;
        }
        let (app, digest) = (rollout.app().clone(), step.to.clone());
        Some(Event::ReleaseKnownGood { app, digest, because: KnownGoodBy::Rollout })
    }

    /// A failure that speaks against the version bars it in the whole fleet, unless the app tolerates a share of failures.
    fn blamed(&self, rollout: &Rollout, step: &Step, report: &StepReport) -> Option<Event> {
        let failure = report.failure.as_ref().filter(|failure| failure.kind.blames_the_version())?;
        let release = self.catalog.app(rollout.app())?.release(&step.to);
        let barred = release.is_some_and(|release| release.quarantine.is_some());
        let tolerated = rollout.spec.update.failure_action == FailureAction::Continue
            && report.phase != StepPhase::Broken
            && rollout.failures() < rollout.failure_budget();
        if barred || tolerated || step.purpose == Purpose::Rollback || rollout.purpose == Purpose::Rollback {
            return None;
        }
        let reason = format!("{} on {}: {}", step.container, step.node, failure.reason);
        Some(Event::ReleaseQuarantined { app: rollout.app().clone(), digest: step.to.clone(), reason })
    }

    /// A complete inventory of a node: instances that are new, and those that are gone. An engine that does not answer has
    /// lost nothing.
    #[must_use]
    pub fn inventoried(&self, node: &NodeName, fleet: &Fleet, now: DateTime<Utc>) -> Vec<Recorded> {
        let Some(known) = self.catalog.node(node) else { return Vec::new() };
        let trusted = |found: &&ConnectedNode| found.engine_error.is_none();
        let Some(found) = fleet.node(node).filter(trusted).and_then(|found| found.instances.as_deref()) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        for app in self.catalog.apps().filter(|app| !self.is_busy(app, node)) {
            let member = app.spec.nodes.matches(&known.labels);
            let here: Vec<_> = found.iter().filter(|one| member && one.app == app.spec.name).collect();
            for instance in &here {
                events.extend(self.adopted(app, node, instance));
            }
            let is_here = |container: &String| here.iter().any(|instance| instance.container == *container);
            for (_, container) in app.adopted_on(node).filter(|(_, container)| !is_here(container)) {
                let (app, node, container) = (app.spec.name.clone(), node.clone(), container.clone());
                events.push(Event::InstanceForgotten { app, node, container });
            }
        }
        dedup_known_good(&mut events);
        events.into_iter().map(|event| Recorded { at: now, by: Actor::node(node), event }).collect()
    }

    /// Whether a step of the app is in flight on the node: names come and go in the middle of it.
    fn is_busy(&self, app: &App, node: &NodeName) -> bool {
        let rollout = self.rollout_in_work(&app.spec.name);
        rollout.is_some_and(|rollout| rollout.in_flight().any(|step| step.node == *node))
    }

    /// What comes of an instance that was found for the first time.
    fn adopted(&self, app: &App, node: &NodeName, instance: &InstanceView) -> Vec<Event> {
        let container = instance.container.clone();
        if app.adopted.contains_key(&(node.clone(), container.clone())) {
            return Vec::new();
        }
        let digest = running_digest(app, instance);
        let good = digest.clone().filter(|digest| self.counts_as_good(app, digest, instance));
        let mut events = Vec::new();
        if let Some(digest) = good {
            let (app, because) = (app.spec.name.clone(), KnownGoodBy::Adoption);
            events.push(Event::ReleaseKnownGood { app, digest, because });
        }
        events.push(Event::InstanceAdopted { app: app.spec.name.clone(), node: node.clone(), container, digest });
        events
    }

    /// Whether a digest that was found running may serve as a rollback target: it serves now, nothing speaks against it, and
    /// it was not brought here by a rollout, which would have to prove it first.
    fn counts_as_good(&self, app: &App, digest: &Digest, instance: &InstanceView) -> bool {
        let unknown = |release: &Release| release.known_good.is_none() && release.quarantine.is_none();
        let mut rollouts = self.rollouts_of(&app.spec.name);
        instance.state == RunState::Running
            && instance.is_available()
            && app.release(digest).is_none_or(unknown)
            && !rollouts.any(|rollout| rollout.purpose == Purpose::Update && rollout.to == *digest)
    }
}

/// Of two reports about the same step the later phase counts.
fn furthest(steps: &[StepReport]) -> impl Iterator<Item = &StepReport> {
    let mut last: BTreeMap<&StepKey, &StepReport> = BTreeMap::new();
    for report in steps {
        let known = last.entry(&report.key).or_insert(report);
        if report.phase > known.phase {
            *known = report;
        }
    }
    last.into_values()
}

fn dedup_known_good(events: &mut Vec<Event>) {
    let mut known = std::collections::BTreeSet::new();
    events.retain(|event| {
        let Event::ReleaseKnownGood { app, digest, .. } = event else { return true };
        known.insert((app.clone(), digest.clone()))
    });
}

/// A step in flight of which its agent knows nothing: the order never arrived, or the journal is gone. It is ordered again, if
/// its rollout still goes on.
fn lost(rollout: &Rollout, step: &Step, now: DateTime<Utc>) -> Recorded {
    let (rollout_id, index, reason) = (rollout.id.clone(), step.index, "its agent knows nothing of it".to_owned());
    let event = if rollout.state.is_end() {
        Event::StepSkipped { rollout: rollout_id, step: index, fate: StepFate::Laggard, reason }
    } else {
        let because = FailureKind::NotAccepted;
        Event::StepRequeued { rollout: rollout_id, step: index, not_before: now, because, reason }
    };
    Recorded { at: now, by: Actor::nightshift(), event }
}

/// A step that touched nothing for a reason that may pass is ordered again later, each time after a longer pause.
fn put_off(rollout: &Rollout, step: &Step, report: &StepReport, now: DateTime<Utc>) -> Option<Event> {
    let failure = report.failure.as_ref().filter(|_| !rollout.state.is_end())?;
    match failure.kind {
        FailureKind::Pull
        | FailureKind::NotAccepted
        | FailureKind::Engine
        | FailureKind::Hook
        | FailureKind::Skipped => {}
        FailureKind::Unhealthy | FailureKind::EngineRefused | FailureKind::Precondition => return None,
    }
    let pause = PUT_OFF_FIRST.saturating_mul(1 << step.put_off.min(10)).min(PUT_OFF_LIMIT);
    Some(Event::StepRequeued {
        rollout: rollout.id.clone(),
        step: step.index,
        not_before: now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX),
        because: failure.kind,
        reason: failure.reason.clone(),
    })
}
