//! What does not happen, and what `status` says about it: untested digests, and closed quiet hours.

use std::time::Duration;

use crate::support::eventually;
use crate::support::fleet::{Fleet, GOOD, Hours, ROLLOUT, SOON, in_seconds};

#[test]
fn an_untested_digest_waits_and_the_tested_one_runs_although_the_tag_moved_on() {
    let Some(fleet) = Fleet::start("untested") else { return };
    fleet.apply(Hours::Always);
    let recording = fleet.record();

    let v2 = fleet.push("v2", &GOOD);
    let wait = fleet.waits_for("tests", &v2.digest[..19]);
    assert!(wait["message"].as_str().is_some_and(|message| message.contains("`ci`")), "{wait}");
    assert_eq!(recording.touched(), [], "nothing is touched for an untested digest");

    // The report comes while the window is closed, and the tag moves before it opens.
    fleet.apply(Hours::Never);
    fleet.report_passed(&v2);
    fleet.waits_for("window", "quiet hours");
    let v3 = fleet.push("v3", &GOOD);
    eventually("the tag is seen to have moved", SOON, || {
        let newest = fleet.shown()["newest"]["digest"].clone();
        if newest == v3.digest.as_str() { Ok(()) } else { Err(newest.to_string()) }
    });
    assert_eq!(recording.touched(), [], "nothing is touched while the window is closed");
    fleet.apply(Hours::Always);

    let rollout = fleet.rollout_is(&["completed"], ROLLOUT);
    assert_eq!(rollout["to"], v2.digest.as_str());
    fleet.runs(&v2);
    fleet.waits_for("tests", &v3.digest[..19]);
    fleet.runs(&v2);
}

#[test]
fn outside_quiet_hours_nothing_starts_and_at_the_opening_it_starts_by_itself() {
    let Some(fleet) = Fleet::start("quiet-hours") else { return };
    let opening = in_seconds(15);
    fleet.apply(Hours::From(opening));
    let recording = fleet.record();
    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);

    let wait = fleet.waits_for("window", "window opens at");
    let until = wait["until"].as_str().and_then(|text| text.parse().ok());
    assert_eq!(until, Some(opening), "status says until when: {wait}");
    let shown = fleet.shown();
    assert_eq!(shown["window"]["open"], false, "{shown}");

    let rollout = fleet.rollout_is(&["completed"], ROLLOUT);
    assert_eq!(rollout["to"], v2.digest.as_str());
    fleet.runs(&v2);
    let touched = recording.touched();
    let first = touched.first().expect("containers were replaced");
    let opened_at = opening.timestamp_nanos_opt().expect("this century");
    assert!(
        first.at >= opened_at,
        "touched {:?} before the opening: {first:?}",
        Duration::from_nanos((opened_at - first.at).unsigned_abs())
    );
    let late = Duration::from_nanos((first.at - opened_at).unsigned_abs());
    assert!(late < Duration::from_secs(20), "the rollout began {late:?} after the opening");
}
