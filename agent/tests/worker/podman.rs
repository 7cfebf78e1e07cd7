//! A step on Podman is refused, and the engine is as it was.

use nightshift_core::recreate::{Product, Refusal};
use nightshift_core::step::{FailureKind, StepPhase};
use serde_json::json;

use crate::docker::DockerFixture;
use crate::fixture::{Fixture, Kind, created};
use crate::node::{Node, order};
use crate::simulated::SimulatedFixture;

/// Orders a step of a container that runs, and compares everything of that container, and all images, before and after.
async fn a_step_is_refused(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, id) = created(fixture, Kind::Stubborn, json!({})).await;
    engine.start(&id).await.expect("it starts");
    let image = fixture.push(Kind::Web).await;
    let before = engine.inspect(&id.0).await.expect("it exists");
    let mut node = Node::new(engine.clone()).await;

    let report = node.carry_out(&order(0, &name, &id, &image)).await;

    let failure = report.failure.expect("told");
    assert_eq!((report.phase, failure.kind), (StepPhase::Untouched, FailureKind::Precondition));
    let words =
        format!("container `{name}` cannot be re-created: {}; hint: {}", Refusal::Podman, Refusal::Podman.hint());
    assert_eq!(failure.reason, words);
    assert_eq!(report.new_container_id, None);
    assert_eq!(engine.inspect(&id.0).await.expect("it exists"), before);
    let named = engine.list().await.expect("the engine is up").into_iter().filter(|one| one.name.starts_with(&name));
    assert_eq!(named.count(), 1, "nothing was made beside it");
    let pulled = engine.inspect_image(&image.reference()).await;
    assert!(pulled.is_err(), "not even the image was fetched: {pulled:?}");
}

#[tokio::test(start_paused = true)]
async fn on_a_simulated_engine_that_says_it_is_podman() {
    let fixture = SimulatedFixture::new();
    fixture.engine.set_product(Product::Podman);
    a_step_is_refused(&fixture).await;
}

#[tokio::test]
async fn on_podman_itself() {
    const CHECK: &str = "a_step_on_podman_is_refused";
    let Some(fixture) = DockerFixture::named("NIGHTSHIFT_TEST_PODMAN", CHECK).await else { return };
    tokio::time::timeout(crate::DEADLINE, a_step_is_refused(&fixture)).await.expect("in time");
    fixture.clean_up().await;
}
