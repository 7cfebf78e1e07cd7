//! What people ask of a rollout, a release or an app, and when they are refused.

use super::bench::*;

/// Twelve hours after the tests' beginning (08:00 UTC).
const EVENING: &str = "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"20:00\"\nduration = \"2h\"\n";

#[test]
fn every_fact_in_the_log_says_who_brought_it_about() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.update.mode = RolloutMode::Approve);
    bench.tested(2);
    bench.commit();
    bench.change(Command::Promote).expect("its canary is good");
    bench.change(Command::Pause).expect("open");
    bench.change(Command::Abort).expect("open");
    bench.commit();
    let by = |one: &Recorded| format!("{} {}", one.event.kind(), one.by);
    let told: Vec<String> = bench.log.iter().filter(|one| one.event.kind() != "step_reported").map(by).collect();
    assert_eq!(
        told,
        [
            "app_applied ann",
            "node_labelled node/n1",
            "release_known_good node/n1",
            "instance_adopted node/n1",
            "node_labelled node/n2",
            "instance_adopted node/n2",
            "release_seen ann",
            "test_reported ann",
            "rollout_planned nightshift",
            "rollout_moved nightshift",
            "rollout_moved nightshift",
            "rollout_moved nightshift",
            "step_ordered nightshift",
            "release_known_good node/n1",
            "rollout_promoted ann",
            "rollout_moved nightshift",
            "step_ordered nightshift",
            "rollout_moved ann",
            "rollout_moved ann",
        ]
    );
    let reported = bench.log.iter().filter(|one| one.event.kind() == "step_reported");
    let reported: Vec<String> = reported.map(|one| one.by.to_string()).collect();
    assert_eq!(reported, ["node/n1", "node/n2"]);
}

#[test]
fn a_paused_rollout_lets_the_step_in_flight_end_and_starts_nothing_until_it_is_resumed() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.change(Command::Pause).expect("open");
    bench.commit();
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Paused, 0));
    assert_eq!(bench.waits(), ["paused by ann: because"]);
    bench.wait(86_400);
    assert!(bench.orders.is_empty());
    bench.change(Command::Resume).expect("paused");
    assert_eq!(bench.commit_all(), ["n2"]);
}

#[test]
fn a_step_of_a_paused_rollout_that_could_not_pull_waits_for_the_resume() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.change(Command::Pause).expect("open");
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::Pull));
    bench.wait(3600);
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Paused, 0));
    assert!(bench.steps()[0].is_pending());
    bench.change(Command::Resume).expect("paused");
    assert_eq!(bench.commit_all(), ["n1"]);
}

#[test]
fn an_aborted_rollout_is_over_when_its_last_step_has_ended_however_it_ends() {
    let ends = [
        (StepPhase::Committed, None),
        (StepPhase::Untouched, Some(FailureKind::Pull)),
        (StepPhase::Untouched, Some(FailureKind::Precondition)),
        (StepPhase::RolledBack, Some(FailureKind::Unhealthy)),
        (StepPhase::Broken, Some(FailureKind::Unhealthy)),
    ];
    for (phase, failure) in ends {
        let mut bench = Bench::new(&["n1", "n2"]);
        bench.tested(2);
        bench.change(Command::Abort).expect("open");
        assert!(!bench.rollout().is_over());
        assert_eq!(bench.waits(), ["web on n1 is ordered"], "its step is still in work");
        let refused = bench.start(StartOptions::default()).expect_err("an agent is at work");
        assert!(refused.message.ends_with("is aborted, but its last step is still in work"), "{refused}");
        let removed = bench.ask(Request::Remove { app: app(), reason: String::new() });
        assert_eq!(removed.expect_err("an agent is at work").kind, RejectionKind::Conflict);
        let (name, order) = bench.take();
        bench.say(&name, &order, phase, failure);
        assert!(bench.rollout().is_over(), "{phase}");
        assert!(bench.orders.is_empty(), "{phase}");
        assert_eq!(bench.is_quarantined(2), failure == Some(FailureKind::Unhealthy), "{phase}");
    }
}

#[test]
fn an_aborted_rollout_whose_agent_knows_nothing_of_the_step_is_over() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.change(Command::Abort).expect("open");
    bench.disconnect("n1");
    assert!(!bench.rollout().is_over());
    bench.connect("n1", 1);
    bench.run();
    assert!(bench.rollout().is_over());
    assert_eq!(bench.orders.len(), 1, "nothing new");
}

#[test]
fn an_aborted_rollout_is_not_begun_again_except_by_a_person() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.change(Command::Abort).expect("open");
    bench.commit();
    bench.wait(86_400);
    assert_eq!(bench.rollouts(), 1);
    let id = bench.rollout().id;
    let expect = format!("sha256:020202020202 was given up with rollout {id}; `rollout start` brings it back");
    assert_eq!(bench.waits(), [expect]);
    bench.start(StartOptions::default()).expect("a person may");
    assert_eq!(bench.commit_all(), ["n2"]);
    assert_eq!(bench.waits(), Vec::<String>::new());
}

