//! The coordinator's whole judgement: the fold of everything stored, and what follows from it, from what agents report and
//! from what people ask.
//!
//! The driver around it does always the same: ask for a decision, append its events in one transaction, apply them, act.
//! [`Control::tick`] is asked after each change and at the instant that it named; it is level-triggered, so it does not
//! matter how often. Nothing in here has an effect.

mod alarms;
mod automatic;
mod jobs;
mod rebuilds;
mod reports;
mod requests;
mod start;
mod start_first;
mod supersede;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::Catalog;
use crate::event::Recorded;
use crate::fleet::Fleet;
use crate::ids::{AppName, Epoch, RolloutId};
use crate::job::Jobs;
use crate::rollout::{Context, Decision, Rejection, RejectionKind, Rollout, WaitingOn};
pub use rebuilds::TRIGGER_PATIENCE;
pub use requests::{Request, StartOptions};
pub use start::Plan;
pub use start_first::start_first_refusal;

/// Ended rollouts remembered of one app: enough to look back some weeks; older ones are in the event log.
const ENDED_LIMIT: usize = 30;

/// How long after a start of the coordinator absent agents count as still on their way: longer than an agent's longest pause
/// between two tries to connect.
pub const SETTLE_TIME: Duration = Duration::from_secs(20);

/// Everything that the coordinator remembers, and how it judges.
#[derive(Debug, Clone)]
pub struct Control {
    catalog: Catalog,
    rollouts: BTreeMap<RolloutId, Rollout>,
    /// Which of them belong to an app, and which are not over: so that a fleet with a long past is as quick as a new one.
    of_app: BTreeMap<AppName, BTreeSet<RolloutId>>,
    open: BTreeSet<RolloutId>,
    jobs: Jobs,
    /// How many there have been.
    planned: u64,
    epoch: Epoch,
    started_at: DateTime<Utc>,
    unknown_after: Duration,
}

impl Control {
    /// A coordinator that remembers nothing yet.
    #[must_use]
    pub fn new(epoch: Epoch, started_at: DateTime<Utc>, unknown_after: Duration) -> Self {
        Self {
            catalog: Catalog::default(),
            rollouts: BTreeMap::new(),
            of_app: BTreeMap::new(),
            open: BTreeSet::new(),
            jobs: Jobs::default(),
            planned: 0,
            epoch,
            started_at,
            unknown_after,
        }
    }

