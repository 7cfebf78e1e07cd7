//! Processes that are killed again and again, at moments that nobody chose: the rollout ends as if nothing had happened.

use std::ops::Range;
use std::time::Duration;

use serde_json::json;

use crate::support::chance::Chance;
use crate::support::events::Recording;
use crate::support::fleet::{self, GOOD, Hours, ROLLOUT};
use crate::support::parts::Parts;

/// A coordinator lives between these times, in milliseconds: it begins with asking everybody, and a step takes five seconds.
const COORDINATOR_LIVES: Range<u64> = 500..7_000;
/// Of the agents one dies after such a time: each of them lives three times as long.
const AGENTS_LIVE: Range<u64> = 100..4_000;

/// Kills a part again and again until a rollout has ended.
fn check(scenario: &str, lives: Range<u64>, least: usize, mut kill: impl FnMut(&mut Parts, &mut Chance)) {
    let Some((mut parts, _)) = Parts::start(scenario, &GOOD, &json!({})) else { return };
    let app = parts.surroundings.app();
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, "");
    let mut chance = Chance::from_environment(scenario);
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_slow();
    let (mut kills, mut ended) = (0, false);
    while !ended || kills < least {
        std::thread::sleep(Duration::from_millis(chance.within(lives.clone())));
        kill(&mut parts, &mut chance);
        kills += 1;
        let shown = parts.control.cli.try_json(&["rollout", "show", &app]);
        ended = shown.code == 0 && shown.value()["ended"] == true;
        assert!(kills < 200, "{kills} deaths, and it has not ended: {shown:?}");
    }
    fleet::rollout_is(&parts.control.cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v2);
    }
    recording.one_at_a_time(&[0, 1, 2]);
    assert_eq!(parts.control.cli.json(&["rollout", "list", "--app", &app]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_coordinator_that_is_killed_again_and_again_brings_its_rollout_to_its_end() {
    check("coordinator-killed", COORDINATOR_LIVES, 4, |parts, _| {
        parts.control.crash();
        parts.control.up();
    });
}

#[test]
fn agents_that_are_killed_again_and_again_bring_their_rollout_to_its_end() {
    check("agents-killed", AGENTS_LIVE, 9, |parts, chance| {
        let node = chance.pick(&[0, 1, 2]);
        parts.agent_crash(node);
        parts.agent_up(node);
    });
}
