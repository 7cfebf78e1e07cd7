//! The way back: every instance that a failed rollout has updated returns to a known-good digest, the last one first.
//!
//! It is exempt from the quiet hours, and it is never itself rolled back: a retreat that fails stops and calls a person.

use crate::catalog::App;
use crate::event::Event;
use crate::image::Digest;
use crate::rollout::decide::record;
use crate::rollout::pick::Obstacle;
use crate::rollout::{Context, Decision, PlannedStep, Rollout, RolloutState, Step, StepState};
use crate::step::{Purpose, StepPhase};

impl Rollout {
    /// Plans the way back for each committed step, in reverse order. Without a known-good digest it pauses instead.
    pub(super) fn begin_retreat(&self, reason: &str, context: &Context<'_>, decision: &mut Decision) {
        let app = context.catalog.app(self.app());
        let mut steps = Vec::new();
        for step in self.steps.iter().rev().filter(|step| step.state == StepState::At(StepPhase::Committed)) {
            let Some(to) = self.way_back(step, app) else {
                let reason = format!("{reason}; no known-good digest to go back to for {}", step.container);
                self.go(RolloutState::Paused, &reason, context, decision);
                return;
            };
            steps.push(PlannedStep {
                node: step.node.clone(),
                container: step.container.clone(),
                container_id: step.new_container_id.clone().unwrap_or_else(|| step.container_id.clone()),
                from: Some(step.to.clone()),
                to,
            });
        }
        if steps.is_empty() {
            self.go(RolloutState::RolledBack, reason, context, decision);
            return;
        }
        decision.events.push(record(context, Event::RollbackPlanned { rollout: self.id.clone(), steps }));
        self.go(RolloutState::RollingBack, reason, context, decision);
    }

    /// What the instance ran before, if that is known-good; else the newest known-good digest of the app.
    fn way_back(&self, step: &Step, app: Option<&App>) -> Option<Digest> {
        let app = app?;
        let good = |digest: &Digest| {
            app.release(digest).is_some_and(|release| release.known_good.is_some() && release.quarantine.is_none())
        };
        let before = step.from.clone().filter(good);
        before.or_else(|| app.known_good_before(Some(&self.to)).map(|release| release.digest.clone()))
    }

    /// One step back after the other.
    pub(super) fn retreat(&self, context: &Context<'_>, decision: &mut Decision) {
        let back = || self.steps.iter().filter(|step| step.purpose == Purpose::Rollback);
        if back().filter(|step| step.has_failed()).count() > self.retreat_failures_accepted() {
            let reason = "the rollback failed on a node; a person must look";
            self.go(RolloutState::Paused, reason, context, decision);
            return;
        }
        decision.actions = self.prepulls(context);
        self.wait_for_flight(context, decision);
        for step in back().filter(|step| step.is_pending()) {
            match self.obstacle(step, context) {
                Some(Obstacle::Skip(fate, reason)) => {
                    let event = Event::StepSkipped { rollout: self.id.clone(), step: step.index, fate, reason };
                    decision.events.push(record(context, event));
                    return;
                }
                Some(Obstacle::Wait(reason)) => decision.wait(reason),
                None if self.in_flight().count() < self.spec.update.parallelism as usize => {
                    self.order(step, false, context, decision);
                    return;
                }
                None => {}
            }
        }
        if !back().any(|step| step.is_pending() || step.is_in_flight()) {
            self.go(RolloutState::RolledBack, &self.state_reason, context, decision);
        }
    }

    /// Failed steps back that a person has seen: those of before the last resume.
    fn retreat_failures_accepted(&self) -> usize {
        let failed_back = |step: &&Step| step.purpose == Purpose::Rollback && step.has_failed();
        self.steps.iter().filter(failed_back).filter(|step| step.ended_at <= Some(self.progress_at)).count()
            * usize::from(self.resume_to == RolloutState::RollingBack)
    }
}
