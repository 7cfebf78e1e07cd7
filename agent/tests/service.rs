//! A whole agent on a simulated engine, against a scripted coordinator.

#![expect(clippy::unwrap_used, reason = "a test")]

mod scripted;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use nightshift_agent::credentials::DockerCredentials;
use nightshift_agent::engine::Engine;
use nightshift_agent::engine::simulated::{SimulatedEngine, SimulatedImage, SimulatedRegistry};
use nightshift_agent::service::{EngineSource, Error, Options, TokenSource, run};
use nightshift_core::ids::{ContainerId, Epoch, Generation, StepIndex};
use nightshift_core::image::{Digest, ImageRef};
use nightshift_core::instance::{ImageReport, ImageState, Prepull, WatchedApp};
use nightshift_core::spec::{APP_LABEL, HealthCheck, Hooks, InstanceSelector, UpdateOrder};
use nightshift_core::step::{Purpose, StepKey, StepOrder, StepPhase, StepReport};
use nightshift_proto::pb;
use pb::agent_message::Body as Ours;
use pb::coordinator_message::Body as Theirs;
use scripted::logs::Logs;
use scripted::pki::Pki;
use scripted::{Coordinator, PATIENCE, Session, Setup};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "s3cret-word";

struct Fleet {
    registry: SimulatedRegistry,
    engine: SimulatedEngine,
    image: ImageRef,
    old: Digest,
    container: ContainerId,
}

impl Fleet {
    async fn new() -> Self {
        let registry = SimulatedRegistry::new();
        let engine = SimulatedEngine::new("host-1", registry.clone(), Utc::now());
        let image: ImageRef = "127.0.0.1:5000/web:stable".parse().unwrap();
        let old = registry.push(&image, SimulatedImage::healthy(Utc::now(), Duration::from_millis(100)));
        engine.hold(&image, &old).await.unwrap();
        let body = json!({"Image": image.familiar(), "Labels": {APP_LABEL: "web"}});
        let container = engine.create("web", &body).await.unwrap();
        engine.start(&container).await.unwrap();
        Self { registry, engine, image, old, container }
    }

    fn options(&self, coordinator: &Coordinator, token: Option<&str>, data_dir: &Path) -> Options {
        Options {
            node: "node-1".parse().unwrap(),
            labels: [("role".to_owned(), "web".to_owned())].into(),
            data_dir: data_dir.to_owned(),
            coordinator: coordinator.address.to_string().parse().unwrap(),
            join_token: token.map(|token| TokenSource::Inline(token.parse().unwrap())),
            engine: EngineSource::Ready(Arc::new(self.engine.clone())),
            docker_config: DockerCredentials::none(),
            limits: Default::default(),
        }
    }

    fn order(&self, digest: &Digest, epoch: u64) -> StepOrder {
        StepOrder {
            key: StepKey { rollout: "r1".parse().unwrap(), step: StepIndex(0), generation: Generation(1) },
            epoch: Epoch(epoch),
            purpose: Purpose::Update,
            node: "node1".parse().expect("well formed"),
            app: "web".parse().unwrap(),
            container: "web".into(),
            container_id: self.container.clone(),
            image: self.image.clone(),
            digest: digest.clone(),
            order: UpdateOrder::StopFirst,
            health: HealthCheck::Auto,
            hooks: Hooks::default(),
            healthy_deadline: Duration::from_secs(30),
            monitor: Duration::from_millis(100),
            keep_images: 2,
            start_within: Duration::from_secs(30),
            signatures: Vec::new(),
        }
    }
}

fn start(options: Options) -> (JoinHandle<Result<(), Error>>, CancellationToken) {
    let shutdown = CancellationToken::new();
    (tokio::spawn(run(options, shutdown.clone())), shutdown)
}

async fn ended(agent: JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    timeout(PATIENCE, agent).await.expect("an end in time").unwrap()
}

/// What a coordinator would know after each message: reports are acknowledged, inventories and images kept.
#[derive(Default)]
struct Known {
    phases: Vec<StepPhase>,
    inventory: Option<pb::Inventory>,
    images: Vec<ImageState>,
    goodbye: bool,
}

