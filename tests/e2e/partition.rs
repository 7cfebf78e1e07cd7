//! A node whose network to the coordinator is cut: packets vanish, nobody is told. The agent ends its step alone and starts
//! nothing; what became of it is told when the network is back, and nothing is done twice.

use serde_json::json;

use crate::support::events::Recording;
use crate::support::fleet::{self, GOOD, Hours, ROLLOUT, SICK};
use crate::support::parts::{Network, Parts};
use crate::support::wire::Way;
use crate::support::{Image, Surroundings, eventually};

/// A fleet with a wire to each node.
fn wired(scenario: &str) -> Option<(Parts, Image)> {
    Some(Parts::start_on(Surroundings::of(scenario)?, Network::Wired, &GOOD, &json!({})))
}

fn step_state(parts: &Parts, step: usize) -> String {
    let rollout = parts.control.cli.json(&["rollout", "show", &parts.surroundings.app()]);
    rollout["steps"][step]["state"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the coordinator has noticed that a node is silent.
fn is_missed(parts: &Parts, node: usize) {
    eventually("the coordinator misses the node", ROLLOUT, || {
        let nodes = parts.control.cli.json(&["node", "list"]);
        if nodes[node]["connected"] == false { Ok(()) } else { Err(nodes.to_string()) }
    });
}

/// Cuts a node off in the middle of its good step.
fn cut_in_mid_step(scenario: &str, way: Way) {
    let Some((mut parts, _)) = wired(scenario) else { return };
    let app = parts.surroundings.app();
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, "");
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_slow();
    parts.step_is(0, &["started"]);

    parts.wires[0].cut(way);
    parts.agents[0].as_mut().expect("it runs").says("phase=committed");
    is_missed(&parts, 0);
    parts.step_is(0, &["unknown"]);
    fleet::waits_for(&parts.control.cli, &app, "node", "n1");
    assert_eq!(recording.created(), [1, 0, 0], "while nobody knows how it stands there, nothing starts elsewhere");

    parts.wires[0].heal();
    fleet::rollout_is(&parts.control.cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v2);
    }
    recording.one_at_a_time(&[0, 1, 2]);
    assert_eq!(recording.created(), [1, 1, 1], "nothing is done twice");
}

#[test]
fn a_node_that_loses_all_packets_in_mid_step_ends_it_alone_and_tells_it_afterwards() {
    cut_in_mid_step("cut-both", Way::Both);
}

#[test]
fn a_node_that_hears_nothing_in_mid_step_ends_it_alone_and_tells_it_afterwards() {
    cut_in_mid_step("cut-in", Way::ToNode);
}

#[test]
fn a_node_that_is_not_heard_in_mid_step_ends_it_alone_and_tells_it_afterwards() {
    cut_in_mid_step("cut-out", Way::FromNode);
}

#[test]
fn a_node_whose_link_is_down_in_mid_step_takes_a_bad_version_back_alone_and_it_goes_nowhere_else() {
    let Some((mut parts, v1)) = wired("cut-bad") else { return };
    let app = parts.surroundings.app();
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, "");
    let before = fleet::ids(&parts.surroundings);
    let recording = Recording::start(&parts.surroundings);
    let mut slow = SICK.to_vec();
    slow[3] = "2";
    let bad = parts.push_tested("bad", &slow);
    parts.step_is(0, &["started"]);

    parts.wires[0].cut(Way::Down);
    parts.agents[0].as_mut().expect("it runs").says("phase=rolled_back");
    is_missed(&parts, 0);
    assert_ne!(step_state(&parts, 0), "rolled_back", "nobody has told it yet");

    parts.wires[0].heal();
    let rollout = fleet::rollout_is(&parts.control.cli, &app, &["paused"], ROLLOUT);
    assert_eq!(rollout["steps"][0]["state"], "rolled_back", "{rollout:#}");
    let release = parts.control.cli.json(&["release", "show", &app, &bad.digest]);
    assert!(release["quarantine"]["reason"].is_string(), "{release:#}");
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v1);
    }
    assert_eq!(fleet::ids(&parts.surroundings), before, "the same containers as before run");
    assert_eq!(recording.created(), [1, 0, 0], "one attempt in all");
}

#[test]
fn while_a_node_is_cut_off_nothing_starts_anywhere_and_when_it_is_back_the_rollout_goes_on() {
    let Some((parts, _)) = wired("cut-waiting") else { return };
    let app = parts.surroundings.app();
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, "mode = \"approve\"\n");
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_tested("v2", &GOOD);
    fleet::waits_for(&parts.control.cli, &app, "operator", "promote");

    parts.wires[2].cut(Way::Both);
    is_missed(&parts, 2);
    let promoted = parts.control.cli.run(&["rollout", "promote", &app, "--reason", "all may have it"]);
    assert_eq!(promoted.code, 0, "{promoted:?}");
    fleet::waits_for(&parts.control.cli, &app, "node", "n3");
    assert_eq!(recording.created(), [1, 0, 0], "a node that nobody hears may be away: no other is taken away, too");

    parts.wires[2].heal();
    fleet::rollout_is(&parts.control.cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v2);
    }
    recording.one_at_a_time(&[0, 1, 2]);
    assert_eq!(recording.created(), [1, 1, 1]);
}
