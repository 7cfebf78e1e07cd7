//! What a decision is made on and what it says: facts to store, actions that follow from them, and why nothing more happens.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::catalog::Catalog;
use crate::event::Recorded;
use crate::fleet::Fleet;
use crate::ids::{AppName, Epoch, NodeName};
use crate::image::Digest;
use crate::job::JobOrder;
use crate::rebuild::RebuildNumber;
use crate::rollout::{Rollout, WaitingOn};
use crate::step::StepOrder;

/// What a decision is made on, apart from the rollout itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The coordinator's clock.
    pub now: DateTime<Utc>,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Apps, releases and nodes.
    pub catalog: &'a Catalog,
    /// What agents report.
    pub fleet: &'a Fleet,
    /// Every rollout that is not over, this one included.
    pub open: &'a [&'a Rollout],
    /// Until then agents may still be on their way back after a start of the coordinator.
    pub settled_at: DateTime<Utc>,
    /// After this long without an answer an unknown step is an alarm.
    pub unknown_after: std::time::Duration,
    /// A newer digest that would be rolled out if this rollout were not there.
    pub next: Option<&'a Digest>,
}

/// What a decision says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Facts to store, in order. Nothing else may happen before they are stored.
    pub events: Vec<Recorded>,
    /// What follows from them. Each is idempotent.
    pub actions: Vec<Action>,
    /// Why nothing more happens now.
    pub waiting_on: Vec<WaitingOn>,
    /// When to look again, if nothing else happens before.
    pub wake_at: Option<DateTime<Utc>>,
}

impl Decision {
    /// Asks to be woken at an instant, unless it is woken earlier anyway. An instant that has gone by wakes nobody: what it
    /// brought about is part of this decision already.
    pub fn wake(&mut self, at: DateTime<Utc>, now: DateTime<Utc>) {
        if at > now {
            self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
        }
    }

    /// Adds a reason to wait.
    pub fn wait(&mut self, reason: WaitingOn, now: DateTime<Utc>) {
        if let Some(until) = reason.until() {
            self.wake(until, now);
        }
        self.waiting_on.push(reason);
    }

    /// Adds reasons to wait, without those that say again what is said of a place already.
    pub(super) fn wait_for_all(&mut self, reasons: Vec<WaitingOn>, now: DateTime<Utc>) {
        let mut said: BTreeSet<_> = self.waiting_on.iter().filter_map(WaitingOn::place).collect();
        let new: Vec<_> = reasons.iter().map(|reason| reason.place().is_none_or(|place| said.insert(place))).collect();
        for (reason, _) in reasons.into_iter().zip(new).filter(|(_, new)| *new) {
            self.wait(reason, now);
        }
    }
}

/// What a shell does after the events are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell a node to fetch an image.
    Prepull {
        /// The node.
        node: NodeName,
        /// The app's spec names the reference.
        app: AppName,
        /// The digest.
        digest: Digest,
    },
    /// Tell a node to replace a container.
    Order {
        /// The node.
        node: NodeName,
        /// The whole order.
        order: Box<StepOrder>,
    },
    /// Tell a node to do a job.
    Job {
        /// The whole order, which names the node.
        order: Box<JobOrder>,
    },
    /// Send the request that makes a CI system build the app.
    Trigger {
        /// The app; its spec names the request.
        app: AppName,
        /// The rebuild.
        number: RebuildNumber,
        /// How many requests of it have failed: whose answer this will be.
        attempt: u32,
    },
}
