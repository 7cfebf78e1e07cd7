//! The agent dies, or the engine fails, at every single change of a step, for a good and for bad images.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use nightshift_agent::engine::Engine;
use nightshift_agent::engine::simulated::{
    Behaviour, Call, Fault, Happening, SimulatedEngine, SimulatedImage, SimulatedRegistry,
};
use nightshift_core::ids::ContainerId;
use nightshift_core::instance::ImageState;
use nightshift_core::step::{FailureKind, StepPhase, StepReport};
use serde_json::{Value, json};

use crate::fixture::Image;
use crate::interrupted::{How, Interrupted};
use crate::node::{Node, all_named, order, settings};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Good,
    EndsAtOnce,
    Unhealthy,
    NeverHealthy,
    DiesInMonitor,
    CannotStart,
}

const VERSIONS: [Version; 6] = [
    Version::Good,
    Version::EndsAtOnce,
    Version::Unhealthy,
    Version::NeverHealthy,
    Version::DiesInMonitor,
    Version::CannotStart,
];

fn image(version: Version, days: i64) -> SimulatedImage {
    let created = DateTime::from_timestamp(1_700_000_000 + days * 86_400, 0).expect("in range");
    let behaviour = match version {
        Version::Good => Behaviour::of(Happening::Healthy, SECOND),
        Version::EndsAtOnce => Behaviour::of(Happening::Exit(1), SECOND / 10),
        Version::Unhealthy => Behaviour::of(Happening::Unhealthy, 3 * SECOND),
        Version::NeverHealthy => Behaviour::of(Happening::Healthy, 1_000 * SECOND),
        Version::DiesInMonitor => Behaviour {
            timeline: vec![(SECOND, Happening::Healthy), (2 * SECOND, Happening::Exit(2))],
            ..Behaviour::default()
        },
        Version::CannotStart => Behaviour { start_error: Some("exec format error".to_owned()), ..Behaviour::default() },
    };
    let mut image = SimulatedImage::new(created, behaviour);
    image.config["Volumes"] = json!({"/data": {}});
    image
}

/// A simulated engine on which the good old version runs, and the new version in the registry.
struct Scene {
    engine: SimulatedEngine,
    old: ContainerId,
    before: Value,
    new: Image,
}

async fn scene(version: Version) -> Scene {
    let registry = SimulatedRegistry::new();
    let time = DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
    let engine = SimulatedEngine::new("node-1", registry.clone(), time);
    engine.add_network("backend");
    engine.add_network("metrics");
    let name = "r.example/web:stable".parse().expect("well formed");
    let old_digest = registry.push(&name, image(Version::Good, 0));
    engine.hold(&name, &old_digest).await.expect("it was pushed");
    let new = Image { digest: registry.push(&name, image(version, 1)), name };
    let body = json!({
        "Image": "r.example/web:stable",
        "HostConfig": {
            "NetworkMode": "backend", "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}]},
        },
    });
    let old = engine.create("web", &body).await.expect("a good configuration");
    engine.connect_network("metrics", &json!({"Container": old.0})).await.expect("both exist");
    engine.start(&old).await.expect("it starts");
    tokio::time::sleep(2 * SECOND).await;
    let before = engine.inspect(&old.0).await.expect("it runs");
    assert_eq!(before["State"]["Health"]["Status"], "healthy");
    Scene { engine, old, before, new }
}

impl Scene {
    /// Carries out the step behind an interrupted engine; an agent that dies is started again behind the plain one.
    async fn carry_out(&self, interrupted: &Arc<Interrupted>) -> StepReport {
        let mut node = Node::new(interrupted.clone()).await;
        let order = order(0, "web", &self.old, &self.new);
        node.worker.submit(order.clone()).await;
        let end = tokio::select! {
            mut reports = node.until_end(&order.key) => reports.pop(),
            () = interrupted.dying.notified() => None,
        };
        if let Some(end) = end {
            return end;
        }
        let mut node = node.restart(Arc::new(self.engine.clone())).await;
        node.until_end(&order.key).await.pop().expect("the end at least")
    }

    /// I6: exactly one container, under its own name, running, with data and settings; and the report tells the truth.
    async fn check_end(&self, report: &StepReport, what: &str) {
        let all = all_named(&self.engine, "").await;
        let [one] = all.as_slice() else { panic!("{what}: {} containers, {report:?}", all.len()) };
        assert_eq!(settings(one), settings(&self.before), "{what}: {report:?}");
        let is_old = one["Id"] == self.old.0.as_str();
        match report.phase {
            StepPhase::Committed => assert!(!is_old, "{what}: {report:?}"),
            StepPhase::RolledBack | StepPhase::Untouched => assert!(is_old, "{what}: {report:?}"),
            StepPhase::Assigned
            | StepPhase::Preflight
            | StepPhase::Pulled
            | StepPhase::Created
            | StepPhase::OldStopped
            | StepPhase::Started
            | StepPhase::Healthy
            | StepPhase::Monitored
            | StepPhase::RollingBack
            | StepPhase::Broken => panic!("{what}: {report:?}"),
        }
    }
}

