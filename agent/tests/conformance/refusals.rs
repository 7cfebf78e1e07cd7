//! What an engine refuses, and in which states of a container it does not: the answers that a replacement can meet.

use std::time::Duration;

use nightshift_agent::engine::Error;
use nightshift_core::container::RunState;
use nightshift_core::ids::ContainerId;
use serde_json::json;

use crate::fixture::{Fixture, GRACE, Kind, created, created_from, pulled, view};

/// A refusal with this status, and these words in it.
fn check_refused<T: std::fmt::Debug>(result: Result<T, Error>, status: u16, words: &str) {
    let fits = matches!(&result, Err(Error::Refused { status: found, message, .. })
        if *found == status && message.contains(words));
    assert!(fits, "expected {status} `{words}`: {result:?}");
}

fn check_conflict<T: std::fmt::Debug>(result: Result<T, Error>, words: &str) {
    assert!(matches!(&result, Err(Error::Conflict { message }) if message.contains(words)), "`{words}`: {result:?}");
}

/// A container that ends again and again, at a moment when it waits for its next start.
async fn restarting(fixture: &dyn Fixture) -> ContainerId {
    let always = json!({"HostConfig": {"RestartPolicy": {"Name": "always"}}});
    let (_, id) = created(fixture, Kind::Short, always).await;
    fixture.engine().start(&id).await.expect("it starts");
    // The pauses double: the third one is long enough to do something in it.
    loop {
        let now = view(fixture, &id).await;
        if now.state == RunState::Restarting && now.restart_count >= 3 {
            return id;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn a_program_that_does_not_exist_is_not_started(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::NoProgram, json!({"Cmd": ["/no-such-program"]})).await;
    for _ in 0..2 {
        check_refused(engine.start(&id).await, 400, "no such file or directory");
        let seen = view(fixture, &id).await;
        assert_eq!((seen.state, seen.exit_code, seen.started_at), (RunState::Created, 127, None));
        assert!(seen.error.contains("no such file or directory"), "{seen:?}");
    }
    engine.remove(&id).await.expect("it never ran");
}

pub(crate) async fn a_configuration_that_makes_no_sense_is_refused(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = pulled(fixture, Kind::Web).await;
    let create = async |name: &str, host_config: serde_json::Value| {
        engine.create(name, &json!({"Image": image.reference(), "HostConfig": host_config})).await
    };
    let name = fixture.name("odd");
    check_refused(create("a b", json!({})).await, 400, "Invalid container name (a b)");
    let sometimes = json!({"RestartPolicy": {"Name": "sometimes"}});
    check_refused(create(&name, sometimes).await, 400, "invalid restart policy 'sometimes'");
    let both = json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}});
    check_refused(create(&name, both).await, 400, "can't create 'AutoRemove' container with restart policy");
    assert!(engine.inspect(&name).await.expect_err("nothing was made").is_not_found());
}

pub(crate) async fn a_new_name_is_another_and_a_legal_one(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, id) = created(fixture, Kind::Web, json!({})).await;
    check_refused(engine.rename(&id, &name).await, 400, "same name as its current name");
    check_refused(engine.rename(&id, "a b").await, 400, "Invalid container name");
    assert_eq!(view(fixture, &id).await.name, name);
}

pub(crate) async fn a_network_is_connected_again_only_before_the_start(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let network = fixture.network().await;
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    let body = json!({"Container": id.0});
    engine.connect_network(&network, &body).await.expect("both exist");
    engine.connect_network(&network, &body).await.expect("a second time, as after a lost reply");
    engine.start(&id).await.expect("it starts");
    check_refused(engine.connect_network(&network, &body).await, 403, "already exists in network");
    let nobody = json!({"Container": "0".repeat(64)});
    let missing = engine.connect_network(&network, &nobody).await.expect_err("there is no such container");
    assert!(missing.is_not_found(), "{missing:?}");
}

pub(crate) async fn a_paused_container_is_renamed_and_stopped_but_not_removed(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, id) = created(fixture, Kind::Stubborn, json!({"StopTimeout": 1})).await;
    engine.start(&id).await.expect("it starts");
    engine.pause(&id).await.expect("it runs");
    engine.set_restart_policy(&id, &json!({"Name": "always"})).await.expect("also a paused one");
    engine.rename(&id, &format!("{name}-2")).await.expect("also a paused one");
    check_conflict(engine.remove(&id).await, "You cannot remove a paused container");
    engine.stop(&id, GRACE).await.expect("it goes on and ends");
    let stopped = view(fixture, &id).await;
    assert_eq!((stopped.state, stopped.exit_code), (RunState::Exited, 137));
    engine.start(&id).await.expect("it starts");
    engine.pause(&id).await.expect("it runs");
    engine.discard(&id).await.expect("also a paused one");
    assert!(engine.inspect(&id.0).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn a_container_in_a_restart_loop_keeps_its_name_until_it_is_stopped(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let id = restarting(fixture).await;
    let other = fixture.name("other");
    // Observed on Engine 20.10: it looks for a network sandbox that is gone, and calls that "not found".
    let refused = engine.rename(&id, &other).await.expect_err("it waits for its next start");
    assert!(matches!(&refused, Error::NotFound { message } if message.contains("sandbox")), "{refused:?}");
    check_conflict(engine.remove(&id).await, "You cannot remove a restarting container");
    engine.set_restart_policy(&id, &json!({"Name": "no"})).await.expect("also between two starts");
    engine.stop(&id, GRACE).await.expect("also between two starts");
    engine.rename(&id, &other).await.expect("it is stopped");
    assert_eq!(view(fixture, &id).await.state, RunState::Exited);
    engine.remove(&id).await.expect("it is stopped");
    let id = restarting(fixture).await;
    engine.discard(&id).await.expect("also between two starts");
    assert!(engine.inspect(&id.0).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn a_container_that_never_ran_is_stopped_without_effect(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.stop(&id, GRACE).await.expect("it does not run");
    assert_eq!(view(fixture, &id).await.state, RunState::Created);
    engine.set_restart_policy(&id, &json!({"Name": "always"})).await.expect("it exists");
    engine.discard(&id).await.expect("it exists");
}

pub(crate) async fn a_log_that_the_driver_does_not_keep_is_refused(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let none = json!({"HostConfig": {"LogConfig": {"Type": "none"}}});
    let (_, id) = created(fixture, Kind::Web, none).await;
    engine.start(&id).await.expect("it starts");
    check_refused(engine.logs_tail(&id, 5, 100).await, 501, "does not support reading");
}

pub(crate) async fn a_removed_containers_volume_is_kept(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = pulled(fixture, Kind::Web).await;
    for is_forced in [false, true] {
        let (_, first) = created_from(fixture, &image, json!({})).await;
        let mounts = async |id: &ContainerId| engine.inspect(&id.0).await.expect("it exists")["Mounts"].clone();
        let volume = mounts(&first).await[0]["Name"].as_str().expect("a volume").to_owned();
        let bind = json!({"HostConfig": {"Binds": [format!("{volume}:/data")]}});
        let (_, second) = created_from(fixture, &image, bind).await;
        if is_forced { engine.discard(&first).await } else { engine.remove(&first).await }.expect("it never ran");
        assert_eq!(mounts(&second).await[0]["Name"], volume.as_str());
        engine.start(&second).await.expect("the volume is there");
    }
}
