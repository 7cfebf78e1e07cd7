//! `kill -9` in the middle of a step: after a restart the step ends well, and nothing is left over.

use serde_json::json;

use crate::support::events::Recording;
use crate::support::fleet::{self, GOOD, Hours, ROLLOUT};
use crate::support::parts::Parts;

/// A server that takes no notice of a stop signal: a stop lasts as long as its grace period.
const STUBBORN: &str = "trap '' TERM; httpd -p 80 -h /www; while :; do sleep 0.2; done";

/// Runs a rollout on a fleet and lets a part crash while the first step is in one of these states.
fn check(scenario: &str, states: &[&str], crash: impl FnOnce(&mut Parts)) {
    let options = [&GOOD[..], &["--cmd", STUBBORN]].concat();
    let Some((mut parts, _)) = Parts::start(scenario, &options, &json!({"StopTimeout": 4})) else { return };
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, "");
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_slow();
    parts.step_is(0, states);

    crash(&mut parts);

    let app = parts.surroundings.app();
    fleet::rollout_is(&parts.control.cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v2);
    }
    let away = recording.away();
    assert_eq!(away.len(), 3, "each instance was away once: {away:?} of {:#?}", recording.all());
    for pair in away.windows(2) {
        assert!(pair[0].to <= pair[1].from, "two instances were away at the same time: {away:?}");
    }
}

#[test]
fn a_coordinator_that_is_killed_while_an_old_container_stops_goes_on_after_its_restart() {
    check("coordinator-stop", &["created"], |parts| {
        parts.control.crash();
        parts.control.up();
    });
}

#[test]
fn a_coordinator_that_is_killed_while_a_new_container_starts_goes_on_after_its_restart() {
    check("coordinator-start", &["started"], |parts| {
        parts.control.crash();
        // The agent ends its step alone meanwhile.
        parts.agents[0].as_mut().expect("it runs").says("phase=committed");
        parts.control.up();
        let epoch = parts.control.cli.json(&["status"])["epoch"].clone();
        assert_eq!(epoch, 2, "each start is an epoch");
    });
}

#[test]
fn an_agent_that_is_killed_while_the_old_container_stops_ends_its_step_after_its_restart() {
    check("agent-stop", &["created"], |parts| {
        parts.agent_crash(0);
        parts.agent_up(0);
    });
}

#[test]
fn an_agent_that_is_killed_while_the_new_container_starts_ends_its_step_after_its_restart() {
    check("agent-start", &["started"], |parts| {
        parts.agent_crash(0);
        parts.agent_up(0);
    });
}
