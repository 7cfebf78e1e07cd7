//! Carries out jobs on this node: one at a time, beside the worker, never touching an instance.
//!
//! [`Jobs::start`] reads what an earlier process left, says that it was interrupted, removes what it had made, and gives a
//! [`JobsHandle`] for new orders. An order is stored before anything is done. What a job makes is removed at its end,
//! whatever it was, and at each start (`clean`): the level is looked at, not what was noted. Its report is kept until the
//! coordinator has it.

mod build;
mod clean;
mod context;
mod self_test;
mod shelf;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightshift_core::ids::{JobId, NodeName};
use nightshift_core::job::{JobLog, JobOrder, JobOutcome, JobReport, JobWork};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::engine::Engine;
use crate::limits::Limits;
use crate::session::Outbox;
use crate::storage::{Error as StorageError, Storage};
use crate::surroundings::Surroundings;
use crate::worker::Credentials;
use shelf::{Record, Shelf};

/// Pauses between two tries to remove what is left: the engine is away, or busy with it.
const CLEAN_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the removal may take when the agent ends: less than what the service waits for it.
const LAST_CLEAN: Duration = Duration::from_secs(8);

/// What jobs need.
#[derive(Debug)]
pub struct Parts {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// This node's name.
    pub node: NodeName,
    /// Where orders and reports are kept.
    pub storage: Arc<dyn Storage>,
    /// Logins for pulls.
    pub credentials: Arc<dyn Credentials>,
    /// What this node refuses, whoever asks.
    pub limits: Limits,
    /// Where reports go.
    pub outbox: Arc<Outbox>,
    /// A directory of this agent's own for clones that builds are made of: whatever is in it is removed. `None`: it makes none.
    pub scratch: Option<PathBuf>,
    /// Where the agent's own name comes from, once.
    pub surroundings: Surroundings,
}

/// Starts the jobs of a node.
#[derive(Debug)]
pub struct Jobs;

#[derive(Debug)]
struct Shared {
    parts: Parts,
    /// Tells what this agent made from what others made on the same engine.
    agent: String,
    shelf: Shelf,
    /// The job in work. Taken before anything of it is done.
    live: Mutex<Option<JobId>>,
    /// One order is judged at a time.
    admission: tokio::sync::Mutex<()>,
    shutdown: CancellationToken,
    /// Everything is dropped where it is.
    abandoned: CancellationToken,
    tasks: TaskTracker,
}

impl Jobs {
    /// Reads what is stored, reports what was interrupted, and begins to remove what is left of it.
    ///
    /// # Errors
    /// The storage cannot be used.
    pub async fn start(parts: Parts) -> Result<JobsHandle, StorageError> {
        let shelf = Shelf::open(Arc::clone(&parts.storage))?;
        let agent = shelf::agent_name(&*parts.storage, &parts.surroundings).await?;
        let shared = Arc::new(Shared {
            parts,
            agent,
            shelf,
            live: Mutex::new(None),
            admission: tokio::sync::Mutex::default(),
            shutdown: CancellationToken::new(),
            abandoned: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let mut interrupted = Vec::new();
        for mut record in shared.shelf.records() {
            if record.report.is_none() {
                warn!(job = %record.order.id, "a job was interrupted");
                let reason = "its agent ended in the middle of it".to_owned();
                record.report = Some(report(&record.order, JobOutcome::NotDone { reason }, JobLog::default()));
                shared.shelf.save(&record).await?;
                interrupted.push(record.clone());
            }
            record.report.into_iter().for_each(|report| shared.parts.outbox.job(report));
        }
        let cleaner = Arc::clone(&shared);
        shared.spawn(async move { cleaner.clean_until_done(&interrupted).await });
        Ok(JobsHandle { shared })
    }
}

/// Talks to the jobs of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JobsHandle {
    shared: Arc<Shared>,
}

impl JobsHandle {
    /// Takes an order, or refuses it; what becomes of it is reported. One that is known already is not begun again.
    pub async fn submit(&self, order: JobOrder) {
        let _one_at_a_time = self.shared.admission.lock().await;
        if let Some(known) = self.shared.shelf.record(&order.id) {
            known.report.into_iter().for_each(|report| self.shared.parts.outbox.job(report));
            return;
        }
        if let Err(reason) = self.begin(&order).await {
            info!(job = %order.id, %reason, "job refused");
            self.shared.parts.outbox.job(report(&order, JobOutcome::NotDone { reason }, JobLog::default()));
        }
    }

    async fn begin(&self, order: &JobOrder) -> Result<(), String> {
        let shared = &self.shared;
        if order.node != shared.parts.node {
            return Err(format!("it is for node {}, and this is {}", order.node, shared.parts.node));
        }
        match &order.work {
            JobWork::SelfTest { digest, .. } => {
                let allowed = shared.parts.limits.judge(&order.image.repository, digest, &order.signatures);
                allowed.map_err(|refusal| refusal.to_string())?;
            }
            JobWork::Build { builder, .. } => {
                build::allowed(&shared.parts.limits, &order.image.repository, builder)?;
            }
        }
        if let Some(live) = shared.lock_live().as_ref() {
            return Err(format!("this node works on job {live}, and does one at a time"));
        }
        if shared.shutdown.is_cancelled() {
            return Err("the agent is about to end".to_owned());
        }
        if shared.shelf.is_full() {
            return Err("this node holds too many jobs that the coordinator has not acknowledged".to_owned());
        }
        let record = Record { order: order.clone(), fetched: false, build: None, report: None };
        shared.shelf.save(&record).await.map_err(|error| error.to_string())?;
        info!(job = %order.id, app = %order.app, subject = %order.work.subject(&order.image), "job begun");
        *shared.lock_live() = Some(order.id.clone());
        let runner = Arc::clone(shared);
        shared.spawn(async move { runner.run(record).await });
        Ok(())
    }

