//! What a person sees: good images, bad images, stopped and paused containers, images fetched ahead and let go.

use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::Epoch;
use nightshift_core::image::ImageRef;
use nightshift_core::instance::{ImageState, Prepull};
use nightshift_core::replace::{KEEP_REPOSITORY, keep_tag};
use nightshift_core::spec::HealthCheck;
use nightshift_core::step::{FailureKind, StepOrder, StepPhase, StepReport};

use serde_json::json;

use crate::fixture::{Fixture, Kind, created, view};
use crate::node::{Node, all_named, order, running, settings};
pub(crate) use crate::together::{
    start_first_is_refused_where_only_one_can_have_the_port, what_shares_its_network_is_replaced_with_it,
    what_shares_its_network_is_taken_back_with_it, with_start_first_a_bad_image_never_disturbs_the_old_one,
    with_start_first_the_old_one_stops_when_the_new_one_is_healthy,
};

pub(crate) async fn a_good_image_takes_over_name_data_and_settings(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, old) = running(fixture).await;
    let before = engine.inspect(&old.0).await.expect("it runs");
    let image = fixture.push(Kind::Web).await;
    let mut node = Node::new(engine.clone()).await;
    let order = order(0, &name, &old, &image);
    node.worker.submit(order.clone()).await;
    let reports = node.until_end(&order.key).await;
    let phases: Vec<StepPhase> = reports.iter().map(|report| report.phase).collect();
    let expect = [
        StepPhase::Assigned,
        StepPhase::Preflight,
        StepPhase::Pulled,
        StepPhase::Created,
        StepPhase::OldStopped,
        StepPhase::Started,
        StepPhase::Healthy,
        StepPhase::Monitored,
        StepPhase::Committed,
    ];
    assert_eq!(phases, expect);
    let end = reports.last().expect("nine of them");
    assert!(end.failure.is_none() && end.downtime_ms.is_some_and(|time| time < 15_000), "{end:?}");

    let all = all_named(&*engine, &name).await;
    let [after] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(settings(after), settings(&before));
    assert_eq!(after["Id"], end.new_container_id.clone().expect("made").0);
    assert_eq!(after["Config"]["Image"], image.name.at(&image.digest));
    assert_eq!(after["Config"]["Labels"]["nightshift.digest"], image.digest.as_str());
    let followed = engine.inspect_image(&image.name.familiar()).await.expect("the followed tag is set");
    assert_eq!(followed["Id"], after["Image"]);
    let held = format!("{KEEP_REPOSITORY}:{}", keep_tag(&order.app, before["Image"].as_str().expect("an id")));
    assert!(engine.inspect_image(&held).await.is_ok(), "the image to go back to is held");

    assert_eq!(node.worker.steps(), std::slice::from_ref(end));
    node.worker.forget(vec![order.key.clone()]).await;
    assert_eq!(node.worker.steps(), []);
}

/// The old container is there again just as it was, and nothing else.
async fn check_taken_back(fixture: &dyn Fixture, kind: Kind, change: impl Fn(&mut StepOrder)) -> StepReport {
    let engine = fixture.engine();
    let (name, old) = running(fixture).await;
    let before = engine.inspect(&old.0).await.expect("it runs");
    let image = fixture.push(kind).await;
    let mut order = order(0, &name, &old, &image);
    change(&mut order);
    let end = Node::new(engine.clone()).await.carry_out(&order).await;
    assert_eq!(end.phase, StepPhase::RolledBack, "{end:?}");
    let all = all_named(&*engine, &name).await;
    let [after] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(after["Id"], old.0);
    assert_eq!(settings(after), settings(&before));
    assert_eq!(view(fixture, &old).await.health, Health::Healthy, "it was verified");
    end
}

fn check_failure(report: &StepReport, kind: FailureKind, words: &str) {
    let failure = report.failure.as_ref().expect("told");
    assert_eq!(failure.kind, kind);
    assert!(failure.reason.contains(words), "{}", failure.reason);
    assert!(failure.log.contains("serving"), "{:?}", failure.log);
}

pub(crate) async fn an_unhealthy_image_is_taken_back(fixture: &dyn Fixture) {
    let end = check_taken_back(fixture, Kind::Sick, |_| ()).await;
    check_failure(&end, FailureKind::Unhealthy, "its health check says unhealthy");
    assert!(end.downtime_ms.is_some_and(|time| time > 1_000), "{end:?}");
}

pub(crate) async fn an_image_that_ends_is_taken_back(fixture: &dyn Fixture) {
    let end = check_taken_back(fixture, Kind::Short, |_| ()).await;
    check_failure(&end, FailureKind::Unhealthy, "restarted");
}

