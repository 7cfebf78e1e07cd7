//! What the log says so far, kept in the simplest way that the rules can be read off.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::alarm::AlarmKey;
use crate::catalog::Availability;
use crate::event::{Event, Recorded};
use crate::ids::{AppName, Epoch, Generation, NodeName, RolloutId, StepIndex};
use crate::image::Digest;
use crate::invariants::Place;
use crate::release::TestReport;
use crate::rollout::{Overrides, PlannedStep, RolloutState};
use crate::spec::AppSpec;
use crate::step::{FailureKind, Purpose, StepPhase, StepReport};

/// A digest of an app.
type Release = (AppName, Digest);

pub(super) struct StepEntry {
    pub(super) node: NodeName,
    pub(super) container: String,
    pub(super) to: Digest,
    pub(super) purpose: Purpose,
    pub(super) generation: Generation,
    pub(super) phase: Option<StepPhase>,
    pub(super) in_flight: bool,
    pub(super) unknown: bool,
    pub(super) done: bool,
}

pub(super) struct RolloutEntry {
    pub(super) spec: AppSpec,
    pub(super) purpose: Purpose,
    pub(super) overrides: Overrides,
    pub(super) state: RolloutState,
    pub(super) generation: Generation,
    pub(super) planned: usize,
    /// Whether its updated instances go back.
    pub(super) back: bool,
    /// Failed steps since a person last let it go on.
    pub(super) failures: BTreeSet<StepIndex>,
    /// Whether one of them could not be taken back.
    pub(super) broken: bool,
    pub(super) steps: BTreeMap<StepIndex, StepEntry>,
}

impl RolloutEntry {
    pub(super) fn is_over(&self) -> bool {
        self.state.is_end() && !self.steps.values().any(|step| step.in_flight)
    }

    pub(super) fn place(&self, step: &StepEntry) -> Place {
        (self.spec.name.clone(), step.node.clone(), step.container.clone())
    }

    fn plan(&mut self, steps: &[PlannedStep], purpose: Purpose) {
        for step in steps {
            let index = StepIndex(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
            self.steps.insert(
                index,
                StepEntry {
                    node: step.node.clone(),
                    container: step.container.clone(),
                    to: step.to.clone(),
                    purpose,
                    generation: Generation(0),
                    phase: None,
                    in_flight: false,
                    unknown: false,
                    done: false,
                },
            );
        }
    }

    fn moved(&mut self, to: RolloutState) {
        if self.state == RolloutState::Paused {
            self.failures.clear();
            self.broken = false;
        }
        self.state = to;
    }

    fn reported(&mut self, report: &StepReport) {
        let Some(step) = self.steps.get_mut(&report.key.step) else { return };
        step.phase = Some(report.phase);
        step.unknown = false;
        if !report.phase.is_end() {
            return;
        }
        (step.in_flight, step.done) = (false, true);
        let kind = report.failure.as_ref().map(|failure| failure.kind);
        let refused = matches!(kind, Some(FailureKind::Unhealthy | FailureKind::EngineRefused));
        let failed = match report.phase {
            StepPhase::RolledBack | StepPhase::Broken => true,
            StepPhase::Untouched => refused,
            StepPhase::Committed
            | StepPhase::Assigned
            | StepPhase::Preflight
            | StepPhase::Pulled
            | StepPhase::Created
            | StepPhase::OldStopped
            | StepPhase::Started
            | StepPhase::Healthy
            | StepPhase::Monitored
            | StepPhase::RollingBack => false,
        };
        if failed {
            self.failures.insert(report.key.step);
            self.broken |= report.phase == StepPhase::Broken;
        }
    }
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) rollouts: BTreeMap<RolloutId, RolloutEntry>,
    pub(super) epoch: Epoch,
    pub(super) quarantined: BTreeSet<Release>,
    pub(super) known_good: BTreeSet<Release>,
    pub(super) first_seen: BTreeMap<Release, DateTime<Utc>>,
    pub(super) reports: BTreeMap<Release, Vec<TestReport>>,
    pub(super) adopted: BTreeSet<Place>,
    pub(super) alarms: BTreeSet<AlarmKey>,
    repositories: BTreeMap<AppName, String>,
    availability: BTreeMap<NodeName, Availability>,
}

impl Ledger {
    pub(super) fn step(&self, rollout: &RolloutId, index: StepIndex) -> Option<(&RolloutEntry, &StepEntry)> {
        let entry = self.rollouts.get(rollout)?;
        Some((entry, entry.steps.get(&index)?))
    }

    pub(super) fn in_flight(&self) -> impl Iterator<Item = (&RolloutEntry, &StepEntry)> {
        let all = self.rollouts.values().flat_map(|entry| entry.steps.values().map(move |step| (entry, step)));
        all.filter(|(_, step)| step.in_flight)
    }

    pub(super) fn takes_part(&self, node: &NodeName) -> bool {
        self.availability.get(node) == Some(&Availability::Active)
    }

