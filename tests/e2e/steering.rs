//! People who steer a rollout with a canary: `promote`, `pause`, `resume`, `abort`, by their commands, on real engines.

use serde_json::Value;

use crate::support::fleet::{Fleet, GOOD, Hours, ROLLOUT};
use crate::support::{Image, eventually};

/// An app whose rollouts wait for a person after the canary.
const APPROVE: &str = "mode = \"approve\"\n";

/// Pushes a version and waits until its canary is good and a person is asked.
fn canary_is_good(fleet: &Fleet, options: &[&str]) -> Image {
    let v2 = fleet.push("v2", options);
    fleet.report_passed(&v2);
    fleet.waits_for("operator", "promote");
    v2
}

/// Does something to the rollout, with a reason where the command takes one.
fn command(fleet: &Fleet, verb: &str, reason: &str) -> Value {
    let changed = fleet.cli.json(&["rollout", verb, &fleet.app(), "--reason", reason]);
    let events = fleet.cli.json(&["events", "--app", &fleet.app(), "--limit", "0"]).to_string();
    assert!(events.contains(reason), "who {verb}s says why, and the audit log keeps it: {events}");
    changed
}

fn state_of(fleet: &Fleet, step: usize) -> String {
    let rollout = fleet.cli.json(&["rollout", "show", &fleet.app()]);
    rollout["steps"][step]["state"].as_str().unwrap_or_default().to_owned()
}

fn step_is(fleet: &Fleet, step: usize, states: &[&str]) {
    eventually(&format!("step {step} is {states:?}"), ROLLOUT, || {
        let state = state_of(fleet, step);
        if states.contains(&state.as_str()) { Ok(()) } else { Err(state) }
    });
}

#[test]
fn after_its_canary_a_rollout_goes_on_when_it_is_promoted_and_a_pause_does_not_promote_it() {
    let Some(fleet) = Fleet::start("promote") else { return };
    fleet.apply_with(Hours::Always, APPROVE);
    let recording = fleet.record();
    let v2 = canary_is_good(&fleet, &GOOD);

    let paused = command(&fleet, "pause", "a look at the canary");
    assert_eq!(paused["state"], "paused", "{paused:#}");
    let resumed = command(&fleet, "resume", "it looks good");
    assert_eq!(resumed["state"], "canary", "{resumed:#}");
    fleet.waits_for("operator", "promote");
    recording.one_at_a_time(&[0]);
    assert_eq!(recording.created(), [1, 0, 0], "nothing else was touched");

    command(&fleet, "promote", "all may have it");
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
    recording.one_at_a_time(&[0, 1, 2]);
    assert_eq!(recording.created(), [1, 1, 1]);
}

#[test]
fn an_aborted_rollout_leaves_the_others_as_they_are_until_a_person_starts_it_again() {
    let Some(fleet) = Fleet::start("abort") else { return };
    fleet.apply_with(Hours::Always, APPROVE);
    let recording = fleet.record();
    let before = fleet.ids();
    let v2 = canary_is_good(&fleet, &GOOD);

    let aborted = command(&fleet, "abort", "not this week");
    assert_eq!(aborted["state"], "aborted", "{aborted:#}");
    let watched = fleet.cli.run(&["rollout", "watch", &fleet.app()]);
    assert_eq!(watched.code, 3, "{watched:?}");
    fleet.waits_for("operator", "was given up");
    assert_eq!(fleet.ids()[1..], before[1..], "what was not updated is the very same");
    assert_eq!(recording.created(), [1, 0, 0]);

    // The canary has it already: the next one is watched instead, and asked about.
    let again = ["rollout", "start", &fleet.app(), "--digest", &v2.digest, "--now", "--reason", "this week after all"];
    let started = fleet.cli.run(&again);
    assert_eq!(started.code, 0, "{started:?}");
    fleet.waits_for("operator", "promote");
    command(&fleet, "promote", "all may have it");
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
    recording.one_at_a_time(&[0, 1, 2]);
    assert_eq!(recording.created(), [1, 1, 1], "who has it is not touched again");
}

#[test]
fn a_step_in_flight_ends_when_its_rollout_is_paused_or_aborted_and_nothing_starts_after_it() {
    let Some(fleet) = Fleet::start("in-flight") else { return };
    fleet.apply(Hours::Always);
    let recording = fleet.record();
    let mut slow = GOOD.to_vec();
    slow[3] = "3";
    let v2 = fleet.push("v2", &slow);
    fleet.report_passed(&v2);

    step_is(&fleet, 0, &["started"]);
    let paused = command(&fleet, "pause", "wait for the noon peak");
    assert_eq!(paused["state"], "paused", "{paused:#}");
    step_is(&fleet, 0, &["committed"]);
    fleet.waits_for("operator", "noon peak");
    assert_eq!(recording.created(), [1, 0, 0], "nothing starts in a pause");

    command(&fleet, "resume", "the peak is over");
    step_is(&fleet, 1, &["started"]);
    command(&fleet, "abort", "a better one comes");
    fleet.rollout_is(&["aborted"], ROLLOUT);
    step_is(&fleet, 1, &["committed"]);
    fleet.waits_for("operator", "was given up");
    recording.one_at_a_time(&[0, 1]);
    assert_eq!(recording.created(), [1, 1, 0], "nothing starts after the end");
}