impl Known {
    /// Listens until enough is known.
    async fn until(&mut self, session: &mut Session, enough: impl Fn(&Self) -> bool) {
        let listening = async {
            while !enough(self) {
                match session.hears_news().await {
                    Ours::Report(report) => {
                        let sequence = report.sequence;
                        session
                            .say(Theirs::Acknowledge(pb::Acknowledge { sequence, ..pb::Acknowledge::default() }))
                            .await;
                        self.phases.push(StepReport::try_from(report.step.unwrap()).unwrap().phase);
                    }
                    Ours::Inventory(inventory) => self.inventory = Some(inventory),
                    Ours::Image(image) => self.images.push(ImageReport::try_from(image).unwrap().state),
                    Ours::Goodbye(_) => self.goodbye = true,
                    Ours::Hello(_) | Ours::Heartbeat(_) | Ours::Surveyed(_) | Ours::Job(_) => {}
                }
            }
        };
        timeout(PATIENCE, listening).await.expect("enough in time");
    }

    fn digests(&self) -> Vec<String> {
        let inventory = self.inventory.iter().flat_map(|inventory| &inventory.instances);
        inventory.flat_map(|instance| instance.digests.clone()).collect()
    }
}

#[tokio::test]
async fn an_agent_joins_lists_fetches_replaces_and_says_goodbye() {
    let (pki, data, fleet) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap(), Fleet::new().await);
    let mut coordinator = Coordinator::start(Setup { tokens: vec![SECRET.into()], ..Setup::new(&pki) });
    let (logs, _listening) = Logs::listen();
    let (agent, shutdown) = start(fleet.options(&coordinator, Some(&pki.token(SECRET)), data.path()));
    let mut session = coordinator.session().await;
    assert_eq!((session.node.as_str(), session.hello.engine_name.as_str()), ("node-1", "host-1"));
    session.welcome(1).await;
    let web = WatchedApp {
        name: "web".parse().unwrap(),
        repository: fleet.image.repository.clone(),
        instances: InstanceSelector::Label { key: APP_LABEL.into(), value: "web".into() },
    };
    session.say(Theirs::Watch(pb::Watch::of(&[web], 5))).await;
    let mut known = Known::default();
    known.until(&mut session, |known| known.inventory.is_some()).await;
    assert_eq!(known.inventory.as_ref().unwrap().watch_revision, 5);
    assert_eq!(known.digests(), [fleet.old.to_string()]);

    let newer = SimulatedImage::healthy(Utc::now() + chrono::TimeDelta::hours(1), Duration::from_millis(100));
    let new = fleet.registry.push(&fleet.image, newer);
    let app = "web".parse().unwrap();
    let prepull =
        Prepull { app, image: fleet.image.clone(), digest: new.clone(), epoch: Epoch(1), signatures: Vec::new() };
    session.say(Theirs::Prepull((&prepull).into())).await;
    known.until(&mut session, |known| known.images.last() == Some(&ImageState::Present)).await;

    session.say(Theirs::Step((&fleet.order(&new, 1)).into())).await;
    known.until(&mut session, |known| known.phases.last() == Some(&StepPhase::Committed)).await;
    assert!(known.phases.is_sorted() && known.phases.first() == Some(&StepPhase::Assigned), "{:?}", known.phases);
    known.until(&mut session, |known| known.digests() == [new.to_string()]).await;
    assert_ne!(known.inventory.as_ref().unwrap().instances[0].container_id, fleet.container.0);

    shutdown.cancel();
    known.until(&mut session, |known| known.goodbye).await;
    drop(session);
    ended(agent).await.unwrap();
    assert!(logs.text().contains("agent{node=node-1}"), "the node's name is missing");
    assert!(!logs.text().contains(SECRET), "a secret was logged");
}

