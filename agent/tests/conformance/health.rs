//! Health and events.

use nightshift_agent::engine::EventKind;
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use serde_json::json;

use crate::fixture::{Fixture, GRACE, Kind, created, events_until, view};

/// Starts a container and waits until its health is what is expected; returns all events up to there.
async fn until(fixture: &dyn Fixture, kind: Kind, expect: Health) -> ContainerId {
    let engine = fixture.engine();
    let (_, id) = created(fixture, kind, json!({})).await;
    assert_eq!(view(fixture, &id).await.health, Health::None, "before its first start");
    let mut events = engine.events(None).await.expect("the engine is up");
    engine.start(&id).await.expect("it starts");
    let seen = events_until(&mut events, &id, |kind| *kind == EventKind::HealthStatus(expect)).await;
    let kinds: Vec<_> = seen.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(kinds, [EventKind::Start, EventKind::HealthStatus(expect)]);
    assert!(seen.windows(2).all(|pair| pair[0].at < pair[1].at), "{seen:?}");
    let view = view(fixture, &id).await;
    assert_eq!((view.state, view.health), (RunState::Running, expect));
    id
}

pub(crate) async fn a_healthy_container_says_so(fixture: &dyn Fixture) {
    until(fixture, Kind::Web, Health::Healthy).await;
}

pub(crate) async fn an_unhealthy_container_says_so(fixture: &dyn Fixture) {
    until(fixture, Kind::Sick, Health::Unhealthy).await;
}

pub(crate) async fn a_stopped_container_is_unhealthy(fixture: &dyn Fixture) {
    let id = until(fixture, Kind::Web, Health::Healthy).await;
    fixture.engine().stop(&id, GRACE).await.expect("it runs");
    let stopped = view(fixture, &id).await;
    assert_eq!((stopped.state, stopped.health), (RunState::Exited, Health::Unhealthy));
    fixture.engine().start(&id).await.expect("it starts");
    assert_eq!(view(fixture, &id).await.health, Health::Starting, "the earlier run does not count");
}

pub(crate) async fn events_are_replayed_from_a_time_on(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let before = engine.info().await.expect("the engine is up").time;
    let (name, id) = created(fixture, Kind::Web, json!({})).await;
    let renamed = format!("{name}-renamed");
    engine.start(&id).await.expect("it starts");
    engine.rename(&id, &renamed).await.expect("the name is free");
    engine.stop(&id, GRACE).await.expect("it runs");
    engine.set_restart_policy(&id, &json!({"Name": "no"})).await.expect("it exists");
    engine.remove(&id).await.expect("it is stopped");

    let mut events = engine.events(Some(before)).await.expect("the engine is up");
    let seen = events_until(&mut events, &id, |kind| *kind == EventKind::Destroy).await;
    // Health may or may not have been decided in this short life.
    let kinds: Vec<_> =
        seen.iter().map(|event| &event.kind).filter(|kind| !matches!(kind, EventKind::HealthStatus(_))).collect();
    let expect = [
        EventKind::Create,
        EventKind::Start,
        EventKind::Rename { from: name.clone() },
        EventKind::Kill,
        EventKind::Die { exit_code: 0 },
        EventKind::Stop,
        EventKind::Update,
        EventKind::Destroy,
    ];
    assert_eq!(kinds, expect.iter().collect::<Vec<_>>());
    for event in &seen {
        assert_eq!(event.labels.get("check"), Some(&name), "{event:?}");
        assert!(event.at >= before, "{event:?}");
    }
    let last = seen.last().expect("several");
    assert_eq!(last.name, renamed);

    // From the last one on: an event at that very time is part of the replay.
    let mut events = engine.events(Some(last.at)).await.expect("the engine is up");
    let again = events_until(&mut events, &id, |kind| *kind == EventKind::Destroy).await;
    assert_eq!(again, std::slice::from_ref(last));
}

pub(crate) async fn a_stream_shows_what_happens_while_it_is_open(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let mut events = engine.events(None).await.expect("the engine is up");
    let (_, id) = created(fixture, Kind::Web, json!({})).await;
    engine.start(&id).await.expect("it starts");
    engine.pause(&id).await.expect("it runs");
    engine.unpause(&id).await.expect("it is paused");
    engine.discard(&id).await.expect("it exists");
    let seen = events_until(&mut events, &id, |kind| *kind == EventKind::Destroy).await;
    let kinds: Vec<_> =
        seen.iter().map(|event| &event.kind).filter(|kind| !matches!(kind, EventKind::HealthStatus(_))).collect();
    let expect = [
        EventKind::Create,
        EventKind::Start,
        EventKind::Pause,
        EventKind::Unpause,
        EventKind::Kill,
        EventKind::Die { exit_code: 137 },
        EventKind::Destroy,
    ];
    assert_eq!(kinds, expect.iter().collect::<Vec<_>>());
}
