//! Rollouts that nobody asked for: a newer tested digest, or an instance that fell behind.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::App;
use crate::control::Control;
use crate::event::{Actor, Event, Recorded};
use crate::fleet::Fleet;
use crate::ids::RolloutId;
use crate::image::Digest;
use crate::rollout::{
    Candidate, Context, Decision, Overrides, PlannedStep, Rollout, RolloutState, Skip, Step, WaitingOn, candidates,
};
use crate::spec::RolloutMode;
use crate::step::Purpose;

/// An instance that a rollout left behind is tried again after this long, not at once: what stood in the way rarely goes
/// away within minutes.
const CATCH_UP_AFTER: Duration = Duration::from_secs(15 * 60);

impl Control {
    /// Plans a rollout for the first app that needs one.
    pub(super) fn start_automatically(&self, context: &Context<'_>, new_id: &RolloutId, decision: &mut Decision) {
        if context.now < context.settled_at {
            decision.wake(context.settled_at);
            return;
        }
        for app in self.catalog.apps() {
            match self.automatic(app, context) {
                Ok(steps) => {
                    let Some(to) = steps.first().map(|step| step.to.clone()) else { continue };
                    let reason = "a newer tested digest";
                    let by = Actor::nightshift();
                    let event = planned(app, new_id, to, steps, Purpose::Update, Overrides::default(), reason);
                    decision.events.push(Recorded { at: context.now, by, event });
                    return;
                }
                Err(waits) => waits.iter().filter_map(WaitingOn::until).for_each(|until| decision.wake(until)),
            }
        }
    }

    /// The steps of the rollout that the app needs now, or why there is none. Both may be empty: all is well.
    fn automatic(&self, app: &App, context: &Context<'_>) -> Result<Vec<PlannedStep>, Vec<WaitingOn>> {
        if let Some(wait) = self.hindrance(app) {
            return Err(vec![wait]);
        }
        let target = app.target(context.now);
        let waits = gate_waits(app, context.now);
        let Some(target) = target else { return Err(waits) };
        if let Some(rollout) = self.given_up(app, &target.digest) {
            return Err(vec![WaitingOn::GivenUp { digest: target.digest.clone(), rollout: rollout.id.clone() }]);
        }
        let mut steps = Vec::new();
        let mut later = waits;
        for candidate in candidates(app, &self.catalog, context.fleet, &target.digest, false) {
            match self.hold(app, &candidate, context.now) {
                None => steps.push(candidate.step),
                Some(wait) => later.extend(wait),
            }
        }
        if steps.is_empty() { Err(later) } else { Ok(steps) }
    }

    /// What keeps an app from any automatic rollout.
    fn hindrance(&self, app: &App) -> Option<WaitingOn> {
        if !app.enabled {
            return Some(WaitingOn::Disabled);
        }
        if app.spec.update.mode == RolloutMode::Manual {
            return Some(WaitingOn::ManualMode);
        }
        if app.spec.quiet_hours.as_ref().is_none_or(|quiet| quiet.allow().is_empty()) {
            return Some(WaitingOn::NoQuietHours);
        }
        let open = self.rollouts.values().find(|rollout| rollout.app() == &app.spec.name && !rollout.is_over())?;
        // Its own reasons to wait are shown with it.
        Some(WaitingOn::After { app: open.app().clone() })
    }

    /// The last rollout to this digest, if it ended without reaching it by a person's will or a rollback.
    fn given_up(&self, app: &App, digest: &Digest) -> Option<&Rollout> {
        let last =
            self.rollouts().into_iter().find(|rollout| rollout.app() == &app.spec.name && rollout.to == *digest)?;
        matches!(last.state, RolloutState::Aborted | RolloutState::RolledBack).then_some(last)
    }

