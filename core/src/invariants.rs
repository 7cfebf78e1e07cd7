//! The invariants of the design, checked on the audit log alone.
//!
//! [`check`] reads what was stored, and what the fleet looked like to the coordinator at the time ([`Seen`]), and says where a
//! rule was broken. It shares no code with the planner: a mistake there must not hide itself here. Simulations and
//! end-to-end tests hand it their logs. [`check_engines`] does the same with what the engines say.

mod engines;
mod ledger;

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::{Event, Recorded};
use crate::ids::{AppName, NodeName, RolloutId, StepIndex};
use crate::image::Digest;
use crate::release::TestResult;
use crate::rollout::{Overrides, PlannedStep, RolloutState};
use crate::spec::{AppSpec, FailureAction};
use crate::step::{Purpose, StepPhase, StepReport};
pub use engines::{Act, Found, Happened, History, Outage, check_engines};
use ledger::{Ledger, RolloutEntry, StepEntry};

/// An instance by app, node and container name.
pub type Place = (AppName, NodeName, String);

/// What the coordinator could know from a point of the log on, until the next of these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many events were stored before.
    pub after: usize,
    /// Instances that did not serve, or whose node did not answer.
    pub away: BTreeSet<Place>,
    /// Of those, the ones that failed by themselves on a node that answers: replacing them takes nothing away.
    pub failing: BTreeSet<Place>,
    /// Apps with an open allow window that is long enough for a step.
    pub allowed: BTreeSet<AppName>,
    /// Apps in a freeze.
    pub frozen: BTreeSet<AppName>,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as the design numbers them.
    pub rule: &'static str,
    /// Position of the event in the log, or in the history of the engines.
    pub position: usize,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken by event {}: {}", self.rule, self.position, self.what)
    }
}

/// Every place in the log at which an invariant is broken.
#[must_use]
pub fn check(log: &[Recorded], seen: &[Seen]) -> Vec<Violation> {
    let mut ledger = Ledger::default();
    let mut found = Vec::new();
    let mut seen = seen.iter().peekable();
    let mut now = Seen::default();
    for (position, recorded) in log.iter().enumerate() {
        while let Some(next) = seen.next_if(|next| next.after <= position) {
            now = next.clone();
        }
        let mut judge = Judge { ledger: &ledger, now: &now, at: recorded.at, position, found: &mut found };
        judge.event(&recorded.event);
        ledger.add(recorded);
    }
    found
}

/// Looks at one event before it is added to the ledger.
struct Judge<'a> {
    ledger: &'a Ledger,
    now: &'a Seen,
    at: DateTime<Utc>,
    position: usize,
    found: &'a mut Vec<Violation>,
}

