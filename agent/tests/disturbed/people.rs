//! People do something to the container while its step is on the way: they are right, and it is left as they made it.

use std::sync::Arc;

use futures::future::join_all;
use nightshift_agent::engine::Engine;
use nightshift_core::ids::ContainerId;
use nightshift_core::replace::is_in_replacement;
use nightshift_core::spec::UpdateOrder;
use nightshift_core::step::{FailureKind, StepPhase};
use serde_json::json;

use crate::boundary::{Disturbance, Moment};
use crate::cell::Version;
use crate::place::Place;
use crate::run::{until_boundary, words};
use crate::scene::Scene;

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Removes,
    Renames,
    Stops,
    Pauses,
    ChangesPolicy,
    ChangesLimits,
    Disconnects,
    RemovesNew,
}

/// How the old container is then: its state, or that it is gone.
const GONE: &str = "gone";

struct Case {
    version: Version,
    moment: Moment,
    deed: Deed,
    phase: StepPhase,
    says: &'static str,
    old_is: &'static str,
}

async fn does(scene: &Scene<'_>, deed: Deed) {
    let (engine, old) = (&scene.place.engine, &scene.old);
    let by_api = async |target: &str, body: &str| scene.place.ask("POST", target, body).await;
    match deed {
        Deed::Removes => engine.discard(old).await.expect("it is there"),
        Deed::Renames => engine.rename(old, &format!("{}-mine", scene.order.container)).await.expect("it is there"),
        Deed::Stops => engine.stop(old, std::time::Duration::from_secs(10)).await.expect("it runs"),
        Deed::Pauses => engine.pause(old).await.expect("it runs"),
        Deed::ChangesPolicy => engine.set_restart_policy(old, &json!({"Name": "no"})).await.expect("it is there"),
        Deed::ChangesLimits => {
            by_api(&format!("containers/{}/update", old.0), r#"{"CpuShares": 512}"#).await;
        }
        Deed::Disconnects => {
            let body = json!({"Container": old.0}).to_string();
            by_api(&format!("networks/{}/disconnect", scene.place.network), &body).await;
        }
        Deed::RemovesNew => {
            let all = engine.list().await.expect("the engine is up");
            let new = all.iter().find(|one| one.name.starts_with(&scene.order.container) && one.id != *old);
            let new: &ContainerId = &new.expect("it was made").id;
            engine.discard(new).await.expect("it is there");
        }
    }
}

async fn carry_out(place: &Place, case: &Case) {
    let scene = Scene::set_up(place, UpdateOrder::StopFirst, case.version, Disturbance::Person(case.moment.clone()));
    let scene = scene.await;
    let agent = scene.agent();
    until_boundary(&scene).await;
    does(&scene, case.deed).await;
    scene.watch().release();
    let report = agent.report().await;
    assert_eq!(report.phase, case.phase, "{report:?}");
    let reason = report.failure.as_ref().map(|failure| failure.reason.as_str()).unwrap_or_default();
    assert!(reason.contains(case.says), "{reason}");
    let blames = report.failure.as_ref().is_some_and(|failure| failure.kind.blames_the_version());
    assert!(case.version != Version::Good || !blames, "{report:?}");
    let untouched = report.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Precondition);
    assert!(report.phase != StepPhase::Untouched || untouched, "{report:?}");

    let engine = &scene.place.engine;
    let old_is = match engine.inspect(&scene.old.0).await {
        Ok(inspect) => inspect["State"]["Status"].as_str().expect("a state").to_owned(),
        Err(error) => {
            assert!(error.is_not_found(), "{error}");
            GONE.to_owned()
        }
    };
    assert_eq!(old_is, case.old_is, "{report:?}");
    let all = engine.list().await.expect("the engine is up");
    let left = all.iter().filter(|one| one.name.starts_with(&scene.order.container) && is_in_replacement(&one.name));
    assert_eq!(left.count(), 0, "a temporary name is left: {report:?}");
    scene.clean_up().await;
}

async fn all(cases: Vec<Case>) {
    let Some(places) = Place::shared().await else { return };
    let (places, cases): (Arc<[Place]>, Arc<[Case]>) = (places.into(), cases.into());
    let runs = (0..cases.len()).map(|position| {
        let (places, cases) = (places.clone(), cases.clone());
        tokio::spawn(async move { carry_out(&places[position % places.len()], &cases[position]).await })
    });
    let results = join_all(runs.collect::<Vec<_>>()).await;
    let failed: Vec<String> = cases
        .iter()
        .zip(results)
        .filter_map(|(case, result)| {
            Some(format!("{:?} at {:?}: {}", case.deed, case.moment, words(result.err()?.into_panic())))
        })
        .collect();
    for place in places.iter() {
        place.clean_up().await;
    }
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_a_person_changed_before_it_was_touched_is_left_alone() {
    let case = |deed, says, old_is| Case {
        version: Version::Good,
        moment: Moment::Call("POST /containers/create"),
        deed,
        phase: StepPhase::Untouched,
        says,
        old_is,
    };
    all(vec![
        case(Deed::Removes, "was removed meanwhile", GONE),
        case(Deed::Renames, "was renamed to", "running"),
        case(Deed::Stops, "was stopped meanwhile", "exited"),
        case(Deed::Pauses, "was paused meanwhile", "paused"),
        case(Deed::ChangesPolicy, "the restart policy of container", "running"),
        case(Deed::ChangesLimits, "the settings of container", "running"),
        case(Deed::Disconnects, "the settings of container", "running"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_who_comes_later_is_not_overruled_and_a_container_serves() {
    let case = |moment, deed, phase, says, old_is| Case { version: Version::Good, moment, deed, phase, says, old_is };
    let update = || Moment::Call("POST /containers/{id}/update");
    let watched = || Moment::Phase(StepPhase::Started);
    all(vec![
        case(update(), Deed::Pauses, StepPhase::RolledBack, "was paused by someone meanwhile", "paused"),
        case(update(), Deed::Renames, StepPhase::RolledBack, "was renamed by someone meanwhile", "running"),
        // The new one is all that is left to run.
        case(update(), Deed::Removes, StepPhase::Committed, "", GONE),
        case(watched(), Deed::RemovesNew, StepPhase::RolledBack, "was removed by someone", "running"),
        case(watched(), Deed::Removes, StepPhase::Committed, "", GONE),
        Case {
            version: Version::Unhealthy,
            ..case(watched(), Deed::Removes, StepPhase::Broken, "it was removed by someone", GONE)
        },
    ])
    .await;
}
