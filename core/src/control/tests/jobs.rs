//! Self-tests: when they are due, where they run, what their end means, and what is tried again.

use super::bench::*;
use crate::catalog::Availability;
use crate::job::{JobLog, JobOutcome, JobReport, JobWork};
use crate::spec::{SelfTest, TestKind, TestLimits, TestRun};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

fn self_test() -> SelfTest {
    SelfTest {
        test_nodes: "role=test".parse().expect("well formed"),
        env: [("NIGHTSHIFT_TEST".to_owned(), "1".to_owned())].into(),
        run: TestRun::Image,
        timeout: Duration::from_secs(600),
        limits: TestLimits::default(),
        internet: false,
    }
}

fn tests_itself(spec: &mut AppSpec) {
    spec.gate.tests = vec![TestKind::SelfTest];
    spec.self_test = Some(self_test());
}

/// The app `web` on node n1, which tests itself on these nodes.
fn fleet(test_nodes: &[&str]) -> Bench {
    fleet_with(test_nodes, |_| {})
}

fn fleet_with(test_nodes: &[&str], change: impl FnOnce(&mut AppSpec)) -> Bench {
    let mut bench = Bench::with(&["n1"], |spec| {
        tests_itself(spec);
        change(spec);
    });
    for name in test_nodes {
        join(&mut bench, name);
    }
    bench.seen(1);
    assert!(bench.jobs.is_empty(), "what runs everywhere is not tested");
    bench
}

/// A test node connects, without any instance.
fn join(bench: &mut Bench, name: &str) {
    bench.join(name, "test");
}

fn failed() -> JobOutcome {
    JobOutcome::Failed { reason: "exit code 1".into() }
}

fn not_done() -> JobOutcome {
    JobOutcome::NotDone { reason: "no space left on device".into() }
}

fn digest_of(order: &JobOrder) -> crate::image::Digest {
    let JobWork::SelfTest { digest, .. } = &order.work else { panic!("a self-test") };
    digest.clone()
}

fn kinds(bench: &Bench) -> Vec<&'static str> {
    bench.log.iter().map(|recorded| recorded.event.kind()).collect()
}

#[test]
fn a_new_digest_is_tested_and_then_rolled_out() {
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    assert_eq!((order.node.as_str(), order.epoch, digest_of(&order)), ("t1", Epoch(1), digest(2)));
    assert_eq!(order.image, web().image);
    assert!(bench.orders.is_empty(), "an untested digest is not installed");
    let short = digest(2).short().to_owned();
    let expect =
        [format!("{short}: no test report of kind `self-test`"), format!("the self-test of {short} runs on t1")];
    assert_eq!(bench.waits(), expect);
    bench.end_job(&order, JobOutcome::Passed);
    assert_eq!(bench.commit(), "n1");
    assert!(bench.jobs.is_empty());
    let tail: Vec<_> =
        kinds(&bench).into_iter().filter(|kind| kind.starts_with("job") || kind.starts_with("test")).collect();
    assert_eq!(tail, ["job_ordered", "job_ended", "test_reported"]);
    let app = bench.control.catalog().app(&app()).expect("there");
    let report = &app.release(&digest(2)).expect("there").reports[0];
    assert_eq!((report.kind, report.by.as_str(), report.result), (TestKind::SelfTest, "node/t1", TestResult::Passed));
}

#[test]
fn a_failed_test_bars_the_digest_for_good() {
    let mut bench = fleet(&["t1", "t2"]);
    bench.seen(2);
    let order = bench.take_job();
    bench.end_job(&order, failed());
    bench.wait(10 * DAY);
    assert!(bench.orders.is_empty() && bench.jobs.is_empty());
    let expect = format!("{}: test report `self-test` (suite `default`) says failed", digest(2).short());
    assert_eq!(bench.waits(), [expect]);
    // The next one gets its own test.
    bench.seen(3);
    assert_eq!(digest_of(&bench.take_job()), digest(3));
}

