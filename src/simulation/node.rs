//! A node: its simulated engine and disk, which outlive everything, and its agent, which does not.
//!
//! The agent is the real one: worker, journal, outbox, inventory and session. Only its engine, its disk, its line and its
//! clock are simulated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use nightshift_agent::engine::simulated::SimulatedEngine;
use nightshift_agent::engine::{Engine, EngineInfo};
use nightshift_agent::inventory::{self, Inventory};
use nightshift_agent::jobs::{self, Jobs, JobsHandle};
use nightshift_agent::journal::Journal;
use nightshift_agent::limits::Limits;
use nightshift_agent::session::{Epochs, Facts, Outbox, Session};
use nightshift_agent::storage::Storage as _;
use nightshift_agent::surroundings::Surroundings;
use nightshift_agent::worker::{Anonymous, Hands, Worker, WorkerHandle, deliver};
use nightshift_core::ids::NodeName;
use nightshift_core::labels::Labels;
use nightshift_core::step::StepReport;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::chance::Chance;
use super::clock::Clock;
use super::disk::Disk;
use super::fuse::{Fuse, Side};
use super::network::{Link, SimulatedLine};
use super::notes::Notes;
use super::outside::Outside;

/// How long an agent's host waits before it starts an agent that has died.
const RESTART: Duration = Duration::from_secs(2);

/// A running agent.
#[derive(Debug, Default)]
struct Process {
    fuse: Fuse,
    tasks: JoinSet<()>,
    worker: Option<WorkerHandle>,
    jobs: Option<JobsHandle>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) labels: Labels,
    pub(crate) engine: SimulatedEngine,
    /// What its hooks call by HTTP.
    pub(crate) outside: Outside,
    pub(crate) link: Arc<Link>,
    disk: Disk,
    /// This node's clock minus the coordinator's, without the steps of the latter.
    skew: TimeDelta,
    clock: Clock,
    chance: Chance,
    notes: Notes,
    process: Mutex<Process>,
    /// At which write the next agent dies, counted over all agents of this node.
    crash: Mutex<Option<(u64, Side)>>,
    written: Mutex<u64>,
}