pub(crate) async fn a_failing_command_takes_the_image_back(fixture: &dyn Fixture) {
    let command = ["sh", "-c", "echo hello; exit 3"].map(str::to_owned).to_vec();
    let end = check_taken_back(fixture, Kind::Web, |order| {
        order.health = HealthCheck::Exec { command: command.clone() };
        order.healthy_deadline = std::time::Duration::from_secs(3);
    });
    check_failure(&end.await, FailureKind::Unhealthy, "not healthy within 3s: the command ended with 3: hello");
}

pub(crate) async fn a_stopped_container_is_replaced_and_stays_stopped(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, old) = running(fixture).await;
    engine.stop(&old, crate::fixture::GRACE).await.expect("it runs");
    let image = fixture.push(Kind::Sick).await;
    let end = Node::new(engine.clone()).await.carry_out(&order(0, &name, &old, &image)).await;
    assert_eq!((end.phase, end.downtime_ms), (StepPhase::Committed, None));
    let new = view(fixture, &end.new_container_id.expect("made")).await;
    assert_eq!((new.name, new.state, new.started_at), (name, RunState::Created, None));
    assert!(engine.inspect(&old.0).await.expect_err("removed").is_not_found());
}

pub(crate) async fn a_container_in_a_restart_loop_is_replaced(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let always = json!({"HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}}});
    let (name, old) = created(fixture, Kind::Short, always).await;
    engine.start(&old).await.expect("it starts");
    // By then it waits some seconds for each next start.
    while view(fixture, &old).await.restart_count < 5 || view(fixture, &old).await.state != RunState::Restarting {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let image = fixture.push(Kind::Web).await;
    let end = Node::new(engine.clone()).await.carry_out(&order(0, &name, &old, &image)).await;
    assert_eq!(end.phase, StepPhase::Committed, "{end:?}");
    let new = view(fixture, &end.new_container_id.expect("made")).await;
    assert_eq!((new.name, new.state, &new.restart_policy["Name"]), (name, RunState::Running, &json!("always")));
    assert!(engine.inspect(&old.0).await.expect_err("removed").is_not_found());
}

pub(crate) async fn a_paused_container_is_left_alone(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, old) = running(fixture).await;
    engine.pause(&old).await.expect("it runs");
    let image = fixture.push(Kind::Web).await;
    let end = Node::new(engine.clone()).await.carry_out(&order(0, &name, &old, &image)).await;
    let failure = end.failure.expect("told");
    assert_eq!((end.phase, failure.kind), (StepPhase::Untouched, FailureKind::Precondition));
    assert!(failure.reason.contains("hint: `docker unpause"), "{}", failure.reason);
    assert_eq!(view(fixture, &old).await.state, RunState::Paused);
    assert_eq!(all_named(&*engine, &name).await.len(), 1);
    engine.unpause(&old).await.expect("it is paused");
}

pub(crate) async fn an_image_is_fetched_ahead_and_held(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = fixture.push(Kind::Web).await;
    let mut node = Node::new(engine.clone()).await;
    let app = "web".parse().expect("well formed");
    let wanted = Prepull {
        app,
        image: image.name.clone(),
        digest: image.digest.clone(),
        epoch: Epoch(1),
        signatures: Vec::new(),
    };
    for _ in 0..2 {
        node.worker.prepull(wanted.clone());
        assert_eq!(node.until_image().await, ImageState::Present);
    }
    let held = engine.inspect_image(&image.reference()).await.expect("fetched");
    let tag = keep_tag(&wanted.app, held["Id"].as_str().expect("an id"));
    assert!(engine.inspect_image(&format!("{KEEP_REPOSITORY}:{tag}")).await.is_ok());

    let missing: ImageRef = image.name.clone();
    let digest = format!("sha256:{}", "0".repeat(64)).parse().expect("well formed");
    node.worker.prepull(Prepull { image: missing, digest, ..wanted });
    let ImageState::Failed(reason) = node.until_image().await else { panic!("it does not exist") };
    assert!(reason.contains("hint: "), "{reason}");
}

pub(crate) async fn earlier_images_are_let_go(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, mut id) = running(fixture).await;
    let mut node = Node::new(engine.clone()).await;
    let mut images = Vec::new();
    for step in 0..3 {
        let image = fixture.push(Kind::Web).await;
        let mut order = order(step, &name, &id, &image);
        order.keep_images = 1;
        let end = node.carry_out(&order).await;
        assert_eq!(end.phase, StepPhase::Committed, "{end:?}");
        id = end.new_container_id.expect("made");
        images.push(engine.inspect(&id.0).await.expect("it runs")["Image"].as_str().expect("an id").to_owned());
    }
    let app = name.parse().expect("well formed");
    let mut held = Vec::new();
    for image in &images {
        held.push(engine.inspect_image(&format!("{KEEP_REPOSITORY}:{}", keep_tag(&app, image))).await.is_ok());
    }
    assert_eq!(held.iter().filter(|held| **held).count(), 2, "the one that runs, and one earlier: {held:?}");
    assert!(held[2], "what runs is held");
}
