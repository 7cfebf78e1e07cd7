//! The way back: every instance that a failed rollout has updated returns to a known-good digest, the last one first.
//!
//! It is exempt from the quiet hours, and it is never itself rolled back: a retreat that fails stops and calls a person.

use crate::catalog::App;
use crate::event::Event;
use crate::image::Digest;
use crate::mutation::{Rule, broken};
use crate::rollout::decide::record;
use crate::rollout::order::{is_pulling, sorted};
use crate::rollout::pick::Obstacle;
use crate::rollout::{Context, Decision, PlannedStep, Rollout, RolloutState, Step, StepState};
use crate::step::StepPhase;

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

    /// What the instance ran before, if that is known-good; else the newest known-good digest before the target.
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
        if self.failures() > 0 {
            let reason = format!("the way back has failed, a person must look: {}", self.failure_words());
            if broken(Rule::OneWayBack) {
                return self.begin_retreat(&reason, context, decision);
            }
            self.go(RolloutState::Paused, &reason, context, decision);
            return;
        }
        if let Some((digest, denial)) = self.denial(Step::is_pending, context) {
            let reason = format!("{}, to which it goes back, may not be started: {denial}", digest.short());
            self.go(RolloutState::Paused, &reason, context, decision);
            return;
        }
        let judged = self.judged(context);
        self.skip_hopeless(&judged, context, decision);
        if !decision.events.is_empty() {
            return;
        }
        if !self.current_steps().any(|step| step.is_pending() || step.is_in_flight()) {
            self.go(RolloutState::RolledBack, &self.retreat_words(), context, decision);
            return;
        }
        if self.spec.update.pre_pull {
            decision.actions = self.prepulls(context);
        }
        self.wait_for_flight(context, decision);
        // Its image is there in a moment, so the order is kept; one that cannot be fetched holds up nobody.
        let held = judged
            .first()
            .is_some_and(|(_, obstacle)| matches!(obstacle, Some(Obstacle::Wait(reason)) if is_pulling(reason)));
        let (ready, waits) = sorted(judged);
        decision.wait_for_all(waits, context.now);
        if !self.settle(context, decision) && !held {
            self.order_first_possible(&ready, self.parallelism(), false, context, decision);
        }
    }

    /// Why it went back, and what did not come along.
    fn retreat_words(&self) -> String {
        let failed = self.steps.iter().filter(|step| step.purpose == self.purpose && step.has_failed());
        let behind = self.current_steps().filter(|step| !step.is_at_target());
        let words = failed.map(|step| format!("failed: {}", step.words()));
        words.chain(behind.map(|step| format!("not back: {}", step.words()))).collect::<Vec<_>>().join("; ")
    }
}
