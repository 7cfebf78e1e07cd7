//! Agents and their engines as a random walk plays them: what really is there, apart from what the coordinator was told.

use std::collections::BTreeMap;

use crate::container::{Health, RunState};
use crate::ids::{AppName, ContainerId, Epoch, Generation, NodeName, RolloutId};
use crate::instance::InstanceView;
use crate::step::{Failure, FailureKind, StepOrder, StepPhase, StepReport};
use crate::testing::{digest, instance};

/// Own random numbers (xorshift), so that a seed is the same for ever.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not walk alike, and zero would stay zero.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A container as it really is.
#[derive(Clone)]
pub(super) struct Real {
    pub(super) id: String,
    pub(super) runs: u8,
    pub(super) healthy: bool,
}

struct Job {
    order: StepOrder,
    phase: StepPhase,
    failure: Option<Failure>,
}

/// One node with its agent.
pub(super) struct Agent {
    pub(super) name: NodeName,
    pub(super) connected: bool,
    pub(super) containers: BTreeMap<AppName, Real>,
    pub(super) outbox: Vec<StepReport>,
    /// Every inventory that it made: an old one may arrive late.
    pub(super) told: Option<Vec<InstanceView>>,
    pub(super) engine_is_away: bool,
    job: Option<Job>,
    ended: Vec<StepReport>,
    epoch: Epoch,
    generations: BTreeMap<RolloutId, Generation>,
    made: u32,
}

const WAY: [StepPhase; 8] = [
    StepPhase::Assigned,
    StepPhase::Preflight,
    StepPhase::Pulled,
    StepPhase::Created,
    StepPhase::OldStopped,
    StepPhase::Started,
    StepPhase::Healthy,
    StepPhase::Monitored,
];

impl Agent {
    pub(super) fn new(name: NodeName, apps: &[AppName]) -> Self {
        let real = |app: &AppName| Real { id: format!("{app}-{name}-0"), runs: 1, healthy: true };
        Self {
            containers: apps.iter().map(|app| (app.clone(), real(app))).collect(),
            name,
            connected: false,
            outbox: Vec::new(),
            told: None,
            engine_is_away: false,
            job: None,
            ended: Vec::new(),
            epoch: Epoch(0),
            generations: BTreeMap::new(),
            made: 0,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// What it says when it connects, after it has been told the epoch.
    pub(super) fn journal(&mut self, epoch: Epoch) -> Vec<StepReport> {
        assert!(epoch >= self.epoch, "a coordinator went back in time");
        self.epoch = epoch;
        let now = self.job.as_ref().map(|job| self.report(job));
        self.ended.iter().cloned().chain(now).collect()
    }

    pub(super) fn acknowledged(&mut self, report: &StepReport) {
        self.ended.retain(|ended| ended.key != report.key);
    }

    fn report(&self, job: &Job) -> StepReport {
        let new = (job.phase == StepPhase::Committed).then(|| self.containers[&job.order.app].id.clone());
        StepReport {
            key: job.order.key.clone(),
            phase: job.phase,
            old_container_id: Some(job.order.container_id.clone()),
            new_container_id: new.map(ContainerId),
            downtime_ms: None,
            failure: job.failure.clone(),
        }
    }

    pub(super) fn take(&mut self, order: StepOrder) {
        let newest = self.generations.entry(order.key.rollout.clone()).or_default();
        assert!(order.epoch >= self.epoch && order.key.generation >= *newest, "a stale order was given: {order:?}");
        (self.epoch, *newest) = (order.epoch, order.key.generation);
        assert!(order.key.generation.0 > 0);
        let fits = self.containers.get(&order.app).is_some_and(|real| real.id == order.container_id.0);
        let kind = match (self.job.is_some(), fits) {
            (true, _) => Some(FailureKind::NotAccepted),
            (false, false) => Some(FailureKind::Precondition),
            (false, true) => None,
        };
        let failure = kind.map(failed);
        let phase = if failure.is_some() { StepPhase::Untouched } else { StepPhase::Assigned };
        let job = Job { order, phase, failure };
        self.outbox.push(self.report(&job));
        if job.phase.is_end() { self.ended.push(self.report(&job)) } else { self.job = Some(job) }
    }

    /// Goes on with its step. Digests that are multiples of three never become healthy.
    pub(super) fn work(&mut self, rng: &mut Rng, faults: bool) {
        let Some(mut job) = self.job.take() else { return };
        let runs = (1..=9).find(|number| digest(*number) == job.order.digest).expect("a test digest");
        let unlucky = faults && rng.chance(3);
        match job.phase {
            StepPhase::RollingBack if faults && rng.chance(5) => job.phase = StepPhase::Broken,
            StepPhase::RollingBack => job.phase = StepPhase::RolledBack,
            StepPhase::Assigned | StepPhase::Preflight if faults && rng.chance(8) => {
                use FailureKind::{Engine, EngineRefused, NotAccepted, Precondition, Pull};
                let kinds = [Pull, Pull, NotAccepted, Engine, Precondition, EngineRefused];
                (job.phase, job.failure) = (StepPhase::Untouched, Some(failed(rng.pick(&kinds))));
            }
            StepPhase::Started if unlucky || runs % 3 == 0 => {
                (job.phase, job.failure) = (StepPhase::RollingBack, Some(failed(FailureKind::Unhealthy)));
            }
            StepPhase::Monitored => {
                self.made += 1;
                let id = format!("{}-{}-{}", job.order.app, self.name, self.made);
                self.containers.insert(job.order.app.clone(), Real { id, runs, healthy: true });
                job.phase = StepPhase::Committed;
            }
            StepPhase::Untouched | StepPhase::Committed | StepPhase::RolledBack | StepPhase::Broken => {
                unreachable!("a job has not ended")
            }
            known @ (StepPhase::Assigned
            | StepPhase::Preflight
            | StepPhase::Pulled
            | StepPhase::Created
            | StepPhase::OldStopped
            | StepPhase::Started
            | StepPhase::Healthy) => {
                let place = WAY.iter().position(|phase| *phase == known).expect("on its way");
                let jump = if faults { rng.below(3) } else { 0 };
                // The verdict and the way back are never skipped.
                let last = if known < StepPhase::Started { 5 } else { WAY.len() - 1 };
                job.phase = WAY[(place + 1 + jump).min(last)];
            }
        }
        if job.phase == StepPhase::Broken
            && let Some(real) = self.containers.get_mut(&job.order.app)
        {
            real.healthy = false;
        }
        self.outbox.push(self.report(&job));
        if job.phase.is_end() { self.ended.push(self.report(&job)) } else { self.job = Some(job) }
    }

    /// What a look at the engine shows now.
    pub(super) fn inventory(&self) -> Vec<InstanceView> {
        let mut all = Vec::new();
        for (app, real) in &self.containers {
            let mut view = InstanceView { app: app.clone(), ..instance(app.as_str(), real.runs) };
            view.container_id = ContainerId(real.id.clone());
            let phase = self.job.as_ref().filter(|job| job.order.app == *app).map(|job| job.phase);
            (view.state, view.health) = match phase {
                Some(StepPhase::OldStopped | StepPhase::RollingBack) => (RunState::Exited, Health::None),
                Some(StepPhase::Started) => (RunState::Running, Health::Starting),
                _ if !real.healthy => (RunState::Running, Health::Unhealthy),
                _ => (RunState::Running, Health::Healthy),
            };
            all.push(view);
        }
        all
    }
}

fn failed(kind: FailureKind) -> Failure {
    Failure { kind, reason: format!("{kind:?}"), log: String::new() }
}