#[test]
fn commands_that_do_not_fit_are_refused() {
    let mut bench = Bench::new(&["n1"]);
    assert_eq!(bench.change(Command::Pause).expect_err("none").kind, RejectionKind::NotFound);
    bench.tested(2);
    for command in [Command::Resume, Command::Retry, Command::Promote] {
        assert_eq!(bench.change(command).expect_err("it rolls").kind, RejectionKind::Conflict, "{command:?}");
    }
    bench.commit();
    for command in [Command::Pause, Command::Resume, Command::Abort, Command::Promote, Command::Retry] {
        let refused = bench.change(command).expect_err("it has ended");
        assert!(refused.message.ends_with("has ended: completed"), "{refused}");
    }
}

#[test]
fn a_person_cannot_start_what_is_not_tested_not_known_or_barred() {
    let mut bench = Bench::with(&["n1"], |spec| spec.update.mode = RolloutMode::Manual);
    let to = |number| StartOptions { digest: Some(digest(number)), ..StartOptions::default() };
    bench.seen(2);
    for number in [2, 7] {
        assert_eq!(bench.start(to(number)).expect_err("not tested").kind, RejectionKind::Rule);
    }
    assert_eq!(bench.start(StartOptions::default()).expect_err("nothing passes").kind, RejectionKind::Rule);
    bench.reports(2, TestResult::Passed);
    let bar = Request::Quarantine { app: app(), digest: digest(2), quarantined: true, reason: "a hole".into() };
    bench.ask(bar).expect("known");
    assert_eq!(bench.start(to(2)).expect_err("barred").kind, RejectionKind::Rule);
    let overrides = Overrides { quarantine: true, ..Overrides::default() };
    let anyway = StartOptions { overrides, reason: "only a demo".into(), ..to(2) };
    bench.start(anyway).expect("an audited override");
    assert_eq!(bench.commit_all(), ["n1"]);
    assert!(!bench.is_known_good(2), "a barred digest is no rollback target");
}

#[test]
fn a_person_who_goes_back_is_not_undone_by_the_next_night() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit_all();
    bench.roll_back(None).expect("1 was known-good");
    assert_eq!(bench.orders[0].1.digest, digest(1));
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
    bench.wait(7 * 86_400);
    assert_eq!(bench.rollouts(), 2, "2 is not installed again by itself");
    bench.tested(3);
    assert_eq!(bench.orders[0].1.digest, digest(3), "what is newer is");
}

#[test]
fn going_back_goes_to_what_is_older_and_never_forward() {
    let mut bench = Bench::new(&["n1"]);
    for number in [2, 3] {
        bench.tested(number);
        bench.commit_all();
    }
    for expect in [2, 1] {
        bench.roll_back(None).expect("there is an older one");
        assert_eq!(bench.orders[0].1.digest, digest(expect));
        bench.commit_all();
    }
    assert_eq!(bench.roll_back(None).expect_err("nothing older").kind, RejectionKind::Rule);
}

#[test]
fn going_back_in_the_middle_of_a_fleet_starts_from_the_newest_digest_that_runs() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.change(Command::Abort).expect("open");
    let (_, order) = bench.take();
    bench.say("n1", &order, StepPhase::Committed, None);
    bench.roll_back(None).expect("n1 can go back");
    assert_eq!((bench.ordered(), &bench.orders[0].1.digest), (vec!["n1"], &digest(1)));
    assert_eq!(bench.orders[0].1.container_id, instance("web", 2).container_id, "though the inventory is late");
}

#[test]
fn a_rollback_goes_to_known_good_digests_only() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.commit();
    bench.tested(3);
    bench.change(Command::Abort).expect("open");
    bench.fail();
    for number in [3, 4] {
        assert_eq!(bench.roll_back(Some(number)).expect_err("never good").kind, RejectionKind::Rule);
    }
    bench.roll_back(Some(1)).expect("found at adoption");
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn a_rollback_waits_for_nothing_but_the_health_of_others() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit_all();
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.quiet_hours = None;
    spec.update.mode = RolloutMode::Approve;
    bench.ask(Request::Apply(vec![spec])).expect("good");
    let off = Request::Enable { app: app(), enabled: false, reason: "holidays".into() };
    bench.ask(off).expect("known");
    bench.roll_back(None).expect("always");
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn a_failed_rollback_by_a_person_stops() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.update.failure_action = FailureAction::Rollback);
    bench.tested(2);
    bench.commit_all();
    bench.roll_back(None).expect("1 was known-good");
    bench.commit();
    bench.fail();
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Paused, 0));
    assert!(!bench.is_quarantined(1), "its failure says nothing about what ran well before");
}

#[test]
fn a_disabled_app_waits_and_its_deadline_does_not_run() {
    let mut bench = Bench::new(&["n1", "n2"]);
    let enable = |enabled| Request::Enable { app: app(), enabled, reason: "holidays".into() };
    bench.tested(2);
    bench.ask(enable(false)).expect("known");
    bench.commit();
    assert_eq!((bench.orders.len(), bench.waits()), (0, vec!["the app is disabled".to_owned()]));
    bench.wait(86_400);
    assert_eq!(bench.start(StartOptions::default()).expect_err("disabled").kind, RejectionKind::Rule);
    bench.ask(enable(true)).expect("known");
    assert_eq!(bench.ordered(), ["n2"]);
    bench.commit();
    bench.ask(enable(false)).expect("known");
    bench.tested(3);
    assert_eq!(bench.start(StartOptions::default()).expect_err("disabled").kind, RejectionKind::Rule);
}

