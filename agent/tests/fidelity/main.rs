//! Fidelity on a real engine: for each kind of `docker run` option one container is made by hand, replaced by the real
//! worker twice in a row, and once more by an image that fails, so that it is taken back.
//!
//! After each replacement the container's inspect is compared, field by field, with that of a container that the command
//! line made of the new image with the same options; after the way back, with what it was before. What is left out of the
//! comparison stands in [`compare`], with its reason. The kinds are in [`kinds`], and `docs/fidelity.md` names them.
//!
//! Engines come from `NIGHTSHIFT_TEST_ENGINES` (or `NIGHTSHIFT_TEST_ENGINE`), as `scripts/test` starts them. Each group of
//! kinds has an engine of its own where there are enough.

mod compare;
mod documented;
#[path = "../conformance/fixture.rs"]
#[expect(dead_code, reason = "the conformance suite uses the rest")]
mod fixture;
mod kinds;
#[path = "../worker/node.rs"]
#[expect(dead_code, reason = "the worker's stories use the rest")]
mod node;
mod stage;
mod story;

use std::time::Duration;

use kinds::Group;

/// Longest time of one group. All four take two minutes on two quiet cores, and longer where others work as well.
const DEADLINE: Duration = Duration::from_secs(580);

async fn check(group: Group) {
    let Some(stage) = stage::Stage::from_environment(group).await else { return };
    let problems = tokio::time::timeout(DEADLINE, story::every_kind(&stage)).await.expect("in time");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    stage.clear().await;
}

#[tokio::test]
async fn what_a_container_is_stays() {
    check(Group::Identity).await;
}

#[tokio::test]
async fn its_networks_stay() {
    check(Group::Network).await;
}

#[tokio::test]
async fn its_data_stays() {
    check(Group::Data).await;
}

#[tokio::test]
async fn what_it_may_and_gets_stays() {
    check(Group::Host).await;
}
