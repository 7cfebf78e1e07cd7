//! The agent as a whole: engine, worker, identity, inventory and session, from start to shutdown.
//!
//! [`run`] is what `nightshift agent` and `nightshift dev` call; several may run in one process. A step that an earlier
//! process left unfinished comes first: it needs the engine alone, and neither coordinator nor certificate.

mod error;
mod options;
mod start;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span, error, info, info_span, warn};

use crate::engine::{Engine, EngineInfo};
use crate::files;
use crate::hooks::HttpClient;
use crate::identity::Membership;
use crate::inventory::{self, Inventory};
use crate::jobs::{self, Jobs, JobsHandle};
use crate::journal::Journal;
use crate::session::{Epochs, Facts, Outbox, Session, TlsLine};
use crate::storage::FileStorage;
use crate::surroundings::Surroundings;
use crate::worker::{Hands, Worker, WorkerHandle, WorkerReport, deliver};
pub use error::Error;
pub use options::{EngineSource, Options, TokenSource};

/// How long the worker may take to end its waiting, and how long everything after that: shutdown never hangs. What was
/// left undone is in the journal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// Runs an agent until `shutdown`. Everything that it logs carries its node's name.
///
/// # Errors
/// It could not start: the data directory, the join token or the configuration need someone to act.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let span = info_span!("agent", node = %options.node);
    serve(options, shutdown).instrument(span).await
}

async fn serve(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    files::make_directory(&options.data_dir)?;
    let _held = files::hold(&options.data_dir)?;
    let storage = Arc::new(FileStorage::new(&options.data_dir));
    let (journal, set_aside) = Journal::open(storage.clone())?;
    for file in set_aside {
        error!(path = %file.path.display(), reason = %file.reason, "a file of the journal cannot be read and was set aside");
    }
    let epochs = Epochs::open(storage.clone())?;
    // Without an unfinished step there is nothing to do before the node is a member, and a wrong token is said at once.
    let unfinished = journal.records().iter().any(|record| !record.phase.is_end());
    let early = match unfinished {
        true => None,
        false => match start::membership(&options, &shutdown).await? {
            Some(membership) => Some(membership),
            None => return Ok(()),
        },
    };
    let Some((engine, about)) = start::engine(&options, &shutdown).await? else { return Ok(()) };
    let (credentials, limits) = (Arc::new(options.docker_config.clone()), options.limits.clone());
    let (worker, reports) =
        Worker::start(Arc::clone(&engine), journal, credentials.clone(), Arc::new(HttpClient), limits).await?;
    info!(engine = %about.version, api = %about.api_version, "agent started");
    let outcome = match early {
        Some(membership) => Ok(Some(membership)),
        None => start::membership(&options, &shutdown).await,
    };
    let membership = match outcome {
        Ok(Some(membership)) => membership,
        Ok(None) => {
            end_worker(&worker).await;
            return Ok(());
        }
        Err(problem) => {
            // The step goes on: its container may be down, and needs no coordinator to come back.
            error!(error = %problem, "this node is no member of a fleet; only the unfinished step goes on");
            shutdown.cancelled().await;
            end_worker(&worker).await;
            return Err(problem);
        }
    };
    let outbox = Arc::new(Outbox::default());
    let jobs = Jobs::start(jobs::Parts {
        engine: Arc::clone(&engine),
        node: options.node.clone(),
        storage,
        credentials,
        limits: options.limits.clone(),
        outbox: Arc::clone(&outbox),
        scratch: Some(options.data_dir.join("builds")),
        surroundings: Surroundings::default(),
    });
    let jobs = jobs.await?;
    let parts = Parts { engine, about, worker, reports, jobs, outbox, membership: Arc::new(membership), epochs };
    work(options, parts, shutdown).await
}

/// What a started agent has.
struct Parts {
    engine: Arc<dyn Engine>,
    about: EngineInfo,
    worker: WorkerHandle,
    reports: mpsc::Receiver<WorkerReport>,
    jobs: JobsHandle,
    outbox: Arc<Outbox>,
    membership: Arc<Membership>,
    epochs: Epochs,
}

async fn work(options: Options, parts: Parts, shutdown: CancellationToken) -> Result<(), Error> {
    let Parts { engine, about, worker, reports, jobs, outbox, membership, epochs } = parts;
    let (link, questions) = inventory::link();
    let surroundings = Surroundings::default();
    let session = Session {
        line: Arc::new(TlsLine::new(options.coordinator.clone(), Arc::clone(&membership), surroundings.clone())),
        surroundings: surroundings.clone(),
        facts: Facts {
            engine_name: about.name,
            engine_version: about.version,
            engine_api_version: about.api_version.to_string(),
            os: about.os,
            architecture: about.arch,
            labels: options.labels.clone(),
        },
        work: Arc::new(Hands { worker: worker.clone(), jobs: jobs.clone() }),
        outbox: Arc::clone(&outbox),
        epochs,
        inventory: link,
    };
    // The session outlives the worker, so that its last words arrive.
    let end = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let inventory = Inventory::new(engine, about.api_version, about.product, questions, surroundings);
    tasks.spawn(inventory.run(end.clone()).instrument(Span::current()));
    tasks.spawn(session.run(end.clone()).instrument(Span::current()));
    let (server, keep_end) = (options.coordinator, end.clone());
    tasks.spawn(async move { membership.keep(&server, keep_end).await }.instrument(Span::current()));
    let forward_end = end.clone();
    tasks.spawn(async move { forward_end.run_until_cancelled(deliver(reports, outbox)).await.unwrap_or(()) });

    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        // None of them ends before it is told to, unless by a panic.
        Some(_) = tasks.join_next() => Err(Error::Broken),
    };
    info!("agent is shutting down");
    tokio::join!(end_worker(&worker), end_jobs(&jobs));
    end.cancel();
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_DEADLINE, ended).await.is_err() {
        warn!("a part of the agent did not end in time");
    }
    outcome
}

async fn end_worker(worker: &WorkerHandle) {
    if timeout(SHUTDOWN_DEADLINE, worker.shutdown()).await.is_err() {
        warn!("the worker did not end in time; its step goes on with the next start");
    }
}

async fn end_jobs(jobs: &JobsHandle) {
    if timeout(SHUTDOWN_DEADLINE, jobs.shutdown()).await.is_err() {
        warn!("a job did not end in time; what it made is removed with the next start");
    }
}
