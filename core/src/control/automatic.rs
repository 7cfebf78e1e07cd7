//! Rollouts that nobody asked for: a newer tested digest, or an instance that fell behind.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::App;
use crate::control::Control;
use crate::event::{Actor, Event, Recorded};
use crate::fleet::Fleet;
use crate::ids::{AppName, RolloutId};
use crate::image::Digest;
use crate::release::GateDenial;
use crate::rollout::{
    Candidate, Context, Decision, Overrides, PlannedStep, Rollout, RolloutState, Skip, WaitingOn, candidates,
    candidates_in_windows,
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
            decision.wake(context.settled_at, context.now);
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
                Err(waits) => {
                    waits.iter().filter_map(WaitingOn::until).for_each(|until| decision.wake(until, context.now));
                }
            }
        }
    }

    /// The steps of the rollout that the app needs now, or why there is none. Both may be empty: all is well, or one is in work.
    fn automatic(&self, app: &App, context: &Context<'_>) -> Result<Vec<PlannedStep>, Vec<WaitingOn>> {
        match self.rollout_in_work(&app.spec.name) {
            // It may give way to a digest that is not let through yet: that instant is waited for all the same.
            Some(_) => Err(gate_waits(app, context.now)),
            None => self.wanted(app, context),
        }
    }

    /// The same as if no rollout of the app were in work.
    pub(super) fn wanted(&self, app: &App, context: &Context<'_>) -> Result<Vec<PlannedStep>, Vec<WaitingOn>> {
        if let Some(wait) = hindrance(app) {
            return Err(vec![wait]);
        }
        let mut waits = gate_waits(app, context.now);
        let Some(target) = app.target(context.now) else { return Err(waits) };
        if let Some(rollout) = self.given_up(app, &target.digest) {
            waits.push(WaitingOn::GivenUp { digest: target.digest.clone(), rollout: rollout.id.clone() });
            return Err(waits);
        }
        let mut steps = Vec::new();
        for candidate in candidates_in_windows(app, &self.catalog, context.fleet, &target.digest, false) {
            match hold(app, &candidate, context.now) {
                None => steps.push(candidate.step),
                Some(wait) => waits.extend(wait),
            }
        }
        if steps.is_empty() {
            return Err(waits);
        }
        match self.earlier(app, context) {
            Some(first) => Err(vec![WaitingOn::After { app: first.clone() }]),
            None => Ok(steps),
        }
    }

    /// An app that goes first and is not done: its rollout is open, or is about to begin.
    fn earlier<'a>(&self, app: &'a App, context: &Context<'_>) -> Option<&'a AppName> {
        let due = |first: &&AppName| {
            let open = self.rollout_in_work(first).is_some();
            open || self.catalog.app(first).is_some_and(|first| self.automatic(first, context).is_ok())
        };
        app.spec.after.iter().find(due)
    }

    /// The rollout by which a digest was given up, if nothing has brought it back since: one to it that a person ended or that
    /// rolled back, or one by which a person went back from it.
    fn given_up(&self, app: &App, digest: &Digest) -> Option<&Rollout> {
        let from_it = |rollout: &Rollout| {
            rollout.purpose == Purpose::Rollback && rollout.steps.iter().any(|step| step.from.as_ref() == Some(digest))
        };
        let about_it = self.rollouts_of(&app.spec.name).filter(|rollout| rollout.to == *digest || from_it(rollout));
        let last = about_it.max_by_key(|rollout| rollout.position)?;
        let left = last.to != *digest || matches!(last.state, RolloutState::Aborted | RolloutState::RolledBack);
        left.then_some(last)
    }

    /// Why an app's instances do not run something newer: what `status` says. Empty when all is well or a rollout works.
    #[must_use]
    pub fn app_waits(&self, app: &App, fleet: &Fleet, now: DateTime<Utc>) -> Vec<WaitingOn> {
        if let Some(rollout) = self.rollout_in_work(&app.spec.name) {
            return self.rollout_waits(rollout, fleet, now);
        }
        self.with_context(fleet, now, |context| {
            let Err(mut waits) = self.automatic(app, context) else { return Vec::new() };
            if let Some(wait) = hindrance(app) {
                // An app that is up to date waits for nothing; one that has something newer says what that is missing.
                waits.retain(|wait| *wait == WaitingOn::Disabled);
                if self.is_behind(app, fleet, now) && !waits.contains(&wait) {
                    waits.push(wait);
                }
                waits.extend(gate_waits(app, now));
            }
            waits.retain(|wait| !is_past(wait, app, fleet));
            waits.extend(self.job_waits(app, context));
            waits
        })
    }

    /// Whether an instance could be moved to what the gate lets through.
    fn is_behind(&self, app: &App, fleet: &Fleet, now: DateTime<Utc>) -> bool {
        let Some(target) = app.target(now) else { return false };
        let candidates = candidates(app, &self.catalog, fleet, &target.digest, false);
        candidates.iter().any(|candidate| candidate.skipped.is_none())
    }
}

