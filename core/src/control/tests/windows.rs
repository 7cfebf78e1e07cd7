//! Quiet hours: nothing starts outside, at the opening it starts by a mere tick, and what overrides them.

use super::bench::*;

/// Ten minutes after the tests' beginning (08:00 UTC), for two hours.
const MORNING: &str = "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"08:10\"\nduration = \"2h\"\n";
const FREEZE: &str =
    "[[quiet_hours.freeze]]\nname = \"exams\"\nfrom = \"2027-01-15T07:00:00Z\"\nto = \"2027-01-15T08:40:00Z\"\n";

fn bench(nodes: &[&str], lines: &str) -> Bench {
    let mut bench = Bench::with(nodes, |spec| spec.quiet_hours = Some(quiet(lines)));
    bench.tested(2);
    bench
}

fn set_aside(now: bool, freeze: bool) -> StartOptions {
    let overrides = Overrides { now, freeze, ..Overrides::default() };
    StartOptions { overrides, reason: "urgent".into(), ..StartOptions::default() }
}

#[test]
fn outside_the_window_the_image_is_fetched_and_nothing_starts_until_the_opening() {
    let mut bench = bench(&["n1", "n2"], MORNING);
    assert!(bench.orders.is_empty());
    assert_eq!(bench.state(), RolloutState::Waiting, "the image is there already");
    assert_eq!(bench.wake_at, Some(at(600)), "exactly the opening");
    assert_eq!(bench.waits(), ["window opens at 2027-01-15 08:10 UTC"]);
    bench.wait(599);
    assert!(bench.orders.is_empty());
    bench.wait(1);
    assert_eq!(bench.ordered(), ["n1"], "by a mere tick");
}

#[test]
fn a_window_that_closes_lets_the_step_in_flight_end_and_goes_on_in_the_next_one() {
    let mut bench = bench(&["n1", "n2"], MORNING);
    bench.wait(600);
    bench.now = 600 + 7200 + 60;
    assert_eq!(bench.commit(), "n1");
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Rolling, 0));
    assert_eq!(bench.waits(), ["window opens at 2027-01-16 08:10 UTC"]);
    bench.wait(80_000 - bench.now);
    assert_eq!(bench.state(), RolloutState::Rolling, "no deadline runs outside the window");
    bench.now = 86_400 + 600;
    bench.run();
    assert_eq!(bench.ordered(), ["n2"]);
}

#[test]
fn the_progress_deadline_counts_time_inside_the_window_only() {
    let mut bench = bench(&["n1", "n2"], MORNING);
    bench.wait(600);
    bench.wait(3599);
    assert_eq!(bench.state(), RolloutState::Canary);
    bench.wait(1);
    assert_eq!(bench.state(), RolloutState::Paused, "an hour in the window without a finished step");
    assert_eq!(bench.waits()[0], "paused by nightshift: no step ended within 1h");
}

#[test]
fn no_step_starts_whose_worst_case_ends_after_the_window() {
    // A canary may need 5 min to become healthy, 1 min of monitor and twice 30 s: 7 min before 10:10.
    let last = 600 + 7200 - 420;
    let mut late = bench(&["n1"], MORNING);
    late.wait(last);
    assert_eq!(late.ordered(), ["n1"]);
    let mut later = bench(&["n1"], MORNING);
    later.wait(last + 1);
    assert!(later.orders.is_empty());
    assert_eq!(later.wake_at, Some(at(86_400 + 600)));
}