#[test]
fn what_lacks_another_test_too_is_not_launched() {
    let mut bench = fleet_with(&["t1"], |spec| spec.gate.tests.push(TestKind::Ci));
    bench.seen(2);
    assert!(bench.jobs.is_empty());
    bench.reports(2, TestResult::Passed);
    assert_eq!(digest_of(&bench.take_job()), digest(2));
    bench.seen(3);
    bench.reports(3, TestResult::Failed);
    assert!(bench.jobs.is_empty());
}

#[test]
fn of_two_new_digests_the_newer_one_is_tested() {
    let mut bench = fleet(&[]);
    bench.seen(2);
    bench.seen(3);
    join(&mut bench, "t1");
    let order = bench.take_job();
    assert_eq!(digest_of(&order), digest(3));
    bench.end_job(&order, JobOutcome::Passed);
    bench.commit();
    // The older one is behind what runs.
    assert!(bench.jobs.is_empty());
}

#[test]
fn a_test_that_grew_too_old_before_its_window_is_repeated() {
    let mut bench = fleet_with(&["t1"], |spec| {
        spec.gate.max_age = Some(Duration::from_secs(3_600));
        spec.quiet_hours = None;
    });
    bench.seen(2);
    let order = bench.take_job();
    bench.end_job(&order, JobOutcome::Passed);
    bench.wait(60 * MINUTE);
    assert!(bench.jobs.is_empty(), "it is as old as it may be");
    bench.wait(1);
    let again = bench.take_job();
    assert_eq!(digest_of(&again), digest(2));
    assert_ne!(again.id, order.id);
    assert!(bench.start(StartOptions::default()).is_err(), "too old to be installed");
    bench.end_job(&again, JobOutcome::Passed);
    let now = Overrides { now: true, ..Overrides::default() };
    bench.start(StartOptions { overrides: now, reason: "now".into(), ..StartOptions::default() }).expect("tested");
    bench.commit();
    bench.wait(10 * DAY);
    assert!(bench.jobs.is_empty(), "what runs everywhere needs no younger test");
}

#[test]
fn untested_images_run_on_labelled_nodes_alone() {
    let mut bench = fleet(&[]);
    bench.seen(2);
    assert!(bench.jobs.is_empty());
    let wait = format!("the self-test of {} waits: no node has the labels `role=test`", digest(2).short());
    assert!(bench.waits().contains(&wait), "{:?}", bench.waits());
    join(&mut bench, "t1");
    assert_eq!(bench.take_job().node, node("t1"));
}

#[test]
fn a_node_that_is_paused_away_or_without_engine_gets_no_job() {
    let wait = |known: &Bench| {
        let text = format!(
            "the self-test of {} waits: no node of `role=test` is active, connected to an engine that answers, and of the image's platform",
            digest(2).short()
        );
        assert!(known.jobs.is_empty() && known.waits().contains(&text), "{:?}", known.waits());
    };
    let mut bench = fleet(&["t1"]);
    bench.set("t1", Availability::Pause);
    bench.seen(2);
    wait(&bench);
    bench.set("t1", Availability::Active);
    assert_eq!(bench.take_job().node, node("t1"));

    let mut bench = fleet(&["t1"]);
    bench.disconnect("t1");
    bench.seen(2);
    wait(&bench);

    let mut bench = fleet(&["t1"]);
    bench.fleet.inventory(&node("t1"), Err("no socket".into()));
    bench.seen(2);
    wait(&bench);
    bench.inventory("t1", Vec::new());
    bench.run();
    bench.take_job();
}

