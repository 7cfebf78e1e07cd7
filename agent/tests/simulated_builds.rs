//! Builds and pushes of the simulated engine: what only it can do, and what tests of agent and product rely on.

use std::io;
use std::time::Duration;

use chrono::DateTime;
use nightshift_agent::engine::simulated::{
    Behaviour, Call, Fault, Happening, SimulatedEngine, SimulatedImage, SimulatedRegistry, tar_of,
};
use nightshift_agent::engine::{BuildContext, BuildFailure, BuildOptions, Engine, Error, PullFailure, Result};
use nightshift_core::container::{ContainerView, Health, RunState};
use nightshift_core::image::ImageRef;
use serde_json::json;
use tokio::time::Instant;

const WITHIN: Duration = Duration::from_secs(600);
const BASE: &str = "r.example/base:v1";

fn files(dockerfile: &str) -> BuildContext {
    Box::new(io::Cursor::new(tar_of(&[("Dockerfile", dockerfile.as_bytes()), ("www/index.html", b"hello\n")])))
}

fn name(text: &str) -> ImageRef {
    text.parse().expect("well formed")
}

/// An engine, and a registry with a base image whose containers end by themselves after an hour.
fn stage() -> (SimulatedEngine, SimulatedRegistry) {
    let registry = SimulatedRegistry::new();
    let time = DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
    let behaviour = Behaviour::of(Happening::Exit(7), Duration::from_secs(3_600));
    registry.push(&name(BASE), SimulatedImage::new(DateTime::UNIX_EPOCH, behaviour));
    (SimulatedEngine::new("node-1", registry.clone(), time), registry)
}

async fn build(engine: &SimulatedEngine, dockerfile: &str) -> Result<String> {
    let options = BuildOptions::new("r.example/web:next", WITHIN);
    engine.build(files(dockerfile), &options, &mut |_| ()).await
}

