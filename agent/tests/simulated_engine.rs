//! What only a simulated engine can do on request: fail in a chosen way, restart, fill its disk.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use nightshift_agent::engine::simulated::{
    Behaviour, Call, Fault, Happening, SimulatedEngine, SimulatedImage, SimulatedRegistry,
};
use nightshift_agent::engine::{Engine, Error, EventKind, PullFailure, deadline};
use nightshift_core::container::{ContainerView, Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::image::{Digest, ImageRef};
use serde_json::json;
use tokio::time::Instant;

fn time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).expect("in range")
}

struct Fixture {
    engine: SimulatedEngine,
    registry: SimulatedRegistry,
    name: ImageRef,
    digest: Digest,
}

impl Fixture {
    async fn new(behaviour: Behaviour) -> Self {
        let registry = SimulatedRegistry::new();
        let engine = SimulatedEngine::new("node-1", registry.clone(), time());
        let name: ImageRef = "127.0.0.1:5000/web:stable".parse().expect("well formed");
        let digest = registry.push(&name, SimulatedImage::new(time(), behaviour));
        engine.hold(&name, &digest).await.expect("it was pushed");
        Self { engine, registry, name, digest }
    }

    async fn healthy() -> Self {
        Self::new(Behaviour::of(Happening::Healthy, Duration::from_secs(3))).await
    }

    async fn create(&self, name: &str, policy: &str) -> ContainerId {
        let host_config = json!({"RestartPolicy": {"Name": policy}});
        let body = json!({"Image": self.name.familiar(), "HostConfig": host_config});
        self.engine.create(name, &body).await.expect("a good configuration")
    }