#[test]
fn a_node_has_one_job_at_a_time_and_the_longest_idle_one_is_next() {
    let mut bench = fleet(&["t1", "t2"]);
    let mut other = web();
    tests_itself(&mut other);
    other.name = "api".parse().expect("well formed");
    bench.ask(Request::Apply(vec![other.clone()])).expect("good");
    let mut third = other.clone();
    third.name = "cron".parse().expect("well formed");
    bench.ask(Request::Apply(vec![third])).expect("good");
    let seen = |bench: &mut Bench, app: &str, number| {
        let app = app.parse().expect("well formed");
        let about = Default::default();
        bench.ask(Request::Seen { app, image: web().image, digest: digest(number), about }).expect("known app");
    };
    seen(&mut bench, "api", 4);
    let first = bench.take_job();
    bench.wait(1);
    seen(&mut bench, "cron", 5);
    let second = bench.take_job();
    assert_eq!((first.node.as_str(), second.node.as_str()), ("t1", "t2"));
    bench.seen(2);
    assert!(bench.jobs.is_empty());
    let queued = format!("the self-test of {} waits: every node of `role=test` has another job", digest(2).short());
    assert!(bench.waits().contains(&queued), "{:?}", bench.waits());
    bench.end_job(&second, JobOutcome::Passed);
    let web = bench.take_job();
    assert_eq!(web.node, node("t2"));
    bench.wait(1);
    bench.end_job(&first, JobOutcome::Passed);
    bench.end_job(&web, JobOutcome::Passed);
    bench.wait(1);
    seen(&mut bench, "api", 6);
    assert_eq!(bench.take_job().node, node("t1"), "t2 was used last");
}

#[test]
fn what_could_not_be_done_is_no_verdict_and_is_tried_elsewhere_after_a_pause() {
    let mut bench = fleet(&["t1", "t2"]);
    bench.seen(2);
    let order = bench.take_job();
    bench.end_job(&order, not_done());
    assert!(bench.jobs.is_empty(), "not at once");
    let wait = format!(
        "the self-test of {} could not be done, and is tried again: no space left on device",
        digest(2).short()
    );
    assert!(bench.waits().contains(&wait), "{:?}", bench.waits());
    assert_eq!(bench.wake_at, Some(at(15)));
    bench.wait(15);
    let again = bench.take_job();
    assert_eq!((order.node.as_str(), again.node.as_str()), ("t1", "t2"));
    bench.end_job(&again, not_done());
    bench.wait(29);
    assert!(bench.jobs.is_empty(), "the pause has doubled");
    bench.wait(1);
    // Both have been tried: the one that was idle for longer.
    let third = bench.take_job();
    assert_eq!(third.node, node("t1"));
    bench.end_job(&third, JobOutcome::Passed);
    assert_eq!(bench.ordered(), ["n1"]);
}

fn alarms(bench: &Bench) -> Vec<String> {
    bench.control.alarms(&bench.fleet, at(bench.now)).into_iter().map(|(alarm, _)| alarm.to_string()).collect()
}

#[test]
fn someone_is_told_of_a_test_that_can_never_be_done() {
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    for tries in 1..=6 {
        assert_eq!(alarms(&bench), Vec::<String>::new(), "after {} tries", tries - 1);
        let order = bench.take_job();
        bench.end_job(&order, not_done());
        bench.wait(40 * MINUTE);
    }
    let short = digest(2).short().to_owned();
    let expect = format!("the self-test of {short} of web could not be done 6 times: no space left on device");
    assert_eq!(alarms(&bench), [expect]);
    // It is tried for as long as it takes.
    let order = bench.take_job();
    bench.end_job(&order, JobOutcome::Passed);
    assert_eq!(alarms(&bench), Vec::<String>::new());
}