#[test]
fn an_app_with_an_open_rollout_keeps_its_image_and_is_not_removed() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.image = "r.example/other:stable".parse().expect("well formed");
    assert_eq!(bench.ask(Request::Apply(vec![spec])).expect_err("open").kind, RejectionKind::Conflict);
    let remove = Request::Remove { app: app(), reason: String::new() };
    assert_eq!(bench.ask(remove.clone()).expect_err("open").kind, RejectionKind::Conflict);
    bench.commit();
    bench.ask(remove).expect("nothing is open");
}

#[test]
fn a_rollout_whose_app_is_gone_ends() {
    // `remove` refuses it, but a log may say so: it must end, not act.
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let event = Event::AppRemoved { app: app(), reason: String::new() };
    bench.store(vec![Recorded { at: at(0), by: Actor("ann".into()), event }]);
    bench.run();
    assert_eq!(bench.state(), RolloutState::Aborted);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Committed, None);
    assert!(bench.rollout().is_over() && bench.orders.is_empty());
}

#[test]
fn a_report_counts_once_and_again_when_it_has_grown_old() {
    let mut bench = Bench::with(&["n1"], |spec| {
        spec.gate.max_age = Some(Duration::from_secs(1000));
        spec.update.mode = RolloutMode::Manual;
    });
    bench.tested(2);
    let stored = bench.log.len();
    bench.now = 400;
    bench.reports(2, TestResult::Passed);
    assert_eq!(bench.log.len(), stored, "a repetition");
    bench.now = 600;
    bench.reports(2, TestResult::Passed);
    assert_eq!(bench.log.len(), stored + 1, "tested again");
    bench.now = 1500;
    bench.start(StartOptions::default()).expect("the newest report counts");
}

#[test]
fn a_failed_suite_stays_failed() {
    let mut bench = Bench::new(&["n1"]);
    bench.reports(2, TestResult::Failed);
    let (app, digest) = (app(), digest(2));
    let suite = "default".to_owned();
    let again = Request::Report {
        app,
        digest,
        suite,
        result: TestResult::Passed,
        url: None,
        from: None,
        about: Default::default(),
    };
    assert_eq!(bench.ask(again).expect_err("immutable").kind, RejectionKind::Conflict);
    assert!(bench.orders.is_empty());
}

#[test]
fn whoever_starts_what_is_on_its_way_already_gets_that_one() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.start(StartOptions::default()).expect("it is the same");
    bench.commit();
    bench.start(StartOptions { digest: Some(digest(2)), ..StartOptions::default() }).expect("it is the same");
    assert_eq!((bench.rollouts(), bench.ordered()), (1, vec!["n2"]));
    bench.change(Command::Pause).expect("open");
    let refused = bench.start(StartOptions::default()).expect_err("it stands still because someone said so");
    assert!(refused.hint.expect("a hint").starts_with("`nightshift rollout resume "));
}

#[test]
fn whoever_wants_another_digest_gets_it_when_the_open_rollout_has_not_begun_or_stands_still() {
    let to = |number| StartOptions { digest: Some(digest(number)), ..StartOptions::default() };
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.quiet_hours = Some(quiet(EVENING)));
    bench.tested(2);
    let first = bench.rollout().id;
    bench.tested(3);
    bench.start(StartOptions::default()).expect("the first has not begun");
    assert_eq!(bench.control.rollout(&first).expect("remembered").state, RolloutState::Superseded);
    assert_eq!((bench.rollout().to, bench.state()), (digest(3), RolloutState::Waiting));
    bench.wait(43_200);
    bench.tested(4);
    let refused = bench.start(to(4)).expect_err("a step is in flight");
    assert_eq!(refused.kind, RejectionKind::Conflict);
    bench.fail();
    assert_eq!(bench.state(), RolloutState::Paused);
    bench.start(to(4)).expect("it stands still");
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
    assert_eq!((bench.rollout().to, bench.state(), bench.rollouts()), (digest(4), RolloutState::Completed, 3));
}

#[test]
fn whoever_goes_back_need_not_abort_what_stands_still() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    bench.commit();
    assert_eq!(bench.roll_back(None).expect_err("a step is in flight").kind, RejectionKind::Conflict);
    bench.fail();
    assert_eq!((bench.state(), bench.is_quarantined(2)), (RolloutState::Paused, true));
    bench.roll_back(None).expect("it stands still");
    bench.roll_back(None).expect("it is on its way");
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!((bench.rollout().to, bench.state(), bench.rollouts()), (digest(1), RolloutState::Completed, 2));
    let refused = bench.start(StartOptions::default()).expect_err("2 is barred");
    assert_eq!(refused.kind, RejectionKind::Rule);
}