#[tokio::test]
async fn a_step_that_was_left_unfinished_ends_without_any_coordinator() {
    let (pki, data, fleet) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap(), Fleet::new().await);
    let mut coordinator = Coordinator::start(Setup { tokens: vec![SECRET.into()], ..Setup::new(&pki) });
    let (agent, shutdown) = start(fleet.options(&coordinator, Some(&pki.token(SECRET)), data.path()));
    let mut session = coordinator.session().await;
    session.welcome(1).await;
    let newer = SimulatedImage::healthy(Utc::now() + chrono::TimeDelta::hours(1), Duration::from_millis(500));
    let new = fleet.registry.push(&fleet.image, newer);
    session.say(Theirs::Step((&fleet.order(&new, 1)).into())).await;
    let mut known = Known::default();
    known.until(&mut session, |known| known.phases.last() >= Some(&StepPhase::Started)).await;
    shutdown.cancel();
    known.until(&mut session, |known| known.goodbye).await;
    drop(session);
    ended(agent).await.unwrap();

    // The coordinator is gone: the step ends, and its end is told to the next one.
    let address = coordinator.stop().await;
    let away = Coordinator::start(Setup::new(&pki));
    let mut options = fleet.options(&away, None, data.path());
    options.coordinator = address.to_string().parse().unwrap();
    let (logs, _listening) = Logs::listen();
    let (agent, shutdown) = start(options);
    logs.until("INFO", "step ended").await;
    let mut coordinator = Coordinator::start(Setup { address, ..Setup::new(&pki) });
    let session = coordinator.session().await;
    let told = StepReport::try_from(session.hello.steps[0].clone()).unwrap();
    assert_eq!((told.key, told.phase), (fleet.order(&new, 1).key, StepPhase::Committed));
    drop(session);
    shutdown.cancel();
    ended(agent).await.unwrap();
}

#[tokio::test]
async fn a_node_that_cannot_join_says_why_and_ends() {
    let (pki, data, fleet) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap(), Fleet::new().await);
    let coordinator = Coordinator::start(Setup::new(&pki));
    let (agent, _shutdown) = start(fleet.options(&coordinator, None, data.path()));
    let error = ended(agent).await.expect_err("no token").to_string();
    assert!(error.starts_with("node `node-1` has not joined a fleet and has no join token; hint: "), "{error}");
    let (agent, _shutdown) = start(fleet.options(&coordinator, Some(&pki.token(SECRET)), data.path()));
    let error = ended(agent).await.expect_err("a token that nobody knows");
    assert!(matches!(error, Error::Enrol(_)) && !format!("{error} {error:?}").contains(SECRET), "{error}");
}

#[tokio::test]
async fn two_agents_do_not_share_a_data_directory() {
    let (pki, data, fleet) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap(), Fleet::new().await);
    let mut coordinator = Coordinator::start(Setup { tokens: vec![SECRET.into()], ..Setup::new(&pki) });
    let (first, shutdown) = start(fleet.options(&coordinator, Some(&pki.token(SECRET)), data.path()));
    let session = coordinator.session().await;
    let (second, _shutdown) = start(fleet.options(&coordinator, None, data.path()));
    let error = ended(second).await.expect_err("it is held").to_string();
    assert!(error.contains("another agent uses this data directory"), "{error}");
    drop(session);
    shutdown.cancel();
    ended(first).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_down_at_the_start_is_waited_for_and_said_once() {
    let (pki, data, fleet) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap(), Fleet::new().await);
    let mut coordinator = Coordinator::start(Setup { tokens: vec![SECRET.into()], ..Setup::new(&pki) });
    fleet.engine.restart_daemon(Duration::from_secs(2));
    let (logs, _listening) = Logs::listen();
    let (agent, shutdown) = start(fleet.options(&coordinator, Some(&pki.token(SECRET)), data.path()));
    let session = coordinator.session().await;
    let warnings = logs.lines("WARN");
    let said = |line: &&String| line.contains("the engine cannot be used yet; trying again");
    assert_eq!(warnings.iter().filter(said).count(), 1, "{warnings:#?}");
    drop(session);
    shutdown.cancel();
    ended(agent).await.unwrap();
}
