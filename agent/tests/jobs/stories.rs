//! Self-tests from the order to the report, on every engine.

use std::time::Duration;

use nightshift_agent::inventory::survey;
use nightshift_core::ids::ContainerId;
use nightshift_core::instance::{Findings, Survey, WatchedApp};
use nightshift_core::job::{JobLog, JobOrder, JobOutcome};
use nightshift_core::spec::{HealthCheck, InstanceSelector, TestRun};

use crate::fixture::{Fixture, GRACE, Kind, pulled};
use crate::node::{Node, command, health, test};

fn failed(reason: &str) -> JobOutcome {
    JobOutcome::Failed { reason: reason.to_owned() }
}

fn not_done(reason: &str) -> JobOutcome {
    JobOutcome::NotDone { reason: reason.to_owned() }
}

fn whole(text: &str) -> JobLog {
    JobLog { text: text.to_owned(), cut: false }
}

pub(crate) async fn a_container_that_ends_well_passes(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Passing).await;
    let order = node.order("j1", &image, TestRun::Image);
    let report = node.carry_out(order.clone()).await;
    assert_eq!((report.outcome, report.log), (JobOutcome::Passed, whole("starting\nserving\n")));
    let gone = fixture.engine().inspect_image(&image.reference()).await;
    assert!(gone.expect_err("its image goes with it").is_not_found());
    assert_eq!(node.jobs.held().len(), 1, "kept until it is acknowledged");
    node.jobs.forget(&[order.id]).await;
    assert!(node.jobs.held().is_empty() && node.outbox.jobs().is_empty());
}

pub(crate) async fn a_container_that_ends_badly_fails(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Short).await;
    let report = node.carry_out(node.order("j1", &image, TestRun::Image)).await;
    let expect = (failed("its container ended with exit code 7"), whole("starting\nserving\n"));
    assert_eq!((report.outcome, report.log), expect);
    // The node is free for the next one.
    let image = fixture.push(Kind::Passing).await;
    let report = node.carry_out(node.order("j2", &image, TestRun::Image)).await;
    assert_eq!(report.outcome, JobOutcome::Passed);
}

pub(crate) async fn a_command_that_ends_well_passes(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Web).await;
    let mut order = node.order("j1", &image, command(&["sh", "-c", "echo tested"]));
    *health(&mut order) = HealthCheck::Tcp { port: 80 };
    let report = node.carry_out(order).await;
    assert_eq!(report.outcome, JobOutcome::Passed);
    assert_eq!(report.log, whole("--- container ---\nstarting\nserving\n--- command ---\ntested\n"));
}

pub(crate) async fn a_command_that_fails_fails_with_its_output(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Web).await;
    let report = node.carry_out(node.order("j1", &image, command(&["sh", "-c", "echo hello; exit 3"]))).await;
    assert_eq!(report.outcome, failed("the test command ended with exit code 3"));
    assert_eq!(report.log, whole("--- container ---\nstarting\nserving\n--- command ---\nhello\n"));
}

pub(crate) async fn a_test_that_takes_too_long_fails(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Stubborn).await;
    let mut order = node.order("j1", &image, TestRun::Image);
    test(&mut order).timeout = Duration::from_secs(3);
    let report = node.carry_out(order).await;
    assert_eq!(report.outcome, failed("it did not end within 3s"));
}

pub(crate) async fn a_command_that_takes_too_long_fails(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Web).await;
    let mut order = node.order("j1", &image, command(&["sleep", "60"]));
    test(&mut order).timeout = Duration::from_secs(6);
    let report = node.carry_out(order).await;
    assert_eq!(report.outcome, failed("it did not end within 6s"));
    assert_eq!(report.log, whole("--- container ---\nstarting\nserving\n--- command ---\n"));
}

pub(crate) async fn a_container_that_crashes_before_it_is_ready_fails(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Short).await;
    let mut order = node.order("j1", &image, command(&["sh", "-c", "echo tested"]));
    // Nobody ever listens there.
    *health(&mut order) = HealthCheck::Exec { command: vec!["false".to_owned()] };
    let report = node.carry_out(order).await;
    assert_eq!(report.outcome, failed("its container ended with exit code 7 before it was ready"));
    assert_eq!(report.log, whole("starting\nserving\n"));
}

pub(crate) async fn a_container_that_is_never_healthy_fails(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Sick).await;
    let report = node.carry_out(node.order("j1", &image, command(&["sh", "-c", "echo tested"]))).await;
    assert_eq!(report.outcome, failed("its health check says `unhealthy`"));
    // Without a health check of its own an image cannot have one asked.
    let image = fixture.push(Kind::Stubborn).await;
    let mut order = node.order("j2", &image, command(&["sh", "-c", "echo tested"]));
    *health(&mut order) = HealthCheck::Docker;
    let report = node.carry_out(order).await;
    assert_eq!(report.outcome, failed("`health.docker` is asked for, and its image has no health check"));
}

pub(crate) async fn a_program_that_is_not_there_fails(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::NoProgram).await;
    let run = TestRun::Entrypoint(vec!["/no-such-program".to_owned()]);
    let report = node.carry_out(node.order("j1", &image, run)).await;
    let JobOutcome::Failed { reason } = report.outcome else { panic!("{:?}", report.outcome) };
    assert!(reason.contains("/no-such-program"), "{reason}");
}

