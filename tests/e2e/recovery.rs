//! How long a coordinator that is killed holds a rollout up: measured for `scripts/bench rollout`, and a scenario as well.

use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::json;

use crate::support::events::Recording;
use crate::support::fleet::{self, GOOD, Hours, ROLLOUT};
use crate::support::parts::Parts;

/// Fleets; in each the coordinator is killed once. (Agents whose sessions last less than half a minute wait longer and longer
/// before they connect again: several deaths in a row would measure that.)
const REPETITIONS: usize = 7;
/// How often the engines' events are looked at while a moment is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// When something happened on an engine for the first time, in nanoseconds since 1970.
fn first(recording: &Recording, engine: usize, what: &str) -> i64 {
    let end = Instant::now() + ROLLOUT;
    loop {
        let all = recording.all();
        let found = all.iter().find(|one| one.engine == engine && one.what == what);
        if let Some(found) = found {
            return found.at;
        }
        assert!(Instant::now() < end, "no {what} on engine {engine}: {all:#?}");
        std::thread::sleep(LOOK);
    }
}

fn now() -> i64 {
    Utc::now().timestamp_nanos_opt().expect("this century")
}

#[test]
#[ignore = "a measurement: scripts/bench rollout"]
#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn after_each_death_of_the_coordinator_the_next_step_begins() {
    let mut samples = Vec::new();
    for number in 0..REPETITIONS {
        let Some((parts, _)) = Parts::start(&format!("recovery-{number}"), &GOOD, &json!({})) else { return };
        samples.extend(death_between_two_steps(parts));
    }
    samples.sort_unstable();
    assert!(samples.len() * 2 > REPETITIONS, "too few deaths between two steps: {samples:?}");
    println!("{}", json!({"killed_to_next_step_ms": samples}));
}

/// How long it took from the death to the next step, in milliseconds; none where its order was on its way already.
fn death_between_two_steps(mut parts: Parts) -> Option<i64> {
    let app = parts.surroundings.app();
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, "");
    let recording = Recording::start(&parts.surroundings);
    let image = parts.push_tested("v2", &GOOD);
    // The old container goes after the commit, and before the coordinator hears of it.
    first(&recording, 0, "destroy");
    let killed = now();
    parts.control.crash();
    parts.control.up();
    let next = first(&recording, 1, "create");
    fleet::rollout_is(&parts.control.cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &image);
    }
    let events = parts.control.cli.json(&["events", "--app", &app, "--limit", "0"]);
    let orders = events.as_array().into_iter().flatten().filter(|event| event["kind"] == "step_ordered");
    let epochs: Vec<_> = orders.map(|event| event["detail"]["epoch"].as_u64().expect("an order has one")).collect();
    assert_eq!(epochs.len(), 3, "each step is ordered once: {events:#}");
    (epochs[1] == 2).then_some((next - killed) / 1_000_000)
}