    async fn view(&self, id: &ContainerId) -> ContainerView {
        let inspect = self.engine.inspect(&id.0).await.expect("it exists");
        ContainerView::from_inspect(&inspect).expect("complete")
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_fails_in_the_way_that_was_asked_for_and_once_only() {
    let f = Fixture::healthy().await;
    let id = f.create("web", "no").await;
    let refused = Fault::Refused { status: 500, message: "out of luck".into() };
    let name = async || f.view(&id).await.name;
    for (fault, after, may_have_been_done, name_then) in [
        (refused, Duration::ZERO, false, "web"),
        (Fault::NotSent, Duration::ZERO, false, "web"),
        (Fault::Hang, deadline::CHANGE, true, "web"),
        (Fault::DoneButReplyLost, Duration::ZERO, true, "done"),
        (Fault::DoneButHangs, deadline::CHANGE, true, "done"),
    ] {
        f.engine.rename(&id, "web").await.ok();
        f.engine.fail_next(Call::Rename, fault.clone());
        let before = Instant::now();
        let error = f.engine.rename(&id, "done").await.expect_err("a fault waits");
        assert_eq!(before.elapsed(), after, "{fault:?}");
        assert_eq!(error.may_have_been_done(), may_have_been_done, "{fault:?}: {error:?}");
        assert_eq!(name().await, name_then, "{fault:?}");
    }
    f.engine.rename(&id, "again").await.expect("no fault is left");
}

#[tokio::test(start_paused = true)]
async fn a_stop_whose_caller_gave_up_is_done_all_the_same() {
    let f = Fixture::new(Behaviour { stop_takes: Duration::from_secs(5), ..Behaviour::default() }).await;
    let id = f.create("web", "always").await;
    f.engine.start(&id).await.expect("it starts");
    let gave_up = tokio::time::timeout(Duration::from_secs(1), f.engine.stop(&id, Duration::from_secs(10))).await;
    assert!(gave_up.is_err());
    assert_eq!(f.view(&id).await.state, RunState::Running);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(f.view(&id).await.state, RunState::Exited);
}

/// The table was observed on Engine 20.10.24, by a graceful restart of its daemon.
#[tokio::test(start_paused = true)]
async fn a_restart_of_the_daemon_starts_what_the_policies_say() {
    let f = Fixture::healthy().await;
    let mut containers = Vec::new();
    for (policy, created, running, stopped) in [
        ("always", RunState::Created, RunState::Running, RunState::Running),
        ("unless-stopped", RunState::Created, RunState::Running, RunState::Exited),
        ("on-failure", RunState::Created, RunState::Exited, RunState::Exited),
        ("no", RunState::Created, RunState::Exited, RunState::Exited),
    ] {
        containers.push((f.create(&format!("{policy}-created"), policy).await, created));
        let id = f.create(&format!("{policy}-running"), policy).await;
        f.engine.start(&id).await.expect("it starts");
        containers.push((id, running));
        let id = f.create(&format!("{policy}-stopped"), policy).await;
        f.engine.start(&id).await.expect("it starts");
        f.engine.stop(&id, Duration::from_secs(10)).await.expect("it runs");
        containers.push((id, stopped));
    }
    let mut events = f.engine.events(None).await.expect("up");
    f.engine.restart_daemon(Duration::from_secs(2));
    let error = f.engine.list().await.expect_err("the daemon is down");
    assert!(error.is_engine_away() && !error.may_have_been_done(), "{error:?}");
    let broken = events.next().await.expect("an error says that the stream is over");
    assert!(matches!(broken, Err(Error::Unreachable { .. })), "{broken:?}");
    assert!(events.next().await.is_none());

    tokio::time::sleep(Duration::from_secs(2)).await;
    for (id, expect) in containers {
        let view = f.view(&id).await;
        assert_eq!(view.state, expect, "{}", view.name);
    }
}

#[tokio::test(start_paused = true)]
async fn health_and_exits_happen_at_their_times_and_not_in_a_later_run() {
    let second = Duration::from_secs(1);
    let timeline = vec![(second, Happening::Healthy), (10 * second, Happening::Exit(1))];
    let f = Fixture::new(Behaviour { timeline, ..Behaviour::default() }).await;
    let id = f.create("web", "no").await;
    let mut events = f.engine.events(None).await.expect("up");
    f.engine.start(&id).await.expect("it starts");
    tokio::time::sleep(5 * second).await;
    f.engine.stop(&id, second).await.expect("it runs");
    f.engine.start(&id).await.expect("it starts");
    tokio::time::sleep(7 * second).await;
    assert_eq!(f.view(&id).await.health, Health::Healthy, "the first run's exit is not for the second one");
    let mut told = Vec::new();
    while told.last().is_none_or(|(kind, _)| *kind != EventKind::Die { exit_code: 1 }) {
        let event = events.next().await.expect("goes on").expect("up");
        told.push((event.kind, (event.at - time()).num_seconds()));
    }
    let expect = [
        (EventKind::Start, 0),
        (EventKind::HealthStatus(Health::Healthy), 1),
        (EventKind::Kill, 5),
        (EventKind::Die { exit_code: 0 }, 5),
        (EventKind::Stop, 5),
        (EventKind::Start, 5),
        (EventKind::HealthStatus(Health::Healthy), 6),
        (EventKind::Die { exit_code: 1 }, 15),
    ];
    assert_eq!(told, expect);
}

#[tokio::test(start_paused = true)]
async fn a_restart_policy_tries_again_with_growing_pauses() {
    let f = Fixture::new(Behaviour::of(Happening::Exit(1), Duration::from_secs(1))).await;
    let id = f.create("web", "always").await;
    f.engine.start(&id).await.expect("it starts");
    let mut counts = Vec::new();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        counts.push(f.view(&id).await.restart_count);
    }
    // Pauses of 0.1, 0.2, 0.4, 0.8, 1.6, 3.2 seconds after runs of one second.
    assert_eq!(counts, [1, 3, 4, 4, 5, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_and_a_failing_registry_are_told_apart() {
    let f = Fixture::healthy().await;
    let reference = f.name.repository.at(&f.digest);
    let failure = async || match f.engine.pull(&reference, None, &mut |_| ()).await {
        Ok(()) => None,
        Err(Error::Pull { failure, .. }) => Some(failure),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(failure().await, None);
    f.engine.set_disk_full(true);
    assert_eq!(failure().await, Some(PullFailure::DiskFull));
    let created = f.engine.create("web", &json!({"Image": f.name.familiar()})).await;
    assert!(
        matches!(&created, Err(Error::Refused { message, .. }) if message.contains("no space left")),
        "{created:?}"
    );
    f.engine.set_disk_full(false);
    for expect in [PullFailure::Denied, PullFailure::RateLimited, PullFailure::Unreachable] {
        f.registry.set_failure(Some(expect));
        assert_eq!(failure().await, Some(expect));
    }
    f.registry.set_failure(None);
    assert_eq!(failure().await, None);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_removed_is_gone_for_good_and_so_are_its_tags() {
    let f = Fixture::healthy().await;
    let (repository, reference) = (&f.name.repository, f.name.repository.at(&f.digest));
    let other = SimulatedRegistry::new();
    assert!(!other.has(repository, &f.digest) && !other.remove(repository, &f.digest));
    assert!(f.registry.has(repository, &f.digest));
    assert!(f.registry.remove(repository, &f.digest));
    assert_eq!((f.registry.has(repository, &f.digest), f.registry.resolve(&f.name)), (false, None));
    // At its host there is still a registry, which says that it does not know it.
    let next = f.registry.push(&f.name, SimulatedImage::new(time(), Behaviour::of(Happening::Exit(1), Duration::ZERO)));
    let refused = f.engine.pull(&reference, None, &mut |_| ()).await;
    assert!(matches!(&refused, Err(Error::Pull { failure: PullFailure::NotFound, .. })), "{refused:?}");
    assert_eq!(f.registry.resolve(&f.name), Some(next));
    f.create("web", "no").await;
}

#[tokio::test(start_paused = true)]
async fn with_an_allergy_every_new_container_falls_ill_and_stays_so_and_old_ones_do_not() {
    let f = Fixture::healthy().await;
    let old = f.create("old", "no").await;
    f.engine.set_allergy(Some(Duration::from_secs(8)));
    let new = f.create("new", "no").await;
    f.engine.set_allergy(None);
    let late = f.create("late", "no").await;
    for id in [&old, &new, &late] {
        f.engine.start(id).await.expect("it starts");
    }
    let health = async || [f.view(&old).await.health, f.view(&new).await.health, f.view(&late).await.health];
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(health().await, [Health::Healthy, Health::Starting, Health::Healthy]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(health().await, [Health::Healthy, Health::Unhealthy, Health::Healthy]);
    f.engine.stop(&new, Duration::ZERO).await.expect("it stops");
    f.engine.start(&new).await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(f.view(&new).await.health, Health::Unhealthy, "after each start");
}

#[tokio::test(start_paused = true)]
async fn two_worlds_with_the_same_calls_are_the_same() {
    let run = async || {
        let f = Fixture::healthy().await;
        let id = f.create("web", "always").await;
        f.engine.start(&id).await.expect("it starts");
        tokio::time::sleep(Duration::from_secs(4)).await;
        f.engine.inspect("web").await.expect("it exists")
    };
    assert_eq!(run().await, run().await);
}
