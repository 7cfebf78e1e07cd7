//! What the coordinator itself costs for one step of a rollout, by the size of the fleet: its decisions, its messages and its
//! SQLite log, with agents that answer at once. `scripts/bench rollout` runs it and reads its lines of JSON.
//!
//! `cargo bench -p nightshift-coordinator --bench rollout -- [NODES]...`; without `--bench`, which Cargo adds, it does nothing, so that
//! it costs nothing where all targets are run as tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use nightshift_coordinator::data_dir::DataDir;
use nightshift_coordinator::driver::{Driver, Handle, NodeSaid, Options};
use nightshift_coordinator::store::SqliteStore;
use nightshift_core::config::read_app;
use nightshift_core::container::{Health, RunState};
use nightshift_core::control::Request;
use nightshift_core::event::Actor;
use nightshift_core::fleet::NodeFacts;
use nightshift_core::ids::{AppName, ContainerId, NodeName};
use nightshift_core::image::Digest;
use nightshift_core::instance::{ImageReport, ImageState, InstanceView};
use nightshift_core::labels::Labels;
use nightshift_core::release::TestResult;
use nightshift_core::step::{StepOrder, StepPhase, StepReport};
use nightshift_proto::pb::{self, coordinator_message::Body};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Fleets that are measured when nobody says which.
const FLEETS: [usize; 4] = [10, 100, 1_000, 5_000];
/// Steps that are measured in each fleet.
const STEPS: usize = 200;
/// A step that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Ticks of the kernel's clock for processor time in a second, on every Linux.
const TICKS: u32 = 100;
/// What an agent reports of a good step, one after the other.
const PHASES: [StepPhase; 8] = [
    StepPhase::Preflight,
    StepPhase::Pulled,
    StepPhase::Created,
    StepPhase::OldStopped,
    StepPhase::Started,
    StepPhase::Healthy,
    StepPhase::Monitored,
    StepPhase::Committed,
];

const WEB: &str = r#"
name = "web"
image = "r.example/web:stable"
[update]
delay = "0s"
[quiet_hours]
timezone = "UTC"
[[quiet_hours.allow]]
days = ["daily"]
start = "00:00"
duration = "24h"
"#;

fn digest(number: usize) -> Digest {
    format!("sha256:{number:064x}").parse().expect("well formed")
}

fn app() -> AppName {
    "web".parse().expect("well formed")
}

/// An agent that answers at once.
struct Agent {
    name: NodeName,
    handle: Handle,
    digest: Digest,
    revision: u64,
    reports: u64,
    committed: mpsc::UnboundedSender<()>,
}

impl Agent {
    async fn serve(mut self, session: u64) {
        let (outbox, mut inbox) = mpsc::channel(64);
        let (facts, labels) = (NodeFacts::default(), Labels::new());
        self.say(NodeSaid::Connected { session, facts, labels, steps: Vec::new(), jobs: Vec::new(), outbox }).await;
        while let Some(Ok(pb::CoordinatorMessage { body: Some(body) })) = inbox.recv().await {
            match body {
                Body::Watch(watch) => {
                    self.revision = watch.revision;
                    self.inventory().await;
                }
                Body::Prepull(wanted) => {
                    let digest = wanted.digest.parse().expect("a digest");
                    self.say(NodeSaid::Image(ImageReport { app: app(), digest, state: ImageState::Present })).await;
                }
                Body::Step(step) => self.step(step.try_into().expect("a whole order")).await,
                Body::Welcome(_)
                | Body::Acknowledge(_)
                | Body::Heartbeat(_)
                | Body::Goodbye(_)
                | Body::Survey(_)
                | Body::Job(_) => {}
            }
        }
    }

    /// The coordinator may have been told to end.
    async fn say(&self, said: NodeSaid) {
        drop(self.handle.node(self.name.clone(), said).await);
    }

    async fn step(&mut self, order: StepOrder) {
        for phase in PHASES {
            self.reports += 1;
            let (old_container_id, new_container_id) = (None, None);
            let (key, downtime_ms, failure) = (order.key.clone(), None, None);
            let report = Box::new(StepReport { key, phase, old_container_id, new_container_id, downtime_ms, failure });
            self.say(NodeSaid::Report { sequence: self.reports, report }).await;
        }
        self.digest = order.digest;
        self.inventory().await;
        self.committed.send(()).expect("somebody counts, as long as there are orders");
    }

