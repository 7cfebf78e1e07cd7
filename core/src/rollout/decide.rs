//! What a rollout does next: pure, level-triggered, the same after a crash as before it.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::{Actor, Event, Recorded};
use crate::image::Digest;
use crate::mutation::{Rule, broken};
use crate::release::GateDenial;
use crate::rollout::pick::{Busy, Obstacle};
use crate::rollout::{Context, Decision, Rollout, RolloutState, Step, StepFate, StepState, WaitingOn};
use crate::spec::{FailureAction, RolloutMode};
use crate::step::{Purpose, StepPhase};

/// A pending step with what keeps it from being ordered.
pub(super) type Judged<'a> = (&'a Step, Option<Obstacle>);

impl Rollout {
    /// What to store, what to do then, why nothing more happens, and when to look again. With events in it the decision is
    /// to be asked for again once they are applied.
    #[must_use]
    pub fn decide(&self, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        self.notice_absence(context, &mut decision);
        if !decision.events.is_empty() {
            return decision;
        }
        if !self.state.is_end() && context.catalog.app(self.app()).is_none() {
            self.go(RolloutState::Aborted, "the app was removed", context, &mut decision);
            return decision;
        }
        if let Some(next) = context.next.filter(|_| self.gives_way()) {
            let reason = format!("{} is newer, and tested", next.short());
            self.go(RolloutState::Superseded, &reason, context, &mut decision);
            return decision;
        }
        match self.state {
            RolloutState::Planned => {
                let next = if self.spec.update.pre_pull { RolloutState::Prepulling } else { RolloutState::Waiting };
                self.go(next, "", context, &mut decision);
            }
            RolloutState::Paused => {
                let reason = WaitingOn::Paused { by: self.state_by.clone(), reason: self.state_reason.clone() };
                decision.wait(reason, context.now);
                self.wait_for_flight(context, &mut decision);
            }
            RolloutState::RollingBack => self.retreat(context, &mut decision),
            RolloutState::Prepulling | RolloutState::Waiting | RolloutState::Canary | RolloutState::Rolling => {
                self.advance(context, &mut decision);
            }
            RolloutState::Completed
            | RolloutState::CompletedWithLaggards
            | RolloutState::RolledBack
            | RolloutState::Aborted
            | RolloutState::Superseded => self.wait_for_flight(context, &mut decision),
        }
        decision
    }

    /// Steps in flight whose agent is gone: for a while, or for ever because its node left the fleet.
    fn notice_absence(&self, context: &Context<'_>, decision: &mut Decision) {
        for step in self.in_flight() {
            if context.catalog.node(&step.node).is_none() {
                let reason = format!("node {} left the fleet in the middle of it", step.node);
                self.skip(step, StepFate::Laggard, reason, context, decision);
                continue;
            }
            // Right after a start nobody is connected yet: that says nothing about the agents.
            let settled = context.now >= context.settled_at;
            if settled && step.state != StepState::Unknown && context.fleet.node(&step.node).is_none() {
                let event = Event::StepUnknown { rollout: self.id.clone(), step: step.index };
                decision.events.push(record(context, event));
            } else if let Some(silent_since) = self.alarming_silence(step, context) {
                let event = Event::StepUnknownAlarm { rollout: self.id.clone(), step: step.index, silent_since };
                decision.events.push(record(context, event));
            }
        }
    }

    /// Since when the agent of a step has been silent, if that is an alarm of which nobody has been told.
    fn alarming_silence(&self, step: &Step, context: &Context<'_>) -> Option<DateTime<Utc>> {
        let unknown = step.state == StepState::Unknown && !step.alarmed;
        let since = context.fleet.last_seen(&step.node).unwrap_or(context.settled_at);
        let alarm_at = since + TimeDelta::from_std(context.unknown_after).unwrap_or(TimeDelta::MAX);
        (unknown && alarm_at <= context.now).then_some(since)
    }

    pub(super) fn wait_for_flight(&self, context: &Context<'_>, decision: &mut Decision) {
        for step in self.in_flight() {
            decision.wait(self.step_wait(step, context), context.now);
        }
    }

    pub(super) fn go(&self, to: RolloutState, reason: &str, context: &Context<'_>, decision: &mut Decision) {
        let event = Event::RolloutMoved { rollout: self.id.clone(), to, reason: reason.to_owned() };
        decision.events.push(record(context, event));
    }

