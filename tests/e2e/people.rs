//! What people do by hand, and the exit codes that their scripts see.

use crate::support::fleet::{Fleet, GOOD, Hours, ROLLOUT, SICK, in_seconds};

#[test]
fn a_person_starts_pauses_resumes_and_takes_back() {
    let Some(fleet) = Fleet::start("by-hand") else { return };
    let app = fleet.app();
    fleet.apply(Hours::Never);
    let v2 = fleet.push("v2", &GOOD);
    let start = |more: &[&str]| {
        let mut arguments = vec!["rollout", "start", &app];
        arguments.extend(more);
        fleet.cli.try_json(&arguments)
    };
    fleet.waits_for("tests", &v2.digest[..19]);

    let untested = start(&["--digest", &v2.digest, "--now", "--reason", "hurry"]);
    assert_eq!(untested.code, 5, "{untested:?}");
    fleet.report_passed(&v2);
    let without_reason = start(&["--now"]);
    assert_eq!(without_reason.code, 2, "{without_reason:?}");
    let never = start(&[]);
    assert_eq!(never.code, 5, "without quiet hours only --now helps: {never:?}");
    fleet.apply_with(Hours::From(in_seconds(3600)), "mode = \"manual\"\n");
    let late = start(&["--wait", "1s"]);
    assert_eq!(late.code, 4, "outside the quiet hours it waits: {late:?}");
    let paused = fleet.cli.json(&["rollout", "pause", &app, "--reason", "lunch"]);
    assert_eq!(paused["state"], "paused", "{paused:#}");
    fleet.waits_for("operator", "lunch");
    let aborted = fleet.cli.json(&["rollout", "abort", &app, "--reason", "not today"]);
    assert_eq!(aborted["state"], "aborted", "{aborted:#}");
    fleet.runs(&fleet.v1);

    let done = start(&["--digest", &v2.digest, "--now", "--reason", "today after all", "--wait", "3m"]);
    assert_eq!(done.json()["state"], "completed", "{done:?}");
    fleet.runs(&v2);

    let back =
        fleet.cli.try_json(&["rollback", &app, "--to", &fleet.v1.digest, "--reason", "v2 is ugly", "--wait", "3m"]);
    assert_eq!(back.json()["to"], fleet.v1.digest.as_str(), "{back:?}");
    fleet.runs(&fleet.v1);
    let events = fleet.cli.json(&["events", "--app", &app, "--limit", "500"]).to_string();
    for reason in ["lunch", "not today", "today after all", "v2 is ugly"] {
        assert!(events.contains(reason), "`{reason}` is in the audit log: {events}");
    }
}

#[test]
fn a_rollout_is_paused_between_two_steps_and_resumed() {
    let Some(fleet) = Fleet::start("pause") else { return };
    let app = fleet.app();
    // Time to pause it before the second step.
    fleet.apply_with(Hours::Always, "delay = \"10s\"\n");
    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);
    fleet.rollout_is(&["rolling"], ROLLOUT);
    let paused = fleet.cli.json(&["rollout", "pause", &app, "--reason", "a look"]);
    assert_eq!(paused["state"], "paused", "{paused:#}");
    let watched = fleet.cli.run(&["rollout", "watch", &app]);
    assert_eq!(watched.code, 3, "{watched:?}");
    let resumed = fleet.cli.run(&["rollout", "resume", &app, "--reason", "looks good"]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
}

#[test]
fn one_who_waits_for_a_bad_image_gets_exit_code_three() {
    let Some(fleet) = Fleet::start("bad-by-hand") else { return };
    let app = fleet.app();
    fleet.apply_with(Hours::From(in_seconds(3600)), "mode = \"manual\"\n");
    let bad = fleet.push("bad", &SICK);
    fleet.report_passed(&bad);
    let arguments = ["rollout", "start", &app, "--digest", &bad.digest, "--now", "--reason", "try", "--wait", "3m"];
    let ended = fleet.cli.try_json(&arguments);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert_eq!(ended.value()["steps"][0]["state"], "rolled_back", "{ended:?}");
    fleet.runs(&fleet.v1);
}
