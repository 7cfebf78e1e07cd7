//! The next order: which of the pending steps may start now, or why none may.

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::Event;
use crate::ids::{ContainerId, NodeName};
use crate::mutation::{Rule, broken};
use crate::rollout::decide::{Judged, record};
use crate::rollout::pick::{Obstacle, place_of};
use crate::rollout::window::{Survey, Windows};
use crate::rollout::{Action, Context, Decision, Rollout, RolloutState, Step, WaitingOn};
use crate::step::{Purpose, StepKey, StepOrder};

/// An agent refuses an order that it could not begin within this time: long enough for a slow disk, short against any window.
const START_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

impl Rollout {
    pub(super) fn order_next(&self, judged: Vec<Judged<'_>>, context: &Context<'_>, decision: &mut Decision) {
        if self.spec.update.pre_pull {
            decision.actions = self.prepulls(context);
        }
        self.wait_for_flight(context, decision);
        let (ready, waits) = sorted(judged);
        if self.state == RolloutState::Prepulling && !ready.is_empty() && !waits.iter().any(is_pulling) {
            self.go(RolloutState::Waiting, "", context, decision);
            return;
        }
        decision.wait_for_all(waits, context.now);
        let canary = !self.canary_is_good() && self.state != RolloutState::Rolling;
        let mut windows = self.windows(canary, context);
        let survey = windows.survey(self.next_nodes());
        if self.gates(&survey, &mut windows, context, decision) && self.state != RolloutState::Prepulling {
            let parallelism = if canary { 1 } else { self.parallelism() };
            let ready: Vec<&Step> = ready.into_iter().filter(|step| windows.of(&step.node).is_ok()).collect();
            self.order_first_possible(&ready, parallelism, canary, context, decision);
        }
        if decision.events.is_empty() {
            self.note_unused_window(survey.open, context, decision);
        }
    }

    /// The nodes on which steps are still to be done; when all are ordered, those where they are.
    fn next_nodes(&self) -> impl Iterator<Item = &NodeName> {
        let left = self.current_steps().any(Step::is_pending);
        let next = move |step: &&Step| if left { step.is_pending() } else { step.is_in_flight() };
        self.current_steps().filter(next).map(|step| &step.node)
    }

    pub(super) fn parallelism(&self) -> usize {
        if broken(Rule::Parallelism) {
            return usize::MAX;
        }
        usize::try_from(self.spec.update.parallelism).unwrap_or(usize::MAX)
    }

    /// Orders the first ready step that does not lower availability too far; else says who is missing.
    pub(super) fn order_first_possible(
        &self,
        ready: &[&Step],
        parallelism: usize,
        canary: bool,
        context: &Context<'_>,
        decision: &mut Decision,
    ) {
        if ready.is_empty() || self.in_flight().count() >= parallelism {
            return;
        }
        let away = self.unavailable(context);
        let possible = ready.iter().find(|step| {
            let own = away.contains_key(&place_of(step));
            // What does not serve anyway cannot be taken away: replacing it may well be the cure.
            away.len() - usize::from(own) < parallelism || own && self.is_failing(step, context)
        });
        match possible {
            Some(step) => {
                if self.state == RolloutState::Waiting {
                    self.go(RolloutState::Canary, "", context, decision);
                }
                self.order(step, canary, context, decision);
            }
            None => decision.wait_for_all(away.into_values().collect(), context.now),
        }
    }