#[test]
fn a_job_ends_when_its_node_is_lost_its_time_is_over_or_its_agent_knows_nothing_of_it() {
    // The node goes away: it may come back within five minutes.
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    bench.wait(100);
    bench.disconnect("t1");
    bench.wait(5 * MINUTE - 1);
    assert!(bench.control.jobs().job(&order.id).is_some());
    assert_eq!(bench.wake_at, Some(at(bench.now + 1)));
    bench.wait(1);
    assert!(bench.control.jobs().job(&order.id).is_none());
    // Its late verdict interests nobody.
    let before = bench.log.len();
    bench.end_job(&order, JobOutcome::Passed);
    assert_eq!(bench.log.len(), before);
    assert!(bench.orders.is_empty());

    // It says nothing until the deadline: 30 minutes to prepare, 10 for the test, 5 for the report.
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    bench.wait(45 * MINUTE - 1);
    assert!(bench.control.jobs().job(&order.id).is_some());
    bench.wait(1);
    assert!(bench.control.jobs().job(&order.id).is_none());
    bench.wait(15);
    assert_eq!(digest_of(&bench.take_job()), digest(2));

    // Its agent connects without it.
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    let keeps = bench.control.jobs_held(&node("t1"), std::slice::from_ref(&order.id), at(bench.now));
    assert_eq!(keeps, []);
    let lost = bench.control.jobs_held(&node("t1"), &[], at(bench.now));
    assert_eq!(lost.len(), 1);
    bench.store(lost);
    bench.wait(15);
    assert_ne!(bench.take_job().id, order.id);
}

#[test]
fn a_restarted_coordinator_waits_for_the_job_that_it_had_ordered() {
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    bench.restart();
    bench.connect("n1", 1);
    join(&mut bench, "t1");
    bench.wait(30);
    assert!(bench.jobs.is_empty() && bench.control.jobs().job(&order.id).is_some());
    bench.end_job(&order, JobOutcome::Passed);
    assert_eq!(bench.ordered(), ["n1"]);

    // One that never comes back is lost, counted from the restart.
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    bench.take_job();
    bench.wait(40 * MINUTE);
    bench.restart();
    bench.wait(5 * MINUTE);
    assert_eq!(bench.control.jobs().in_flight().count(), 0);
}

#[test]
fn a_report_counts_only_from_its_own_node_and_once() {
    let mut bench = fleet(&["t1", "t2"]);
    bench.seen(2);
    let order = bench.take_job();
    let before = bench.log.len();
    bench.end_job_as("t2", &order.id, JobOutcome::Passed);
    bench.end_job_as("t1", &"other".parse().expect("well formed"), JobOutcome::Passed);
    assert_eq!(bench.log.len(), before);
    bench.end_job(&order, failed());
    let after = bench.log.len();
    bench.end_job(&order, JobOutcome::Passed);
    assert_eq!(bench.log.len(), after);
    assert!(bench.orders.is_empty());
}

#[test]
fn a_verdict_means_nothing_in_another_repository() {
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    let mut moved = bench.control.catalog().app(&app()).expect("there").spec.clone();
    moved.image = "r.example/other:stable".parse().expect("well formed");
    bench.ask(Request::Apply(vec![moved])).expect("good");
    bench.end_job(&order, JobOutcome::Passed);
    let app = bench.control.catalog().app(&app()).expect("there");
    assert!(app.release(&digest(2)).is_none());
    assert_eq!(bench.control.jobs().in_flight().count(), 0);
}

#[test]
fn jobs_of_a_removed_app_and_on_a_removed_node_are_over() {
    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    bench.take_job();
    bench.ask(Request::RemoveNode { node: node("t1"), reason: "old".into() }).expect("known");
    assert_eq!(bench.control.jobs().in_flight().count(), 0);
    assert!(kinds(&bench).contains(&"job_ended"));

    let mut bench = fleet(&["t1"]);
    bench.seen(2);
    let order = bench.take_job();
    bench.ask(Request::Remove { app: app(), reason: "old".into() }).expect("known");
    assert_eq!(bench.control.jobs().in_flight().count(), 0);
    let report = JobReport { job: order.id, outcome: JobOutcome::Passed, log: JobLog::default() };
    assert_eq!(bench.control.job_reported(&node("t1"), &report, at(bench.now)), []);
}

#[test]
fn a_disabled_app_tests_nothing() {
    let mut bench = fleet(&["t1"]);
    bench.ask(Request::Enable { app: app(), enabled: false, reason: "holidays".into() }).expect("known");
    bench.seen(2);
    assert!(bench.jobs.is_empty());
}
