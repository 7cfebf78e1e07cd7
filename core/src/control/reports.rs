//! What agents report becomes facts: steps, instances, nodes. What is no news becomes none.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::control::Control;
use crate::event::{Actor, Event, Recorded, is_news};
use crate::fleet::Fleet;
use crate::ids::NodeName;
use crate::image::Digest;
use crate::labels::Labels;
use crate::release::KnownGoodBy;
use crate::rollout::{Rollout, Step, StepState, running_digest};
use crate::spec::FailureAction;
use crate::step::{FailureKind, Purpose, StepPhase, StepReport};

/// First pause before a step is ordered again that touched nothing; doubles each time.
const PUT_OFF_FIRST: Duration = Duration::from_secs(10);
/// Longest such pause.
const PUT_OFF_LIMIT: Duration = Duration::from_secs(600);

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
        for report in steps {
            events.extend(self.reported(node, report, now));
        }
        for rollout in self.rollouts.values() {
            for step in rollout.in_flight().filter(|step| step.node == *node) {
                let key = rollout.key(step);
                if !steps.iter().any(|report| report.key == key) {
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
        if !current || !(back_again || is_news(step.phase, report.phase)) {
            return Vec::new();
        }
        let by = Actor::node(node);
        let mut events = Vec::new();
        let event = Event::StepReported { rollout: rollout.id.clone(), report: report.clone() };
        events.push(event);
        match report.phase {
            StepPhase::Committed => events.extend(self.proven(rollout, step)),
            StepPhase::RolledBack | StepPhase::Broken => events.extend(self.blamed(rollout, step, report)),
            StepPhase::Untouched if !rollout.state.is_end() => events.extend(put_off(rollout, step, report, now)),
            StepPhase::Untouched
            | StepPhase::Assigned
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
            && rollout.failures() < rollout.failure_budget();
        if barred || tolerated || step.purpose == Purpose::Rollback || rollout.purpose == Purpose::Rollback {
            return None;
        }
        let reason = format!("{} on {}: {}", step.container, step.node, failure.reason);
        Some(Event::ReleaseQuarantined { app: rollout.app().clone(), digest: step.to.clone(), reason })
    }

    /// A complete inventory of a node: instances that are new, and those that are gone.
    #[must_use]
    pub fn inventoried(&self, node: &NodeName, fleet: &Fleet, now: DateTime<Utc>) -> Vec<Recorded> {
        let Some(known) = self.catalog.node(node) else { return Vec::new() };
        let busy = |app| self.rollouts.values().any(|r| r.app() == app && r.in_flight().any(|step| step.node == *node));
        let mut events = Vec::new();
        for app in self.catalog.apps().filter(|app| !busy(&app.spec.name)) {
            let name = &app.spec.name;
            let member = app.spec.nodes.matches(&known.labels);
            let here = || fleet.instances(name).filter(|(on, _)| *on == node && member).map(|(_, instance)| instance);
            for instance in here() {
                let container = instance.container.clone();
                if app.adopted.contains_key(&(node.clone(), container.clone())) {
                    continue;
                }
                let digest = running_digest(app, instance);
                let (app_name, node) = (name.clone(), node.clone());
                if let Some(digest) = digest.clone().filter(|digest| self.counts_as_good(app, digest, instance)) {
                    let because = KnownGoodBy::Adoption;
                    events.push(Event::ReleaseKnownGood { app: app_name.clone(), digest, because });
                }
                events.push(Event::InstanceAdopted { app: app_name, node, container, digest });
            }
            let gone = app
                .adopted
                .keys()
                .filter(|(on, container)| on == node && !here().any(|instance| instance.container == *container));
            for (node, container) in gone {
                let (app, node, container) = (name.clone(), node.clone(), container.clone());
                events.push(Event::InstanceForgotten { app, node, container });
            }
        }
        dedup_known_good(&mut events);
        events.into_iter().map(|event| Recorded { at: now, by: Actor::node(node), event }).collect()
    }

    /// Whether a digest that was found running may serve as a rollback target: it serves now, and nothing speaks against it.
    fn counts_as_good(
        &self,
        app: &crate::catalog::App,
        digest: &Digest,
        instance: &crate::instance::InstanceView,
    ) -> bool {
        let release = app.release(digest);
        instance.is_available()
            && release.is_none_or(|release| release.known_good.is_none() && release.quarantine.is_none())
    }
}

fn dedup_known_good(events: &mut Vec<Event>) {
    let mut known = std::collections::BTreeSet::new();
    events.retain(|event| {
        let Event::ReleaseKnownGood { app, digest, .. } = event else { return true };
        known.insert((app.clone(), digest.clone()))
    });
}

/// A step in flight of which its agent knows nothing: the order never arrived, or the journal is gone.
fn lost(rollout: &Rollout, step: &Step, now: DateTime<Utc>) -> Recorded {
    let event = Event::StepRequeued {
        rollout: rollout.id.clone(),
        step: step.index,
        not_before: now,
        because: FailureKind::NotAccepted,
        reason: "its agent knows nothing of it".into(),
    };
    Recorded { at: now, by: Actor::nightshift(), event }
}

/// A step that touched nothing for a reason that may pass is ordered again later, each time after a longer pause.
fn put_off(rollout: &Rollout, step: &Step, report: &StepReport, now: DateTime<Utc>) -> Option<Event> {
    let failure = report.failure.as_ref()?;
    match failure.kind {
        FailureKind::Pull | FailureKind::NotAccepted | FailureKind::Engine => {}
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
