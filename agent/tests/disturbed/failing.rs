//! Every engine call can fail: forbidden by a socket proxy, refused, cut off, or never answered. Each ends untouched or
//! rolled back, with the engine's own words in the report; broken only where the way back is closed for good.

use std::sync::Arc;

use futures::future::join_all;
use nightshift_core::spec::{HealthCheck, UpdateOrder};
use nightshift_core::step::{FailureKind, StepOrder, StepPhase, StepReport};
use tokio::sync::Semaphore;

use crate::boundary::{Disturbance, Rule};
use crate::cell::Version;
use crate::place::Place;
use crate::proxy::Before;
use crate::run::words;
use crate::scene::Scene;

/// Cases at the same time: they mostly wait.
const AT_ONCE: usize = 8;
/// What the failing calls say.
const SAID: &str = "the test says no";

const CREATE: &str = "POST /containers/create";
const CONNECT: &str = "POST /networks/{id}/connect";
const UPDATE: &str = "POST /containers/{id}/update";
const RENAME: &str = "POST /containers/{id}/rename";
const STOP: &str = "POST /containers/{id}/stop";
const START: &str = "POST /containers/{id}/start";
const REMOVE: &str = "DELETE /containers/{id}";
const PULL: &str = "POST /images/create";
const TAG: &str = "POST /images/{name}/tag";
const INSPECT: &str = "GET /containers/{id}/json";
const EXEC: &str = "POST /containers/{id}/exec";

/// One case, and how it must end.
#[derive(Clone)]
struct Case {
    version: Version,
    rule: Rule,
    /// What the order says besides.
    order: fn(&mut StepOrder),
    phase: StepPhase,
    kind: Option<FailureKind>,
    /// What the report must say.
    says: &'static str,
}

fn every(call: &'static str, how: Before) -> Rule {
    Rule { call, trials_too: false, spares: None, after: 0, times: usize::MAX, how }
}

fn once(call: &'static str, how: Before) -> Rule {
    Rule { times: 1, ..every(call, how) }
}

/// As a socket proxy forbids a call.
fn forbidden(call: &'static str) -> Rule {
    Rule { trials_too: true, ..every(call, Before::Answer(403, SAID.to_owned())) }
}

fn failed() -> Before {
    Before::Answer(500, SAID.to_owned())
}

fn case(rule: Rule, phase: StepPhase, kind: Option<FailureKind>) -> Case {
    let says = if kind.is_some() { SAID } else { "" };
    Case { version: Version::Good, rule, order: |_| (), phase, kind, says }
}

async fn carry_out(place: &Place, case: &Case) {
    let rule = case.rule.clone();
    let scene = Scene::set_up(place, UpdateOrder::StopFirst, case.version, Disturbance::Failing(rule)).await;
    let mut scene = scene;
    (case.order)(&mut scene.order);
    let report = scene.agent().report().await;
    let kind = report.failure.as_ref().map(|failure| failure.kind);
    assert_eq!((report.phase, kind), (case.phase, case.kind), "{report:?}");
    let reason = report.failure.as_ref().map(|failure| failure.reason.as_str()).unwrap_or_default();
    assert!(reason.contains(case.says), "{reason}");
    assert!(scene.watch().hit().is_some(), "the call never came");
    check_end(&scene, case, &report).await;
    scene.clean_up().await;
}

async fn check_end(scene: &Scene<'_>, case: &Case, report: &StepReport) {
    // What nobody may remove stays where it is, and a way back that is closed leaves what it leaves.
    let leaves_more = case.rule.call == REMOVE || report.phase == StepPhase::Broken;
    if !leaves_more {
        scene.check_end(report).await;
    }
}

