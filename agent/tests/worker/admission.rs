//! Which orders are taken.

use std::sync::Arc;
use std::time::Duration;

use nightshift_agent::jobs::{Jobs, Parts};
use nightshift_agent::limits::{Limits, Signed};
use nightshift_agent::session::{Outbox, Work};
use nightshift_agent::storage::FileStorage;
use nightshift_agent::surroundings::Surroundings;
use nightshift_agent::worker::{Anonymous, Hands};
use nightshift_core::ids::{Epoch, Generation, StepIndex};
use nightshift_core::signature::Signature;
use nightshift_core::step::{FailureKind, StepOrder, StepPhase, StepReport};

use crate::fixture::{Fixture, Kind};
use crate::node::{Node, order, running};
use crate::simulated::SimulatedFixture;

/// A simulated node and an order that it can carry out.
async fn node_and_order(limits: Limits) -> (SimulatedFixture, Node, StepOrder) {
    let fixture = SimulatedFixture::new();
    let (name, id) = running(&fixture).await;
    let image = fixture.push(Kind::Web).await;
    let node = Node::limited(fixture.engine(), limits).await;
    (fixture, node, order(0, &name, &id, &image))
}

fn check_refused(report: &StepReport, words: &str) {
    let failure = report.failure.as_ref().expect("told");
    assert_eq!((report.phase, failure.kind), (StepPhase::Untouched, FailureKind::NotAccepted));
    assert!(failure.reason.contains(words), "{}", failure.reason);
}

#[tokio::test(start_paused = true)]
async fn a_known_order_is_reported_again_and_not_begun_again() {
    let (_fixture, mut node, order) = node_and_order(Limits::default()).await;
    assert_eq!(node.worker.submit(order.clone()).await.phase, StepPhase::Assigned);
    let again = node.worker.submit(order.clone()).await;
    assert!(again.phase < StepPhase::Created, "{again:?}");
    let end = node.until_end(&order.key).await.pop().expect("the end at least");
    assert_eq!(end.phase, StepPhase::Committed);
    assert_eq!(node.worker.submit(order.clone()).await, end);
    assert_eq!(node.until_end(&order.key).await, std::slice::from_ref(&end));
    assert_eq!(node.worker.steps(), [end]);
}

#[tokio::test(start_paused = true)]
async fn one_node_never_works_on_two_steps() {
    let (_fixture, mut node, order) = node_and_order(Limits::default()).await;
    node.worker.submit(order.clone()).await;
    let mut other = order.clone();
    other.key.step = StepIndex(1);
    check_refused(&node.worker.submit(other.clone()).await, "works on step r-0001/0");
    assert_eq!(node.until_end(&order.key).await.pop().expect("an end").phase, StepPhase::Committed);
    assert_eq!(node.worker.steps().len(), 2, "the refusal is kept until it is acknowledged");
    node.worker.forget(vec![other.key, order.key]).await;
    assert_eq!(node.worker.steps(), []);
}