    /// Every pending step of the present direction with what keeps it from being ordered.
    pub(super) fn judged<'a>(&'a self, context: &'a Context<'_>) -> Vec<Judged<'a>> {
        let busy = Busy::of(self, context);
        let pending = self.current_steps().filter(|step| step.is_pending());
        pending.map(|step| (step, self.obstacle(step, &busy, context))).collect()
    }

    fn advance(&self, context: &Context<'_>, decision: &mut Decision) {
        if self.stop_for_failures(context, decision) || self.stop_for_denial(context, decision) {
            return;
        }
        self.note_missed_windows(context, decision);
        let judged = self.judged(context);
        self.skip_hopeless(&judged, context, decision);
        if decision.events.is_empty() && self.in_flight().next().is_none() {
            self.skip_those_away(&judged, context, decision);
        }
        if !decision.events.is_empty() || self.finish(context, decision) {
            return;
        }
        if self.state == RolloutState::Canary && self.canary_is_good() {
            if self.needs_promotion() {
                decision.wait(WaitingOn::Promotion, context.now);
            } else {
                self.go(RolloutState::Rolling, "", context, decision);
            }
            return;
        }
        self.order_next(judged, context, decision);
    }

    /// Whether the first step of the rollout has been committed.
    pub(super) fn canary_is_good(&self) -> bool {
        self.steps.iter().any(|step| step.canary && step.state == StepState::At(StepPhase::Committed))
    }

    /// Whether a person has to let it go on after its canary. Nobody waits for leave to go back.
    pub(super) fn needs_promotion(&self) -> bool {
        self.spec.update.mode == RolloutMode::Approve && self.purpose == Purpose::Update && !self.promoted
    }

    /// Reacts to failed steps as the app's `failure_action` says. Whether it did.
    fn stop_for_failures(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        let failures = self.failures();
        if failures == 0 || broken(Rule::Failures) {
            return false;
        }
        let words = self.failure_words();
        let back = self.purpose == Purpose::Rollback && !broken(Rule::OneWayBack);
        let action = if self.is_broken() || back { FailureAction::Pause } else { self.spec.update.failure_action };
        match action {
            FailureAction::Continue if failures <= self.failure_budget() => return false,
            FailureAction::Continue | FailureAction::Pause => {
                self.go(RolloutState::Paused, &words, context, decision);
            }
            FailureAction::Rollback => {
                if self.in_flight().next().is_some() {
                    self.wait_for_flight(context, decision);
                } else {
                    self.begin_retreat(&words, context, decision);
                }
            }
        }
        true
    }

    /// Failed steps that the app's spec tolerates under `continue`.
    #[must_use]
    pub fn failure_budget(&self) -> usize {
        let steps = self.steps.iter().filter(|step| step.purpose == self.purpose).count();
        steps * usize::from(self.spec.update.max_failure_permille) / 1000
    }

    /// What failed, for people; what they have accepted already is left out.
    pub(super) fn failure_words(&self) -> String {
        let failed = self.current_steps().filter(|step| step.has_failed() && !step.accepted);
        failed.map(|step| format!("failed: {}", step.words())).collect::<Vec<_>>().join("; ")
    }

    fn stop_for_denial(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        let Some((digest, denial)) = self.denial(Step::is_pending, context) else { return false };
        let reason = format!("{} may not be started any more: {denial}", digest.short());
        self.go(RolloutState::Paused, &reason, context, decision);
        true
    }

    /// A digest that one of these steps of the present direction would start and that may not be started any more, because it
    /// was barred, or a test failed, since the rollout was planned. A person may have set the quarantine of the target aside.
    pub(super) fn denial(&self, which: impl Fn(&Step) -> bool, context: &Context<'_>) -> Option<(Digest, GateDenial)> {
        let app = context.catalog.app(self.app())?;
        let targets: BTreeSet<_> =
            self.current_steps().filter(|step| which(step)).map(|step| (&step.to, step.purpose)).collect();
        targets.into_iter().find_map(|(digest, purpose)| {
            let release = app.release(digest)?;
            let overridden = self.overrides.quarantine && *digest == self.to;
            let denial = match &release.quarantine {
                Some(quarantine) if !overridden && !broken(Rule::Quarantine) => {
                    GateDenial::Quarantined { reason: quarantine.reason.clone() }
                }
                Some(_) | None if purpose == Purpose::Update => release.failed_test()?,
                Some(_) | None => return None,
            };
            Some((digest.clone(), denial))
        })
    }

    /// Leaves out pending steps that nothing could make possible again.
    pub(super) fn skip_hopeless(&self, judged: &[Judged<'_>], context: &Context<'_>, decision: &mut Decision) {
        for (step, obstacle) in judged {
            if let Some(Obstacle::Skip(fate, reason)) = obstacle {
                self.skip(step, *fate, reason.clone(), context, decision);
            }
        }
    }

    fn skip(&self, step: &Step, fate: StepFate, reason: String, context: &Context<'_>, decision: &mut Decision) {
        let event = Event::StepSkipped { rollout: self.id.clone(), step: step.index, fate, reason };
        decision.events.push(record(context, event));
    }

    /// When only instances on nodes that are away are left, their steps are left out after a grace time.
    fn skip_those_away(&self, judged: &[Judged<'_>], context: &Context<'_>, decision: &mut Decision) {
        let away = |step: &Step| context.fleet.node(&step.node).is_none();
        let anything_done = self.steps.iter().any(|step| !step.is_pending());
        if !anything_done || !judged.iter().all(|(step, _)| away(step)) {
            return;
        }
        for (step, _) in judged {
            let since = context.fleet.last_seen(&step.node).unwrap_or(context.settled_at);
            let patience = since + TimeDelta::from_std(context.unknown_after).unwrap_or(TimeDelta::MAX);
            if patience > context.now {
                decision.wake(patience, context.now);
            } else {
                let reason = format!("node {} is not connected", step.node);
                self.skip(step, StepFate::Laggard, reason, context, decision);
            }
        }
    }

    /// Ends the rollout when nothing is left to do. Whether it did.
    fn finish(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        if self.current_steps().any(|step| step.is_pending() || step.is_in_flight()) {
            return false;
        }
        let behind: Vec<_> = self.current_steps().filter(|step| !step.is_at_target()).map(Step::words).collect();
        let to = if behind.is_empty() { RolloutState::Completed } else { RolloutState::CompletedWithLaggards };
        self.go(to, &behind.join("; "), context, decision);
        true
    }
}

/// A fact that the machine itself decides.
pub(super) fn record(context: &Context<'_>, event: Event) -> Recorded {
    Recorded { at: context.now, by: Actor::nightshift(), event }
}
