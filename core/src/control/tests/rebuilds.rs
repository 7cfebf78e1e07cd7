//! Rebuilds: when they begin, how they are triggered, and how they end.

use super::bench::*;
use crate::rebuild::trigger::TriggerOutcome;

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
/// 08:00 UTC is second 0 of the tests: the schedule is due at 10:00.
const DUE: i64 = 2 * HOUR;

fn nightly(spec: &mut AppSpec) {
    let text = "name = 'web'\nimage = 'r.example/web'\n[rebuild]\nschedule = '0 10 * * *'\ntimezone = 'UTC'\ndeadline = '2h'\n\
                trigger = { url = 'https://ci.example/build' }\n";
    spec.rebuild = crate::config::read_app("web.toml", text).expect("a good file").rebuild;
}

fn bench() -> Bench {
    Bench::with(&["n1"], nightly)
}

/// What the log says of rebuilds, with the second at which it was stored.
fn told(bench: &Bench) -> Vec<(i64, String)> {
    let about = |one: &&Recorded| {
        let kind = one.event.kind();
        kind.starts_with("rebuild_") || kind.starts_with("alarm_")
    };
    let said = |one: &Recorded| ((one.at - at(0)).num_seconds(), one.event.to_string());
    bench.log.iter().filter(about).map(said).collect()
}

fn last(bench: &Bench) -> String {
    told(bench).pop().map(|(_, said)| said).unwrap_or_default()
}

fn count(bench: &Bench, kind: &str) -> usize {
    bench.log.iter().filter(|one| one.event.kind() == kind).count()
}

fn answered(bench: &mut Bench, outcome: TriggerOutcome) {
    assert!(!bench.triggers.is_empty(), "a request was sent");
    let (number, attempt) = bench.triggers.remove(0);
    bench.ask(Request::TriggerAnswered { app: app(), number, attempt, outcome }).expect("never refused");
}

fn status(status: u16) -> TriggerOutcome {
    TriggerOutcome::Answered { status, retry_after: None }
}

fn ask(bench: &mut Bench) -> Result<(), Rejection> {
    bench.ask(Request::Rebuild { app: app(), reason: "a fix is out".into() })
}

#[test]
fn a_night_is_stored_triggered_and_ended_by_a_new_tested_digest() {
    let mut bench = bench();
    assert_eq!(bench.wake_at, Some(at(DUE)), "it wants to be woken when the rebuild is due");
    bench.wait(DUE - 1);
    assert_eq!(told(&bench), []);
    bench.wait(1);
    let begun = "rebuild 1 of web begins, due 2027-01-15 10:00:00 UTC: a new tested digest must be there by 2027-01-15 12:00:00 UTC";
    assert_eq!(told(&bench), [(DUE, begun.to_owned())]);
    assert_eq!(bench.triggers, [(RebuildNumber(1), 0)], "after it was stored");
    answered(&mut bench, status(202));
    assert_eq!(last(&bench), "rebuild 1 of web is triggered");
    bench.wait(600);
    bench.seen(2);
    assert_eq!(last(&bench), "rebuild 1 of web is triggered", "not tested yet");
    bench.reports(2, TestResult::Passed);
    let ended = "rebuild 1 of web ended: sha256:020202020202 has passed its tests";
    assert_eq!(told(&bench)[2..], [(DUE + 600, ended.to_owned())]);
    bench.wait(DAY - 601);
    assert_eq!(count(&bench, "rebuild_started"), 1, "once a night");
    bench.wait(1);
    assert_eq!(count(&bench, "rebuild_started"), 2);
}

#[test]
fn an_image_that_comes_out_the_same_is_reported_again_and_ends_the_rebuild() {
    let mut bench = bench();
    bench.tested(1);
    let reports = |bench: &Bench| count(bench, "test_reported");
    bench.reports(1, TestResult::Passed);
    assert_eq!(reports(&bench), 1, "a repetition is no news");
    bench.wait(DUE);
    answered(&mut bench, status(202));
    // Another suite of the old digest, late: that says nothing about this night.
    let digest = digest(1);
    let late = Request::Report {
        app: app(),
        digest,
        suite: "slow".into(),
        result: TestResult::Passed,
        url: None,
        from: None,
        about: Default::default(),
    };
    bench.ask(late).expect("good");
    assert_eq!(last(&bench), "rebuild 1 of web is triggered");
    bench.reports(1, TestResult::Passed);
    assert_eq!(last(&bench), "rebuild 1 of web ended: sha256:010101010101 has passed its tests");
    let before = reports(&bench);
    bench.reports(1, TestResult::Passed);
    assert_eq!(reports(&bench), before, "then it is a repetition again");
}

