//! What is remembered of jobs: those in flight, those that are to be tried again, and when a node was last used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{JobOutcome, JobSubject};
use crate::event::{Event, Recorded};
use crate::ids::{AppName, JobId, NodeName};

/// First pause before a job that could not be done is tried again; doubles each time.
const AGAIN_FIRST: Duration = Duration::from_secs(15);
/// Longest pause: an engine that works again, or a registry, is noticed within this time.
const AGAIN_LIMIT: Duration = Duration::from_secs(30 * 60);
/// After so many tries in a row that could not be done, someone is told: by then half an hour has gone by at least.
pub(crate) const TOLD_AFTER: u32 = 6;

/// A job that was ordered and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// The app.
    pub app: AppName,
    /// Where it is done.
    pub node: NodeName,
    /// What it is about.
    pub subject: JobSubject,
    /// When it was ordered.
    pub ordered_at: DateTime<Utc>,
    /// When the coordinator gives it up.
    pub deadline: DateTime<Utc>,
}

/// A job that could not be done, and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOff {
    /// What it is about.
    pub subject: JobSubject,
    /// How often in a row.
    pub tries: u32,
    /// Where it was tried since every fitting node had been.
    pub tried: BTreeSet<NodeName>,
    /// Why the last time.
    pub reason: String,
    /// Not before.
    pub until: DateTime<Utc>,
}

/// Every job that matters now. The fold of stored facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jobs {
    in_flight: BTreeMap<JobId, Job>,
    /// By app and kind of job: what is tried again of one kind says nothing of the other.
    put_off: BTreeMap<(AppName, &'static str), PutOff>,
    last_used: BTreeMap<NodeName, DateTime<Utc>>,
    ordered: u64,
}

impl Jobs {
    /// Folds one fact.
    pub fn apply(&mut self, recorded: &Recorded) {
        let event = &recorded.event;
        if let Event::JobOrdered { job, app, node, subject, within, .. } = event {
            self.ordered += 1;
            self.last_used.insert(node.clone(), recorded.at);
            let deadline = recorded.at + TimeDelta::from_std(*within).unwrap_or(TimeDelta::MAX);
            let (app, node, subject) = (app.clone(), node.clone(), subject.clone());
            let ordered = Job { id: job.clone(), app, node, subject, ordered_at: recorded.at, deadline };
            self.in_flight.insert(job.clone(), ordered);
        } else if let Event::JobEnded { job, outcome, .. } = event {
            if let Some(ended) = self.in_flight.remove(job) {
                self.ended(ended, outcome, recorded.at);
            }
        } else if let Event::AppRemoved { app, .. } = event {
            self.in_flight.retain(|_, job| job.app != *app);
            self.put_off.retain(|(of, _), _| of != app);
        } else if let Event::RebuildEnded { app, .. } = event {
            self.put_off.retain(|(of, _), put_off| of != app || !matches!(put_off.subject, JobSubject::Build { .. }));
        } else if let Event::NodeRemoved { node, .. } = event {
            self.last_used.remove(node);
        }
    }

    fn ended(&mut self, job: Job, outcome: &JobOutcome, at: DateTime<Utc>) {
        let key = (job.app, job.subject.kind());
        let before = self.put_off.remove(&key);
        let JobOutcome::NotDone { reason } = outcome else { return };
        let before = before.filter(|before| before.subject == job.subject);
        let (tries, mut tried) = before.map(|before| (before.tries, before.tried)).unwrap_or_default();
        tried.insert(job.node);
        let pause = AGAIN_FIRST.saturating_mul(1 << tries.min(10)).min(AGAIN_LIMIT);
        let until = at + TimeDelta::from_std(pause).unwrap_or(TimeDelta::MAX);
        let put_off =
            PutOff { subject: job.subject, tries: tries.saturating_add(1), tried, reason: reason.clone(), until };
        self.put_off.insert(key, put_off);
    }

    /// Every job in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &Job> {
        self.in_flight.values()
    }

    /// A job in flight.
    #[must_use]
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.in_flight.get(id)
    }

    /// The job in flight of an app: there is one at most.
    #[must_use]
    pub fn of_app(&self, app: &AppName) -> Option<&Job> {
        self.in_flight.values().find(|job| job.app == *app)
    }

    /// The job in flight on a node: there is one at most.
    #[must_use]
    pub fn on_node(&self, node: &NodeName) -> Option<&Job> {
        self.in_flight.values().find(|job| job.node == *node)
    }

    /// What of an app could not be done, where it is about this.
    #[must_use]
    pub fn put_off(&self, app: &AppName, subject: &JobSubject) -> Option<&PutOff> {
        self.put_off.get(&(app.clone(), subject.kind())).filter(|put_off| put_off.subject == *subject)
    }

    /// What of an app could not be done last, of each kind.
    pub fn troubled(&self, app: &AppName) -> impl Iterator<Item = &PutOff> {
        self.put_off.iter().filter(move |((of, _), _)| of == app).map(|(_, put_off)| put_off)
    }

    /// When a node was last given a job.
    #[must_use]
    pub fn last_used(&self, node: &NodeName) -> Option<DateTime<Utc>> {
        self.last_used.get(node).copied()
    }

    /// How many jobs there have been.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.ordered
    }
}