    pub(super) fn add(&mut self, recorded: &Recorded) {
        let at = recorded.at;
        match &recorded.event {
            Event::AppApplied { spec, .. } => {
                let repository = spec.image.repository.to_string();
                let before = self.repositories.insert(spec.name.clone(), repository.clone());
                if before.is_some_and(|before| before != repository) {
                    self.forget(&spec.name);
                }
            }
            Event::AppRemoved { app, .. } => self.forget(app),
            Event::ReleaseSeen { app, digest, .. } => self.first(app, digest, at),
            Event::TestReported { app, digest, report, .. } => {
                self.first(app, digest, at);
                self.reports.entry((app.clone(), digest.clone())).or_default().push(report.clone());
            }
            Event::ReleaseQuarantined { app, digest, .. } => {
                self.first(app, digest, at);
                self.quarantined.insert((app.clone(), digest.clone()));
            }
            Event::QuarantineCleared { app, digest, .. } => {
                self.quarantined.remove(&(app.clone(), digest.clone()));
            }
            Event::ReleaseKnownGood { app, digest, .. } => {
                self.first(app, digest, at);
                self.known_good.insert((app.clone(), digest.clone()));
            }
            Event::InstanceAdopted { app, node, container, .. } => {
                self.adopted.insert((app.clone(), node.clone(), container.clone()));
            }
            Event::InstanceForgotten { app, node, container } => {
                self.adopted.remove(&(app.clone(), node.clone(), container.clone()));
            }
            Event::NodeEnrolled { node } | Event::NodeLabelled { node, .. } => {
                self.availability.entry(node.clone()).or_default();
            }
            Event::NodeAvailabilitySet { node, availability, .. } => {
                self.availability.insert(node.clone(), *availability);
            }
            Event::NodeRemoved { node, .. } => {
                self.availability.remove(node);
                self.adopted.retain(|(_, on, _)| on != node);
            }
            Event::AlarmRaised { alarm } => drop(self.alarms.insert(alarm.key())),
            Event::AlarmCleared { alarm, .. } => drop(self.alarms.remove(&alarm.key())),
            Event::JobOrdered { .. }
            | Event::JobEnded { .. }
            | Event::RolloutPlanned { .. }
            | Event::RebuildStarted { .. }
            | Event::RebuildTriggered { .. }
            | Event::RebuildTriggerFailed { .. }
            | Event::RebuildEnded { .. }
            | Event::RebuildMissed { .. }
            | Event::RolloutMoved { .. }
            | Event::RolloutPromoted { .. }
            | Event::RolloutOverridden { .. }
            | Event::StepOrdered { .. }
            | Event::StepReported { .. }
            | Event::StepUnknown { .. }
            | Event::StepUnknownAlarm { .. }
            | Event::WindowNotUsed { .. }
            | Event::WindowMissed { .. }
            | Event::StepRequeued { .. }
            | Event::StepSkipped { .. }
            | Event::RollbackPlanned { .. }
            | Event::SignatureMissing { .. }
            | Event::TagChosen { .. }
            | Event::AppEnabled { .. } => self.add_to_rollout(&recorded.event),
        }
    }

    fn add_to_rollout(&mut self, event: &Event) {
        if let Event::RolloutPlanned { rollout, spec, purpose, overrides, steps, .. } = event {
            let mut entry = RolloutEntry {
                spec: (**spec).clone(),
                purpose: *purpose,
                overrides: *overrides,
                state: RolloutState::Planned,
                generation: Generation(0),
                planned: steps.len(),
                back: false,
                failures: BTreeSet::new(),
                broken: false,
                steps: BTreeMap::new(),
            };
            entry.plan(steps, *purpose);
            self.rollouts.insert(rollout.clone(), entry);
            return;
        }
        let Some(entry) = event.rollout().and_then(|id| self.rollouts.get_mut(id)) else { return };
        if let Event::StepOrdered { generation, epoch, .. } = event {
            self.epoch = *epoch;
            entry.generation = *generation;
        }
        if let Event::RolloutMoved { to, .. } = event {
            entry.moved(*to);
        }
        if let Event::RolloutOverridden { overrides, .. } = event {
            entry.overrides = *overrides;
        }
        if let Event::RollbackPlanned { steps, .. } = event {
            entry.back = true;
            entry.failures.clear();
            entry.plan(steps, Purpose::Rollback);
        }
        if let Event::StepReported { report, .. } = event {
            entry.reported(report);
        }
        let Some(index) = event.step() else { return };
        if matches!(event, Event::StepRequeued { .. }) {
            entry.failures.remove(&index);
        }
        let Some(step) = entry.steps.get_mut(&index) else { return };
        if let Event::StepOrdered { generation, .. } = event {
            (step.in_flight, step.unknown, step.phase, step.generation) = (true, false, None, *generation);
        }
        step.unknown |= matches!(event, Event::StepUnknown { .. });
        if matches!(event, Event::StepRequeued { .. } | Event::StepSkipped { .. }) {
            (step.in_flight, step.done) = (false, matches!(event, Event::StepSkipped { .. }));
        }
    }

    fn first(&mut self, app: &AppName, digest: &Digest, at: DateTime<Utc>) {
        self.first_seen.entry((app.clone(), digest.clone())).or_insert(at);
    }

    /// Digests of one repository mean nothing in another.
    fn forget(&mut self, app: &AppName) {
        self.quarantined.retain(|(of, _)| of != app);
        self.known_good.retain(|(of, _)| of != app);
        self.first_seen.retain(|(of, _), _| of != app);
        self.reports.retain(|(of, _), _| of != app);
        self.adopted.retain(|(of, _, _)| of != app);
    }
}
