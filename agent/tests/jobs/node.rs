//! A node under test: its jobs, with their storage in a temporary directory.

use std::sync::Arc;
use std::time::Duration;

use nightshift_agent::engine::Engine;
use nightshift_agent::jobs::{Jobs, JobsHandle, Parts};
use nightshift_agent::limits::Limits;
use nightshift_agent::session::Outbox;
use nightshift_agent::storage::FileStorage;
use nightshift_agent::surroundings::Surroundings;
use nightshift_agent::worker::Anonymous;
use nightshift_core::ids::{Epoch, JobId, NodeName};
use nightshift_core::job::{JobOrder, JobReport, JobWork, LABEL_JOB, built_by, owner};
use nightshift_core::spec::{HealthCheck, SelfTest, TestLimits, TestRun};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::fixture::{Fixture, Image};

/// Pause between two looks at what is to come about.
const PAUSE: Duration = Duration::from_millis(50);

/// Running jobs.
pub(crate) struct Node {
    pub(crate) jobs: JobsHandle,
    pub(crate) outbox: Arc<Outbox>,
    name: NodeName,
    engine: Arc<dyn Engine>,
    data: TempDir,
    limits: Limits,
}

impl Node {
    pub(crate) async fn new(fixture: &dyn Fixture) -> Self {
        Self::limited(fixture, Limits::default()).await
    }

    pub(crate) async fn limited(fixture: &dyn Fixture, limits: Limits) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory");
        // Other tests use the same engine at the same time: each is a node of its own.
        let name = fixture.name("n").parse().expect("well formed");
        Self::on(fixture.engine(), name, data, limits).await
    }

    async fn on(engine: Arc<dyn Engine>, name: NodeName, data: TempDir, limits: Limits) -> Self {
        let outbox = Arc::new(Outbox::default());
        let parts = Parts {
            engine: Arc::clone(&engine),
            node: name.clone(),
            storage: Arc::new(FileStorage::new(data.path())),
            credentials: Arc::new(Anonymous),
            limits: limits.clone(),
            outbox: Arc::clone(&outbox),
            scratch: Some(data.path().join("builds")),
            surroundings: Surroundings::default(),
        };
        let jobs = Jobs::start(parts).await.expect("a directory of our own");
        Self { jobs, outbox, name, engine, data, limits }
    }

    /// The agent dies where it is, and another one starts on the same storage.
    pub(crate) async fn killed(self) -> Self {
        self.jobs.abandon();
        Self::on(self.engine, self.name, self.data, self.limits).await
    }

    /// An order to test an image by itself.
    pub(crate) fn order(&self, id: &str, image: &Image, run: TestRun) -> JobOrder {
        let test = SelfTest {
            test_nodes: "role=test".parse().expect("well formed"),
            env: [("NIGHTSHIFT_TEST".to_owned(), "1".to_owned())].into(),
            run,
            timeout: Duration::from_secs(60),
            limits: TestLimits::default(),
            internet: false,
        };
        JobOrder {
            id: format!("{}-{id}", self.name).parse().expect("well formed"),
            epoch: Epoch(1),
            node: self.name.clone(),
            app: "web".parse().expect("well formed"),
            image: image.name.clone(),
            work: JobWork::SelfTest { digest: image.digest.clone(), test, health: HealthCheck::Auto },
            signatures: Vec::new(),
        }
    }

    /// Waits for the report of a job.
    pub(crate) async fn report(&self, job: &JobId) -> JobReport {
        loop {
            if let Some(report) = self.outbox.jobs().into_iter().find(|report| report.job == *job) {
                return report;
            }
            sleep(PAUSE).await;
        }
    }

    /// Carries out an order to its report; then nothing of it is left.
    pub(crate) async fn carry_out(&self, order: JobOrder) -> JobReport {
        let job = order.id.clone();
        self.jobs.submit(order).await;
        let report = self.report(&job).await;
        assert_eq!(self.left().await, Vec::<String>::new());
        report
    }

    /// The running container of this node's job, as its raw inspect.
    pub(crate) async fn running(&self) -> serde_json::Value {
        loop {
            for container in self.engine.list().await.expect("the engine is up") {
                if owner(&container.name, &container.labels).is_some_and(|(_, agent)| agent == self.jobs.agent()) {
                    // It may be gone since the list was made.
                    let Ok(inspect) = self.engine.inspect(&container.id.0).await else { continue };
                    if inspect["State"]["Running"] == true {
                        return inspect;
                    }
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Clones that builds have left.
    pub(crate) fn clones(&self) -> usize {
        let clones = std::fs::read_dir(self.data.path().join("builds"));
        clones.map(|clones| clones.count()).unwrap_or_default()
    }

    /// Waits until nothing of a job is left.
    pub(crate) async fn nothing_is_left(&self) {
        while !self.left().await.is_empty() {
            sleep(PAUSE).await;
        }
    }

    /// Containers, networks and images of this node's jobs.
    pub(crate) async fn left(&self) -> Vec<String> {
        let containers = self.engine.list().await.expect("the engine is up");
        let containers = containers.into_iter().map(|container| (container.name, container.labels));
        let networks = self.engine.networks(LABEL_JOB).await.expect("the engine is up");
        let networks = networks.into_iter().map(|network| (network.name, network.labels));
        let ours =
            |(name, labels): &(String, _)| owner(name, labels).is_some_and(|(_, agent)| agent == self.jobs.agent());
        let images = self.engine.list_images().await.expect("the engine is up");
        let built = images.into_iter().flat_map(|image| image.repo_tags);
        let built = built.filter(|name| built_by(name, self.jobs.agent()).is_some());
        containers.chain(networks).filter(ours).map(|(name, _)| name).chain(built).collect()
    }
}

/// The self-test of an order.
pub(crate) fn test(order: &mut JobOrder) -> &mut SelfTest {
    let (JobWork::SelfTest { test, .. } | JobWork::Build { test, .. }) = &mut order.work;
    test
}

/// How its container is judged to be ready.
pub(crate) fn health(order: &mut JobOrder) -> &mut HealthCheck {
    let (JobWork::SelfTest { health, .. } | JobWork::Build { health, .. }) = &mut order.work;
    health
}

/// A command inside.
pub(crate) fn command(words: &[&str]) -> TestRun {
    TestRun::Command(words.iter().map(|&word| word.to_owned()).collect())
}