/// Whether a wait is about tests of a digest that every instance runs already: nothing is held back by it.
fn is_past(wait: &WaitingOn, app: &App, fleet: &Fleet) -> bool {
    let WaitingOn::Gate {
        digest,
        denial:
            GateDenial::NotTagged
            | GateDenial::NotTested { .. }
            | GateDenial::NotSigned { .. }
            | GateDenial::TestsTooOld { .. },
    } = wait
    else {
        return false;
    };
    runs_everywhere(app, digest, fleet)
}

/// Whether there are instances, and all of them run this digest.
pub(super) fn runs_everywhere(app: &App, digest: &Digest, fleet: &Fleet) -> bool {
    let mut instances = fleet.instances(&app.spec.name).peekable();
    instances.peek().is_some() && instances.all(|(_, instance)| instance.runs(digest))
}

/// What keeps an app from any automatic rollout.
fn hindrance(app: &App) -> Option<WaitingOn> {
    if !app.enabled {
        return Some(WaitingOn::Disabled);
    }
    if app.spec.update.mode == RolloutMode::Manual {
        return Some(WaitingOn::ManualMode);
    }
    let windows = app.spec.quiet_hours.as_ref().is_some_and(|quiet| !quiet.allow().is_empty());
    (!windows).then_some(WaitingOn::NoQuietHours)
}

/// Whether a candidate is no step of an automatic rollout now; with the reason to wait where there is one.
fn hold(app: &App, candidate: &Candidate, now: DateTime<Utc>) -> Option<Option<WaitingOn>> {
    let step = &candidate.step;
    let (node, container) = (step.node.clone(), step.container.clone());
    match &candidate.skipped {
        Some(Skip::AtTarget | Skip::Newer | Skip::NodeAway(_)) => return Some(None),
        Some(Skip::Contested(app)) => return Some(Some(WaitingOn::Contested { node, container, app: app.clone() })),
        Some(Skip::Platform(unfit)) => return Some(Some(WaitingOn::Platform { node, unfit: Box::new(unfit.clone()) })),
        Some(Skip::NoWindow) => return Some(Some(WaitingOn::NoNodeWindow { node })),
        Some(Skip::Refused(reason)) => {
            return Some(Some(WaitingOn::Refused { node, container, reason: reason.clone() }));
        }
        None => {}
    }
    let adopted = app.adopted.get(&(node.clone(), container.clone()))?;
    let left = adopted.left_behind.as_ref()?;
    if left.to != step.to || left.container_id != step.container_id {
        return None;
    }
    if left.failed {
        // It would fail again, and bar a version that works elsewhere.
        return Some(Some(WaitingOn::GivenUp { digest: left.to.clone(), rollout: left.rollout.clone() }));
    }
    let until = left.at + TimeDelta::from_std(CATCH_UP_AFTER).unwrap_or(TimeDelta::MAX);
    let reason = left.reason.clone();
    // A clock that was set back since does not make it wait for longer.
    (until > now && left.at <= now).then_some(Some(WaitingOn::PutOff { node, container, reason, until }))
}

/// Why the newest release is not let through, and which other releases newer than the target only have to wait.
fn gate_waits(app: &App, now: DateTime<Utc>) -> Vec<WaitingOn> {
    if let (Some(policy), None) = (&app.spec.tags, &app.tag) {
        return vec![WaitingOn::NoTag { policy: policy.to_string() }];
    }
    if app.releases.is_empty() {
        return vec![WaitingOn::NoRelease];
    }
    let judged = app.releases.iter().rev().map(|release| (release, app.spec.gate.judge(release, now)));
    let denied = judged.map_while(|(release, verdict)| Some((release, verdict.err()?)));
    let told = denied
        .enumerate()
        .filter(|(place, (_, denial))| *place == 0 || matches!(denial, GateDenial::CoolingDown { .. }));
    told.map(|(_, (release, denial))| WaitingOn::Gate { digest: release.digest.clone(), denial }).collect()
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

/// The digest that most steps come from; of several the smallest, so that chance has no part in it.
fn most_common(steps: &[PlannedStep]) -> Option<Digest> {
    let mut counts: BTreeMap<&Digest, usize> = BTreeMap::new();
    steps.iter().filter_map(|step| step.from.as_ref()).for_each(|digest| *counts.entry(digest).or_default() += 1);
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(digest, _)| digest.clone())
}