#[test]
fn a_failed_a_quarantined_and_a_cooling_digest_are_judged_for_what_they_are() {
    let mut failing = bench();
    failing.wait(DUE);
    answered(&mut failing, status(202));
    failing.seen(2);
    failing.reports(2, TestResult::Failed);
    failing.wait(2 * HOUR);
    let overdue = "rebuild 1 of web ended: overdue: sha256:020202020202 is new, but test report `ci` (suite `default`) says failed";
    assert!(told(&failing).iter().any(|(_, said)| said == overdue), "{:?}", told(&failing));

    let mut barred = bench();
    barred.tested(2);
    let quarantine = Request::Quarantine { app: app(), digest: digest(2), quarantined: true, reason: "bad".into() };
    barred.ask(quarantine).expect("known");
    barred.wait(DUE);
    answered(&mut barred, status(202));
    barred.reports(2, TestResult::Passed);
    assert_eq!(count(&barred, "rebuild_ended"), 0, "the same bad image again is nothing new");

    let mut cooling = Bench::with(&["n1"], |spec| {
        nightly(spec);
        spec.gate.cooldown = Duration::from_secs(3 * 86_400);
    });
    cooling.wait(DUE);
    answered(&mut cooling, status(202));
    cooling.tested(2);
    assert_eq!(count(&cooling, "rebuild_ended"), 1, "it is tested; when it is rolled out is another question");
}

#[test]
fn without_a_digest_by_the_deadline_there_is_an_alarm_until_one_comes() {
    let mut bench = bench();
    bench.wait(DUE);
    answered(&mut bench, status(202));
    assert_eq!(bench.wake_at, Some(at(DUE + 2 * HOUR)));
    bench.wait(2 * HOUR - 1);
    assert_eq!(count(&bench, "rebuild_ended"), 0);
    bench.wait(1);
    let overdue = "overdue: no new digest came and no report";
    let alarm = format!("rebuild 1 of web, begun 2027-01-15 10:00:00 UTC, brought no new tested digest: {overdue}");
    assert_eq!(
        told(&bench)[2..],
        [(DUE + 2 * HOUR, format!("rebuild 1 of web ended: {overdue}")), (DUE + 2 * HOUR, format!("alarm: {alarm}")),]
    );
    bench.restart();
    assert_eq!(count(&bench, "alarm_raised"), 1);
    bench.tested(2);
    assert_eq!(last(&bench), format!("no longer an alarm: {alarm}"), "late is better than never");
}

#[test]
fn the_next_good_night_ends_the_alarm_of_a_bad_one() {
    let mut bench = bench();
    bench.wait(DUE);
    answered(&mut bench, status(401));
    assert_eq!(count(&bench, "alarm_raised"), 1);
    bench.wait(DAY);
    answered(&mut bench, status(202));
    assert_eq!(count(&bench, "alarm_cleared"), 0, "nothing is there yet");
    bench.tested(2);
    assert_eq!(count(&bench, "alarm_cleared"), 1);
}

#[test]
fn what_may_pass_is_tried_again_within_the_deadline_and_nothing_else() {
    let mut bench = bench();
    bench.wait(DUE);
    answered(&mut bench, status(503));
    assert_eq!(
        last(&bench),
        "rebuild 1 of web is not triggered yet, again at 2027-01-15 10:00:10 UTC: the answer is 503"
    );
    bench.wait(9);
    assert_eq!(bench.triggers, []);
    bench.wait(1);
    assert_eq!(bench.triggers, [(RebuildNumber(1), 1)]);
    answered(&mut bench, TriggerOutcome::Answered { status: 429, retry_after: Some(Duration::from_secs(300)) });
    bench.wait(299);
    assert_eq!(bench.triggers, []);
    bench.wait(1);
    answered(&mut bench, TriggerOutcome::Lost { reason: "connection refused".into() });
    bench.wait(40);
    answered(&mut bench, status(204));
    assert_eq!(last(&bench), "rebuild 1 of web is triggered");
    assert_eq!(count(&bench, "rebuild_trigger_failed"), 3);

    let mut never = self::bench();
    never.wait(DUE);
    let mut tries = 0;
    while count(&never, "rebuild_ended") == 0 {
        tries += 1;
        assert!(tries < 100, "there is a deadline");
        answered(&mut never, status(500));
        never.wait(600);
    }
    assert_eq!(tries, 12, "10 s doubled up to 10 min, in 2 h");
    let said: Vec<_> = told(&never).into_iter().filter(|(_, said)| said.contains("ended")).collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].1.ends_with("it could not be triggered: the answer is 500"), "{said:?}");

    let mut hopeless = self::bench();
    hopeless.wait(DUE);
    answered(&mut hopeless, status(404));
    assert_eq!(count(&hopeless, "rebuild_ended"), 1, "the same request would fail again");
    hopeless.wait(2 * HOUR);
    assert_eq!(hopeless.triggers, []);
}

#[test]
fn a_coordinator_that_dies_between_store_and_trigger_sends_it_when_it_is_back() {
    let mut bench = bench();
    bench.wait(DUE);
    assert_eq!(bench.triggers.len(), 1);
    bench.restart();
    assert_eq!(bench.triggers, [(RebuildNumber(1), 0), (RebuildNumber(1), 0)], "at worst twice");
    answered(&mut bench, status(202));
    answered(&mut bench, status(202));
    assert_eq!(count(&bench, "rebuild_triggered"), 1, "the second answer is no news");
    bench.restart();
    assert_eq!(bench.triggers, [], "what was accepted is not sent again");
    assert_eq!(count(&bench, "rebuild_started"), 1);
}

