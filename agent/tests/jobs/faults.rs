//! What engines, and coordinators, do wrong: never the image's fault, and nothing stays behind.

use std::time::Duration;

use nightshift_agent::engine::simulated::{Call, Fault};
use nightshift_agent::engine::{Engine as _, PullFailure};
use nightshift_agent::limits::{Limits, Signed};
use nightshift_core::job::{JobOutcome, JobReport};
use nightshift_core::spec::TestRun;

use crate::builds::Scene;
use crate::fixture::{Fixture as _, Kind};
use crate::node::{Node, command, test};
use crate::simulated::SimulatedFixture;

const CALLS: [Call; 16] = [
    Call::Info,
    Call::List,
    Call::Networks,
    Call::InspectImage,
    Call::Pull,
    Call::CreateNetwork,
    Call::Create,
    Call::Events,
    Call::Start,
    Call::Inspect,
    Call::RunCommand,
    Call::LogsTail,
    Call::DiscardWithVolumes,
    Call::RemoveNetwork,
    Call::RemoveImage,
    Call::Exec,
];

const CALLS_OF_A_BUILD: [Call; 16] = [
    Call::Info,
    Call::List,
    Call::Networks,
    Call::ListImages,
    Call::InspectImage,
    Call::Build,
    Call::CreateNetwork,
    Call::Create,
    Call::Events,
    Call::Start,
    Call::LogsTail,
    Call::Tag,
    Call::Push,
    Call::DiscardWithVolumes,
    Call::RemoveNetwork,
    Call::RemoveImage,
];

fn faults() -> [Fault; 5] {
    [
        Fault::Refused { status: 500, message: "no space left on device".to_owned() },
        Fault::Hang,
        Fault::DoneButHangs,
        Fault::DoneButReplyLost,
        Fault::NotSent,
    ]
}