/// An orderly stop looks like a test that has passed: exit code 0.
pub(crate) async fn a_test_that_somebody_stops_is_no_verdict(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Web).await;
    let order = node.order("j1", &image, TestRun::Image);
    node.jobs.submit(order.clone()).await;
    let running = node.running().await;
    let id = ContainerId(running["Id"].as_str().expect("text").to_owned());
    // Until its shell has set the trap.
    tokio::time::sleep(Duration::from_millis(500)).await;
    // It may be removed while the stop is still being answered.
    drop(fixture.engine().stop(&id, GRACE).await);
    let report = node.report(&order.id).await;
    assert_eq!(report.outcome, not_done("somebody ended its container"));
    node.nothing_is_left().await;
}

pub(crate) async fn an_image_that_cannot_be_fetched_is_no_verdict(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let mut image = fixture.push(Kind::Passing).await;
    image.digest = format!("sha256:{}", "0".repeat(64)).parse().expect("well formed");
    let report = node.carry_out(node.order("j1", &image, TestRun::Image)).await;
    assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{:?}", report.outcome);
}

pub(crate) async fn an_agent_that_is_killed_leaves_nothing_behind(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Stubborn).await;
    let order = node.order("j1", &image, TestRun::Image);
    node.jobs.submit(order.clone()).await;
    let running = node.running().await;
    let volume = running["Mounts"][0]["Name"].as_str().expect("the image's volume").to_owned();
    assert_eq!(node.left().await.len(), 2, "a container and a network");
    let node = node.killed().await;
    let report = node.report(&order.id).await;
    assert_eq!(report.outcome, not_done("its agent ended in the middle of it"));
    node.nothing_is_left().await;
    assert!(!fixture.has_volume(&volume).await);
    while fixture.engine().inspect_image(&image.reference()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The coordinator, which has not heard of it, may order it again: it is not begun a second time.
    node.jobs.submit(order.clone()).await;
    assert_eq!(node.report(&order.id).await.outcome, not_done("its agent ended in the middle of it"));
    assert_eq!(node.left().await, Vec::<String>::new());
}

pub(crate) async fn an_agent_that_ends_leaves_nothing_behind(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Stubborn).await;
    let order = node.order("j1", &image, TestRun::Image);
    node.jobs.submit(order.clone()).await;
    let running = node.running().await;
    let volume = running["Mounts"][0]["Name"].as_str().expect("the image's volume").to_owned();
    node.jobs.shutdown().await;
    assert_eq!(node.left().await, Vec::<String>::new());
    assert!(!fixture.has_volume(&volume).await);
    assert_eq!(node.report(&order.id).await.outcome, not_done("its agent was ended in the middle of it"));
    let late = node.order("j2", &image, TestRun::Image);
    node.jobs.submit(late.clone()).await;
    let refused = node.report(&late.id).await;
    assert_eq!(refused.outcome, not_done("the agent is about to end"));
}

pub(crate) async fn a_container_of_a_test_is_no_instance(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = fixture.push(Kind::Stubborn).await;
    let order = node.order("j1", &image, TestRun::Image);
    node.jobs.submit(order).await;
    let running = node.running().await;
    assert_eq!(running["HostConfig"]["RestartPolicy"]["Name"], "no");
    for instances in [
        InstanceSelector::Image,
        InstanceSelector::Name("nightshift-job-*".parse().expect("well formed")),
        InstanceSelector::Label { key: "text".into(), value: "x".into() },
    ] {
        let repository = image.name.repository.clone();
        let app = WatchedApp { name: "web".parse().expect("well formed"), repository, instances };
        let found = survey(fixture.engine(), Survey::OfApp(app)).await.expect("the engine is up");
        assert_eq!(found, Findings::Instances(Vec::new()));
    }
    node.jobs.shutdown().await;
}

pub(crate) async fn an_image_that_was_here_before_stays(fixture: &dyn Fixture) {
    let node = Node::new(fixture).await;
    let image = pulled(fixture, Kind::Passing).await;
    let report = node.carry_out(node.order("j1", &image, TestRun::Image)).await;
    assert_eq!(report.outcome, JobOutcome::Passed);
    fixture.engine().inspect_image(&image.reference()).await.expect("it belongs to somebody else");
}

pub(crate) async fn what_another_agent_made_is_not_touched(fixture: &dyn Fixture) {
    let (first, second) = (Node::new(fixture).await, Node::new(fixture).await);
    let image = fixture.push(Kind::Stubborn).await;
    let order = first.order("j1", &image, TestRun::Image);
    first.jobs.submit(order.clone()).await;
    let running = first.running().await;
    let passing = fixture.push(Kind::Passing).await;
    // Two coordinators may number their jobs alike.
    let same_id = JobOrder { id: order.id, ..second.order("j1", &passing, TestRun::Image) };
    assert_eq!(second.carry_out(same_id).await.outcome, JobOutcome::Passed);
    assert_eq!(first.running().await["Id"], running["Id"]);
    first.jobs.shutdown().await;
}
