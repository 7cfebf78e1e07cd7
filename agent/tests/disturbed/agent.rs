//! The agent of a cell: a process of its own, with the real worker, engine adapter and journal, that can be killed.
//!
//! The test program starts itself again with [`VARIABLE`] set, to run [`the_agent_of_a_cell`] alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nightshift_agent::engine::{DockerEngine, Engine};
use nightshift_agent::hooks::HttpClient;
use nightshift_agent::journal::Journal;
use nightshift_agent::limits::Limits;
use nightshift_agent::storage::FileStorage;
use nightshift_agent::worker::{Anonymous, Worker, WorkerReport};
use nightshift_core::step::{StepOrder, StepReport};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::boundary::PATIENCE;

/// Names the directory of the cell to the process that is its agent.
const VARIABLE: &str = "NIGHTSHIFT_TEST_AGENT_DIRECTORY";
/// Pause before an engine that is away is asked again.
const AGAIN: Duration = Duration::from_millis(100);
/// So much of an agent's last words are shown.
const WORDS_LIMIT_LINES: usize = 12;

#[derive(Serialize, Deserialize)]
struct Role {
    engine: String,
    order: StepOrder,
}

/// An agent that runs.
pub(crate) struct Agent {
    child: Child,
    directory: PathBuf,
}

/// Where an agent keeps its journal.
pub(crate) fn data_of(directory: &Path) -> PathBuf {
    directory.join("data")
}

impl Agent {
    /// Starts the agent of a cell: for the first time, or again.
    pub(crate) fn start(directory: &Path, engine: &str, order: &StepOrder) -> Self {
        let role = Role { engine: engine.to_owned(), order: order.clone() };
        std::fs::write(directory.join("role.json"), serde_json::to_vec(&role).expect("plain")).expect("ours");
        let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).expect("ours");
        let child = Command::new(std::env::current_exe().expect("this program"))
            // The last word chooses no test. It lets scripts/test find the process by its directory, should we be killed.
            .args(["--exact", "agent::the_agent_of_a_cell", "--nocapture"])
            .arg(directory)
            .env(VARIABLE, directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started");
        Self { child, directory: directory.to_owned() }
    }

    /// `kill -9`, and the end of it.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it is ours");
    }

    /// The end of the step, which it has acknowledged then.
    pub(crate) async fn report(mut self) -> StepReport {
        let words = || last_words(&self.directory);
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("the step did not end; the agent says: {}", words()));
        assert!(status.expect("it is ours").success(), "the agent failed: {}", words());
        let report = std::fs::read(self.directory.join("report.json"));
        let report = report.unwrap_or_else(|error| panic!("no report ({error}): {}", words()));
        serde_json::from_slice(&report).expect("a whole report")
    }
}

/// What an agent wrote last, for whoever must find out.
pub(crate) fn last_words(directory: &Path) -> String {
    let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(WORDS_LIMIT_LINES)..).unwrap_or_default().join("\n      ")
}

async fn connected(url: &str) -> DockerEngine {
    loop {
        match DockerEngine::connect(url).await {
            Ok(engine) => return engine,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// No test but the agent of one: without its variable it has nothing to do.
#[tokio::test]
async fn the_agent_of_a_cell() {
    let Some(directory) = std::env::var_os(VARIABLE).map(PathBuf::from) else { return };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let role = std::fs::read(directory.join("role.json")).expect("a role");
    let Role { engine, order } = serde_json::from_slice(&role).expect("well formed");
    let engine: Arc<dyn Engine> = Arc::new(connected(&engine).await);
    let (journal, set_aside) =
        Journal::open(Arc::new(FileStorage::new(&data_of(&directory)))).expect("a directory of our own");
    assert_eq!(set_aside, [], "a crash tore a file");
    let started = Worker::start(engine, journal, Arc::new(Anonymous), Arc::new(HttpClient), Limits::default()).await;
    let (worker, mut reports) = started.expect("the journal can be written");
    let mut report = worker.submit(order.clone()).await;
    while !report.phase.is_end() {
        match reports.recv().await.expect("the worker runs") {
            WorkerReport::Step(next) if next.key == order.key => report = next,
            WorkerReport::Step(_) | WorkerReport::Image(_) => {}
        }
    }
    // As a coordinator does it: stored first, acknowledged then.
    std::fs::write(directory.join("report.json"), serde_json::to_vec(&report).expect("plain")).expect("ours");
    worker.forget(vec![order.key]).await;
    assert_eq!(worker.steps(), [], "an ended step is forgotten when it is acknowledged");
}
