//! Containers: states, names, ports, stops, restart policies, networks, logs, commands.

use std::time::Duration;

use nightshift_agent::engine::{Error, EventKind, OLDEST_KNOWN};
use nightshift_core::container::RunState;
use nightshift_core::ids::ContainerId;
use serde_json::json;

use crate::fixture::{Fixture, GRACE, Kind, created, created_from, events_until, pulled, view};

pub(crate) async fn the_engine_says_who_it_is(fixture: &dyn Fixture) {
    let info = fixture.engine().info().await.expect("the engine is up");
    assert!(info.api_version >= OLDEST_KNOWN, "{info:?}");
    assert_eq!(info.os, "linux");
    assert!(!info.version.is_empty() && !info.arch.is_empty() && !info.name.is_empty(), "{info:?}");
    assert!(info.insecure_registries.contains(&"127.0.0.0/8".to_owned()), "{info:?}");
}

pub(crate) async fn a_container_goes_through_its_states(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (name, id) = created(fixture, Kind::Web, json!({})).await;
    let state = async || view(fixture, &id).await.state;
    assert_eq!(state().await, RunState::Created);
    assert_eq!(view(fixture, &id).await.started_at, None);
    engine.start(&id).await.expect("it starts");
    engine.start(&id).await.expect("a second start does nothing");
    assert_eq!(state().await, RunState::Running);
    engine.pause(&id).await.expect("it runs");
    assert_eq!(state().await, RunState::Paused);
    engine.unpause(&id).await.expect("it is paused");
    engine.stop(&id, GRACE).await.expect("it runs");
    engine.stop(&id, GRACE).await.expect("a second stop does nothing");
    assert_eq!(state().await, RunState::Exited);

    let summary = engine.list().await.expect("the engine is up").into_iter().find(|container| container.id == id);
    let summary = summary.expect("stopped containers are listed");
    assert_eq!((summary.name.as_str(), summary.state), (name.as_str(), RunState::Exited));
    assert_eq!(summary.labels.get("check"), Some(&name));
    let inspect = engine.inspect(&name).await.expect("found by its name");
    assert_eq!(inspect["Id"], id.0);
    assert_eq!(inspect["Image"], summary.image_id);

    engine.start(&id).await.expect("it starts again");
    assert_eq!(state().await, RunState::Running);
    engine.discard(&id).await.expect("also a running one");
    assert!(engine.inspect(&id.0).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn a_name_belongs_to_one_container(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = pulled(fixture, Kind::Web).await;
    let (first_name, first) = created_from(fixture, &image, json!({})).await;
    let (second_name, second) = created_from(fixture, &image, json!({})).await;
    let taken = engine.create(&first_name, &json!({"Image": image.reference()})).await;
    assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");
    let taken = engine.rename(&second, &first_name).await;
    assert!(matches!(taken, Err(Error::Conflict { .. })), "{taken:?}");

    engine.start(&first).await.expect("it starts");
    let parked = format!("{first_name}-parked");
    engine.rename(&first, &parked).await.expect("also while it runs");
    engine.rename(&second, &first_name).await.expect("the name is free, and the container stopped");
    assert_eq!(engine.inspect(&parked).await.expect("by its new name")["Id"], first.0);
    assert_eq!(engine.inspect(&first_name).await.expect("by its new name")["Id"], second.0);
    assert!(engine.inspect(&second_name).await.expect_err("nobody has it").is_not_found());
}

pub(crate) async fn what_does_not_exist_is_not_found(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let nobody = ContainerId("0123456789abcdef".repeat(4));
    let (_, somebody) = created(fixture, Kind::Web, json!({})).await;
    let command = ["true".to_owned()];
    let missing = [
        engine.inspect(&nobody.0).await.map(drop),
        engine.start(&nobody).await,
        engine.stop(&nobody, GRACE).await,
        engine.pause(&nobody).await,
        engine.rename(&nobody, &fixture.name("x")).await,
        engine.remove(&nobody).await,
        engine.discard(&nobody).await,
        engine.set_restart_policy(&nobody, &json!({"Name": "no"})).await,
        engine.logs_tail(&nobody, 5, 100).await.map(drop),
        engine.exec(&nobody, &command, &[], GRACE).await.map(drop),
        engine.inspect_image("no-such-image:v0").await.map(drop),
        engine.tag("no-such-image:v0", "other", "v0").await,
        engine.remove_image("no-such-image:v0").await,
        engine.create(&fixture.name("x"), &json!({"Image": "no-such-image:v0"})).await.map(drop),
        engine.connect_network("no-such-network", &json!({"Container": somebody.0})).await,
    ];
    for (position, result) in missing.into_iter().enumerate() {
        let Err(error) = result else { panic!("call {position} succeeded") };
        assert!(error.is_not_found() && !error.may_have_been_done(), "call {position}: {error:?}");
    }
}

pub(crate) async fn a_running_container_is_not_removed(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.start(&id).await.expect("it starts");
    let refused = engine.remove(&id).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    engine.stop(&id, GRACE).await.expect("it runs");
    engine.remove(&id).await.expect("it is stopped");
    assert!(engine.remove(&id).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn a_host_port_belongs_to_one_running_container(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = pulled(fixture, Kind::Web).await;
    let host_config = json!({"PortBindings": {"80/tcp": [{"HostPort": fixture.port().to_string()}]}});
    let (_, first) = created_from(fixture, &image, json!({"HostConfig": host_config})).await;
    let (_, second) = created_from(fixture, &image, json!({"HostConfig": host_config})).await;
    engine.start(&first).await.expect("the port is free");
    let error = engine.start(&second).await.expect_err("the port is taken");
    assert!(
        matches!(&error, Error::Refused { status: 500, message, .. } if message.contains("already allocated")),
        "{error:?}"
    );
    let second_view = view(fixture, &second).await;
    assert_eq!((second_view.state, second_view.exit_code), (RunState::Created, 128));
    assert!(second_view.error.contains("already allocated"), "{second_view:?}");
    engine.stop(&first, GRACE).await.expect("it runs");
    engine.start(&second).await.expect("the port is free again");
    assert_eq!(view(fixture, &second).await.error, "");
}

pub(crate) async fn a_stop_gives_the_container_its_grace_period(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    for (kind, exit_code, least_seconds) in [(Kind::Web, 0, 0), (Kind::Stubborn, 137, 2)] {
        let (_, id) = created(fixture, kind, json!({"StopTimeout": 2})).await;
        let mut events = engine.events(None).await.expect("the engine is up");
        engine.start(&id).await.expect("it starts");
        let up = |kind: &EventKind| *kind == EventKind::Start;
        events_until(&mut events, &id, up).await;
        // Until its shell has set the trap.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = tokio::time::Instant::now();
        engine.stop(&id, Duration::from_secs(2)).await.expect("it runs");
        assert!(before.elapsed() >= Duration::from_secs(least_seconds), "{kind:?} after {:?}", before.elapsed());
        assert_eq!(view(fixture, &id).await.exit_code, exit_code, "{kind:?}");
        let seen = events_until(&mut events, &id, |kind| *kind == EventKind::Stop).await;
        let died = seen.iter().position(|event| event.kind == EventKind::Die { exit_code });
        assert!(died.is_some(), "{seen:?}");
        // On a busy machine its health is looked at before it stops.
        let first = seen.iter().map(|event| &event.kind).find(|kind| !matches!(kind, EventKind::HealthStatus(_)));
        assert_eq!(first, Some(&EventKind::Kill), "{seen:?}");
    }
}

pub(crate) async fn a_restart_policy_is_replaced(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let always = json!({"HostConfig": {"RestartPolicy": {"Name": "always"}}});
    let (_, id) = created(fixture, Kind::Short, always).await;
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&id).await.expect("it starts");
    for _ in 0..2 {
        events_until(&mut events, &id, |kind| *kind == EventKind::Die { exit_code: 7 }).await;
    }
    assert!(view(fixture, &id).await.restart_count >= 1);
    engine.set_restart_policy(&id, &json!({"Name": "no"})).await.expect("it exists");
    engine.stop(&id, GRACE).await.expect("also between two starts");
    let stopped = view(fixture, &id).await;
    assert_eq!((stopped.state, &stopped.restart_policy["Name"]), (RunState::Exited, &json!("no")));
    engine.start(&id).await.expect("it starts");
    events_until(&mut events, &id, |kind| *kind == EventKind::Die { exit_code: 7 }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ended = view(fixture, &id).await;
    assert_eq!((ended.state, ended.exit_code, ended.restart_count), (RunState::Exited, 7, 0));
}

pub(crate) async fn a_container_that_removes_itself_is_gone_after_its_stop(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({"HostConfig": {"AutoRemove": true}})).await;
    let policy = engine.set_restart_policy(&id, &json!({"Name": "always"})).await;
    assert!(matches!(policy, Err(Error::Conflict { .. })), "{policy:?}");
    engine.set_restart_policy(&id, &json!({"Name": "no"})).await.expect("that is what it has");
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&id).await.expect("it starts");
    engine.stop(&id, GRACE).await.expect("it runs");
    events_until(&mut events, &id, |kind| *kind == EventKind::Destroy).await;
    assert!(engine.inspect(&id.0).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn a_paused_container_takes_no_start_and_no_command(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    let command = ["true".to_owned()];
    let not_running = [engine.exec(&id, &command, &[], GRACE).await.map(drop), engine.pause(&id).await];
    engine.start(&id).await.expect("it starts");
    engine.pause(&id).await.expect("it runs");
    let paused = [engine.exec(&id, &command, &[], GRACE).await.map(drop), engine.start(&id).await];
    for result in not_running.into_iter().chain(paused) {
        assert!(matches!(result, Err(Error::Conflict { .. })), "{result:?}");
    }
    engine.unpause(&id).await.expect("it is paused");
    assert!(engine.unpause(&id).await.is_err());
}

pub(crate) async fn a_second_network_is_connected_before_the_start(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (first, second) = (fixture.network().await, fixture.network().await);
    let endpoints = json!({&first: {"Aliases": ["web"]}});
    let body = json!({"HostConfig": {"NetworkMode": &first}, "NetworkingConfig": {"EndpointsConfig": endpoints}});
    let (name, id) = created(fixture, Kind::Web, body).await;
    let connect = json!({"Container": &name, "EndpointConfig": {"Aliases": ["shop"]}});
    engine.connect_network(&second, &connect).await.expect("both exist");
    engine.start(&id).await.expect("it starts");
    let inspect = engine.inspect(&id.0).await.expect("it exists");
    for (network, alias) in [(first, "web"), (second, "shop")] {
        let endpoint = &inspect["NetworkSettings"]["Networks"][&network];
        let aliases = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
        assert!(aliases.contains(&json!(alias)), "{network}: {endpoint}");
    }
}

pub(crate) async fn the_end_of_the_log_is_read(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Short, json!({})).await;
    let mut events = engine.events(None).await.expect("the engine is up");
    assert_eq!(engine.logs_tail(&id, 10, 1_000).await.as_deref(), Ok(""));
    engine.start(&id).await.expect("it starts");
    events_until(&mut events, &id, |kind| *kind == EventKind::Die { exit_code: 7 }).await;
    assert_eq!(engine.logs_tail(&id, 10, 1_000).await.as_deref(), Ok("starting\nserving\n"));
    assert_eq!(engine.logs_tail(&id, 1, 1_000).await.as_deref(), Ok("serving\n"));
    assert_eq!(engine.logs_tail(&id, 10, 10).await.as_deref(), Ok("serving\n"));
}

pub(crate) async fn a_command_tells_its_exit_code_and_output(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.start(&id).await.expect("it starts");
    let command = ["sh", "-c", "echo hello; exit 3"].map(str::to_owned);
    let outcome = engine.exec(&id, &command, &[], GRACE).await.expect("it runs");
    assert_eq!((outcome.exit_code, outcome.output.as_str()), (3, "hello\n"));
    let outcome = engine.exec(&id, &["no-such-program".to_owned()], &[], GRACE).await.expect("that is an outcome, too");
    assert!(matches!(outcome.exit_code, 126 | 127), "{outcome:?}");
    assert!(outcome.output.contains("executable file not found"), "{outcome:?}");
}

pub(crate) async fn a_command_that_does_not_end_is_given_up(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.start(&id).await.expect("it starts");
    let after = Duration::from_secs(1);
    let error = engine.exec(&id, &["sleep", "60"].map(str::to_owned), &[], after).await.expect_err("it sleeps");
    assert!(matches!(error, Error::Timeout { after: told, .. } if told == after), "{error:?}");
    assert!(error.may_have_been_done());
}

pub(crate) async fn a_containers_own_end_is_told_without_a_kill(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Passing, json!({})).await;
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&id).await.expect("it starts");
    let seen = events_until(&mut events, &id, |kind| matches!(kind, EventKind::Die { .. })).await;
    let kinds: Vec<_> = seen.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Start, EventKind::Die { exit_code: 0 }]);
}

