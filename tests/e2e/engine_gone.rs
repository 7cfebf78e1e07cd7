//! Engines that are killed, or ended as at an upgrade, in the middle of a rollout: a step waits for its engine and ends well, a
//! good version is not blamed, and nothing starts elsewhere meanwhile.

use serde_json::json;

use crate::support::events::Recording;
use crate::support::fleet::{self, GOOD, Hours, ROLLOUT};
use crate::support::parts::{Network, Parts};
use crate::support::{Engine, Surroundings};

/// A rollout in which the first node's engine goes away while the new container starts, and comes back.
fn check(scenario: &str, restart_policy: &str, take_down: impl Fn(&Engine)) {
    let Some(surroundings) = Surroundings::to_kill(scenario) else { return };
    let more = json!({"HostConfig": {"RestartPolicy": {"Name": restart_policy}}});
    let (parts, _) = Parts::start_on(surroundings, Network::Shared, &GOOD, &more);
    let (app, cli) = (parts.surroundings.app(), &parts.control.cli);
    fleet::apply(&parts.surroundings, cli, Hours::Always, "");
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_slow();
    parts.step_is(0, &["started"]);

    let engine = &parts.surroundings.engines[0];
    take_down(engine);
    fleet::waits_for(cli, &app, "step", "n1");
    assert_eq!(recording.created(), [1, 0, 0], "nothing starts elsewhere while an engine is away in mid-step");
    engine.start();

    let rollout = fleet::rollout_is(cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v2);
    }
    assert_eq!(recording.created(), [1, 1, 1], "each step is one attempt: {rollout:#}");
    let release = cli.json(&["release", "show", &app, &v2.digest]);
    assert!(release["quarantine"].is_null(), "a good version is not blamed: {release:#}");
}

#[test]
fn a_step_survives_a_crash_of_its_engine_though_nothing_brings_its_container_back() {
    // Engine 20.10 takes what it stops after a crash for stopped by a person, and leaves it so.
    check("engine-killed-no", "unless-stopped", Engine::kill);
}

#[test]
fn a_step_survives_a_crash_of_its_engine_that_brings_its_container_back() {
    check("engine-killed", "always", Engine::kill);
}

#[test]
fn a_step_survives_an_engine_that_is_ended_in_good_order_though_nothing_brings_its_container_back() {
    check("engine-ended-no", "no", Engine::end);
}

#[test]
fn a_step_survives_an_engine_that_is_ended_in_good_order_and_brings_its_container_back() {
    check("engine-ended", "always", Engine::end);
}

#[test]
fn while_the_engine_of_a_node_that_waits_is_away_nothing_starts_elsewhere() {
    let Some(surroundings) = Surroundings::to_kill("engine-waiting") else { return };
    let more = json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped"}}});
    let (parts, _) = Parts::start_on(surroundings, Network::Shared, &GOOD, &more);
    let (app, cli) = (parts.surroundings.app(), &parts.control.cli);
    fleet::apply(&parts.surroundings, cli, Hours::Always, "mode = \"approve\"\n");
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_tested("v2", &GOOD);
    fleet::waits_for(cli, &app, "operator", "promote");

    parts.surroundings.engines[2].end();
    fleet::engine_is_missed(cli, "n3");
    let promoted = cli.run(&["rollout", "promote", &app, "--reason", "all may have it"]);
    assert_eq!(promoted.code, 0, "{promoted:?}");
    fleet::waits_for(cli, &app, "node", "n3");
    assert_eq!(recording.created(), [1, 0, 0], "the third one is away: the second one stays");

    parts.surroundings.engines[2].start();
    fleet::rollout_is(cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v2);
    }
    assert_eq!(recording.created(), [1, 1, 1]);
}