    /// Every job that is in work, or ended and not yet forgotten.
    #[must_use]
    pub fn held(&self) -> Vec<JobId> {
        self.shared.shelf.records().into_iter().map(|record| record.order.id).collect()
    }

    /// The name on everything that this agent's jobs make.
    #[must_use]
    pub fn agent(&self) -> &str {
        &self.shared.agent
    }

    /// Forgets ended jobs: the coordinator has stored their reports.
    pub async fn forget(&self, jobs: &[JobId]) {
        self.shared.parts.outbox.forget_jobs(jobs);
        for job in jobs {
            if let Err(error) = self.shared.shelf.forget(job).await {
                warn!(%job, %error, "could not forget a job");
            }
        }
    }

    /// Ends the job in work, removes what it made, and returns when nothing runs any more.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Drops everything in the midst, as a crash does. For simulations and tests of the next start.
    pub fn abandon(&self) {
        self.shared.abandoned.cancel();
    }
}

fn report(order: &JobOrder, outcome: JobOutcome, log: JobLog) -> JobReport {
    JobReport { job: order.id.clone(), outcome, log }
}

/// An engine that jobs can be done on, without anything of an earlier one.
async fn make_ready(shared: &Shared, order: &JobOrder) -> Result<(), String> {
    let engine = &*shared.parts.engine;
    let about = engine.info().await.map_err(|error| error.to_string())?;
    about.product.check().map_err(|refusal| refusal.to_string())?;
    shared.remove_leftovers(|| Some(order.id.clone())).await.map_err(|error| error.to_string())
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let abandoned = self.abandoned.clone();
        self.tasks.spawn(async move { abandoned.run_until_cancelled(task).await.unwrap_or_default() });
    }

    async fn run(self: Arc<Self>, mut record: Record) {
        let ended = tokio::select! {
            biased;
            ended = self.work(&mut record) => ended,
            () = self.shutdown.cancelled() => {
                let reason = "its agent was ended in the middle of it".to_owned();
                (JobOutcome::NotDone { reason }, JobLog::default())
            }
        };
        let (outcome, log) = ended;
        let job = record.order.id.clone();
        info!(%job, %outcome, "job ended");
        let report = report(&record.order, outcome, log);
        record.report = Some(report.clone());
        if let Err(error) = self.shelf.save(&record).await {
            // After a crash it would count as interrupted, which is no verdict.
            error!(%job, %error, "the end of a job cannot be stored");
        }
        let gone = self.clean(std::slice::from_ref(&record)).await;
        self.parts.outbox.job(report);
        if !gone {
            self.clean_until_done(std::slice::from_ref(&record)).await;
        }
        *self.lock_live() = None;
    }

    async fn work(&self, record: &mut Record) -> (JobOutcome, JobLog) {
        let order = record.order.clone();
        match &order.work {
            JobWork::SelfTest { digest, test, health } => {
                self_test::run(self, record, digest, self_test::Candidate { test, health }).await
            }
            JobWork::Build { builder, test, health, .. } => {
                build::run(self, record, builder, self_test::Candidate { test, health }).await
            }
        }
    }

    /// Removes what jobs have made, but for the live one's. What was built is looked for only where builds are allowed: another
    /// node's engine may forbid that.
    async fn remove_leftovers(&self, live: impl Fn() -> Option<JobId> + Copy + Send) -> Result<(), clean::Error> {
        let engine = &*self.parts.engine;
        clean::remove_leftovers(engine, &self.agent, live).await?;
        if self.parts.limits.build.is_some() {
            clean::remove_built(engine, &self.agent, live).await?;
        }
        if let Some(scratch) = &self.parts.scratch {
            clean::remove_clones(scratch, live)?;
        }
        Ok(())
    }

    /// Removes what is left of these ended jobs, and of all that nobody knows; says whether nothing is left.
    async fn clean(&self, ended: &[Record]) -> bool {
        // The job in work is among the ended ones when it cleans up after itself.
        let live = || self.lock_live().clone().filter(|live| ended.iter().all(|record| record.order.id != *live));
        let engine = &*self.parts.engine;
        let removal = async {
            self.remove_leftovers(live).await?;
            for record in ended.iter().filter(|record| record.fetched) {
                clean::remove_image(engine, &record.order).await?;
            }
            for record in ended {
                clean::remove_build(engine, record).await?;
            }
            Ok::<_, clean::Error>(())
        };
        let removed = match self.shutdown.is_cancelled() {
            false => removal.await,
            true => match timeout(LAST_CLEAN, removal).await {
                Ok(removed) => removed,
                Err(_) => return false,
            },
        };
        if let Err(error) = &removed {
            warn!(%error, "what a job has made is not removed yet");
        }
        removed.is_ok()
    }

    async fn clean_until_done(&self, ended: &[Record]) {
        let mut pause = CLEAN_AGAIN.0;
        while !self.clean(ended).await {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                () = sleep(pause) => pause = (pause * 2).min(CLEAN_AGAIN.1),
            }
        }
    }

    fn lock_live(&self) -> MutexGuard<'_, Option<JobId>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
