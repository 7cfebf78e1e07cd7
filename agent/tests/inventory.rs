//! The inventory of a simulated engine: what is an instance, how it is, and when that is said.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_agent::engine::simulated::{Call, Fault, SimulatedEngine, SimulatedImage, SimulatedRegistry};
use nightshift_agent::engine::{Engine, OLDEST_KNOWN};
use nightshift_agent::inventory::{Found, Inventory, Link, link};
use nightshift_agent::surroundings::Surroundings;
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::image::{Digest, ImageRef};
use nightshift_core::instance::{InstanceView, WatchedApp};
use nightshift_core::recreate::{Product, Refusal};
use nightshift_core::spec::{APP_LABEL, InstanceSelector};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

fn time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

struct Node {
    engine: SimulatedEngine,
    name: ImageRef,
    digest: Digest,
    link: Link,
    shutdown: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Node {
    async fn new() -> Self {
        Self::of(Product::Docker).await
    }

    async fn of(product: Product) -> Self {
        let registry = SimulatedRegistry::new();
        let engine = SimulatedEngine::new("node-1", registry.clone(), time());
        let name: ImageRef = "127.0.0.1:5000/web:stable".parse().unwrap();
        let digest = registry.push(&name, SimulatedImage::healthy(time(), Duration::from_secs(3)));
        engine.hold(&name, &digest).await.unwrap();
        let (link, questions) = link();
        let shutdown = CancellationToken::new();
        let port = Arc::new(engine.clone());
        let inventory = Inventory::new(port, OLDEST_KNOWN, product, questions, Surroundings::default());
        tokio::spawn(inventory.run(shutdown.clone()));
        Self { engine, name, digest, link, shutdown }
    }

    async fn create(&self, name: &str, host_config: Value) -> ContainerId {
        let body = json!({"Image": self.name.familiar(), "Labels": {APP_LABEL: "web"}, "HostConfig": host_config});
        self.engine.create(name, &body).await.unwrap()
    }

    fn ask(&mut self, selectors: &[(&str, InstanceSelector)]) -> u64 {
        let app = |(name, instances): &(&str, InstanceSelector)| WatchedApp {
            name: name.parse().unwrap(),
            repository: self.name.repository.clone(),
            instances: instances.clone(),
        };
        let apps = selectors.iter().map(app).collect();
        self.link.ask(apps, 7)
    }

    async fn found(&mut self, ticket: u64) -> Vec<InstanceView> {
        let Found { revision, instances, .. } =
            timeout(Duration::from_secs(300), self.link.found(ticket)).await.expect("an answer in time");
        assert_eq!(revision, 7);
        instances.expect("the engine answers")
    }
}

fn by_label() -> InstanceSelector {
    InstanceSelector::Label { key: APP_LABEL.into(), value: "web".into() }
}

fn names(instances: &[InstanceView]) -> Vec<&str> {
    instances.iter().map(|instance| instance.container.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_described_in_full() {
    let mut node = Node::new().await;
    let id = node.create("web", json!({})).await;
    let ticket = node.ask(&[("web", by_label())]);
    let found = node.found(ticket).await;
    let image_id = node.engine.inspect(&id.0).await.unwrap()["Image"].as_str().unwrap().to_owned();
    let expect = InstanceView {
        app: "web".parse().unwrap(),
        container_id: id,
        container: "web".into(),
        image: "127.0.0.1:5000/web:stable".into(),
        image_id,
        digests: vec![node.digest.clone()],
        state: RunState::Created,
        health: Health::None,
        refusal: None,
        image_created: Some(time()),
        after: Vec::new(),
        start_first_obstacles: Vec::new(),
    };
    assert_eq!(found, [expect]);
}

#[tokio::test(start_paused = true)]
async fn containers_in_the_middle_of_a_replacement_and_strangers_are_no_instances() {
    let mut node = Node::new().await;
    for name in ["web", "web.nightshift-new-0123456789ab", "web.nightshift-old-0123456789ab", "other"] {
        node.create(name, json!({})).await;
    }
    let pattern = InstanceSelector::Name("web*".parse().unwrap());
    let ticket = node.ask(&[("web", pattern)]);
    assert_eq!(names(&node.found(ticket).await), ["web"]);
    let ticket = node.ask(&[("web", InstanceSelector::Image)]);
    assert_eq!(names(&node.found(ticket).await), ["other", "web"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_by_image_is_found_when_its_tag_has_moved_on() {
    let mut node = Node::new().await;
    node.create("web", json!({})).await;
    let image = node.engine.inspect_image(&node.name.familiar()).await.unwrap();
    node.engine.tag(image["Id"].as_str().unwrap(), "elsewhere", "x").await.unwrap();
    node.engine.remove_image(&node.name.familiar()).await.unwrap();
    let ticket = node.ask(&[("web", InstanceSelector::Image)]);
    assert_eq!(names(&node.found(ticket).await), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_replaced_says_why() {
    let mut node = Node::new().await;
    node.create("web", json!({"AutoRemove": true})).await;
    let ticket = node.ask(&[("web", by_label())]);
    let refusal = node.found(ticket).await[0].refusal.clone().expect("a refusal");
    assert!(refusal.contains("--rm"), "{refusal}");
    let ticket = node.ask(&[("a", by_label()), ("b", by_label())]);
    let twice = node.found(ticket).await;
    let expect = Some("it is an instance of two apps, `a` and `b`".to_owned());
    assert_eq!(twice.iter().map(|instance| instance.refusal.clone()).collect::<Vec<_>>(), [expect.clone(), expect]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_said_soon_and_its_end_state_once() {
    let mut node = Node::new().await;
    let id = node.create("web", json!({})).await;
    let ticket = node.ask(&[("web", by_label())]);
    node.found(ticket).await;
    let before = Instant::now();
    node.engine.start(&id).await.unwrap();
    let started = node.found(ticket).await;
    assert_eq!((started[0].state, started[0].health), (RunState::Running, Health::Starting));
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    let healthy = node.found(ticket).await;
    assert_eq!(healthy[0].health, Health::Healthy);
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    // Two minutes of looking every 30 s have nothing to add.
    assert!(timeout(Duration::from_secs(120), node.link.found(ticket)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_same_question_is_answered_anew() {
    let mut node = Node::new().await;
    node.create("web", json!({})).await;
    let first = node.ask(&[("web", by_label())]);
    let found = node.found(first).await;
    let second = node.ask(&[("web", by_label())]);
    assert_eq!(node.found(second).await, found);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_no_empty_list_and_its_return_is_noticed() {
    let mut node = Node::new().await;
    node.create("web", json!({})).await;
    let ticket = node.ask(&[("web", by_label())]);
    node.found(ticket).await;
    node.engine.restart_daemon(Duration::from_secs(45));
    let away = node.link.found(ticket).await.instances.expect_err("it is away");
    assert!(away.contains("cannot be reached"), "{away}");
    assert_eq!(names(&node.found(ticket).await), ["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_vanishes_while_we_look_is_left_out() {
    let mut node = Node::new().await;
    node.create("web", json!({})).await;
    let ticket = node.ask(&[("web", by_label())]);
    assert_eq!(names(&node.found(ticket).await), ["web"]);
    // Past the looks that the start itself brings; the next one without a question is due in 30 s.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let gone = Fault::Refused { status: 404, message: "No such container".into() };
    node.engine.fail_next(Call::Inspect, gone);
    let ticket = node.ask(&[("web", by_label())]);
    assert_eq!(node.found(ticket).await, []);
}

#[tokio::test(start_paused = true)]
async fn on_podman_an_instance_is_seen_and_none_is_replaced() {
    let mut node = Node::of(Product::Podman).await;
    node.create("web", json!({})).await;
    let ticket = node.ask(&[("web", by_label())]);
    let found = node.found(ticket).await;
    assert_eq!(names(&found), ["web"]);
    assert_eq!(found[0].refusal, Some(Refusal::Podman.to_string()));
    assert_eq!(found[0].digests, [node.digest.clone()], "what it runs is known all the same");
}