#[test]
fn a_request_that_nobody_answers_is_sent_again() {
    let mut bench = bench();
    bench.wait(DUE);
    bench.wait(89);
    assert_eq!(bench.triggers.len(), 1);
    bench.wait(1);
    assert_eq!(bench.triggers.len(), 2);
}

#[test]
fn a_night_that_the_coordinator_slept_through_is_made_up_for_while_it_is_the_same_night() {
    for (late, begins) in [(0, true), (2 * HOUR, true), (2 * HOUR + 1, false)] {
        let mut bench = bench();
        bench.now = DUE + late;
        bench.restart();
        assert_eq!(count(&bench, "rebuild_started"), usize::from(begins), "{late} s late");
        assert_eq!(count(&bench, "rebuild_missed"), usize::from(!begins), "{late} s late");
    }
    let mut days = bench();
    days.now = DUE + 3 * DAY + HOUR;
    days.restart();
    let told = told(&days);
    assert_eq!(told.len(), 2, "{told:?}");
    let missed = "missed 3 rebuilds of web that were due from 2027-01-15 10:00:00 UTC to 2027-01-17 10:00:00 UTC: ";
    assert!(told[0].1.starts_with(missed), "{told:?}");
    assert!(told[1].1.starts_with("rebuild 1 of web begins, due 2027-01-18 10:00:00 UTC"), "{told:?}");
}

#[test]
fn years_of_sleep_come_to_rest_and_a_clock_that_goes_back_repeats_nothing() {
    let mut bench = bench();
    bench.now = 10 * 366 * DAY;
    bench.restart();
    let many: Vec<_> = bench.log.iter().filter(|one| one.event.kind() == "rebuild_missed").collect();
    assert_eq!(many.len(), 4, "a thousand nights in each");
    bench.wait(DAY);
    let started = count(&bench, "rebuild_started");
    bench.now -= 5 * DAY;
    bench.restart();
    bench.wait(DAY);
    assert_eq!(count(&bench, "rebuild_started"), started);
}

#[test]
fn a_person_has_it_built_again_unless_something_stands_against_it() {
    let mut bench = bench();
    ask(&mut bench).expect("it has a `[rebuild]`");
    assert_eq!(
        told(&bench),
        [(
            0,
            "rebuild 1 of web begins, a fix is out; a new tested digest must be there by 2027-01-15 10:00:00 UTC"
                .to_owned()
        )]
    );
    let refused = ask(&mut bench).expect_err("one is under way");
    assert_eq!(
        (refused.kind, refused.to_string().as_str()),
        (RejectionKind::Rule, "rebuild 1 of app `web` has not ended")
    );
    answered(&mut bench, status(202));
    bench.tested(2);
    ask(&mut bench).expect("the first has ended");

    let mut without = Bench::new(&["n1"]);
    let refused = ask(&mut without).expect_err("it has none");
    assert_eq!((refused.kind, refused.to_string().as_str()), (RejectionKind::Rule, "app `web` has no `[rebuild]`"));
    let mut off = self::bench();
    off.ask(Request::Enable { app: app(), enabled: false, reason: "off".into() }).expect("known");
    assert_eq!(ask(&mut off).expect_err("not followed").kind, RejectionKind::Rule);
}

#[test]
fn a_rebuild_that_is_no_longer_wanted_is_given_up_and_a_schedule_counts_from_its_start() {
    let mut off = bench();
    off.wait(DUE);
    off.ask(Request::Enable { app: app(), enabled: false, reason: "off".into() }).expect("known");
    assert_eq!(last(&off), "rebuild 1 of web ended: given up: the app is no longer followed");
    off.wait(2 * DAY);
    off.ask(Request::Enable { app: app(), enabled: true, reason: "on".into() }).expect("known");
    assert_eq!(count(&off, "rebuild_missed"), 0, "nobody wanted those");
    assert_eq!(count(&off, "alarm_raised"), 0);
    off.wait(DAY - DUE);
    off.wait(DUE);
    assert_eq!(count(&off, "rebuild_started"), 2);

    let mut changed = bench();
    changed.wait(DUE);
    changed.ask(Request::Apply(vec![crate::testing::web()])).expect("good");
    assert_eq!(last(&changed), "rebuild 1 of web ended: given up: the app's file has no `[rebuild]` any more");

    let mut moved = bench();
    moved.wait(DUE);
    let mut spec = crate::testing::web();
    nightly(&mut spec);
    spec.image = "r.example/other".parse().expect("well formed");
    moved.ask(Request::Apply(vec![spec])).expect("good");
    assert_eq!(last(&moved), "rebuild 1 of web ended: given up: the app follows another repository now");
    moved.wait(DAY);
    assert!(last(&moved).starts_with("rebuild 2 of web begins"), "{}", last(&moved));
}

#[test]
fn an_unchanged_schedule_keeps_what_is_due_through_an_apply() {
    let mut bench = bench();
    bench.now = DUE + 60;
    let mut spec = crate::testing::web();
    nightly(&mut spec);
    bench.ask(Request::Apply(vec![spec])).expect("good");
    assert_eq!(count(&bench, "rebuild_started"), 1);
}