fn kind(report: &StepReport) -> Option<FailureKind> {
    report.failure.as_ref().map(|failure| failure.kind)
}

/// What a step ends with when nothing goes wrong besides the version.
fn expected(version: Version) -> (StepPhase, Option<FailureKind>) {
    match version {
        Version::Good => (StepPhase::Committed, None),
        Version::CannotStart => (StepPhase::RolledBack, Some(FailureKind::EngineRefused)),
        Version::EndsAtOnce | Version::Unhealthy | Version::NeverHealthy | Version::DiesInMonitor => {
            (StepPhase::RolledBack, Some(FailureKind::Unhealthy))
        }
    }
}

/// Runs a step with one interruption after another, at each change that the undisturbed step makes.
async fn at_every_change(how: How, check: impl Fn(Version, &StepReport, &str)) {
    for version in VERSIONS {
        let undisturbed = scene(version).await;
        let counter = Interrupted::new(Arc::new(undisturbed.engine.clone()), usize::MAX, how);
        let report = undisturbed.carry_out(&counter).await;
        undisturbed.check_end(&report, "undisturbed").await;
        assert_eq!((report.phase, kind(&report)), expected(version), "{report:?}");
        assert!(counter.changes() >= 12, "{version:?}: {}", counter.changes());
        for at in 0..counter.changes() {
            let what = format!("{version:?}, {how:?} at change {at}");
            let scene = scene(version).await;
            let interrupted = Interrupted::new(Arc::new(scene.engine.clone()), at, how);
            let report = scene.carry_out(&interrupted).await;
            scene.check_end(&report, &what).await;
            check(version, &report, &what);
        }
    }
}

/// The same end as undisturbed, or given up before anything was changed.
fn as_expected_or_given_up(version: Version, report: &StepReport, what: &str) {
    if kind(report) == Some(FailureKind::NotAccepted) {
        assert_eq!(report.phase, StepPhase::Untouched, "{what}: {report:?}");
    } else {
        assert_eq!((report.phase, kind(report)), expected(version), "{what}: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_before_a_change_ends_its_step_after_its_restart() {
    at_every_change(How::DiesBefore, as_expected_or_given_up).await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_dies_after_a_change_ends_its_step_after_its_restart() {
    at_every_change(How::DiesAfter, as_expected_or_given_up).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_changes_nothing() {
    at_every_change(How::ReplyLost, |version, report, what| {
        assert_eq!((report.phase, kind(report)), expected(version), "{what}: {report:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_once_changes_nothing() {
    for how in [How::Hangs, How::DoneButHangs] {
        at_every_change(how, |version, report, what| {
            assert_eq!((report.phase, kind(report)), expected(version), "{what}: {report:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_for_a_moment_changes_nothing() {
    at_every_change(How::NotSent, |version, report, what| {
        assert_eq!((report.phase, kind(report)), expected(version), "{what}: {report:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_well_and_blames_the_version_only_where_it_may_be_bad() {
    at_every_change(How::Refused, |version, report, what| {
        let blames = kind(report).is_some_and(FailureKind::blames_the_version);
        let about_new = report.failure.as_ref().is_some_and(|failure| failure.reason.contains("the new container"));
        assert!(version != Version::Good || !blames || about_new, "{what}: {report:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_restarts_at_any_moment_leaves_one_container_running() {
    for version in VERSIONS {
        for tenth in (0..60).step_by(2) {
            let what = format!("{version:?}, the daemon ends after {tenth} tenths of a second");
            let scene = scene(version).await;
            let mut node = Node::new(Arc::new(scene.engine.clone())).await;
            let order = order(0, "web", &scene.old, &scene.new);
            node.worker.submit(order.clone()).await;
            tokio::time::sleep(SECOND * tenth / 10).await;
            scene.engine.restart_daemon(3 * SECOND);
            let report = node.until_end(&order.key).await.pop().expect("the end at least");
            // The step may have ended before the daemon did: that one is back by then, and what it revives is healthy.
            tokio::time::sleep(10 * SECOND).await;
            scene.check_end(&report, &what).await;
            let bad = version != Version::Good;
            assert!(!bad || report.phase != StepPhase::Committed, "{what}: {report:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_of_a_step_that_fails_is_told_as_an_end_for_the_next_try_may_find_the_image_there() {
    let scene = scene(Version::Good).await;
    scene.engine.fail_next(Call::Pull, Fault::DoneButReplyLost);
    let mut node = Node::new(Arc::new(scene.engine.clone())).await;
    let order = order(0, "web", &scene.old, &scene.new);
    node.worker.submit(order.clone()).await;
    let state = tokio::time::timeout(600 * SECOND, node.until_image()).await.expect("an end is told");
    assert!(matches!(state, ImageState::Failed(_)), "{state:?}");
    assert_eq!(node.until_end(&order.key).await.pop().expect("an end").phase, StepPhase::Committed);
}