    /// Whether a candidate is no step of an automatic rollout now; with the reason to wait where there is one.
    fn hold(&self, app: &App, candidate: &Candidate, now: DateTime<Utc>) -> Option<Option<WaitingOn>> {
        let (node, container) = (candidate.step.node.clone(), candidate.step.container.clone());
        match &candidate.skipped {
            Some(Skip::AtTarget | Skip::Newer | Skip::NodeAway(_)) => return Some(None),
            Some(Skip::Refused(reason)) => {
                return Some(Some(WaitingOn::Refused { node, container, reason: reason.clone() }));
            }
            None => {}
        }
        let tried = self.last_attempt(app, &candidate.step)?;
        let until = tried.ended_at? + TimeDelta::from_std(CATCH_UP_AFTER).unwrap_or(TimeDelta::MAX);
        let reason = tried.reason.clone().unwrap_or_default();
        (until > now).then_some(Some(WaitingOn::PutOff { node, container, reason, until }))
    }

    /// The last step that left this very container behind the same target.
    fn last_attempt(&self, app: &App, planned: &PlannedStep) -> Option<&Step> {
        let same = |step: &&Step| {
            step.node == planned.node
                && step.container == planned.container
                && step.container_id == planned.container_id
                && step.to == planned.to
                && step.ended_at.is_some()
                && !step.is_at_target()
        };
        let steps = self.rollouts.values().filter(|rollout| rollout.app() == &app.spec.name);
        steps.flat_map(|rollout| rollout.steps.iter()).filter(same).max_by_key(|step| step.ended_at)
    }

    /// Why an app's instances do not run something newer: what `status` says. Empty when all is well or a rollout works.
    #[must_use]
    pub fn app_waits(&self, app: &App, fleet: &Fleet, now: DateTime<Utc>) -> Vec<WaitingOn> {
        if let Some(rollout) = self.open_rollout(&app.spec.name) {
            return self.rollout_waits(rollout, fleet, now);
        }
        self.with_context(fleet, now, |context| {
            let Err(waits) = self.automatic(app, context) else { return Vec::new() };
            // An app that is up to date and merely has no newer release waits for nothing.
            let behind = needs_something(app, self, fleet, now);
            waits
                .into_iter()
                .filter(|wait| behind || !matches!(wait, WaitingOn::NoQuietHours | WaitingOn::ManualMode))
                .collect()
        })
    }
}

/// Whether an instance could be moved to what the gate lets through.
fn needs_something(app: &App, control: &Control, fleet: &Fleet, now: DateTime<Utc>) -> bool {
    let Some(target) = app.target(now) else { return false };
    candidates(app, &control.catalog, fleet, &target.digest, false).iter().any(|candidate| candidate.skipped.is_none())
}

/// Why releases newer than the target, or all of them, are not let through.
fn gate_waits(app: &App, now: DateTime<Utc>) -> Vec<WaitingOn> {
    if app.releases.is_empty() {
        return vec![WaitingOn::NoRelease];
    }
    let newest = app.releases.last();
    let denied = newest.and_then(|release| Some((release, app.spec.gate.judge(release, now).err()?)));
    denied.map(|(release, denial)| WaitingOn::Gate { digest: release.digest.clone(), denial }).into_iter().collect()
}

/// The event that brings a rollout into being.
pub(super) fn planned(
    app: &App,
    id: &RolloutId,
    to: Digest,
    steps: Vec<PlannedStep>,
    purpose: Purpose,
    overrides: Overrides,
    reason: &str,
) -> Event {
    Event::RolloutPlanned {
        rollout: id.clone(),
        spec: Box::new(app.spec.clone()),
        version: app.version,
        from: most_common(&steps),
        to,
        purpose,
        overrides,
        reason: reason.to_owned(),
        steps,
    }
}

fn most_common(steps: &[PlannedStep]) -> Option<Digest> {
    let count = |digest: &Digest| steps.iter().filter(|step| step.from.as_ref() == Some(digest)).count();
    steps.iter().filter_map(|step| step.from.clone()).max_by_key(|digest| count(digest))
}
