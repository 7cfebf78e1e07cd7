//! A bad image: taken back on the first node, barred for the fleet, tried nowhere else.

use crate::support::eventually;
use crate::support::fleet::{CONTAINER, Fleet, GOOD, Hours, ROLLOUT, SICK, SOON};

#[test]
fn an_unhealthy_image_is_taken_back_on_the_first_node_and_tried_nowhere_else() {
    let Some(fleet) = Fleet::start("unhealthy") else { return };
    for engine in &fleet.surroundings.engines {
        engine.exec(&engine.name(CONTAINER), "echo precious >/data/file");
    }
    fleet.apply(Hours::Always);
    let before = fleet.ids();
    let recording = fleet.record();
    let bad = fleet.push("bad", &SICK);
    fleet.report_passed(&bad);

    let rollout = fleet.rollout_is(&["paused"], ROLLOUT);

    let canary = &rollout["steps"][0];
    assert_eq!(canary["state"], "rolled_back", "{rollout:#}");
    assert!(canary["reason"].as_str().is_some_and(|reason| reason.contains("unhealthy")), "{canary:#}");
    assert_eq!(canary["old_container_id"], before[0].as_str());
    fleet.runs(&fleet.v1);
    assert_eq!(fleet.ids(), before, "the same containers as before run");
    for engine in &fleet.surroundings.engines {
        assert_eq!(engine.exec(&engine.name(CONTAINER), "cat /data/file"), "precious");
    }
    let release = fleet.cli.json(&["release", "show", &fleet.app(), &bad.digest]);
    assert!(release["quarantine"]["reason"].is_string(), "{release:#}");

    // Not again: not by itself, not by a person who does not insist, not after the tag was seen once more.
    let refused = fleet.cli.run(&["rollout", "abort", &fleet.app(), "--reason", "it is bad"]);
    assert_eq!(refused.code, 0, "{refused:?}");
    let refused =
        fleet.cli.run(&["rollout", "start", &fleet.app(), "--digest", &bad.digest, "--now", "--reason", "again"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("quarantined"), "{refused:?}");
    fleet.push("other", &GOOD);
    fleet.registry().tag(&bad, "stable");
    eventually("the tag is seen again", SOON, || {
        let newest = fleet.shown()["newest"]["digest"].clone();
        if newest == bad.digest.as_str() { Ok(()) } else { Err(newest.to_string()) }
    });
    fleet.waits_for("tests", "quarantined");

    let elsewhere: Vec<_> = recording.touched().into_iter().filter(|happened| happened.engine != 0).collect();
    assert_eq!(elsewhere, [], "the other nodes are untouched");
    assert_eq!(recording.all().iter().filter(|happened| happened.what == "create").count(), 1, "one attempt in all");
    fleet.runs(&fleet.v1);
}

#[test]
fn a_failure_on_the_second_node_takes_the_first_one_back_where_the_app_says_so() {
    let Some(fleet) = Fleet::start("second-node") else { return };
    // Good everywhere but on the second node: what is wrong there lies in its data.
    let second = &fleet.surroundings.engines[1];
    second.exec(&second.name(CONTAINER), "touch /data/broken");
    fleet.apply_with(Hours::Always, "failure_action = \"rollback\"\n");
    let before = fleet.ids();
    let recording = fleet.record();
    let v2 = fleet.push("v2", &["--health", "test ! -e /data/broken", "--health-interval", "0.5", "--volume", "/data"]);
    fleet.report_passed(&v2);

    let rollout = fleet.rollout_is(&["rolled_back"], ROLLOUT);

    fleet.runs(&fleet.v1);
    let after = fleet.ids();
    assert_eq!(after[1..], before[1..], "the second node has its very container back, the third one was never touched");
    assert_ne!(after[0], before[0], "the first one went there and back: {rollout:#}");
    let third: Vec<_> = recording.touched().into_iter().filter(|happened| happened.engine == 2).collect();
    assert_eq!(third, []);
    for pair in recording.away().windows(2) {
        assert!(pair[0].to <= pair[1].from, "two instances were away at the same time: {:#?}", recording.all());
    }
    let watched = fleet.cli.run(&["rollout", "watch", &fleet.app()]);
    assert_eq!(watched.code, 3, "{watched:?}");
}