/// The parts of a node.
pub(crate) struct Parts {
    pub(crate) name: NodeName,
    pub(crate) labels: Labels,
    pub(crate) engine: SimulatedEngine,
    pub(crate) link: Arc<Link>,
    pub(crate) skew: TimeDelta,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) notes: Notes,
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { name, labels, engine, link, skew, clock, chance, notes } = parts;
        Arc::new(Self {
            name,
            labels,
            engine,
            outside: Outside::new(notes.clone()),
            link,
            disk: Disk::default(),
            skew,
            clock,
            chance,
            notes,
            process: Mutex::default(),
            crash: Mutex::default(),
            written: Mutex::default(),
        })
    }

    /// Whether its clock is further ahead of another one's than anybody may be without being warned about.
    pub(crate) fn is_ahead_of(&self, other: &Self) -> bool {
        self.skew - other.skew > TimeDelta::seconds(5)
    }

    /// Lets an agent of this node die at this write.
    pub(crate) fn crash_at(&self, write: u64, side: Side) {
        *lock(&self.crash) = Some((write, side));
        let before = *lock(&self.written);
        lock(&self.process).fuse.arm(write.saturating_sub(before), side);
    }

    /// Durable writes of all agents of this node so far.
    pub(crate) fn writes(&self) -> u64 {
        *lock(&self.written) + lock(&self.process).fuse.writes()
    }

    /// Starts the agent, and starts it again whenever a write was its last.
    pub(crate) fn start(self: &Arc<Self>) {
        let fuse = Fuse::default();
        let before = self.writes();
        if let Some((write, side)) = *lock(&self.crash)
            && write > before
        {
            fuse.arm(write - before, side);
        }
        let mut process = Process { fuse: fuse.clone(), ..Process::default() };
        process.tasks.spawn(self.clone().run(fuse.clone()));
        *lock(&self.written) = before;
        *lock(&self.process) = process;
        let node = self.clone();
        tokio::spawn(async move {
            fuse.blown().await;
            if node.is_running_on(&fuse) {
                node.notes.reached("agent killed at a durable write");
                node.kill();
                sleep(RESTART).await;
                node.start();
            }
        });
    }

    /// Starts the agent if none runs.
    pub(crate) fn start_unless_running(self: &Arc<Self>) {
        if lock(&self.process).tasks.is_empty() {
            self.start();
        }
    }

    fn is_running_on(&self, fuse: &Fuse) -> bool {
        let process = lock(&self.process);
        process.fuse.is(fuse) && !process.tasks.is_empty()
    }

    /// Kills the agent, as `kill -9` does.
    pub(crate) fn kill(&self) {
        let mut process = lock(&self.process);
        process.fuse.blow();
        process.tasks.abort_all();
        *lock(&self.written) += process.fuse.writes();
        let killed = std::mem::take(&mut *process);
        drop(process);
        if let Some(worker) = killed.worker {
            let begun = worker.steps().into_iter().find(|step| !step.phase.is_end());
            if let Some(step) = begun {
                self.notes.reached(format!("agent killed when a step was {}", step.phase));
            }
            // Its tasks are dropped where they are at the first poll of this.
            tokio::spawn(async move { worker.shutdown().await });
        }
        if let Some(jobs) = killed.jobs {
            jobs.abandon();
        }
        self.link.cut();
    }

    /// The power goes: what was not flushed may be lost.
    pub(crate) fn lose_power(&self) {
        if self.disk.lose_power(&self.chance) {
            self.notes.reached("unflushed write lost");
        }
    }

    /// The steps in the running agent's journal.
    pub(crate) fn steps(&self) -> Option<Vec<StepReport>> {
        Some(lock(&self.process).worker.as_ref()?.steps())
    }

    /// The largest generation of each rollout that its agents have obeyed, as it is on the disk.
    pub(crate) fn generations(&self) -> BTreeMap<String, u64> {
        let fence = self.disk.mount(Fuse::default()).read("fence.json").ok().flatten().unwrap_or_default();
        let fence: serde_json::Value = serde_json::from_slice(&fence).unwrap_or_default();
        serde_json::from_value(fence["generations"].clone()).unwrap_or_default()
    }

    async fn run(self: Arc<Self>, fuse: Fuse) {
        let storage = Arc::new(self.disk.mount(fuse.clone()));
        let (journal, epochs) = match (Journal::open(storage.clone()), Epochs::open(storage.clone())) {
            (Ok((journal, _)), Ok(epochs)) => (journal, epochs),
            (journal, epochs) => {
                let errors = [journal.err().map(|e| e.to_string()), epochs.err().map(|e| e.to_string())];
                self.notes.wrong(format!("agent of {} cannot start: {errors:?}", self.name));
                return;
            }
        };
        let about = loop {
            match self.engine.info().await {
                Ok(about) => break about,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        };
        let engine: Arc<dyn Engine> = Arc::new(self.engine.clone());
        let hooks = Arc::new(self.outside.clone());
        let started = Worker::start(Arc::clone(&engine), journal, Arc::new(Anonymous), hooks, Limits::default()).await;
        let Ok((worker, reports)) = started else { return };
        let outbox = Arc::new(Outbox::default());
        let (clock, skew, chance) = (self.clock.clone(), self.skew, self.chance.fork("surroundings"));
        let surroundings = Surroundings::new(move || clock.now() + skew, move || chance.unit());
        let jobs = Jobs::start(jobs::Parts {
            engine: Arc::clone(&engine),
            node: self.name.clone(),
            storage,
            credentials: Arc::new(Anonymous),
            limits: Limits::default(),
            outbox: Arc::clone(&outbox),
            scratch: None,
            surroundings: surroundings.clone(),
        });
        let Ok(jobs) = jobs.await else { return };
        let (link, questions) = inventory::link();
        let session = Session {
            line: Arc::new(SimulatedLine(self.link.clone())),
            surroundings: surroundings.clone(),
            facts: facts(&about, &self.labels),
            work: Arc::new(Hands { worker: worker.clone(), jobs: jobs.clone() }),
            outbox: Arc::clone(&outbox),
            epochs,
            inventory: link,
        };
        let inventory = Inventory::new(engine, about.api_version, about.product, questions, surroundings);
        let mut process = lock(&self.process);
        if !process.fuse.is(&fuse) {
            return;
        }
        process.worker = Some(worker);
        process.jobs = Some(jobs);
        process.tasks.spawn(inventory.run(CancellationToken::new()));
        process.tasks.spawn(session.run(CancellationToken::new()));
        process.tasks.spawn(deliver(reports, outbox));
    }
}

fn facts(about: &EngineInfo, labels: &Labels) -> Facts {
    Facts {
        engine_name: about.name.clone(),
        engine_version: about.version.clone(),
        engine_api_version: about.api_version.to_string(),
        os: about.os.clone(),
        architecture: about.arch.clone(),
        labels: labels.clone(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