#[tokio::test(start_paused = true)]
async fn a_stale_epoch_or_generation_never_acts_also_after_a_restart() {
    let (fixture, mut node, mut order) = node_and_order(Limits::default()).await;
    order.epoch = Epoch(5);
    order.key.generation = Generation(3);
    assert_eq!(node.carry_out(&order).await.phase, StepPhase::Committed);
    let known = node.worker.steps();
    let node = node.restart(fixture.engine()).await;
    assert_eq!(node.worker.epoch(), Epoch(5));
    let mut stale = order.clone();
    stale.key.step = StepIndex(1);
    stale.epoch = Epoch(4);
    check_refused(&node.worker.submit(stale.clone()).await, "epoch 4 is older than 5");
    stale.epoch = Epoch(5);
    stale.key.generation = Generation(2);
    check_refused(&node.worker.submit(stale).await, "generation 2 is older than 3");
    assert_eq!(node.worker.steps(), known, "a stale order leaves no trace");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_comes_again_after_its_end_was_forgotten_acts_on_nothing_also_after_a_restart() {
    let (fixture, mut node, order) = node_and_order(Limits::default()).await;
    assert_eq!(node.carry_out(&order).await.phase, StepPhase::Committed);
    let mut busy = order.clone();
    busy.key.step = StepIndex(1);
    busy.key.generation = Generation(order.key.generation.0 + 1);
    let mut refused = busy.clone();
    refused.key.step = StepIndex(2);
    node.worker.submit(busy.clone()).await;
    check_refused(&node.worker.submit(refused.clone()).await, "works on step");
    node.until_end(&busy.key).await;
    let all = [&order, &busy, &refused].map(|order| order.key.clone());
    node.worker.forget(all.to_vec()).await;
    let node = node.restart(fixture.engine()).await;
    for (order, words) in [(order, "is older than"), (busy, "was here before"), (refused, "was here before")] {
        check_refused(&node.worker.submit(order).await, words);
    }
    assert_eq!(node.worker.steps(), [], "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn images_that_the_agent_does_not_allow_are_neither_run_nor_fetched() {
    let limits = Limits { allow_images: vec!["r.example/*".parse().expect("well formed")], ..Limits::default() };
    let (fixture, mut node, order) = node_and_order(limits).await;
    check_refused(&node.worker.submit(order.clone()).await, "hint: see `allow_images`");
    node.worker.prepull(nightshift_core::instance::Prepull {
        app: order.app.clone(),
        image: order.image.clone(),
        digest: order.digest.clone(),
        epoch: order.epoch,
        signatures: Vec::new(),
    });
    let nightshift_core::instance::ImageState::Failed(reason) = node.until_image().await else { panic!("fetched") };
    assert!(reason.contains("does not run images of"), "{reason}");
    let reference = order.image.repository.at(&order.digest);
    assert!(fixture.engine().inspect_image(&reference).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_no_key_of_the_agents_own_has_signed_is_neither_run_nor_fetched() {
    let key = include_str!("../../../core/src/signature/samples/p256.pub").parse().expect("a key");
    let signed = Signed { images: vec!["*".parse().expect("a pattern")], keys: vec![key] };
    let (fixture, mut node, mut order) = node_and_order(Limits { signed: vec![signed], ..Limits::default() }).await;
    check_refused(&node.worker.submit(order.clone()).await, "not signed; hint:");
    // The signature is good, and of another image.
    let payload = include_str!("../../../core/src/signature/samples/payload.json").to_owned();
    let signature = include_str!("../../../core/src/signature/samples/p256.sig").to_owned();
    let signatures = vec![Signature { payload, signature }];
    order.key.step = StepIndex(1);
    // A person who goes back by order meets the same limit.
    order.purpose = nightshift_core::step::Purpose::Rollback;
    order.signatures = signatures.clone();
    check_refused(
        &node.worker.submit(order.clone()).await,
        "the signature is for another digest, sha256:97e9d7a16021; hint:",
    );
    node.worker.prepull(nightshift_core::instance::Prepull {
        app: order.app.clone(),
        image: order.image.clone(),
        digest: order.digest.clone(),
        epoch: order.epoch,
        signatures,
    });
    let nightshift_core::instance::ImageState::Failed(reason) = node.until_image().await else { panic!("fetched") };
    assert!(reason.contains("the signature is for another digest"), "{reason}");
    assert!(fixture.engine().inspect_image(&order.image.repository.at(&order.digest)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_order_that_could_not_begin_in_time_is_refused() {
    let registry = nightshift_agent::engine::simulated::SimulatedRegistry::new();
    let time = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
    let engine = nightshift_agent::engine::simulated::SimulatedEngine::new("node-1", registry, time);
    let (_fixture, _node, mut order) = node_and_order(Limits::default()).await;
    order.start_within = Duration::from_secs(60);
    engine.restart_daemon(Duration::from_secs(120));
    let mut node = Node::new(Arc::new(engine)).await;
    let end = node.carry_out(&order).await;
    check_refused(&end, "could not be begun within 1m");
}

#[tokio::test(start_paused = true)]
async fn a_session_orders_and_forgets_through_the_same_worker() {
    let (fixture, mut node, order) = node_and_order(Limits::default()).await;
    let data = tempfile::tempdir().expect("a temporary directory");
    let parts = Parts {
        engine: fixture.engine(),
        node: order.node.clone(),
        storage: Arc::new(FileStorage::new(data.path())),
        credentials: Arc::new(Anonymous),
        limits: Limits::default(),
        outbox: Arc::new(Outbox::default()),
        scratch: None,
        surroundings: Surroundings::default(),
    };
    let jobs = Jobs::start(parts).await.expect("a directory of our own");
    let work: Arc<dyn Work> = Arc::new(Hands { worker: node.worker.clone(), jobs });
    work.order(order.clone()).await;
    let end = node.until_end(&order.key).await.pop().expect("the end at least");
    assert_eq!(work.steps().await, [end]);
    work.forget(vec![order.key]).await;
    assert_eq!(work.steps().await, []);
}
