//! Following a rollout: `watch`, `--wait`, and `events --follow`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use nightshift_proto::pb::{self, RolloutState, StepState};

use crate::double::{Double, Ran, Script, Watch};
use crate::fixture::{self, rollout, step};

fn watching(watches: Vec<Watch>) -> Double {
    Double::scripted(Script { watches, ..Script::default() })
}

fn told(rollouts: Vec<pb::Rollout>) -> Watch {
    Watch { rollouts, open: false }
}

/// The lines without the time of day with which each begins.
fn untimed(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let time: String = line.chars().take(9).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(time, "00:00:00 ", "no time at the start of `{line}`");
        format!("TIME {}\n", &line[9..])
    });
    lines.collect()
}

/// A rollout from its start to its end.
fn story() -> Vec<pb::Rollout> {
    let pulled = pb::Rollout {
        pulls: vec![pb::rollout::Pull { present: true, ..fixture::waiting().pulls.remove(0) }],
        ..fixture::waiting()
    };
    let canary = |state| rollout(RolloutState::Canary, vec![step(0, "n1", state), step(1, "n2", StepState::Pending)]);
    let states = [StepState::Assigned, StepState::OldStopped, StepState::Started, StepState::Healthy];
    let mut story = vec![fixture::waiting(), pulled];
    story.extend(states.map(canary));
    story.extend([fixture::rolling(), fixture::completed()]);
    story
}

#[test]
fn watch_without_a_terminal_writes_a_line_for_each_change() {
    let ran = watching(vec![told(story())]).run(&["rollout", "watch", "web"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("watch", untimed(&ran.stdout));
}

#[test]
fn watch_for_scripts_writes_an_object_for_each_change() {
    let ran = watching(vec![told(story())]).run(&["rollout", "watch", "web", "-o", "json"]);
    let states: Vec<String> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object")["state"].to_string())
        .collect();
    assert_eq!(states.join(" "), r#""waiting" "waiting" "canary" "canary" "canary" "canary" "rolling" "completed""#);
}

#[test]
fn how_a_rollout_ends_is_the_exit_code() {
    let in_flight = rollout(RolloutState::Paused, vec![step(0, "n1", StepState::Started)]);
    for (last, expect) in [
        (fixture::completed(), 0),
        (rollout(RolloutState::CompletedWithLaggards, vec![step(0, "n1", StepState::Skipped)]), 3),
        (rollout(RolloutState::RolledBack, vec![step(0, "n1", StepState::RolledBack)]), 3),
        (rollout(RolloutState::Aborted, vec![]), 3),
        (rollout(RolloutState::Superseded, vec![]), 3),
        (fixture::failed(), 3),
    ] {
        let state = last.state();
        // A pause is the end only when nothing is in flight any more.
        let double = watching(vec![told(vec![in_flight.clone(), last.clone()]), told(vec![in_flight.clone(), last])]);
        assert_eq!(double.run(&["rollout", "watch", "web"]).exit, expect, "{state:?}");
        assert_eq!(double.run(&["rollout", "start", "web", "--wait"]).exit, expect, "{state:?}");
    }
}

#[test]
fn a_failed_rollout_says_why_on_the_way() {
    let rolling_back = rollout(RolloutState::Canary, vec![step(0, "n1", StepState::RollingBack)]);
    let ran = watching(vec![told(vec![rolling_back, fixture::failed()])]).run(&["rollout", "watch", "web"]);
    insta::assert_snapshot!("watch_failed", untimed(&ran.stdout));
}

#[test]
fn wait_runs_out_with_4_and_the_rollout_goes_on() {
    let endless = || Watch { rollouts: vec![fixture::waiting()], open: true };
    let double = watching(vec![endless(), endless()]);
    let ran = double.run(&["rollout", "start", "web", "--wait", "300ms"]);
    let text = Ran { stdout: untimed(&ran.stdout), ..ran }.transcript(&["rollout start web --wait 300ms"]);
    let ran = double.run(&["rollback", "web", "--wait", "300ms", "-o", "json"]);
    assert_eq!(ran.exit, 4);
    let seen: serde_json::Value = serde_json::from_str(&ran.stdout).expect("the rollout as it was seen last");
    assert_eq!(seen["state"], "waiting");
    insta::assert_snapshot!("wait_over", text);
}

#[test]
fn waiting_for_scripts_keeps_standard_output_for_the_result() {
    let ran = watching(vec![told(story())]).run(&["rollout", "start", "web", "--wait", "1h", "-o", "json"]);
    let rollout: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one object");
    assert_eq!(
        (ran.exit, &rollout["state"], &rollout["steps"][1]["downtime_ms"]),
        (0, &"completed".into(), &1234.into())
    );
    assert!(untimed(&ran.stderr).contains("web-1 on n1: healthy"), "{}", ran.stderr);
}

#[test]
fn a_restart_of_the_coordinator_does_not_end_a_watch() {
    let mut story = story();
    let rest = story.split_off(4);
    let double = watching(vec![told(story), told(vec![]), told(rest)]);
    let ran = double.run(&["rollout", "watch", "web"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, "the coordinator at `https://ADDRESS` went away; trying again\n"));
    insta::assert_snapshot!("watch", untimed(&ran.stdout));
    // By its id now: the name might mean a newer rollout.
    let by_name = r#"GetRolloutRequest { rollout: "web" }"#.to_owned();
    let by_id = format!("GetRolloutRequest {{ rollout: {:?} }}", fixture::ROLLOUT);
    assert_eq!(double.seen(), [by_name, by_id.clone(), by_id]);
}

#[test]
fn a_coordinator_that_is_killed_and_comes_back_is_found_again() {
    let mut story = story();
    let rest = story.split_off(4);
    let lines = story.len();
    let mut double = watching(vec![Watch { rollouts: story, open: true }]);
    let arguments = ["rollout", "watch", "web", "-o", "json", "--context", "context.toml"];
    let mut program =
        double.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let mut output = BufReader::new(program.stdout.take().expect("piped")).lines();
    for _ in 0..lines {
        output.next().expect("a line").expect("text");
    }
    double.restart(Script { watches: vec![told(rest)], ..Script::default() });
    let rest: Vec<String> = output.map(|line| line.expect("text")).collect();
    let ended = program.wait_with_output().expect("it ends");
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{errors}");
    assert!(errors.ends_with("; trying again\n") && errors.lines().count() == 1, "{errors}");
    assert!(rest.last().is_some_and(|line| line.contains(r#""state":"completed""#)), "{rest:?}");
}

#[test]
fn following_events_goes_on_after_the_last_one_seen() {
    let first = fixture::events();
    let second = vec![pb::Event { sequence: 43, ..first[0].clone() }];
    let double = Double::scripted(Script { events: vec![first, second], ..Script::default() });
    let ran = double.run(&["events", "--follow", "--limit", "2", "-o", "json"]);
    // The script has no third stream and says so: that ends it.
    assert_eq!(ran.exit, 1, "{}", ran.stderr);
    let sequences: Vec<u64> = ran
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("an object")["sequence"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(sequences, [41, 42, 43]);
    let seen = double.seen();
    assert!(seen[0].contains("after: 0") && seen[0].contains("limit: 2"), "{seen:?}");
    assert!(seen[1].contains("after: 42") && seen[1].contains("limit: 0"), "{seen:?}");
    assert!(seen[2].contains("after: 43"), "{seen:?}");
}