impl Judge<'_> {
    fn demand(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.found.push(Violation { rule, position: self.position, what: what() });
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::RolloutPlanned { rollout, spec, to, purpose, overrides, steps, .. } => {
                self.planned(rollout, spec, to, *purpose, *overrides, steps);
            }
            Event::RollbackPlanned { rollout, steps } => {
                let Some(entry) = self.ledger.rollouts.get(rollout) else { return };
                let forward = entry.purpose == Purpose::Update && !entry.back;
                self.demand(forward, "I8", || format!("{rollout} goes back, and is a way back itself"));
                steps.iter().for_each(|step| self.known_good(&entry.spec.name, &step.to));
            }
            Event::StepOrdered { rollout, step, generation, epoch, canary, .. } => {
                let known = self.ledger.step(rollout, *step);
                self.demand(known.is_some(), "I10", || format!("{rollout}/{step} was never planned"));
                let Some((entry, step)) = known else { return };
                self.demand(*epoch >= self.ledger.epoch, "I7", || format!("epoch {epoch} came after a later one"));
                let fresh = *generation >= entry.generation;
                self.demand(fresh, "I7", || format!("generation {generation} came after a later one"));
                self.ordered(entry, step, *canary);
            }
            Event::StepReported { rollout, report } => self.reported(rollout, report),
            Event::RolloutMoved { rollout, to, .. } => self.moved(rollout, *to),
            Event::StepUnknown { rollout, step } => {
                let flying = self.ledger.step(rollout, *step).is_some_and(|(_, step)| step.in_flight);
                self.demand(flying, "I10", || format!("{rollout}/{step} is unknown, but was not in flight"));
            }
            Event::AppApplied { .. }
            | Event::AppEnabled { .. }
            | Event::AppRemoved { .. }
            | Event::TagChosen { .. }
            | Event::ReleaseSeen { .. }
            | Event::TestReported { .. }
            | Event::SignatureMissing { .. }
            | Event::ReleaseQuarantined { .. }
            | Event::QuarantineCleared { .. }
            | Event::ReleaseKnownGood { .. }
            | Event::InstanceAdopted { .. }
            | Event::InstanceForgotten { .. }
            | Event::NodeEnrolled { .. }
            | Event::NodeLabelled { .. }
            | Event::NodeAvailabilitySet { .. }
            | Event::NodeRemoved { .. }
            | Event::JobOrdered { .. }
            | Event::JobEnded { .. }
            | Event::RolloutPromoted { .. }
            | Event::RolloutOverridden { .. }
            | Event::StepUnknownAlarm { .. }
            | Event::WindowNotUsed { .. }
            | Event::WindowMissed { .. }
            | Event::StepRequeued { .. }
            | Event::StepSkipped { .. }
            | Event::RebuildStarted { .. }
            | Event::RebuildTriggered { .. }
            | Event::RebuildTriggerFailed { .. }
            | Event::RebuildEnded { .. }
            | Event::RebuildMissed { .. } => {}
            Event::AlarmRaised { alarm } => {
                let news = !self.ledger.alarms.contains(&alarm.key());
                self.demand(news, "I10", || format!("an alarm begins that holds already: {alarm}"));
            }
            Event::AlarmCleared { alarm, .. } => {
                let held = self.ledger.alarms.contains(&alarm.key());
                self.demand(held, "I10", || format!("an alarm ends that never began: {alarm}"));
            }
        }
    }

    fn planned(
        &mut self,
        id: &RolloutId,
        spec: &AppSpec,
        to: &Digest,
        purpose: Purpose,
        overrides: Overrides,
        steps: &[PlannedStep],
    ) {
        let app = &spec.name;
        let other = self.ledger.rollouts.values().find(|entry| entry.spec.name == *app && !entry.is_over());
        self.demand(other.is_none(), "I1", || format!("{id} begins while another rollout of {app} is not over"));
        self.demand(!steps.is_empty(), "L1", || format!("{id} has no step"));
        match purpose {
            Purpose::Rollback => self.known_good(app, to),
            Purpose::Update => self.tested(spec, to, overrides),
        }
    }

    fn known_good(&mut self, app: &AppName, to: &Digest) {
        let good = self.ledger.known_good.contains(&(app.clone(), to.clone()));
        self.demand(good, "I8", || format!("{app} goes back to {}, which was never known-good", to.short()));
    }

    fn tested(&mut self, spec: &AppSpec, to: &Digest, overrides: Overrides) {
        let key = (spec.name.clone(), to.clone());
        let reports = self.ledger.reports.get(&key).map_or(&[][..], Vec::as_slice);
        let failed = reports.iter().any(|report| report.result == TestResult::Failed);
        self.demand(!failed, "I9", || format!("a test of {} failed", to.short()));
        let oldest = spec.gate.max_age.and_then(|age| TimeDelta::from_std(age).ok()).map(|age| self.at - age);
        for kind in &spec.gate.tests {
            let mut passed = reports.iter().filter(|report| report.kind == *kind);
            let counts = passed.any(|report| oldest.is_none_or(|oldest| report.at >= oldest));
            self.demand(counts, "I9", || format!("{} has no fresh report of kind {kind}", to.short()));
        }
        let cooldown = TimeDelta::from_std(spec.gate.cooldown).unwrap_or_default();
        let known = self.ledger.first_seen.get(&key).is_some_and(|first| *first + cooldown <= self.at);
        self.demand(known, "I9", || format!("{} is not known for long enough", to.short()));
        let barred = self.ledger.quarantined.contains(&key) && !overrides.quarantine;
        self.demand(!barred, "I3", || format!("{} is a target and quarantined", to.short()));
    }

    fn ordered(&mut self, rollout: &RolloutEntry, step: &StepEntry, canary: bool) {
        let (app, name) = (&rollout.spec.name, format!("step of {} on {}", step.container, step.node));
        let working = matches!(rollout.state, RolloutState::Canary | RolloutState::Rolling | RolloutState::RollingBack);
        self.demand(working, "I10", || format!("{name} is ordered in a rollout that is {}", rollout.state));
        self.demand(!step.in_flight && !step.done, "I6", || format!("{name} is ordered, but not pending"));
        self.availability(rollout, step, canary, &name);
        self.budget(rollout, &name);
        let overridden = rollout.overrides.quarantine && step.purpose == Purpose::Update;
        let barred = self.ledger.quarantined.contains(&(app.clone(), step.to.clone())) && !overridden;
        self.demand(!barred, "I3", || format!("{name} starts quarantined {}", step.to.short()));
        if step.purpose == Purpose::Update {
            let (allowed, frozen) = (self.now.allowed.contains(app), self.now.frozen.contains(app));
            self.demand(allowed || rollout.overrides.now, "I4", || format!("{name} starts outside the quiet hours"));
            self.demand(!frozen || rollout.overrides.freeze, "I4", || format!("{name} starts in a freeze"));
        }
    }

    fn availability(&mut self, rollout: &RolloutEntry, step: &StepEntry, canary: bool, name: &str) {
        let app = &rollout.spec.name;
        let in_work: BTreeSet<Place> = self.ledger.in_flight().map(|(entry, step)| entry.place(step)).collect();
        let doubled = in_work.iter().any(|(_, node, _)| *node == step.node);
        self.demand(!doubled, "I1", || format!("{name} is the second one on its node"));
        let own = rollout.place(step);
        let counted = |place: &&Place| self.ledger.adopted.contains(*place) && self.ledger.takes_part(&place.1);
        let away = self.now.away.iter().filter(counted).chain(&in_work);
        let others = away.filter(|place| place.0 == *app && **place != own).collect::<BTreeSet<_>>().len();
        let limit = if canary { 1 } else { usize::try_from(rollout.spec.update.parallelism).unwrap_or(usize::MAX) };
        let mine = in_work.iter().filter(|place| place.0 == *app).count();
        self.demand(mine < limit, "I1", || format!("{name} starts while {mine} are in work, of {limit}"));
        let takes_away = !self.now.failing.contains(&own);
        self.demand(others < limit || !takes_away, "I1", || format!("{name} starts while {others} others are away"));
    }

    fn budget(&mut self, rollout: &RolloutEntry, name: &str) {
        let failures = rollout.failures.len();
        let tolerated = match rollout.spec.update.failure_action {
            FailureAction::Continue if !rollout.broken && rollout.purpose == Purpose::Update && !rollout.back => {
                rollout.planned * usize::from(rollout.spec.update.max_failure_permille) / 1000
            }
            FailureAction::Continue | FailureAction::Pause | FailureAction::Rollback => 0,
        };
        self.demand(failures <= tolerated, "I2", || format!("{name} starts after {failures} failures of {tolerated}"));
    }

    fn reported(&mut self, rollout: &RolloutId, report: &StepReport) {
        let index: StepIndex = report.key.step;
        let Some((_, step)) = self.ledger.step(rollout, index) else {
            self.demand(false, "I10", || format!("a report of {}, which was never planned", report.key));
            return;
        };
        self.demand(step.in_flight, "I10", || format!("a report of {}, which is not in flight", report.key));
        let current = step.generation == report.key.generation;
        self.demand(current, "I7", || format!("a report of generation {} of {}", report.key.generation, report.key));
        let grows = step.phase.is_none_or(|known| known < report.phase || step.unknown && known == report.phase);
        self.demand(grows, "I10", || format!("{} is {} after {:?}", report.key, report.phase, step.phase));
        let reason = report.phase < StepPhase::RollingBack || report.phase == StepPhase::Committed;
        self.demand(reason || report.failure.is_some(), "I10", || format!("{} failed without a reason", report.key));
    }

    fn moved(&mut self, rollout: &RolloutId, to: RolloutState) {
        let Some(entry) = self.ledger.rollouts.get(rollout) else { return };
        self.demand(!entry.state.is_end(), "I10", || format!("{rollout} is {to} after its end"));
        self.demand(entry.state != to, "I10", || format!("{rollout} is {to} twice"));
        if to == RolloutState::Completed {
            let left = entry.steps.values().any(|step| !step.done);
            self.demand(!left, "I10", || format!("{rollout} is completed with steps left"));
        }
    }
}

#[cfg(test)]
mod tests;
