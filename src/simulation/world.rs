//! A whole fleet: coordinator, nodes, registry and network, put together from a plan.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_agent::engine::Engine as _;
use nightshift_agent::engine::simulated::{Behaviour, Happening, SimulatedEngine, SimulatedImage};
use nightshift_coordinator::driver::{Refusal, View};
use nightshift_core::config::read_app;
use nightshift_core::control::Request;
use nightshift_core::event::{Actor, Recorded};
use nightshift_core::ids::{AppName, ContainerId, NodeName};
use nightshift_core::image::{Digest, ImageRef};
use nightshift_core::labels::Labels;
use nightshift_core::release::TestResult;
use nightshift_core::spec::AppSpec;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::clock::Clock;
use super::coordinator::{self, Host};
use super::network::Link;
use super::node::{self, Node};
use super::notes::Notes;
use super::registry::Source;
use super::scenario::Fixed;
use super::witness::{Memory, Night, Watched};

/// An app of a plan.
#[derive(Debug, Clone)]
pub(crate) struct AppPlan {
    pub(crate) spec: AppSpec,
    /// What of its file stays as it is.
    pub(crate) fixed: Fixed,
    /// The name of its container on each node.
    pub(crate) container: String,
    /// What makes that container an instance of the app.
    pub(crate) labels: Labels,
    /// The nodes that have an instance, by position.
    pub(crate) on: Vec<usize>,
    /// Quiet hours that it may have, with what they mean.
    pub(crate) nights: Vec<Night>,
    /// What the instances run at the beginning.
    pub(crate) first: SimulatedImage,
    /// What the containers are made from, besides their image and their label.
    pub(crate) body: Value,
    /// The name of a container on each node that lives in the network of the app's.
    pub(crate) beside: Option<String>,
}

/// What a world is made from.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) start: DateTime<Utc>,
    pub(crate) nodes: Vec<(NodeName, Labels)>,
    pub(crate) apps: Vec<AppPlan>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) watch_interval: Duration,
    pub(crate) unknown_after: Duration,
    /// Whether clocks of nodes differ from the coordinator's.
    pub(crate) skew: bool,
}

/// A container as it was before anything happened to it.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    pub(crate) app: AppName,
    pub(crate) node: usize,
    pub(crate) name: String,
    pub(crate) id: ContainerId,
    pub(crate) volumes: Vec<Value>,
    pub(crate) policy: Value,
    /// The container in whose network it lives.
    pub(crate) beside: Option<String>,
}

/// A fleet.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) chance: Chance,
    pub(crate) clock: Clock,
    pub(crate) source: Source,
    pub(crate) host: Arc<Host>,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) originals: Vec<Original>,
    pub(crate) memory: Memory,
    pub(crate) notes: Notes,
    pub(crate) begun: Instant,
}

impl World {
    /// Builds the fleet: containers run, coordinator and agents are started.
    pub(crate) async fn build(plan: Plan, chance: Chance, notes: Notes) -> Self {
        let begun = Instant::now();
        let clock = Clock::new(plan.start);
        let (source, memory) = (Source::new(notes.clone()), Memory::default());
        let switchboard = Arc::default();
        let nodes: Vec<Arc<Node>> = plan
            .nodes
            .iter()
            .map(|(name, labels)| {
                let chance = chance.fork(name.as_str());
                let link = Link::new(name.clone(), Arc::clone(&switchboard), chance.fork("network"), notes.clone());
                let skew = if plan.skew { skew(&chance) } else { TimeDelta::zero() };
                let engine = SimulatedEngine::new(name.as_str(), source.registry.clone(), plan.start + skew);
                let (name, labels, clock, notes) = (name.clone(), labels.clone(), clock.clone(), notes.clone());
                Node::new(node::Parts { name, labels, engine, link, skew, clock, chance, notes })
            })
            .collect();
        if nodes.iter().any(|one| nodes.iter().any(|other| one.is_ahead_of(other))) {
            notes.reached("clocks of nodes that differ by more than 5 s");
        }
        let originals = populate(&plan, &source, &nodes).await;
        let instances = originals.iter().filter(|one| one.beside.is_none());
        let places = instances.map(|one| (one.app.clone(), nodes[one.node].name.clone(), one.name.clone())).collect();
        let nights = plan.apps.iter().map(|app| (app.spec.name.clone(), app.nights.clone())).collect();
        let watched = Watched { places, nights, nodes: plan.nodes.iter().cloned().collect() };
        let host = Host::new(coordinator::Parts {
            clock: clock.clone(),
            switchboard,
            links: nodes.iter().map(|node| node.link.clone()).collect(),
            source: Arc::new(source.clone()),
            chance: chance.fork("coordinator"),
            notes: notes.clone(),
            witness: memory.witness(watched),
            unknown_after: plan.unknown_after,
            heartbeat_interval: plan.heartbeat_interval,
            watch_interval: plan.watch_interval,
        });
        Self { plan, chance, clock, source, host, nodes, originals, memory, notes, begun }
    }