pub(crate) async fn networks_are_made_found_by_label_and_removed_when_nobody_is_in_them(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let name = fixture.name("own");
    let body = json!({"Name": &name, "CheckDuplicate": true, "Internal": true, "Labels": {"check.network": &name}});
    let id = engine.create_network(&body).await.expect("a free name");
    let twice = engine.create_network(&body).await.expect_err("the name is taken");
    assert!(matches!(twice, Error::Conflict { .. }), "{twice:?}");
    let found = engine.networks("check.network").await.expect("the engine is up");
    let found: Vec<_> = found.into_iter().filter(|network| network.name == name).collect();
    let [network] = &found[..] else { panic!("one of that name: {found:?}") };
    assert_eq!((&network.id, network.labels.get("check.network")), (&id, Some(&name)));
    assert!(engine.networks("check.no-network").await.expect("the engine is up").is_empty());

    let (_, container) = created(fixture, Kind::Web, json!({"HostConfig": {"NetworkMode": &name}})).await;
    engine.start(&container).await.expect("it starts");
    let used = engine.remove_network(&id).await.expect_err("a container runs in it");
    assert!(matches!(used, Error::Refused { .. }), "{used:?}");
    engine.discard(&container).await.expect("also a running one");
    engine.remove_network(&id).await.expect("nobody is in it");
    assert!(engine.remove_network(&id).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn a_container_is_discarded_with_its_unnamed_volumes(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.start(&id).await.expect("it starts");
    let inspect = engine.inspect(&id.0).await.expect("it exists");
    let volume = inspect["Mounts"][0]["Name"].as_str().expect("the image's volume").to_owned();
    engine.discard_with_volumes(&id).await.expect("also a running one");
    assert!(engine.inspect(&id.0).await.expect_err("it is gone").is_not_found());
    assert!(!fixture.has_volume(&volume).await);
    assert!(engine.discard_with_volumes(&id).await.expect_err("it is gone").is_not_found());
}

pub(crate) async fn what_a_command_wrote_is_told_also_when_it_does_not_end(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.start(&id).await.expect("it starts");
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let ended =
        engine.run_command(&id, &words(&["sh", "-c", "echo hello; exit 3"]), GRACE, 100).await.expect("it runs");
    assert_eq!((ended.exit_code, ended.output.as_str(), ended.cut), (Some(3), "hello\n", false));
    let ended = engine.run_command(&id, &words(&["sh", "-c", "echo hello; exit 3"]), GRACE, 3).await.expect("it runs");
    assert!(ended.cut && ended.output.len() <= 3, "{ended:?}");
    let second = Duration::from_secs(1);
    let runs = engine.run_command(&id, &words(&["sh", "-c", "echo hello; sleep 60"]), second, 100).await;
    let runs = runs.expect("it was started");
    assert_eq!((runs.exit_code, runs.output.as_str()), (None, "hello\n"));
}