fn failure_of(outcome: &Result<String>) -> BuildFailure {
    match outcome {
        Err(Error::Build { failure, .. }) => *failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_known_instruction_is_in_the_image() {
    let (engine, _) = stage();
    let dockerfile = "ARG BASE=r.example/base:v1\nARG COLOUR=red\nFROM ${BASE}\nARG COLOUR\nARG SIZE=big\n\
        ENV A=1 B=\"two words\"\nENV OLD form of it\nCOPY www /www\nWORKDIR /www\nUSER nobody\nEXPOSE 8080 53/udp\n\
        VOLUME /data\nLABEL colour=$COLOUR size=$SIZE a=$A\nENTRYPOINT [\"serve\"]\nCMD [\"--fast\"]\n";
    build(&engine, dockerfile).await.expect("a good build");
    let inspect = engine.inspect_image("r.example/web:next").await.expect("by its name");
    let mut config = inspect["Config"].clone();
    config.as_object_mut().expect("an object").remove("Image").expect("its parent");
    let expect = json!({
        "Env": ["PATH=/bin", "A=1", "B=two words", "OLD=form of it"], "WorkingDir": "/www", "User": "nobody",
        "ExposedPorts": {"80/tcp": {}, "8080/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}},
        "Labels": {"colour": "red", "size": "big", "a": "1"}, "Entrypoint": ["serve"], "Cmd": ["--fast"],
    });
    assert_eq!(config, expect);
    assert_eq!(inspect["Created"], "2027-01-15T08:00:00+00:00", "by the engine's clock");
}

#[tokio::test(start_paused = true)]
async fn a_built_image_behaves_as_its_base_and_its_own_health_check_say() {
    let (engine, _) = stage();
    for (check, health, state_later) in [
        ("", Health::None, RunState::Exited),
        ("HEALTHCHECK --interval=1s --retries=2 CMD wget -q http://localhost/\n", Health::Healthy, RunState::Exited),
        ("HEALTHCHECK CMD [\"false\"]\n", Health::Unhealthy, RunState::Exited),
    ] {
        build(&engine, &format!("FROM {BASE}\nLABEL a=b\n{check}")).await.expect("a good build");
        let id = engine.create("web", &json!({"Image": "r.example/web:next"})).await.expect("it is there");
        engine.start(&id).await.expect("it starts");
        let view =
            async || ContainerView::from_inspect(&engine.inspect("web").await.expect("it exists")).expect("whole");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((view().await.state, view().await.health), (RunState::Running, health), "{check}");
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert_eq!((view().await.state, view().await.exit_code), (state_later, 7), "{check}");
        engine.discard(&id).await.expect("it exists");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_takes_its_time_and_the_deadline_ends_it() {
    let (engine, _) = stage();
    let before = Instant::now();
    build(&engine, &format!("FROM {BASE}\nRUN sleep 100 && true\n")).await.expect("in time");
    assert_eq!(before.elapsed().as_secs(), 100);
    let outcome = build(&engine, &format!("FROM {BASE}\nRUN sleep 1000\n")).await;
    assert!(matches!(outcome, Err(Error::Timeout { after: WITHIN, .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn registry_and_disk_fail_builds_and_pushes_without_blaming_the_source() {
    let (engine, registry) = stage();
    let good = format!("FROM {BASE}\nLABEL a=b\n");
    for failure in [PullFailure::Unreachable, PullFailure::RateLimited, PullFailure::Denied] {
        registry.set_failure(Some(failure));
        assert_eq!(failure_of(&build(&engine, &good).await), BuildFailure::Surroundings(failure));
    }
    registry.set_failure(None);
    engine.set_disk_full(true);
    let full = BuildFailure::Surroundings(PullFailure::DiskFull);
    assert_eq!(failure_of(&build(&engine, &good).await), full);
    assert_eq!(failure_of(&build(&engine, "FROM scratch\nLABEL a=b\n").await), full);
    engine.set_disk_full(false);
    build(&engine, &good).await.expect("all is well again");
    registry.set_failure(Some(PullFailure::RateLimited));
    let error = engine.push("r.example/web", "next", None, WITHIN).await.expect_err("the registry fails");
    assert!(matches!(error, Error::Push { failure: PullFailure::RateLimited, .. }), "{error:?}");
    assert_eq!(registry.resolve(&name("r.example/web:next")), None);
}

#[tokio::test(start_paused = true)]
async fn an_empty_registry_takes_a_push_once_it_is_there() {
    let (engine, registry) = stage();
    build(&engine, "FROM scratch\nCOPY www /\n").await.expect("a good build");
    engine.tag("r.example/web:next", "new.example/web", "v1").await.expect("it is there");
    let error = engine.push("new.example/web", "v1", None, WITHIN).await.expect_err("nobody listens");
    assert!(matches!(error, Error::Push { failure: PullFailure::Unreachable, .. }), "{error:?}");
    registry.open("new.example");
    let digest = engine.push("new.example/web", "v1", None, WITHIN).await.expect("it listens");
    assert_eq!(registry.resolve(&name("new.example/web:v1")), Some(digest.clone()));
    let other = SimulatedEngine::new("node-2", registry, DateTime::UNIX_EPOCH);
    other.pull(&format!("new.example/web@{digest}"), None, &mut |_| ()).await.expect("other nodes can have it");
}

#[tokio::test(start_paused = true)]
async fn another_context_is_another_image() {
    let (engine, _) = stage();
    let dockerfile: &[u8] = b"FROM scratch\nCOPY data /\n";
    let options = BuildOptions::new("web:v1", WITHIN);
    let mut ids = Vec::new();
    for data in [b"1", b"2"] {
        let tar = tar_of(&[("Dockerfile", dockerfile), ("data", data)]);
        let id = engine.build(Box::new(io::Cursor::new(tar)), &options, &mut |_| ()).await;
        ids.push(id.expect("a good build"));
    }
    assert_ne!(ids[0], ids[1], "though both have the same size and were built at the same time");
}

#[tokio::test(start_paused = true)]
async fn faults_strike_builds_and_pushes() {
    let (engine, registry) = stage();
    let dockerfile = format!("FROM {BASE}\nLABEL a=b\n");
    let has = async || engine.inspect_image("r.example/web:next").await.is_ok();
    engine.fail_next(Call::Build, Fault::Refused { status: 500, message: "driver gone".to_owned() });
    assert!(matches!(build(&engine, &dockerfile).await, Err(Error::Refused { status: 500, .. })));
    engine.fail_next(Call::Build, Fault::Hang);
    assert!(matches!(build(&engine, &dockerfile).await, Err(Error::Timeout { after: WITHIN, .. })));
    assert!(!has().await);
    engine.fail_next(Call::Build, Fault::DoneButReplyLost);
    assert!(matches!(build(&engine, &dockerfile).await, Err(Error::Unreachable { sent: true, .. })));
    assert!(has().await, "it was built all the same");

    let push = async || engine.push("r.example/web", "next", None, WITHIN).await;
    let served = || registry.resolve(&name("r.example/web:next"));
    engine.fail_next(Call::Push, Fault::NotSent);
    assert!(matches!(push().await, Err(Error::Unreachable { sent: false, .. })));
    assert_eq!(served(), None);
    engine.fail_next(Call::Push, Fault::DoneButHangs);
    assert!(matches!(push().await, Err(Error::Timeout { after: WITHIN, .. })));
    assert!(served().is_some(), "it was pushed all the same");
    assert_eq!(push().await.ok(), served());
    engine.restart_daemon(Duration::from_secs(10));
    assert!(matches!(push().await, Err(Error::Unreachable { .. })));
}
