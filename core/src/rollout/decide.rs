//! What a rollout does next: pure, level-triggered, the same after a crash as before it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::{Actor, Event, Recorded};
use crate::ids::ContainerId;
use crate::rollout::pick::{Obstacle, runs_now};
use crate::rollout::{Action, Context, Decision, Rollout, RolloutState, Step, StepFate, StepState, WaitingOn};
use crate::spec::{FailureAction, RolloutMode};
use crate::step::{Purpose, StepKey, StepOrder, StepPhase};

/// An agent refuses an order that it could not begin within this time: long enough for a slow disk, short against any window.
const START_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

impl Rollout {
    /// What to store, what to do then, why nothing more happens, and when to look again. With events in it the decision is
    /// to be asked for again once they are applied.
    #[must_use]
    pub fn decide(&self, context: &Context<'_>) -> Decision {
        let mut decision = Decision::default();
        self.mark_unknown(context, &mut decision);
        if !decision.events.is_empty() || self.state.is_end() {
            return decision;
        }
        match self.state {
            RolloutState::Planned => {
                let next = if self.spec.update.pre_pull { RolloutState::Prepulling } else { RolloutState::Waiting };
                self.go(next, "", context, &mut decision);
            }
            RolloutState::Paused => {
                decision.wait(WaitingOn::Paused { by: self.state_by.clone(), reason: self.state_reason.clone() });
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
            | RolloutState::Superseded => {}
        }
        decision
    }

    fn mark_unknown(&self, context: &Context<'_>, decision: &mut Decision) {
        // Right after a start nobody is connected yet: that says nothing about the agents.
        if context.now < context.settled_at {
            return;
        }
        for step in self.in_flight() {
            if step.state != StepState::Unknown && context.fleet.node(&step.node).is_none() {
                let event = Event::StepUnknown { rollout: self.id.clone(), step: step.index };
                decision.events.push(record(context, event));
            }
        }
    }

    pub(super) fn wait_for_flight(&self, context: &Context<'_>, decision: &mut Decision) {
        for step in self.in_flight() {
            decision.wait(self.step_wait(step, context));
        }
    }

    pub(super) fn go(&self, to: RolloutState, reason: &str, context: &Context<'_>, decision: &mut Decision) {
        let event = Event::RolloutMoved { rollout: self.id.clone(), to, reason: reason.to_owned() };
        decision.events.push(record(context, event));
    }

    fn advance(&self, context: &Context<'_>, decision: &mut Decision) {
        if self.stop_for_failures(context, decision) || self.stop_for_quarantine(context, decision) {
            return;
        }
        if self.state == RolloutState::Canary && self.canary_is_good() {
            if self.spec.update.mode == RolloutMode::Approve && !self.promoted {
                decision.wait(WaitingOn::Promotion);
                return;
            }
            self.go(RolloutState::Rolling, "", context, decision);
            return;
        }
        if self.skip_hopeless(context, decision) || self.finish(context, decision) {
            return;
        }
        self.order_next(context, decision);
    }

    /// Whether the first step of the rollout has been committed.
    fn canary_is_good(&self) -> bool {
        self.steps.iter().any(|step| step.canary && step.state == StepState::At(StepPhase::Committed))
    }

    /// Reacts to failed steps as the app's `failure_action` says. Whether it did.
    fn stop_for_failures(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        if self.failures() == 0 {
            return false;
        }
        let words = self.failure_words();
        let broken = self.steps.iter().any(|step| step.state == StepState::At(StepPhase::Broken));
        let action = if broken || self.purpose == Purpose::Rollback {
            FailureAction::Pause
        } else {
            self.spec.update.failure_action
        };
        match action {
            FailureAction::Continue if self.failures() <= self.failure_budget() => return false,
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

    fn failure_words(&self) -> String {
        let failed = self.steps.iter().filter(|step| step.has_failed());
        let words: Vec<_> = failed
            .map(|step| {
                let reason = step.reason.as_deref().unwrap_or("no reason given");
                format!("{} on {} failed: {reason}", step.container, step.node)
            })
            .collect();
        words.join("; ")
    }

    fn stop_for_quarantine(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        let release = context.catalog.app(self.app()).and_then(|app| app.release(&self.to));
        let Some(quarantine) = release.and_then(|release| release.quarantine.as_ref()) else { return false };
        if self.overrides.quarantine {
            return false;
        }
        let reason = format!("its target is quarantined: {}", quarantine.reason);
        self.go(RolloutState::Paused, &reason, context, decision);
        true
    }

    /// Leaves out pending steps that nothing could make possible again.
    fn skip_hopeless(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        for step in self.current_steps().filter(|step| step.is_pending()) {
            if let Some(Obstacle::Skip(fate, reason)) = self.obstacle(step, context) {
                self.skip(step, fate, reason, context, decision);
            }
        }
        if decision.events.is_empty() && self.in_flight().next().is_none() {
            self.skip_those_away(context, decision);
        }
        !decision.events.is_empty()
    }

    fn skip(&self, step: &Step, fate: StepFate, reason: String, context: &Context<'_>, decision: &mut Decision) {
        let event = Event::StepSkipped { rollout: self.id.clone(), step: step.index, fate, reason };
        decision.events.push(record(context, event));
    }

    /// When only instances on nodes that are away are left, their steps are left out after a grace time.
    fn skip_those_away(&self, context: &Context<'_>, decision: &mut Decision) {
        let pending: Vec<_> = self.current_steps().filter(|step| step.is_pending()).collect();
        let away = |step: &&&Step| context.fleet.node(&step.node).is_none();
        let anything_done = self.steps.iter().any(|step| !step.is_pending());
        if !anything_done || pending.is_empty() || pending.iter().filter(away).count() < pending.len() {
            return;
        }
        for step in pending {
            let since = context.fleet.last_seen(&step.node).unwrap_or(context.settled_at);
            let patience = since + TimeDelta::from_std(context.unknown_after).unwrap_or(TimeDelta::MAX);
            if patience > context.now {
                decision.wake(patience);
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
        if self.current_steps().all(Step::is_at_target) {
            self.go(RolloutState::Completed, "", context, decision);
        } else {
            let behind = self.current_steps().filter(|step| !step.is_at_target());
            let words: Vec<_> = behind
                .map(|step| {
                    let reason = step.reason.as_deref().unwrap_or("no reason given");
                    format!("{} on {}: {reason}", step.container, step.node)
                })
                .collect();
            self.go(RolloutState::CompletedWithLaggards, &words.join("; "), context, decision);
        }
        true
    }

    fn order_next(&self, context: &Context<'_>, decision: &mut Decision) {
        if self.spec.update.pre_pull {
            decision.actions = self.prepulls(context);
        }
        self.wait_for_flight(context, decision);
        let canary = !self.canary_is_good() && self.state != RolloutState::Rolling;
        let mut ready = Vec::new();
        let mut waits = Vec::new();
        for step in self.current_steps().filter(|step| step.is_pending()) {
            match self.obstacle(step, context) {
                None => ready.push(step),
                Some(Obstacle::Wait(reason)) if !waits.contains(&reason) => waits.push(reason),
                Some(Obstacle::Wait(_) | Obstacle::Skip(..)) => {}
            }
        }
        if self.state == RolloutState::Prepulling && !ready.is_empty() && !waits.iter().any(is_pulling) {
            self.go(RolloutState::Waiting, "", context, decision);
            return;
        }
        waits.into_iter().for_each(|wait| decision.wait(wait));
        let gates = self.gates(canary, context, decision);
        if self.state == RolloutState::Prepulling || !gates {
            return;
        }
        let parallelism = if canary { 1 } else { self.spec.update.parallelism as usize };
        if self.in_flight().count() >= parallelism {
            return;
        }
        self.order_first_possible(&ready, parallelism, canary, context, decision);
    }

    /// Orders the first ready step that does not lower availability too far; else says who is missing.
    fn order_first_possible(
        &self,
        ready: &[&Step],
        parallelism: usize,
        canary: bool,
        context: &Context<'_>,
        decision: &mut Decision,
    ) {
        let away = self.unavailable(context);
        let possible = ready.iter().find(|step| {
            let others = away.keys().filter(|(node, container)| (node, container) != (&step.node, &step.container));
            others.count() < parallelism
        });
        if let Some(step) = possible {
            if self.state == RolloutState::Waiting {
                self.go(RolloutState::Canary, "", context, decision);
            }
            self.order(step, canary, context, decision);
        } else if !ready.is_empty() {
            for reason in away.into_values().filter(|reason| !decision.waiting_on.contains(reason)).collect::<Vec<_>>()
            {
                decision.wait(reason);
            }
        }
    }

    /// Everything that concerns the rollout as a whole: other apps, the pause between steps, a start of the coordinator, the
    /// window, the progress deadline. Whether a step may start.
    fn gates(&self, canary: bool, context: &Context<'_>, decision: &mut Decision) -> bool {
        let before = decision.waiting_on.len();
        let in_force = context.catalog.app(self.app());
        if in_force.is_some_and(|app| !app.enabled) {
            decision.wait(WaitingOn::Disabled);
        }
        for first in &self.spec.after {
            if context.open.iter().any(|other| other.app() == first && !other.state.is_end()) {
                decision.wait(WaitingOn::After { app: first.clone() });
            }
        }
        if context.now < context.settled_at {
            decision.wait(WaitingOn::Settling { until: context.settled_at });
        }
        if let Some(until) = self.delay_until().filter(|until| *until > context.now) {
            decision.wait(WaitingOn::Delay { until });
        }
        match self.window(canary, context) {
            Ok(opened) => self.check_progress(opened, context, decision),
            Err(reason) => decision.wait(reason),
        }
        decision.waiting_on.len() == before && decision.events.is_empty()
    }

    fn delay_until(&self) -> Option<DateTime<Utc>> {
        let last = self.steps.iter().filter(|step| step.started_at.is_some()).filter_map(|step| step.ended_at).max()?;
        Some(last + TimeDelta::from_std(self.spec.update.delay).ok()?)
    }

    /// Pauses a rollout that may work, but has not finished a step for too long. Time outside the window does not count.
    fn check_progress(&self, opened: Option<DateTime<Utc>>, context: &Context<'_>, decision: &mut Decision) {
        let working = !matches!(self.state, RolloutState::Prepulling);
        let since = opened.map_or(self.progress_at, |opened| opened.max(self.progress_at));
        let deadline = since + TimeDelta::from_std(self.spec.update.progress_deadline).unwrap_or(TimeDelta::MAX);
        if !working {
            return;
        }
        if deadline <= context.now {
            let limit = crate::duration::format(self.spec.update.progress_deadline);
            self.go(RolloutState::Paused, &format!("no step ended within {limit}"), context, decision);
        } else {
            decision.wake(deadline);
        }
    }

    pub(super) fn order(&self, step: &Step, canary: bool, context: &Context<'_>, decision: &mut Decision) {
        let found = context.fleet.instance(self.app(), &step.node, &step.container);
        let container_id = found.map_or_else(|| step.container_id.clone(), |instance| instance.container_id.clone());
        decision.events.push(record(
            context,
            Event::StepOrdered {
                rollout: self.id.clone(),
                step: step.index,
                generation: self.generation,
                epoch: context.epoch,
                container_id: container_id.clone(),
                from: runs_now(step, context, self),
                canary,
            },
        ));
        let order = Box::new(self.step_order(step, container_id, canary, context));
        decision.actions.push(Action::Order { node: step.node.clone(), order });
    }

    fn step_order(&self, step: &Step, container_id: ContainerId, canary: bool, context: &Context<'_>) -> StepOrder {
        let update = &self.spec.update;
        StepOrder {
            key: StepKey { rollout: self.id.clone(), step: step.index, generation: self.generation },
            epoch: context.epoch,
            purpose: step.purpose,
            app: self.app().clone(),
            container: step.container.clone(),
            container_id,
            image: self.spec.image.clone(),
            digest: step.to.clone(),
            order: update.order,
            health: self.spec.health.clone(),
            healthy_deadline: update.healthy_deadline,
            monitor: if canary { update.canary_monitor } else { update.monitor },
            keep_images: update.keep_images,
            start_within: START_WITHIN,
        }
    }
}

const fn is_pulling(reason: &WaitingOn) -> bool {
    matches!(reason, WaitingOn::Image { failure: None, .. })
}

/// A fact that the machine itself decides.
pub(super) fn record(context: &Context<'_>, event: Event) -> Recorded {
    Recorded { at: context.now, by: Actor::nightshift(), event }
}