    /// Everything that concerns the rollout as a whole: other apps, the pause between steps, a start of the coordinator, the
    /// window, the progress deadline. Whether a step may start.
    fn gates(
        &self,
        survey: &Survey,
        windows: &mut Windows<'_>,
        context: &Context<'_>,
        decision: &mut Decision,
    ) -> bool {
        let (now, before) = (context.now, decision.waiting_on.len());
        // A person who goes back waits neither for other apps nor for the app to be followed again.
        if self.purpose == Purpose::Update {
            if context.catalog.app(self.app()).is_some_and(|app| !app.enabled) {
                decision.wait(WaitingOn::Disabled, now);
            }
            for first in &self.spec.after {
                if context.open.iter().any(|other| other.id != self.id && other.app() == first) {
                    decision.wait(WaitingOn::After { app: first.clone() }, now);
                }
            }
        }
        if let Some(next) = context.next.filter(|_| self.comes_to_a_boundary()) {
            decision.wait(WaitingOn::GivesWay { to: next.clone() }, now);
        }
        self.settle(context, decision);
        if let Some(until) = self.delay_until(now).filter(|until| *until > now) {
            decision.wait(WaitingOn::Delay { until }, now);
        }
        // Time in which something else forbids to work does not count either.
        if decision.waiting_on.len() == before {
            self.check_progress(windows, context, decision);
        }
        let free = survey.any && decision.waiting_on.len() == before && decision.events.is_empty();
        survey.closed.iter().for_each(|reason| decision.wait(reason.clone(), now));
        free
    }

    /// Waits for agents that may still be on their way back. Whether it does.
    pub(super) fn settle(&self, context: &Context<'_>, decision: &mut Decision) -> bool {
        let early = context.now < context.settled_at;
        if early {
            decision.wait(WaitingOn::Settling { until: context.settled_at }, context.now);
        }
        early
    }

    fn delay_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let last = self.steps.iter().filter(|step| step.started_at.is_some()).filter_map(|step| step.ended_at).max()?;
        // A clock that was set back since does not make the pause longer.
        Some(last + TimeDelta::from_std(self.spec.update.delay).ok()?).filter(|_| last <= now)
    }

    fn order(&self, step: &Step, canary: bool, context: &Context<'_>, decision: &mut Decision) {
        let (container_id, from) = self.found(step, context);
        decision.events.push(record(
            context,
            Event::StepOrdered {
                rollout: self.id.clone(),
                step: step.index,
                generation: self.generation,
                epoch: context.epoch,
                container_id: container_id.clone(),
                from,
                canary,
            },
        ));
        let order = Box::new(self.step_order(step, container_id, canary, context));
        decision.actions.push(Action::Order { node: step.node.clone(), order });
    }

    fn step_order(&self, step: &Step, container_id: ContainerId, canary: bool, context: &Context<'_>) -> StepOrder {
        let update = &self.spec.update;
        let app = context.catalog.app(self.app());
        let reference = app.map_or_else(|| self.spec.image.clone(), |app| app.reference(&step.to));
        StepOrder {
            key: StepKey { rollout: self.id.clone(), step: step.index, generation: self.generation },
            epoch: context.epoch,
            purpose: step.purpose,
            node: step.node.clone(),
            app: self.app().clone(),
            container: step.container.clone(),
            container_id,
            image: reference,
            digest: step.to.clone(),
            order: update.order,
            health: self.spec.health.clone(),
            hooks: self.spec.hooks.clone(),
            healthy_deadline: update.healthy_deadline,
            monitor: if canary { update.canary_monitor } else { update.monitor },
            keep_images: update.keep_images,
            start_within: START_WITHIN,
            signatures: context.catalog.signatures(self.app(), &step.to).to_vec(),
        }
    }
}

/// Steps that may be ordered, and what the others wait for. What is left out was left out before.
pub(super) fn sorted(judged: Vec<Judged<'_>>) -> (Vec<&Step>, Vec<WaitingOn>) {
    let (mut ready, mut waits) = (Vec::new(), Vec::new());
    for (step, obstacle) in judged {
        match obstacle {
            None => ready.push(step),
            Some(Obstacle::Wait(reason)) => waits.push(reason),
            Some(Obstacle::Skip(..)) => {}
        }
    }
    (ready, waits)
}

pub(super) const fn is_pulling(reason: &WaitingOn) -> bool {
    matches!(reason, WaitingOn::Image { failure: None, .. })
}
