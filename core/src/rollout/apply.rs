//! The fold: stored facts become the rollout's state. Nothing is refused here; what was stored has happened.

use chrono::{DateTime, Utc};

use crate::event::{Event, Recorded};
use crate::ids::{Generation, StepIndex};
use crate::rollout::{PlannedStep, Rollout, RolloutState, Step, StepFate, StepState};
use crate::step::{FailureKind, Purpose, StepPhase, StepReport};

impl Rollout {
    /// The rollout that a `RolloutPlanned` event brings into being; `None` for any other event.
    #[must_use]
    pub fn from_planned(recorded: &Recorded) -> Option<Self> {
        let Event::RolloutPlanned { rollout, spec, version, from, to, purpose, overrides, reason, steps } =
            &recorded.event
        else {
            return None;
        };
        let mut new = Self {
            id: rollout.clone(),
            spec: (**spec).clone(),
            version: *version,
            from: from.clone(),
            to: to.clone(),
            purpose: *purpose,
            overrides: *overrides,
            reason: reason.clone(),
            by: recorded.by.clone(),
            position: 0,
            state: RolloutState::Planned,
            state_reason: String::new(),
            state_by: recorded.by.clone(),
            resume_to: RolloutState::Planned,
            generation: Generation(1),
            promoted: false,
            steps: Vec::new(),
            created_at: recorded.at,
            looked_at: recorded.at,
            progress_at: recorded.at,
            ended_at: None,
        };
        new.add_steps(steps, *purpose);
        Some(new)
    }

    /// Folds one fact about this rollout.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.looked_at = recorded.at;
        match &recorded.event {
            Event::RolloutMoved { to, reason, .. } => self.moved(recorded, *to, reason),
            Event::RolloutPromoted { .. } => {
                self.promoted = true;
                self.progress_at = recorded.at;
            }
            Event::RolloutOverridden { overrides, reason, .. } => {
                self.overrides = *overrides;
                self.reason.clone_from(reason);
                self.progress_at = recorded.at;
            }
            Event::StepOrdered { step, generation, container_id, from, canary, .. } => {
                let at = recorded.at;
                self.with_step(*step, |step| {
                    step.state = StepState::Ordered;
                    step.phase = None;
                    step.generation = *generation;
                    step.container_id = container_id.clone();
                    step.from.clone_from(from);
                    step.canary = *canary;
                    step.started_at = Some(at);
                    step.ended_at = None;
                    step.new_container_id = None;
                    step.downtime_ms = None;
                    step.reason = None;
                    step.failure = None;
                    step.alarmed = false;
                });
            }
            Event::StepReported { report, .. } => self.reported(recorded, report),
            Event::StepUnknown { step, .. } => self.with_step(*step, |step| step.state = StepState::Unknown),
            Event::StepUnknownAlarm { step, .. } => self.with_step(*step, |step| step.alarmed = true),
            Event::StepRequeued { step, not_before, because, reason, .. } => {
                self.requeued(*step, *not_before, *because, reason);
            }
            Event::StepSkipped { step, fate, reason, .. } => self.skipped(*step, *fate, reason, recorded.at),
            Event::RollbackPlanned { steps, .. } => {
                self.generation = self.generation.next();
                self.add_steps(steps, Purpose::Rollback);
            }
            Event::RolloutPlanned { .. }
            | Event::WindowNotUsed { .. }
            | Event::WindowMissed { .. }
            | Event::AppApplied { .. }
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
            | Event::RebuildStarted { .. }
            | Event::RebuildTriggered { .. }
            | Event::RebuildTriggerFailed { .. }
            | Event::RebuildEnded { .. }
            | Event::RebuildMissed { .. }
            | Event::AlarmRaised { .. }
            | Event::AlarmCleared { .. }
            | Event::JobOrdered { .. }
            | Event::JobEnded { .. } => {}
        }
    }

    fn skipped(&mut self, step: StepIndex, fate: StepFate, reason: &str, at: DateTime<Utc>) {
        self.with_step(step, |step| {
            step.state = StepState::Skipped(fate);
            step.reason = Some(reason.to_owned());
            step.ended_at = Some(at);
        });
    }

    fn moved(&mut self, recorded: &Recorded, to: RolloutState, reason: &str) {
        if to == RolloutState::Paused {
            self.resume_to = self.state;
        } else if self.state == RolloutState::Paused {
            self.progress_at = recorded.at;
            if !to.is_end() {
                // Whoever resumes has seen what failed.
                self.steps.iter_mut().filter(|step| step.has_failed()).for_each(|step| step.accepted = true);
            }
        }
        self.state = to;
        self.state_reason = reason.to_owned();
        self.state_by = recorded.by.clone();
        if to.is_end() {
            self.ended_at = Some(recorded.at);
        }
    }

    fn reported(&mut self, recorded: &Recorded, report: &StepReport) {
        let at = recorded.at;
        let phase = report.phase;
        self.with_step(report.key.step, |step| {
            step.state = StepState::At(phase);
            step.alarmed = false;
            step.phase = Some(phase);
            step.new_container_id = report.new_container_id.clone().or(step.new_container_id.take());
            step.downtime_ms = report.downtime_ms.or(step.downtime_ms);
            if let Some(failure) = &report.failure {
                step.reason = Some(failure.reason.clone());
                step.failure = Some(failure.clone());
            }
            if phase.is_end() {
                step.ended_at = Some(at);
            }
        });
        if phase.is_end() && phase != StepPhase::Untouched {
            self.progress_at = at;
        }
    }

    fn requeued(&mut self, index: StepIndex, not_before: DateTime<Utc>, because: FailureKind, reason: &str) {
        // A stale order that is still on its way must never act.
        self.generation = self.generation.next();
        self.with_step(index, |step| {
            step.state = StepState::Pending;
            step.phase = None;
            step.accepted = false;
            step.not_before = Some(not_before);
            step.reason = Some(reason.to_owned());
            step.put_off = step.put_off.saturating_add(u32::from(because != FailureKind::NotAccepted));
        });
    }

    fn add_steps(&mut self, planned: &[PlannedStep], purpose: Purpose) {
        for plan in planned {
            let index = self.steps.last().map_or(StepIndex(0), |last| last.index.next());
            self.steps.push(Step {
                index,
                purpose,
                node: plan.node.clone(),
                container: plan.container.clone(),
                container_id: plan.container_id.clone(),
                new_container_id: None,
                from: plan.from.clone(),
                to: plan.to.clone(),
                canary: false,
                state: StepState::Pending,
                phase: None,
                generation: self.generation,
                reason: None,
                failure: None,
                downtime_ms: None,
                started_at: None,
                ended_at: None,
                not_before: None,
                put_off: 0,
                accepted: false,
                alarmed: false,
            });
        }
    }

    fn with_step(&mut self, index: StepIndex, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.index == index) {
            change(step);
        }
    }
}