#[tokio::test(start_paused = true)]
async fn no_failing_call_blames_the_image_or_leaves_anything_behind() {
    for call in CALLS {
        for fault in faults() {
            let fixture = SimulatedFixture::new();
            let node = Node::new(&fixture).await;
            // What the start cleans up is not what is tried here.
            tokio::time::sleep(Duration::from_secs(1)).await;
            let image = fixture.push(Kind::Web).await;
            let order = node.order("j1", &image, command(&["sh", "-c", "echo tested"]));
            fixture.engine.fail_next(call, fault.clone());
            node.jobs.submit(order.clone()).await;
            let report = node.report(&order.id).await;
            let blamed = matches!(report.outcome, JobOutcome::Failed { .. });
            // A command that says nothing for its whole time has taken too long.
            let silent = call == Call::RunCommand && matches!(fault, Fault::Hang | Fault::DoneButHangs);
            assert!(!blamed || silent, "{call:?} {fault:?}: {:?}", report.outcome);
            node.nothing_is_left().await;
            assert!(fixture.engine.inspect_image(&image.reference()).await.is_err(), "{call:?} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_failing_call_blames_the_source_or_leaves_anything_of_a_build_behind() {
    for call in CALLS_OF_A_BUILD {
        for fault in faults() {
            let fixture = SimulatedFixture::new();
            let scene = Scene::new(&fixture).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let base = fixture.push(Kind::Passing).await;
            let order = scene.order("j1", &base, "COPY page /page\n");
            fixture.engine.fail_next(call, fault.clone());
            scene.node.jobs.submit(order.clone()).await;
            let report = scene.node.report(&order.id).await;
            let blamed = matches!(report.outcome, JobOutcome::Failed { .. });
            // A build that says nothing for its whole time has taken too long.
            let silent = call == Call::Build && matches!(fault, Fault::Hang | Fault::DoneButHangs);
            assert!(!blamed || silent, "{call:?} {fault:?}: {:?}", report.outcome);
            scene.node.nothing_is_left().await;
            // The removal itself may have to be tried again.
            tokio::time::sleep(Duration::from_secs(60)).await;
            let held = fixture.engine.inspect_image(&order.image.familiar()).await;
            assert!(held.is_err(), "{call:?} {fault:?}: {held:?}");
            if let Some(digest) = report.outcome.built() {
                assert_eq!(fixture.served(&order.image).await.as_ref(), Some(digest), "{call:?} {fault:?}");
                let reference = order.image.repository.at(digest);
                assert!(fixture.engine.inspect_image(&reference).await.is_err(), "{call:?} {fault:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_ahead_before_the_removal_keeps_what_the_registry_calls_it() {
    let fixture = SimulatedFixture::new();
    let scene = Scene::new(&fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let order = scene.order("j1", &base, "COPY page /page\n");
    // The report is told before everything is removed.
    for _ in 0..3 {
        fixture.engine.fail_next(Call::DiscardWithVolumes, Fault::Refused { status: 500, message: "busy".into() });
    }
    scene.node.jobs.submit(order.clone()).await;
    let report = scene.node.report(&order.id).await;
    let built = order.image.repository.at(report.outcome.built().expect("it was built"));
    fixture.engine.tag(&built, "nightshift/keep", "web").await.expect("it is still there");
    scene.node.nothing_is_left().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    fixture.engine.inspect_image(&built).await.expect("who fetched it ahead finds it");
    fixture
        .engine
        .inspect_image(&order.image.familiar())
        .await
        .expect("an engine forgets the digest with the last tag");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_for_a_moment_does_not_cost_the_build() {
    let fixture = SimulatedFixture::new();
    let scene = Scene::new(&fixture).await;
    let base = fixture.push(Kind::Passing).await;
    let order = scene.order("j1", &base, "COPY page /page\n");
    scene.node.jobs.submit(order.clone()).await;
    scene.node.running().await;
    fixture.registry.set_failure(Some(PullFailure::Unreachable));
    tokio::time::sleep(Duration::from_secs(15)).await;
    fixture.registry.set_failure(None);
    let report = scene.node.report(&order.id).await;
    assert_eq!(report.outcome.built(), fixture.served(&order.image).await.as_ref(), "{report:?}");
    assert!(report.outcome.built().is_some(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_restarts_in_the_middle_is_no_verdict() {
    let run = [TestRun::Image, command(&["sleep", "60"])];
    for run in run {
        let fixture = SimulatedFixture::new();
        let node = Node::new(&fixture).await;
        let image = fixture.push(Kind::Web).await;
        let order = node.order("j1", &image, run.clone());
        node.jobs.submit(order.clone()).await;
        node.running().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Its containers end with it, in good order.
        fixture.engine.restart_daemon(Duration::from_secs(20));
        let report = node.report(&order.id).await;
        assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{run:?}: {:?}", report.outcome);
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(node.left().await, Vec::<String>::new(), "{run:?}");
    }
}

async fn refused(node: &Node, order: nightshift_core::job::JobOrder) -> String {
    let job = order.id.clone();
    node.jobs.submit(order).await;
    let JobReport { outcome, .. } = node.report(&job).await;
    let JobOutcome::NotDone { reason } = outcome else { panic!("{outcome:?}") };
    reason
}

#[tokio::test(start_paused = true)]
async fn a_node_refuses_what_its_own_file_forbids_and_what_is_not_for_it() {
    let fixture = SimulatedFixture::new();
    let limits = Limits { allow_images: vec!["other.example/*".parse().expect("well formed")], ..Limits::default() };
    let node = Node::limited(&fixture, limits).await;
    let image = fixture.push(Kind::Passing).await;
    let reason = refused(&node, node.order("j1", &image, TestRun::Image)).await;
    assert!(reason.starts_with("this node does not run images of `127.0.0.1:5000/"), "{reason}");

    // What must be signed is not launched unsigned, whoever asks: a test runs it all the same.
    let key = include_str!("../../../core/src/signature/samples/p256.pub").parse().expect("a key");
    let signed = Signed { images: vec!["*".parse().expect("well formed")], keys: vec![key] };
    let node = Node::limited(&fixture, Limits { signed: vec![signed], ..Limits::default() }).await;
    let reason = refused(&node, node.order("j1", &image, TestRun::Image)).await;
    assert!(reason.contains("hint: sign it"), "{reason}");

    let node = Node::new(&fixture).await;
    let mut foreign = node.order("j2", &image, TestRun::Image);
    foreign.node = "elsewhere".parse().expect("well formed");
    let reason = refused(&node, foreign).await;
    assert!(reason.starts_with("it is for node elsewhere"), "{reason}");
    assert!(fixture.engine.ids().is_empty(), "nothing was launched");
}

#[tokio::test(start_paused = true)]
async fn a_node_does_one_job_at_a_time() {
    let fixture = SimulatedFixture::new();
    let node = Node::new(&fixture).await;
    let image = fixture.push(Kind::Stubborn).await;
    let mut first = node.order("j1", &image, TestRun::Image);
    test(&mut first).timeout = Duration::from_secs(600);
    node.jobs.submit(first.clone()).await;
    node.running().await;
    let reason = refused(&node, node.order("j2", &image, TestRun::Image)).await;
    assert_eq!(reason, format!("this node works on job {}, and does one at a time", first.id));
    assert_eq!(node.left().await.len(), 2, "the first goes on");
    let report = node.report(&first.id).await;
    assert_eq!(report.outcome, JobOutcome::Failed { reason: "it did not end within 10m".to_owned() });
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_podman_is_not_changed() {
    let fixture = SimulatedFixture::new();
    let node = Node::new(&fixture).await;
    fixture.engine.set_product(nightshift_core::recreate::Product::Podman);
    let image = fixture.push(Kind::Passing).await;
    let report = node.carry_out(node.order("j1", &image, TestRun::Image)).await;
    assert!(matches!(report.outcome, JobOutcome::NotDone { .. }), "{:?}", report.outcome);
    assert!(fixture.engine.ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_fails_for_long_is_tried_until_it_is_done() {
    let fixture = SimulatedFixture::new();
    let node = Node::new(&fixture).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let image = fixture.push(Kind::Passing).await;
    for _ in 0..5 {
        fixture.engine.fail_next(Call::DiscardWithVolumes, Fault::Refused { status: 500, message: "busy".into() });
    }
    let order = node.order("j1", &image, TestRun::Image);
    node.jobs.submit(order.clone()).await;
    assert_eq!(node.report(&order.id).await.outcome, JobOutcome::Passed, "its verdict does not wait for that");
    assert_eq!(node.left().await.len(), 1, "the container");
    node.nothing_is_left().await;
}