async fn all(cases: Vec<Case>) {
    let Some(places) = Place::shared().await else { return };
    let places: Arc<[Place]> = places.into();
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let runs = cases.iter().cloned().enumerate().map(|(position, case)| {
        let (places, permits) = (places.clone(), permits.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire().await.expect("never closed");
            carry_out(&places[position % places.len()], &case).await;
        })
    });
    let results = join_all(runs.collect::<Vec<_>>()).await;
    let failed: Vec<String> = cases
        .iter()
        .zip(results)
        .filter_map(|(case, result)| {
            let why = words(result.err()?.into_panic());
            Some(format!("{:?}: {why}", case.rule))
        })
        .collect();
    for place in places.iter() {
        place.clean_up().await;
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_socket_proxy_forbids_is_found_out_before_anything_is_touched() {
    use FailureKind::{Engine, Precondition, Pull};
    let untouched = |call, kind| case(forbidden(call), StepPhase::Untouched, Some(kind));
    let mut cases: Vec<Case> =
        [UPDATE, RENAME, STOP, START, REMOVE, TAG].map(|call| untouched(call, Precondition)).to_vec();
    cases.extend([CREATE, CONNECT, "GET /networks/{id}"].map(|call| untouched(call, Engine)));
    cases.extend(["GET /containers/json", "GET /info"].map(|call| untouched(call, Precondition)));
    cases.extend([INSPECT, "GET /images/{name}/json"].map(|call| untouched(call, Engine)));
    cases.push(untouched(PULL, Pull));
    let exec: fn(&mut StepOrder) = |order| order.health = HealthCheck::Exec { command: vec!["true".to_owned()] };
    cases.push(Case { order: exec, ..untouched(EXEC, Precondition) });
    all(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_tells_more_may_be_forbidden() {
    let committed = |call| case(forbidden(call), StepPhase::Committed, None);
    let log = Case {
        version: Version::Unhealthy,
        says: "its health check says unhealthy",
        ..case(forbidden("GET /containers/{id}/logs"), StepPhase::RolledBack, Some(FailureKind::Unhealthy))
    };
    let clean: fn(&mut StepOrder) = |order| order.keep_images = 0;
    let images = Case { order: clean, ..committed("DELETE /images/{name}") };
    all(vec![log, images, committed("GET /events"), committed("GET /images/json")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_always_fails_is_taken_back_with_its_reason() {
    use FailureKind::{Engine, EngineRefused, Precondition, Pull};
    let ends = |call, phase, kind| case(every(call, failed()), phase, Some(kind));
    let mut cases = vec![
        ends(PULL, StepPhase::Untouched, Pull),
        ends(TAG, StepPhase::Untouched, Precondition),
        ends(CREATE, StepPhase::Untouched, EngineRefused),
        ends(CONNECT, StepPhase::Untouched, EngineRefused),
        ends(UPDATE, StepPhase::RolledBack, Engine),
        ends(RENAME, StepPhase::RolledBack, Engine),
        ends(STOP, StepPhase::RolledBack, Engine),
        case(every(REMOVE, failed()), StepPhase::Committed, None),
    ];
    // The second rename is that of the new container.
    let second = Rule { after: 1, times: 1, ..every(RENAME, failed()) };
    cases.push(case(second, StepPhase::RolledBack, Some(Engine)));
    let first_start = once(START, failed());
    cases.push(case(first_start, StepPhase::RolledBack, Some(EngineRefused)));
    // On the way back the container that failed has the name and cannot be asked to give it back: it is removed first.
    let third = Rule { after: 2, times: 5, ..every(RENAME, failed()) };
    cases.push(Case {
        version: Version::CannotStart,
        says: "",
        ..case(third, StepPhase::RolledBack, Some(EngineRefused))
    });
    all(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_that_is_closed_for_good_is_broken_and_says_all_that_was_tried() {
    let no_start = case(every(START, failed()), StepPhase::Broken, Some(FailureKind::EngineRefused));
    let no_name = Rule { after: 2, ..every(RENAME, failed()) };
    let no_name = Case {
        version: Version::CannotStart,
        says: "could not give the old container its name back (5 times)",
        ..case(no_name, StepPhase::Broken, Some(FailureKind::EngineRefused))
    };
    let start_says = "could not start the old container again (5 times)";
    all(vec![Case { says: start_says, ..no_start }, no_name]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_once_changes_nothing_and_one_that_always_breaks_is_given_up() {
    let calls = [CREATE, CONNECT, UPDATE, RENAME, STOP, START, REMOVE, PULL, TAG, INSPECT, "GET /events"];
    let mut cases: Vec<Case> = calls.map(|call| case(once(call, Before::Cut), StepPhase::Committed, None)).to_vec();
    let always = |call, phase| Case { says: call, ..case(every(call, Before::Cut), phase, Some(FailureKind::Engine)) };
    let says = "could not rename the old container";
    cases.push(Case { says, ..always(RENAME, StepPhase::RolledBack) });
    cases.push(Case { says: "could not create the new container", ..always(CREATE, StepPhase::Untouched) });
    all(cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/test --full"]
async fn a_call_that_is_never_answered_is_made_again_after_its_deadline() {
    let calls = [INSPECT, CONNECT, UPDATE, RENAME, STOP, TAG];
    let mut cases = calls.map(|call| case(once(call, Before::Hang), StepPhase::Committed, None)).to_vec();
    // Its deadline is longer than the new container had: the service is not away any longer for it.
    let start = case(once(START, Before::Hang), StepPhase::RolledBack, Some(FailureKind::Engine));
    cases.push(Case { says: "the engine did not start it within 30s", ..start });
    all(cases).await;
}

/// A step whose image cannot be fetched, until its end.
async fn pull_fails(scene: Scene<'_>, says: &str) {
    let report = scene.agent().report().await;
    let failure = report.failure.as_ref().expect("told");
    assert_eq!((report.phase, failure.kind), (StepPhase::Untouched, FailureKind::Pull), "{report:?}");
    assert!(failure.reason.contains(says) && failure.reason.contains("hint: "), "{}", failure.reason);
    scene.check_end(&report).await;
    scene.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_leaves_everything_as_it_is() {
    let Some(places) = Place::shared().await else { return };
    let order = UpdateOrder::StopFirst;
    let mut scene = Scene::set_up(&places[0], order, Version::Good, Disturbance::Nothing).await;
    scene.order.image = "127.0.0.1:1/web:stable".parse().expect("well formed");
    pull_fails(scene, "connection refused").await;
    for place in &places {
        place.clean_up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room_for_the_image_leaves_everything_as_it_is() {
    let Some(places) = Place::to_kill().await else { return };
    let place = &places[0];
    let lock = place.lock().await;
    let order = UpdateOrder::StopFirst;
    let mut scene = Scene::set_up(place, order, Version::Good, Disturbance::Nothing).await;
    let directory = place.socket.parent().expect("a socket lies in a directory");
    let large = place.registry.push_layer(directory, &format!("{}-large", scene.order.container)).await;
    (scene.order.image, scene.order.digest) = (large.name, large.digest);
    let full = place.fill_disk();
    pull_fails(scene, "no space left on device").await;
    drop((full, lock));
    for place in &places {
        place.clean_up().await;
    }
}