    async fn inventory(&self) {
        let instances = Ok(vec![InstanceView {
            app: app(),
            container_id: ContainerId(format!("{}-{}", self.name, self.digest)),
            container: "web".into(),
            image: "r.example/web:stable".into(),
            image_id: format!("sha256:image-{}", self.digest),
            digests: vec![self.digest.clone()],
            state: RunState::Running,
            health: Health::Healthy,
            refusal: None,
            image_created: None,
            after: Vec::new(),
            start_first_obstacles: Vec::new(),
        }]);
        self.say(NodeSaid::Inventory { revision: self.revision, instances }).await;
    }
}

async fn ask(handle: &Handle, request: Request) {
    handle.request(request, Actor("ann".into())).await.expect("accepted");
}

async fn tested(handle: &Handle, number: usize) {
    ask(
        handle,
        Request::Seen {
            app: app(),
            image: "r.example/web:stable".parse().expect("well formed"),
            digest: digest(number),
            about: Default::default(),
        },
    )
    .await;
    let (app, digest, suite) = (app(), digest(number), "default".to_owned());
    ask(
        handle,
        Request::Report {
            app,
            digest,
            suite,
            result: TestResult::Passed,
            url: None,
            from: None,
            about: Default::default(),
        },
    )
    .await;
}

/// Processor time of this process so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let fields = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks = |field: usize| fields.split_whitespace().nth(field).and_then(|text| text.parse::<u32>().ok());
    let (user, system) = (ticks(11).expect("user time"), ticks(12).expect("system time"));
    Duration::from_secs(1) * (user + system) / TICKS
}

/// Steps, and what they took together: processor time and time on the wall.
type Cost = (usize, Duration, Duration);

/// One rollout, from its first commit to its last, or to as many steps as are wanted.
async fn rollout(committed: &mut mpsc::UnboundedReceiver<()>, steps: usize) -> Cost {
    let mut next =
        async || tokio::time::timeout(PATIENCE, committed.recv()).await.expect("a step ends").expect("agents");
    next().await;
    let (processor, wall) = (processor_time(), Instant::now());
    for _ in 1..steps {
        next().await;
    }
    (steps - 1, processor_time() - processor, wall.elapsed())
}

async fn fleet(nodes: usize) -> Cost {
    let directory = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(&DataDir::open(directory.path()).expect("ours")).await.expect("a store");
    let options = Options {
        store: Arc::new(store),
        clock: Arc::new(Utc::now),
        unknown_after: Duration::from_secs(120),
        heartbeat_interval: Duration::from_secs(5),
        witness: None,
        triggers: None,
    };
    let (driver, handle) = Driver::open(options).await.expect("opens");
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(driver.run(shutdown.clone()));
    ask(&handle, Request::Apply(vec![read_app("web.toml", WEB).expect("a good file")])).await;
    let (sender, mut committed) = mpsc::unbounded_channel();
    for (number, session) in (0..nodes).zip(1..) {
        let name = format!("n{number:05}").parse().expect("well formed");
        let (handle, committed) = (handle.clone(), sender.clone());
        let agent = Agent { name, handle, digest: digest(1), revision: 0, reports: 0, committed };
        tokio::spawn(agent.serve(session));
    }
    let adopted = async {
        while handle.ask(|view| view.control.catalog().app(&app()).map_or(0, |app| app.adopted.len())).await.ok()
            != Some(nodes)
        {
            handle.changes().changed().await.expect("the driver runs");
        }
    };
    tokio::time::timeout(PATIENCE * 5, adopted).await.expect("all nodes are known");
    let (mut done, mut processor, mut wall, mut version) = (0, Duration::ZERO, Duration::ZERO, 1);
    while done < STEPS.min(nodes * 20) - 20 {
        version += 1;
        tested(&handle, version).await;
        let (steps, more_processor, more_wall) = rollout(&mut committed, nodes.min(STEPS)).await;
        (done, processor, wall) = (done + steps, processor + more_processor, wall + more_wall);
    }
    shutdown.cancel();
    running.await.expect("no panic").expect("a good end");
    (done, processor, wall)
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut fleets: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if fleets.is_empty() {
        fleets = FLEETS.to_vec();
    }
    for nodes in fleets {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (steps, processor, wall) = runtime.block_on(fleet(nodes));
        let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(u32::try_from(steps).expect("few"));
        println!(
            r#"{{"nodes": {nodes}, "steps": {steps}, "processor_ms_per_step": {:.3}, "wall_ms_per_step": {:.3}}}"#,
            each(processor),
            each(wall)
        );
    }
}
