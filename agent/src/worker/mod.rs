//! Carries out steps on this node: one at a time, each to its end, with or without a coordinator.
//!
//! [`Worker::start`] reads the journal, goes on with what is unfinished, and gives a [`WorkerHandle`] for new orders and a
//! channel with what there is to report. The loop of a step: look at the engine, ask
//! [`nightshift_core::replace::next`], write the journal, act, look again. No rule about containers is decided here.
//!
//! Reports of steps are read again from the journal at any time ([`WorkerHandle::steps`]) until the coordinator has
//! acknowledged them ([`WorkerHandle::forget`]), so nothing is lost when nobody reads the channel.

mod act;
mod admission;
mod calls;
mod observe;
mod prepull;
mod run;
mod session_work;
mod wake;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nightshift_core::image::Repository;
use nightshift_core::instance::{ImageReport, ImageState, Prepull};
use nightshift_core::mutation::{Rule, broken};
use nightshift_core::replace::{Record, is_in_replacement};
use nightshift_core::step::{StepKey, StepOrder, StepReport};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::engine::{Engine, RegistryAuth};
use crate::hooks::HookClient;
use crate::journal::{Error as JournalError, Journal};
use crate::limits::Limits;
pub use session_work::{Hands, deliver};

/// Reports that may wait for a reader. A step makes 13 of them; when nobody reads, the journal keeps the last of each.
const REPORT_LIMIT: usize = 1_024;

/// Who this node is at a registry.
#[async_trait]
pub trait Credentials: Send + Sync + fmt::Debug {
    /// What to show to the registry of a repository; `None`: nothing, pull without.
    ///
    /// # Errors
    /// There should be credentials, but they cannot be had; in words for people, without any secret.
    async fn find(&self, repository: &Repository) -> Result<Option<RegistryAuth>, String>;
}

/// No credentials for any registry.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

#[async_trait]
impl Credentials for Anonymous {
    async fn find(&self, _repository: &Repository) -> Result<Option<RegistryAuth>, String> {
        Ok(None)
    }
}

/// What a worker has to say.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerReport {
    /// How far a step is.
    Step(StepReport),
    /// How far an image is. Progress may be left out, the end is not.
    Image(ImageReport),
}

/// The parts that a worker works with.
#[derive(Debug)]
struct Shared {
    engine: Arc<dyn Engine>,
    journal: Journal,
    credentials: Arc<dyn Credentials>,
    hooks: Arc<dyn HookClient>,
    limits: Limits,
    reports: mpsc::Sender<WorkerReport>,
    /// The step in work. Taken before anything of a step is done: one node never works on two.
    active: Mutex<Option<StepKey>>,
    /// One order is judged at a time.
    admission: tokio::sync::Mutex<()>,
    /// One image is fetched ahead at a time, so that a step's own pull is not starved.
    prepulls: Semaphore,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// Starts workers.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Starts the worker of this node and resumes every unfinished step of the journal.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub async fn start(
        engine: Arc<dyn Engine>,
        journal: Journal,
        credentials: Arc<dyn Credentials>,
        hooks: Arc<dyn HookClient>,
        limits: Limits,
    ) -> Result<(WorkerHandle, mpsc::Receiver<WorkerReport>), JournalError> {
        let (reports, receiver) = mpsc::channel(REPORT_LIMIT);
        let shared = Arc::new(Shared {
            engine,
            journal,
            credentials,
            hooks,
            limits,
            reports,
            active: Mutex::new(None),
            admission: tokio::sync::Mutex::new(()),
            prepulls: Semaphore::new(1),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let mut unfinished: Vec<Record> = Vec::new();
        for mut record in shared.journal.records().into_iter().filter(|record| !record.phase.is_end()) {
            record.resumed();
            shared.journal.save(&record).await?;
            unfinished.push(record);
        }
        if broken(Rule::Resumption) {
            unfinished.clear();
        }
        shared.clone().resume(unfinished);
        Ok((WorkerHandle { shared }, receiver))
    }
}

/// Talks to a running worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

impl WorkerHandle {
    /// Takes an order, or refuses it; the time of its `start_within` counts from this call. What becomes of it is
    /// reported. An order that is known already is not begun again, its report is repeated.
    ///
    /// Returns how the step stands now.
    pub async fn submit(&self, order: StepOrder) -> StepReport {
        admission::submit(&self.shared, order).await
    }

    /// Fetches an image ahead of its window, in the background. What becomes of it is reported.
    pub fn prepull(&self, wanted: Prepull) {
        prepull::spawn(&self.shared, wanted);
    }

    /// Every step of the journal: in work, or ended and not yet forgotten.
    #[must_use]
    pub fn steps(&self) -> Vec<StepReport> {
        self.shared.journal.records().iter().map(Record::report).collect()
    }

    /// The largest epoch that this node has obeyed.
    #[must_use]
    pub fn epoch(&self) -> nightshift_core::ids::Epoch {
        self.shared.journal.epoch()
    }

    /// Forgets ended steps: the coordinator has stored their reports.
    pub async fn forget(&self, keys: Vec<StepKey>) {
        for key in keys {
            if let Err(error) = self.shared.journal.forget(&key).await {
                warn!(step = %key, %error, "could not forget a step");
            }
        }
    }

    /// Ends all waiting and returns when nothing runs any more. A step in work stays in the journal and goes on with the
    /// next start.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Shared {
    /// Goes on with what an earlier process has begun. By the rules it is one step; should it be more, one by one.
    fn resume(self: Arc<Self>, unfinished: Vec<Record>) {
        *self.lock_active() = unfinished.first().map(|record| record.order.key.clone());
        let shared = self.clone();
        self.spawn(async move {
            shared.report_orphans(&unfinished).await;
            for record in unfinished {
                info!(step = %record.order.key, phase = %record.phase, "resuming a step");
                *shared.lock_active() = Some(record.order.key.clone());
                run::to_its_end(&shared, record).await;
            }
        });
    }

    /// Says which containers are left of a replacement that the journal does not know: nothing here will touch them.
    async fn report_orphans(&self, unfinished: &[Record]) {
        let Ok(containers) = self.engine.list().await else { return };
        let ours = |name: &str| unfinished.iter().any(|record| name.starts_with(&record.order.container));
        for container in containers.iter().filter(|c| is_in_replacement(&c.name) && !ours(&c.name)) {
            error!(
                container = %container.name,
                id = %container.id.short(),
                "a container is left of a replacement that the journal does not know; hint: compare it with the one \
                 of the plain name, then rename and start it, or remove it"
            );
        }
    }

    /// Runs a task until its end or the shutdown.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            // To be dropped in the midst of a call is what a crash does, too: the next start goes on.
            shutdown.run_until_cancelled(task).await;
        });
    }

    fn lock_active(&self) -> MutexGuard<'_, Option<StepKey>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_step(&self, report: StepReport) {
        if self.reports.try_send(WorkerReport::Step(report)).is_err() {
            warn!("nobody reads the step reports; the journal keeps them");
        }
    }

    fn report_image(
        &self,
        app: &nightshift_core::ids::AppName,
        digest: &nightshift_core::image::Digest,
        state: ImageState,
    ) {
        let is_end = state.is_end();
        let report = ImageReport { app: app.clone(), digest: digest.clone(), state };
        if self.reports.try_send(WorkerReport::Image(report)).is_err() && is_end {
            warn!(%app, "nobody reads the image reports");
        }
    }
}
