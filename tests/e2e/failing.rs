//! A version that fails on the first, the middle or the last node, under each `failure_action`: what every node runs in the
//! end, and in which order the engines say that it went.

use crate::support::fleet::{self, CONTAINER, Fleet, Hours, ROLLOUT};

/// What a node runs in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The container of the beginning, never stopped or taken back.
    Same,
    /// The new version.
    New,
    /// The old version in a container of its own: it had the new one.
    Back,
}
use End::{Back, New, Same};

/// What is expected of one case.
struct Case {
    /// The node on which the version fails.
    fails_on: usize,
    /// The keys of the app file.
    update: &'static str,
    /// How the rollout ends.
    state: &'static str,
    /// What the nodes run then.
    ends: [End; 3],
    /// Whose instance is away, one after the other.
    turns: &'static [usize],
    /// Whether the version is barred.
    barred: bool,
}

const PAUSE: &str = "failure_action = \"pause\"\n";
const ROLLBACK: &str = "failure_action = \"rollback\"\n";
const CONTINUE: &str = "failure_action = \"continue\"\nmax_failure_ratio = 0.34\n";

fn check(scenario: &str, case: &Case) {
    let Some(fleet) = Fleet::start(scenario) else { return };
    // Good everywhere but on one node: what is wrong there lies in its data.
    let broken = &fleet.surroundings.engines[case.fails_on];
    broken.exec(&broken.name(CONTAINER), "touch /data/broken");
    fleet.apply_with(Hours::Always, case.update);
    let before = fleet.ids();
    let recording = fleet.record();
    let options = ["--health", "test ! -e /data/broken", "--health-interval", "0.5", "--volume", "/data"];
    let v2 = fleet.push("v2", &options);
    fleet.report_passed(&v2);

    let rollout = fleet.rollout_is(&[case.state], ROLLOUT);

    let failed = &rollout["steps"][case.fails_on];
    assert_eq!(failed["state"], "rolled_back", "{rollout:#}");
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("unhealthy")), "{failed:#}");
    let after = fleet.ids();
    for (number, (engine, end)) in fleet.surroundings.engines.iter().zip(case.ends).enumerate() {
        fleet::runs(engine, if end == New { &v2 } else { &fleet.v1 });
        assert_eq!(after[number] == before[number], end == Same, "node {number} ends as {end:?}: {rollout:#}");
    }
    let release = fleet.cli.json(&["release", "show", &fleet.app(), &v2.digest]);
    assert_eq!(release["quarantine"]["reason"].is_string(), case.barred, "{release:#}");
    recording.one_at_a_time(case.turns);
    let created: Vec<usize> = (0..3).map(|engine| case.turns.iter().filter(|turn| **turn == engine).count()).collect();
    assert_eq!(recording.created(), created, "each turn is one attempt");
}

/// One test for each case.
macro_rules! cases {
    ($($name:ident: $scenario:literal, $fails_on:literal, $update:ident, $state:literal, $ends:expr, $turns:expr, $barred:literal;)+) => {
        $(#[test]
        fn $name() {
            let (update, state) = ($update, $state);
            check($scenario, &Case { fails_on: $fails_on, update, state, ends: $ends, turns: &$turns, barred: $barred });
        })+
    };
}

cases! {
    the_first_node_fails_and_the_rollout_pauses: "first-pause", 0, PAUSE, "paused", [Same, Same, Same], [0], true;
    the_middle_node_fails_and_the_rollout_pauses: "middle-pause", 1, PAUSE, "paused", [New, Same, Same], [0, 1], true;
    the_last_node_fails_and_the_rollout_pauses: "last-pause", 2, PAUSE, "paused", [New, New, Same], [0, 1, 2], true;
    the_first_node_fails_and_there_is_nothing_to_take_back:
        "first-back", 0, ROLLBACK, "rolled_back", [Same, Same, Same], [0], true;
    the_middle_node_fails_and_the_first_one_goes_back:
        "middle-back", 1, ROLLBACK, "rolled_back", [Back, Same, Same], [0, 1, 0], true;
    the_last_node_fails_and_the_others_go_back_in_reverse_order:
        "last-back", 2, ROLLBACK, "rolled_back", [Back, Back, Same], [0, 1, 2, 1, 0], true;
    the_first_node_fails_and_the_others_go_on:
        "first-continue", 0, CONTINUE, "completed_with_laggards", [Same, New, New], [0, 1, 2], false;
    the_middle_node_fails_and_the_last_one_goes_on:
        "middle-continue", 1, CONTINUE, "completed_with_laggards", [New, Same, New], [0, 1, 2], false;
    the_last_node_fails_and_is_left_behind:
        "last-continue", 2, CONTINUE, "completed_with_laggards", [New, New, Same], [0, 1, 2], false;
}
