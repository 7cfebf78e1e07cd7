//! An agent and its engine, as far as the protocol sees them: what is durable, what a crash takes, and which orders it obeys.
//!
//! The fence is the product's own ([`Fence`]). An order is judged as in `agent/src/session/connection.rs` and `agent/src/worker/admission.rs`,
//! and the way of a step is that of `nightshift_core::replace`, with the phases left out at which nothing changes for others.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use nightshift_core::container::{Health, RunState};
use nightshift_core::fence::Fence;
use nightshift_core::ids::{ContainerId, Epoch, RolloutId};
use nightshift_core::instance::InstanceView;
use nightshift_core::step::{Failure, FailureKind, StepKey, StepOrder, StepPhase, StepReport};

use crate::world::{Mistake, app, digest, number};

/// A step in the journal.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) order: Arc<StepOrder>,
    pub(crate) phase: StepPhase,
    failure: Option<FailureKind>,
}

impl Hash for Job {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.order.key, self.order.epoch.0, &self.order.container_id.0, self.phase, self.failure).hash(state);
    }
}

/// One node. What a crash takes is only `session`: everything else is in the journal or in the engine.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Agent {
    /// The number of its present connection, as it sees it.
    pub(crate) session: u8,
    /// Whether the process has a connection that it believes in.
    pub(crate) dialled: bool,
    fence: Fence,
    /// The largest epoch that a Welcome named.
    obeyed: u64,
    /// The step in work.
    pub(crate) job: Option<Job>,
    /// Ended steps that the coordinator has not acknowledged.
    pub(crate) ended: Vec<Job>,
    runs: u8,
    made: u8,
    /// Whether its instance does not serve.
    pub(crate) away: bool,
    /// Largest epoch that reached it, and largest generations that it began, kept apart from the fence: that is what is
    /// checked.
    seen: (u64, BTreeMap<RolloutId, u64>),
}

/// How an order was met.
pub(crate) enum Met {
    /// It is known, or refused: there is an answer to send.
    Answer(StepReport),
    /// It is begun. (That the order has arrived is no news that anything depends on: it is not sent here.)
    Begun,
    /// It is begun although it is stale.
    Stale,
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self {
            session: 0,
            dialled: false,
            fence: Fence::default(),
            obeyed: 0,
            job: None,
            ended: Vec::new(),
            runs: 1,
            made: 0,
            away: false,
            seen: (0, BTreeMap::new()),
        }
    }

    /// What it says when it connects; `None` when the coordinator is an old one.
    pub(crate) fn hello(&mut self, epoch: Epoch) -> Option<Vec<StepReport>> {
        if epoch.0 < self.obeyed {
            return None;
        }
        self.obeyed = epoch.0;
        self.seen.0 = self.seen.0.max(epoch.0);
        self.session += 1;
        self.dialled = true;
        Some(self.ended.iter().chain(&self.job).map(|job| self.report(job)).collect())
    }

    /// Takes an order. With `dies` the process ends between its two durable writes: the fence is raised, the step not begun.
    pub(crate) fn take(&mut self, order: &Arc<StepOrder>, dies: bool, mistake: Option<Mistake>) -> Option<Met> {
        if order.epoch.0 != self.obeyed && mistake != Some(Mistake::NoFence) {
            // What is not of the connection's own epoch is not even looked at (`agent/src/session/connection.rs`).
            return None;
        }
        let known = self.ended.iter().chain(&self.job).find(|job| job.order.key == order.key);
        if let Some(known) = known {
            return Some(Met::Answer(self.report(known)));
        }
        let fresh = self.fence.check(order.epoch, Some(&order.key));
        let generation = self.seen.1.get(&order.key.rollout).copied().unwrap_or_default();
        let outdated = order.epoch.0 < self.seen.0 || order.key.generation.0 < generation;
        let refused = |failure| Job { order: order.clone(), phase: StepPhase::Untouched, failure: Some(failure) };
        if fresh.is_err() && mistake != Some(Mistake::NoFence) {
            // A stale order leaves no trace.
            return Some(Met::Answer(self.report(&refused(FailureKind::NotAccepted))));
        }
        self.fence.raise(order);
        self.seen.0 = self.seen.0.max(order.epoch.0);
        self.seen.1.insert(order.key.rollout.clone(), generation.max(order.key.generation.0));
        if self.job.is_some() {
            let job = refused(FailureKind::NotAccepted);
            let report = self.report(&job);
            self.ended.push(job);
            return Some(Met::Answer(report));
        }
        if dies {
            return None;
        }
        let job = Job { order: order.clone(), phase: StepPhase::Assigned, failure: None };
        self.job = Some(job);
        Some(if outdated { Met::Stale } else { Met::Begun })
    }

    /// Goes on with its step; whether a choice between good and bad is to be made is [`Self::decides`].
    pub(crate) fn work(&mut self, good: bool) -> Option<StepReport> {
        let mut job = self.job.take()?;
        if job.phase != StepPhase::Assigned {
            self.away = false;
            if good {
                (self.runs, self.made) = (number(&job.order.digest), self.made + 1);
                job.phase = StepPhase::Committed;
            } else {
                (job.phase, job.failure) = (StepPhase::RolledBack, Some(FailureKind::Unhealthy));
            }
        } else if job.order.container_id == self.container() {
            job.phase = StepPhase::OldStopped;
            self.away = true;
        } else {
            (job.phase, job.failure) = (StepPhase::Untouched, Some(FailureKind::Precondition));
        }
        let report = self.report(&job);
        if job.phase.is_end() {
            self.ended.push(job)
        } else {
            self.job = Some(job)
        }
        Some(report)
    }

    /// Whether the next piece of work may turn out well or badly.
    pub(crate) fn decides(&self) -> bool {
        self.job.as_ref().is_some_and(|job| job.phase == StepPhase::OldStopped)
    }

    /// The coordinator has stored the end of a step.
    pub(crate) fn forget(&mut self, key: &StepKey) {
        self.ended.retain(|job| job.order.key != *key);
    }

    /// The process ends and starts again.
    pub(crate) fn crash(&mut self, mistake: Option<Mistake>) {
        self.dialled = false;
        if mistake == Some(Mistake::JournalLost) {
            self.job = None;
        }
    }

    fn container(&self) -> ContainerId {
        ContainerId(format!("c{}", self.made))
    }

    fn report(&self, job: &Job) -> StepReport {
        let made = (job.phase == StepPhase::Committed).then(|| self.container());
        let failure = |kind| Failure { kind, reason: format!("{kind:?}"), log: String::new() };
        StepReport {
            key: job.order.key.clone(),
            phase: job.phase,
            old_container_id: Some(job.order.container_id.clone()),
            new_container_id: made,
            downtime_ms: None,
            failure: job.failure.map(failure),
        }
    }

    /// What a look at its engine shows.
    pub(crate) fn inventory(&self) -> InstanceView {
        let (state, health) =
            if self.away { (RunState::Exited, Health::None) } else { (RunState::Running, Health::Healthy) };
        InstanceView {
            app: app(),
            container_id: self.container(),
            container: "web".into(),
            image: "r.example/web:stable".into(),
            image_id: format!("sha256:image{}", self.runs),
            digests: vec![digest(self.runs)],
            state,
            health,
            refusal: None,
            image_created: None,
            after: Vec::new(),
            start_first_obstacles: Vec::new(),
        }
    }

    /// What another one would have to know of the inventory, in short.
    pub(crate) const fn shows(&self) -> (u8, bool) {
        (self.made, self.away)
    }
}