    /// Starts everybody and brings the apps into force.
    pub(crate) async fn start(&self) {
        self.host.start();
        self.nodes.iter().for_each(|node| node.start());
        let specs = self.plan.apps.iter().map(|app| app.spec.clone()).collect();
        while self.ask(Request::Apply(Vec::clone(&specs)), "ann").await.is_err() {
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Asks the coordinator for a change.
    pub(crate) async fn ask(&self, request: Request, by: &str) -> Result<Vec<Recorded>, Refusal> {
        let handle = self.host.handle().ok_or(Refusal::Gone)?;
        handle.request(request, Actor(by.to_owned())).await
    }

    /// Asks the coordinator a question, when it is there.
    pub(crate) async fn view<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Option<T> {
        self.host.handle()?.ask(question).await.ok()
    }

    /// Pushes an image under the tag that an app follows.
    pub(crate) fn push(&self, app: usize, image: SimulatedImage) -> Digest {
        self.source.registry.push(&self.plan.apps[app].spec.image, image)
    }

    /// CI says what its tests gave.
    pub(crate) async fn report(&self, app: usize, digest: &Digest, result: TestResult) {
        let (app, digest) = (self.plan.apps[app].spec.name.clone(), digest.clone());
        let request = Request::Report {
            app,
            digest,
            suite: "default".to_owned(),
            result,
            url: None,
            from: None,
            about: Default::default(),
        };
        // A coordinator that is away, or that knows better, is CI's problem.
        drop(self.ask(request, "ci").await);
    }
}

/// Clocks of hosts are mostly right, and sometimes minutes off.
fn skew(chance: &Chance) -> TimeDelta {
    let limit = chance.pick(&[0, 900, 30_000, 600_000]);
    TimeDelta::milliseconds(i64::try_from(chance.below(2 * limit + 1)).unwrap_or(0) - i64::try_from(limit).unwrap_or(0))
}

/// Makes and starts the containers that are there before Nightshift is.
async fn populate(plan: &Plan, source: &Source, nodes: &[Arc<Node>]) -> Vec<Original> {
    let mut originals = Vec::new();
    for app in &plan.apps {
        let image: &ImageRef = &app.spec.image;
        let digest = source.registry.push(image, app.first.clone());
        for &position in &app.on {
            let engine = &nodes[position].engine;
            let mut body = app.body.clone();
            body["Labels"] = json!(app.labels);
            let instance = run(engine, app, position, &app.container, &digest, body.clone()).await;
            if let Some(name) = &app.beside {
                body["Labels"] = json!({});
                body["HostConfig"]["NetworkMode"] = json!(format!("container:{}", instance.id));
                let beside = Some(app.container.clone());
                originals.push(Original { beside, ..run(engine, app, position, name, &digest, body).await });
            }
            originals.push(instance);
        }
    }
    // They have been healthy for a while when Nightshift comes.
    sleep(Duration::from_secs(60)).await;
    nodes.iter().for_each(|node| node.engine.keep_history());
    originals
}

/// Makes and starts one container.
async fn run(
    engine: &SimulatedEngine,
    app: &AppPlan,
    node: usize,
    name: &str,
    digest: &Digest,
    mut body: Value,
) -> Original {
    let image = &app.spec.image;
    engine.hold(image, digest).await.expect("it was just pushed");
    body["Image"] = json!(format!("{}:{}", image.repository.familiar(), image.tag));
    let id = engine.create(name, &body).await.expect("the engine is empty");
    engine.start(&id).await.expect("nothing is in its way");
    let inspect = engine.inspect(&id.0).await.expect("it is there");
    let (volumes, policy) = (volumes_of(&inspect), policy_of(&inspect));
    Original { app: app.spec.name.clone(), node, name: name.to_owned(), id, volumes, policy, beside: None }
}

/// The name of a container's restart policy.
pub(crate) fn policy_of(inspect: &Value) -> Value {
    inspect.pointer("/HostConfig/RestartPolicy/Name").cloned().unwrap_or_default()
}

/// The volumes of a container, with where they are mounted.
pub(crate) fn volumes_of(inspect: &Value) -> Vec<Value> {
    let mounts = inspect["Mounts"].as_array().cloned().unwrap_or_default();
    mounts.iter().map(|mount| json!([mount["Name"], mount["Source"], mount["Destination"]])).collect()
}

/// An app from the text of its file: the simulations read it as an operator's is read.
pub(crate) fn app_of(text: &str) -> AppSpec {
    read_app("app.toml", text).expect("the simulation writes good files")
}

/// An image whose containers become healthy, with a volume of their own.
pub(crate) fn good_image(created: DateTime<Utc>, healthy_after: Duration) -> SimulatedImage {
    image(created, Behaviour::of(Happening::Healthy, healthy_after))
}

/// An image whose containers behave like this.
pub(crate) fn image(created: DateTime<Utc>, behaviour: Behaviour) -> SimulatedImage {
    let mut image = SimulatedImage::new(created, behaviour);
    image.config["Healthcheck"] = json!({"Test": ["CMD", "check"], "Interval": 5_000_000_000_u64, "Retries": 3});
    image.config["Volumes"] = json!({"/data": {}});
    image.pull_takes = Duration::from_secs(3);
    image
}