#[test]
fn a_freeze_wins_over_an_open_window() {
    let mut bench = bench(&["n1"], &format!("{MORNING}{FREEZE}"));
    bench.wait(1200);
    assert!(bench.orders.is_empty());
    assert_eq!(bench.wake_at, Some(at(2400)));
    bench.wait(1200);
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn without_quiet_hours_only_a_person_installs_and_only_with_now() {
    let mut bench = Bench::with(&["n1"], |spec| spec.quiet_hours = None);
    bench.tested(2);
    bench.wait(86_400);
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["the app has no quiet hours, so nothing is installed automatically"]);
    assert_eq!(bench.start(StartOptions::default()).expect_err("never").kind, RejectionKind::Rule);
    bench.start(set_aside(true, false)).expect("now");
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn now_overrides_the_window_and_needs_a_reason() {
    let mut bench = Bench::with(&["n1"], |spec| spec.quiet_hours = Some(quiet(MORNING)));
    bench.reports(2, TestResult::Passed);
    let automatic = bench.rollout();
    bench.change(Command::Abort).expect("it waits for the window");
    let silent = StartOptions { reason: " ".into(), ..set_aside(true, false) };
    assert_eq!(bench.start(silent).expect_err("no reason").kind, RejectionKind::Usage);
    bench.start(set_aside(true, false)).expect("now");
    assert_eq!(bench.ordered(), ["n1"]);
    let started = bench.rollout();
    assert_ne!(started.id, automatic.id);
    assert_eq!((started.by, started.reason), (Actor("ann".into()), "urgent".into()), "it is audited");
}

#[test]
fn now_does_not_override_a_freeze_and_override_freeze_does() {
    // Without any allow window, too: a freeze is a freeze.
    for lines in [format!("{MORNING}{FREEZE}"), FREEZE.to_owned()] {
        let mut bench = Bench::with(&["n1"], |spec| {
            spec.quiet_hours = Some(quiet(&lines));
            spec.update.mode = RolloutMode::Manual;
        });
        bench.tested(2);
        let refused = bench.start(set_aside(true, false)).expect_err("frozen");
        assert_eq!(refused.hint.as_deref(), Some("`--override-freeze` overrides the freeze, too"), "{lines}");
        bench.start(set_aside(true, true)).expect("both are set aside");
        assert_eq!(bench.ordered(), ["n1"]);
    }
}

#[test]
fn override_freeze_alone_still_keeps_the_window() {
    let mut bench = Bench::with(&["n1"], |spec| {
        spec.quiet_hours = Some(quiet(&format!("{MORNING}{FREEZE}")));
        spec.update.mode = RolloutMode::Manual;
    });
    bench.tested(2);
    bench.start(set_aside(false, true)).expect("it starts in the window");
    assert!(bench.orders.is_empty());
    bench.wait(600);
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn new_quiet_hours_count_at_once_also_for_an_open_rollout() {
    let mut bench = bench(&["n1"], MORNING);
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.quiet_hours = Some(quiet(&MORNING.replace("08:10", "07:00")));
    bench.ask(Request::Apply(vec![spec])).expect("good");
    assert_eq!(bench.ordered(), ["n1"]);
}

fn told(bench: &Bench, kind: &str) -> Vec<String> {
    bench.log.iter().filter(|one| one.event.kind() == kind).map(|one| one.event.to_string()).collect()
}

#[test]
fn a_window_missed_while_the_coordinator_was_down_is_told_once_and_leads_to_no_start_outside() {
    let mut bench = bench(&["n1"], MORNING);
    bench.now = 3 * 3600;
    bench.restart();
    bench.connect("n1", 1);
    bench.run();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.wake_at, Some(at(86_400 + 600)));
    let expect = "missed the window from 2027-01-15 08:10:00 UTC to 2027-01-15 10:10:00 UTC: the coordinator did not run, or its \
                  clock was moved";
    assert_eq!(told(&bench, "window_missed"), [expect]);
    bench.wait(3600);
    bench.restart();
    assert_eq!(told(&bench, "window_missed").len(), 1, "once");
    bench.connect("n1", 1);
    bench.now = 86_400 + 600;
    bench.run();
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn several_missed_windows_are_one_event() {
    let mut bench = bench(&["n1"], MORNING);
    bench.now = 3 * 86_400;
    bench.restart();
    let expect = "missed 3 windows from 2027-01-15 08:10:00 UTC to 2027-01-17 10:10:00 UTC: the coordinator did not run, or its \
                  clock was moved";
    assert_eq!(told(&bench, "window_missed"), [expect]);
}

#[test]
fn a_window_is_missed_only_by_a_rollout_that_waited_for_it() {
    type Deed = fn(&mut Bench);
    let deeds: [Deed; 4] = [
        |bench| bench.change(Command::Pause).expect("open"),
        |bench| {
            bench.ask(Request::Enable { app: app(), enabled: false, reason: "holidays".into() }).expect("known");
        },
        |bench| bench.change(Command::Abort).expect("open"),
        |bench| bench.start(set_aside(true, false)).expect("now"),
    ];
    for (which, deed) in deeds.into_iter().enumerate() {
        let mut bench = bench(&["n1"], MORNING);
        deed(&mut bench);
        bench.now = 3 * 3600;
        bench.restart();
        assert_eq!(told(&bench, "window_missed"), Vec::<String>::new(), "deed {which}");
        let enable = Request::Enable { app: app(), enabled: true, reason: "back".into() };
        bench.ask(enable).expect("known");
        assert_eq!(told(&bench, "window_missed"), Vec::<String>::new(), "deed {which}");
    }
}

#[test]
fn new_quiet_hours_have_missed_nothing_in_the_past() {
    let mut bench = bench(&["n1"], &MORNING.replace("08:10", "20:00"));
    bench.wait(6 * 3600);
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.quiet_hours = Some(quiet(MORNING));
    bench.ask(Request::Apply(vec![spec])).expect("good");
    assert_eq!(told(&bench, "window_missed"), Vec::<String>::new());
}

#[test]
fn a_window_that_opens_and_in_which_nothing_can_start_is_told_with_the_reason() {
    let mut bench = bench(&["n1", "n2"], MORNING);
    bench.disconnect("n2");
    bench.wait(600);
    let expect = "a window is open until 2027-01-15 10:10:00 UTC, and nothing starts yet: n2 is not connected, so its instances \
                  count as unavailable; `node drain n2` goes on without it";
    assert_eq!(told(&bench, "window_not_used"), [expect]);
    bench.wait(60);
    bench.wait(3 * 3600);
    assert_eq!(told(&bench, "window_not_used").len(), 1, "once for a window");
    assert_eq!(told(&bench, "window_missed"), Vec::<String>::new(), "somebody looked");
    bench.now = 86_400 + 600;
    bench.run();
    assert_eq!(told(&bench, "window_not_used").len(), 2, "and again in the next one");
    bench.connect("n2", 1);
    bench.run();
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn an_untested_digest_is_told_even_where_nothing_installs_by_itself() {
    for manual in [true, false] {
        let mut bench =
            Bench::with(
                &["n1"],
                |spec| {
                    if manual { spec.update.mode = RolloutMode::Manual } else { spec.quiet_hours = None }
                },
            );
        bench.seen(2);
        assert_eq!(bench.waits(), ["sha256:020202020202: no test report of kind `ci`"]);
    }
}

#[test]
fn now_lets_the_rollout_go_that_waits_for_the_night_and_its_deadline_runs_from_then() {
    let mut bench = bench(&["n1", "n2"], MORNING);
    bench.wait(-40_000 + 86_400);
    assert_eq!((bench.rollouts(), bench.orders.len()), (1, 0), "an automatic one waits for the window");
    bench.start(set_aside(true, false)).expect("that one is taken");
    assert_eq!((bench.rollouts(), bench.ordered()), (1, vec!["n1"]));
    assert_eq!(bench.rollout().reason, "urgent");
    let told: Vec<_> = bench.log.iter().filter(|one| one.event.kind() == "rollout_overridden").collect();
    assert_eq!(told.len(), 1, "it is audited");
    assert_eq!(told[0].event.to_string(), "rollout sets aside quiet hours: urgent");
    bench.start(set_aside(true, false)).expect("again is no news");
    assert_eq!(bench.log.iter().filter(|one| one.event.kind() == "rollout_overridden").count(), 1);
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn now_does_not_let_a_waiting_rollout_go_in_a_freeze() {
    let mut bench = bench(&["n1"], &format!("{MORNING}{FREEZE}"));
    assert_eq!((bench.rollouts(), bench.orders.len()), (1, 0));
    let refused = bench.start(set_aside(true, false)).expect_err("whoever says now does not mean after the freeze");
    assert_eq!(refused.kind, RejectionKind::Rule);
    bench.start(set_aside(true, true)).expect("both are set aside");
    assert_eq!((bench.rollouts(), bench.ordered()), (1, vec!["n1"]));
}