    /// Folds one stored fact.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.jobs.apply(recorded);
        if let Some(mut rollout) = Rollout::from_planned(recorded) {
            rollout.position = self.planned;
            self.planned += 1;
            self.of_app.entry(rollout.app().clone()).or_default().insert(rollout.id.clone());
            self.open.insert(rollout.id.clone());
            self.rollouts.insert(rollout.id.clone(), rollout);
        } else if let Some(rollout) = recorded.event.rollout().and_then(|id| self.rollouts.get_mut(id)) {
            rollout.apply(recorded);
            let ended = recorded.event.step().and_then(|index| rollout.step(index)).filter(|step| step.is_done());
            if let Some(step) = ended {
                self.catalog.step_ended(rollout, step, recorded.at);
            }
            if rollout.is_over() && self.open.remove(&rollout.id) {
                let app = rollout.app().clone();
                self.catalog.rollout_ended(&app, recorded.at);
                self.forget_old(&app);
            }
        } else {
            self.catalog.apply(recorded);
        }
    }

    fn forget_old(&mut self, app: &AppName) {
        let mut over: Vec<_> = self.rollouts_of(app).filter(|rollout| !self.open.contains(&rollout.id)).collect();
        over.sort_by_key(|rollout| rollout.position);
        let surplus = over.len().saturating_sub(ENDED_LIMIT);
        let forgotten: Vec<_> = over.into_iter().take(surplus).map(|rollout| rollout.id.clone()).collect();
        for id in forgotten {
            self.rollouts.remove(&id);
            if let Some(ids) = self.of_app.get_mut(app) {
                ids.remove(&id);
            }
        }
    }

    /// An app's remembered rollouts, in the order of their ids.
    fn rollouts_of(&self, app: &AppName) -> impl Iterator<Item = &Rollout> {
        self.of_app.get(app).into_iter().flatten().filter_map(|id| self.rollouts.get(id))
    }

    /// The app's rollout that is not over: a step of it may still be in flight after its end.
    fn rollout_in_work(&self, app: &AppName) -> Option<&Rollout> {
        self.rollouts_of(app).find(|rollout| self.open.contains(&rollout.id))
    }

    /// Apps, releases and nodes.
    #[must_use]
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Work on nodes that touches no instance.
    #[must_use]
    pub const fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The present epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Every remembered rollout, the newest first.
    #[must_use]
    pub fn rollouts(&self) -> Vec<&Rollout> {
        let mut all: Vec<_> = self.rollouts.values().collect();
        all.sort_by_key(|rollout| std::cmp::Reverse(rollout.position));
        all
    }

    /// The app's rollout that has not ended, if there is one.
    #[must_use]
    pub fn open_rollout(&self, app: &AppName) -> Option<&Rollout> {
        self.rollout_in_work(app).filter(|rollout| !rollout.state.is_end())
    }

    /// The rollout of this identity.
    #[must_use]
    pub fn rollout(&self, id: &RolloutId) -> Option<&Rollout> {
        self.rollouts.get(id)
    }

    /// The rollout that a person means: by id, by an unambiguous start of one, or the newest of an app.
    ///
    /// # Errors
    /// None, or more than one, fits.
    pub fn find_rollout(&self, word: &str) -> Result<&Rollout, Rejection> {
        if let Some(exact) = word.parse().ok().and_then(|id: RolloutId| self.rollouts.get(&id)) {
            return Ok(exact);
        }
        let of_app = word.parse().ok().into_iter().flat_map(|app: AppName| self.of_app.get(&app)).flatten();
        let of_app = of_app.filter_map(|id| self.rollouts.get(id));
        if let Some(newest) = of_app.max_by_key(|rollout| rollout.position) {
            return Ok(newest);
        }
        let fits: Vec<_> = self.rollouts.values().filter(|rollout| rollout.id.as_str().starts_with(word)).collect();
        match fits.as_slice() {
            [one] if !word.is_empty() => Ok(one),
            [] | [_] => Err(Rejection::new(RejectionKind::NotFound, format!("no rollout `{word}`"))
                .hint("`nightshift rollout list` shows them; an app's name means its newest")),
            [..] => Err(Rejection::new(RejectionKind::Usage, format!("`{word}` fits {} rollouts", fits.len()))
                .hint("write more of the id")),
        }
    }

    /// Until when absent agents count as still on their way; in the past as soon as all of them are back.
    fn settled_at(&self, fleet: &Fleet, now: DateTime<Utc>) -> DateTime<Utc> {
        let latest = self.started_at + TimeDelta::from_std(SETTLE_TIME).unwrap_or(TimeDelta::MAX);
        // A clock that was set back since the start says nothing about how long that is ago.
        if latest <= now || now < self.started_at {
            return latest.min(now);
        }
        let back = |name| fleet.node(name).is_some_and(|node| node.instances.is_some() || node.engine_error.is_some());
        if self.catalog.nodes().all(|(name, _)| back(name)) { self.started_at } else { latest }
    }

    /// Runs `judge` with everything a rollout decides on.
    fn with_context<T>(&self, fleet: &Fleet, now: DateTime<Utc>, judge: impl FnOnce(&Context<'_>) -> T) -> T {
        let open: Vec<_> = self.open.iter().filter_map(|id| self.rollouts.get(id)).collect();
        judge(&Context {
            now,
            epoch: self.epoch,
            catalog: &self.catalog,
            fleet,
            open: &open,
            settled_at: self.settled_at(fleet, now),
            unknown_after: self.unknown_after,
            next: None,
        })
    }

    /// What comes next in the whole fleet. With events in it: append, apply, act, and ask again. `new_id` names the rollout
    /// that this decision may bring about.
    #[must_use]
    pub fn tick(&self, fleet: &Fleet, now: DateTime<Utc>, new_id: &RolloutId) -> Decision {
        self.with_context(fleet, now, |context| {
            let mut whole = Decision::default();
            for rollout in context.open {
                let one = rollout.decide(&self.with_next(rollout, context));
                // Orders of two rollouts for one node must not be decided on the same facts: one rollout at a time.
                let decided = !one.events.is_empty();
                merge(&mut whole, one, now);
                if decided {
                    return whole;
                }
            }
            self.decide_rebuilds(context, &mut whole);
            self.start_automatically(context, new_id, &mut whole);
            if whole.events.is_empty() {
                self.order_jobs(context, new_id, &mut whole);
            }
            if whole.events.is_empty() {
                self.note_alarms(context, &mut whole);
            }
            whole
        })
    }

    /// Why nothing more happens with a rollout now.
    #[must_use]
    pub fn rollout_waits(&self, rollout: &Rollout, fleet: &Fleet, now: DateTime<Utc>) -> Vec<WaitingOn> {
        self.with_context(fleet, now, |context| rollout.decide(&self.with_next(rollout, context)).waiting_on)
    }
}

fn merge(whole: &mut Decision, one: Decision, now: DateTime<Utc>) {
    whole.events.extend(one.events);
    whole.actions.extend(one.actions);
    if let Some(at) = one.wake_at {
        whole.wake(at, now);
    }
}

#[cfg(test)]
mod tests;
