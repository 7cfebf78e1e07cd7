//! The simulated engine as a fixture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use nightshift_agent::engine::simulated::{Behaviour, Happening, SimulatedEngine, SimulatedImage, SimulatedRegistry};
use nightshift_agent::engine::{Engine, ExecOutcome, RegistryAuth};
use nightshift_core::image::{Digest, ImageRef};
use serde_json::json;

use crate::fixture::{Fixture, Image, Kind, PASSWORD, login};

/// A fresh engine with a registry of its own.
pub(crate) struct SimulatedFixture {
    /// Also for what only a simulated one can do.
    pub(crate) engine: SimulatedEngine,
    pub(crate) registry: SimulatedRegistry,
    counter: AtomicU16,
}

impl SimulatedFixture {
    pub(crate) fn new() -> Self {
        let registry = SimulatedRegistry::new();
        let time = DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
        let engine = SimulatedEngine::new("node-1", registry.clone(), time);
        Self { engine, registry, counter: AtomicU16::new(0) }
    }

    fn next(&self) -> u16 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

fn behaviour(kind: Kind) -> Behaviour {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let outcome = ExecOutcome { exit_code: 3, output: "hello\n".to_owned() };
    let well = ExecOutcome { exit_code: 0, output: "tested\n".to_owned() };
    let commands = BTreeMap::from([
        (words(&["sh", "-c", "echo hello; exit 3"]), Some(outcome)),
        (words(&["sh", "-c", "echo tested"]), Some(well)),
        (words(&["sleep", "60"]), None),
        (words(&["sh", "-c", "echo hello; sleep 60"]), None),
    ]);
    let spoken = BTreeMap::from([(words(&["sh", "-c", "echo hello; sleep 60"]), "hello\n".to_owned())]);
    let second = Duration::from_secs(1);
    let behaviour = match kind {
        Kind::Web => Behaviour::of(Happening::Healthy, second),
        Kind::Sick => Behaviour::of(Happening::Unhealthy, 2 * second),
        Kind::Short => Behaviour::of(Happening::Exit(7), second / 5),
        Kind::Passing => Behaviour::of(Happening::Exit(0), second / 5),
        Kind::NoProgram => {
            let error = "exec: \"/no-such-program\": stat /no-such-program: no such file or directory: unknown";
            Behaviour { start_error: Some(error.to_owned()), ..Behaviour::default() }
        }
        Kind::Stubborn => Behaviour { stop_takes: Duration::MAX, ..Behaviour::default() },
    };
    Behaviour { commands, spoken, log: vec!["starting".to_owned(), "serving".to_owned()], ..behaviour }
}

#[async_trait]
impl Fixture for SimulatedFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    fn name(&self, base: &str) -> String {
        format!("{base}-{}", self.next())
    }

    fn port(&self) -> u16 {
        20_000 + self.next()
    }

    async fn push(&self, kind: Kind) -> Image {
        let created = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
        let mut image = SimulatedImage::new(created, behaviour(kind));
        image.config["Volumes"] = json!({"/data": {}});
        image.config["Labels"] = json!({"text": self.name("image")});
        let name = format!("127.0.0.1:5000/{}:v1", self.name("web")).parse().expect("well formed");
        let digest = self.registry.push(&name, image);
        Image { name, digest }
    }

    async fn push_private(&self) -> (Image, RegistryAuth) {
        let created = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
        let name = "127.0.0.1:5001/private:v1".parse().expect("well formed");
        let digest = self.registry.push(&name, SimulatedImage::new(created, behaviour(Kind::Web)));
        let login = login("127.0.0.1:5001", PASSWORD);
        self.registry.require_login("127.0.0.1:5001", login.clone());
        (Image { name, digest }, login)
    }

    async fn served(&self, name: &ImageRef) -> Option<Digest> {
        self.registry.resolve(name)
    }

    fn containers_of_a_run(&self) -> usize {
        0
    }

    async fn network(&self) -> String {
        let name = self.name("network");
        self.engine.add_network(&name);
        name
    }

    async fn has_volume(&self, _name: &str) -> bool {
        false
    }
}
