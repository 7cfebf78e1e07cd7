//! A node under test: a worker with its journal in a temporary directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightshift_agent::engine::{Engine, EventKind};
use nightshift_agent::hooks::HttpClient;
use nightshift_agent::journal::Journal;
use nightshift_agent::limits::Limits;
use nightshift_agent::storage::FileStorage;
use nightshift_agent::worker::{Anonymous, Worker, WorkerHandle, WorkerReport};
use nightshift_core::container::Health;
use nightshift_core::ids::{ContainerId, Epoch, Generation, StepIndex};
use nightshift_core::instance::{ImageReport, ImageState};
use nightshift_core::spec::{HealthCheck, Hooks, UpdateOrder};
use nightshift_core::step::{Purpose, StepKey, StepOrder, StepReport};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use crate::fixture::{Fixture, Image, Kind, created, events_until};

/// A running worker.
pub(crate) struct Node {
    pub(crate) worker: WorkerHandle,
    reports: Receiver<WorkerReport>,
    data: TempDir,
}

impl Node {
    pub(crate) async fn new(engine: Arc<dyn Engine>) -> Self {
        Self::limited(engine, Limits::default()).await
    }

    pub(crate) async fn limited(engine: Arc<dyn Engine>, limits: Limits) -> Self {
        // In memory where that is possible: these tests flush the journal some ten thousand times.
        let memory = Path::new("/dev/shm");
        let data = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let data = data.expect("a temporary directory");
        Self::on(engine, limits, data).await
    }

    async fn on(engine: Arc<dyn Engine>, limits: Limits, data: TempDir) -> Self {
        let (journal, set_aside) =
            Journal::open(Arc::new(FileStorage::new(data.path()))).expect("a directory of our own");
        assert_eq!(set_aside, []);
        let started = Worker::start(engine, journal, Arc::new(Anonymous), Arc::new(HttpClient), limits).await;
        let (worker, reports) = started.expect("the journal can be written");
        Self { worker, reports, data }
    }

    /// Ends the worker in the midst of whatever it does, and starts another one on the same journal.
    pub(crate) async fn restart(self, engine: Arc<dyn Engine>) -> Self {
        self.worker.shutdown().await;
        Self::on(engine, Limits::default(), self.data).await
    }

    /// Every report of a step up to its end.
    pub(crate) async fn until_end(&mut self, key: &StepKey) -> Vec<StepReport> {
        let mut seen = Vec::new();
        while let Some(report) = self.reports.recv().await {
            match report {
                WorkerReport::Step(report) if report.key == *key => {
                    seen.push(report.clone());
                    if report.phase.is_end() {
                        return seen;
                    }
                }
                WorkerReport::Step(_) | WorkerReport::Image(_) => {}
            }
        }
        panic!("the worker ended after {seen:?}");
    }

    /// Carries out an order and returns how it ended.
    pub(crate) async fn carry_out(&mut self, order: &StepOrder) -> StepReport {
        self.worker.submit(order.clone()).await;
        self.until_end(&order.key).await.pop().expect("the end at least")
    }

    /// What became of an image.
    pub(crate) async fn until_image(&mut self) -> ImageState {
        while let Some(report) = self.reports.recv().await {
            match report {
                WorkerReport::Image(ImageReport { state, .. }) if state.is_end() => return state,
                WorkerReport::Image(_) | WorkerReport::Step(_) => {}
            }
        }
        panic!("the worker ended");
    }
}

/// An order to replace a container by an image.
pub(crate) fn order(step: u32, name: &str, id: &ContainerId, image: &Image) -> StepOrder {
    let key =
        StepKey { rollout: "r-0001".parse().expect("well formed"), step: StepIndex(step), generation: Generation(1) };
    StepOrder {
        key,
        epoch: Epoch(1),
        purpose: Purpose::Update,
        node: "node1".parse().expect("well formed"),
        // Its own: a step lets go of the earlier images of its app, and tests share an engine.
        app: name.parse().expect("well formed"),
        container: name.to_owned(),
        container_id: id.clone(),
        image: image.name.clone(),
        digest: image.digest.clone(),
        order: UpdateOrder::StopFirst,
        health: HealthCheck::Auto,
        hooks: Hooks::default(),
        healthy_deadline: Duration::from_secs(20),
        monitor: Duration::from_secs(2),
        keep_images: 2,
        // Longer than a call that hangs: what that does to a step is another matter than its being late.
        start_within: Duration::from_secs(3600),
        signatures: Vec::new(),
    }
}

/// A container that runs and is healthy: a published port, a second network, a restart policy, an unnamed volume.
pub(crate) async fn running(fixture: &dyn Fixture) -> (String, ContainerId) {
    let port = fixture.port().to_string();
    let typed = json!({
        "Env": ["COLOUR=green"],
        "HostConfig": {
            "PortBindings": {"80/tcp": [{"HostPort": port}]},
            "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
        },
    });
    let (name, id) = created(fixture, Kind::Web, typed).await;
    let engine = fixture.engine();
    let network = fixture.network().await;
    engine.connect_network(&network, &json!({"Container": id.0})).await.expect("both exist");
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&id).await.expect("it starts");
    events_until(&mut events, &id, |kind| *kind == EventKind::HealthStatus(Health::Healthy)).await;
    (name, id)
}

/// Every container whose name begins so, raw.
pub(crate) async fn all_named(engine: &dyn Engine, name: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for container in engine.list().await.expect("the engine is up") {
        if container.name.starts_with(name) {
            all.push(engine.inspect(&container.id.0).await.expect("it exists"));
        }
    }
    all
}

/// What must be the same before and after, whichever way the step went.
pub(crate) fn settings(inspect: &Value) -> Value {
    let networks = inspect["NetworkSettings"]["Networks"].as_object().expect("an object");
    let mounts = inspect["Mounts"].as_array().expect("a list");
    json!({
        "name": inspect["Name"],
        "env": inspect["Config"]["Env"],
        "policy": inspect["HostConfig"]["RestartPolicy"],
        "ports": inspect["HostConfig"]["PortBindings"],
        "networks": networks.keys().collect::<Vec<_>>(),
        "volumes": mounts.iter().map(|mount| &mount["Name"]).collect::<Vec<_>>(),
        "status": inspect["State"]["Status"],
    })
}
