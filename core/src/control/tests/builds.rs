//! Rebuilds that a node builds: when the job is due, where it is done, and what its end means for the rebuild.

use super::bench::*;
use crate::catalog::Availability;
use crate::job::{JobOutcome, JobSubject, JobWork};
use crate::spec::TestKind;

const HOUR: i64 = 3_600;
/// 08:00 UTC is second 0 of the tests: the schedule is due at 10:00.
const DUE: i64 = 2 * HOUR;

const FILE: &str = "name = 'web'\nimage = 'r.example/web'\n[gate]\ntests = ['self-test']\n\
                    [self_test]\ntest_nodes = 'role=test'\n\
                    [rebuild]\nschedule = '0 10 * * *'\ntimezone = 'UTC'\ndeadline = '2h'\n\
                    [rebuild.builder]\nbuild_nodes = 'role=build'\ndirectory = '/srv/build/web'\n";

fn builds(spec: &mut AppSpec) {
    let read = crate::config::read_app("web.toml", FILE).expect("a good file");
    (spec.gate, spec.self_test, spec.rebuild) = (read.gate, read.self_test, read.rebuild);
}

/// The app `web` on node n1, which these nodes build.
fn fleet(build_nodes: &[&str]) -> Bench {
    let mut bench = Bench::with(&["n1"], builds);
    build_nodes.iter().for_each(|name| bench.join(name, "build"));
    bench.seen(1);
    bench
}

fn built(number: u8) -> JobOutcome {
    JobOutcome::Built { digest: digest(number) }
}

fn failed() -> JobOutcome {
    JobOutcome::Failed { reason: "its test failed: exit code 1".into() }
}

fn not_done() -> JobOutcome {
    JobOutcome::NotDone { reason: "the registry is away".into() }
}

/// What the log says of rebuilds and their alarms.
fn told(bench: &Bench) -> Vec<String> {
    let about = |one: &&Recorded| {
        let kind = one.event.kind();
        kind.starts_with("rebuild_") || kind.starts_with("alarm_")
    };
    bench.log.iter().filter(about).map(|one| one.event.to_string()).collect()
}

fn last(bench: &Bench) -> String {
    told(bench).pop().unwrap_or_default()
}

#[test]
fn at_its_time_a_node_builds_and_what_it_pushed_is_rolled_out() {
    let mut bench = fleet(&["b1"]);
    bench.wait(DUE - 1);
    assert!(bench.jobs.is_empty());
    bench.wait(1);
    let order = bench.take_job();
    assert!(bench.triggers.is_empty(), "nobody else is told to build");
    let JobWork::Build { rebuild, builder, test, .. } = &order.work else { panic!("a build: {order:?}") };
    assert_eq!((order.node.as_str(), rebuild.0, &order.image), ("b1", 1, &web().image));
    assert_eq!((builder.context.to_string().as_str(), test.timeout), ("/srv/build/web", Duration::from_secs(600)));
    assert!(bench.waits().contains(&"the build of r.example/web:stable runs on b1".to_owned()), "{:?}", bench.waits());
    bench.end_job(&order, built(2));
    assert_eq!(last(&bench), "rebuild 1 of web ended: sha256:020202020202 has passed its tests");
    let release = bench.control.catalog().app(&app()).expect("there").release(&digest(2)).expect("known");
    assert_eq!((release.reports[0].kind, release.reports[0].by.as_str()), (TestKind::SelfTest, "node/b1"));
    assert!(bench.orders.is_empty(), "the tag decides what is installed");
    bench.seen(2);
    assert_eq!(bench.commit(), "n1");
    bench.wait(12 * HOUR);
    assert!(bench.jobs.is_empty(), "once a night");
}

#[test]
fn a_build_that_fails_ends_the_rebuild_and_somebody_is_told() {
    let mut bench = fleet(&["b1", "b2"]);
    bench.wait(DUE);
    let order = bench.take_job();
    bench.end_job(&order, failed());
    let expect = "rebuild 1 of web ended: failed: on b1: its test failed: exit code 1";
    let said = told(&bench);
    assert_eq!(said[1], expect);
    assert!(said[2].starts_with("alarm: "), "{said:?}");
    assert!(bench.jobs.is_empty() && bench.orders.is_empty(), "the same source would fail on every node");
    bench.wait(24 * HOUR);
    let next = bench.take_job();
    bench.end_job(&next, built(2));
    assert!(last(&bench).starts_with("no longer an alarm: "), "{:?}", told(&bench));
}

#[test]
fn a_build_that_could_not_be_done_is_tried_on_another_node_until_the_deadline() {
    let mut bench = fleet(&["b1", "b2"]);
    bench.wait(DUE);
    let first = bench.take_job();
    bench.end_job(&first, not_done());
    assert!(bench.jobs.is_empty(), "after a pause");
    bench.wait(15);
    let second = bench.take_job();
    assert_ne!((&second.id, &second.node), (&first.id, &first.node));
    bench.end_job(&second, not_done());
    let mut tries = 2;
    while bench.now < DUE + 2 * HOUR {
        bench.wait(60);
        for order in std::mem::take(&mut bench.jobs) {
            tries += 1;
            bench.end_job(&order, not_done());
        }
    }
    assert!((8..20).contains(&tries), "{tries} tries");
    assert!(
        told(&bench).contains(&"rebuild 1 of web ended: overdue: the registry is away".to_owned()),
        "{:?}",
        told(&bench)
    );
    bench.wait(HOUR);
    assert!(bench.jobs.is_empty(), "nobody waits for it any more");
    assert_eq!(bench.control.jobs().troubled(&app()).count(), 0);
}

#[test]
fn without_a_node_that_may_build_the_rebuild_waits_and_says_why() {
    let mut bench = fleet(&[]);
    bench.wait(DUE);
    let wait = "the build of r.example/web:stable waits: no node has the labels `role=build`".to_owned();
    assert!(bench.jobs.is_empty() && bench.waits().contains(&wait), "{:?}", bench.waits());
    bench.join("b1", "build");
    bench.take_job();
    let mut bench = fleet(&["b1"]);
    bench.set("b1", Availability::Pause);
    bench.wait(DUE);
    let wait = "the build of r.example/web:stable waits: no node of `role=build` is active, connected to an engine that answers";
    assert!(bench.jobs.is_empty() && bench.waits().contains(&wait.to_owned()), "{:?}", bench.waits());
    bench.wait(2 * HOUR);
    assert!(told(&bench).contains(&"rebuild 1 of web ended: overdue: no node has built it in time".to_owned()));
}

#[test]
fn a_build_that_cannot_be_done_keeps_no_test_back_and_the_other_way_round() {
    let mut bench = fleet(&["b1"]);
    bench.join("t1", "test");
    bench.wait(DUE);
    let build = bench.take_job();
    bench.seen(2);
    assert!(bench.jobs.is_empty(), "one job for each app at a time");
    bench.end_job(&build, not_done());
    let test = bench.take_job();
    assert_eq!((test.work.subject(&test.image).kind(), test.node.as_str()), ("self-test", "t1"));
    bench.end_job(&test, not_done());
    bench.wait(15);
    assert_eq!(bench.take_job().work.subject(&web().image).kind(), "build", "each has a pause of its own");
}

#[test]
fn a_node_that_is_lost_while_it_builds_is_not_waited_for() {
    let mut bench = fleet(&["b1", "b2"]);
    bench.wait(DUE);
    let first = bench.take_job();
    bench.disconnect(first.node.as_str());
    bench.wait(5 * 60);
    bench.wait(15);
    let second = bench.take_job();
    assert_ne!(second.node, first.node);
    bench.end_job(&first, built(2));
    assert!(!last(&bench).contains("ended"), "its late word counts for nothing: {:?}", told(&bench));
    bench.end_job(&second, built(3));
    assert_eq!(last(&bench), "rebuild 1 of web ended: sha256:030303030303 has passed its tests");
}

#[test]
fn a_coordinator_that_restarts_waits_for_the_build_that_it_has_ordered() {
    let mut bench = fleet(&["b1"]);
    bench.wait(DUE);
    let order = bench.take_job();
    bench.restart();
    bench.connect("n1", 1);
    bench.join("b1", "build");
    let lost = bench.control.jobs_held(&order.node, std::slice::from_ref(&order.id), at(bench.now));
    assert_eq!(lost, []);
    bench.wait(60);
    assert!(bench.jobs.is_empty(), "it runs");
    bench.end_job(&order, built(2));
    assert_eq!(last(&bench), "rebuild 1 of web ended: sha256:020202020202 has passed its tests");
}

#[test]
fn what_comes_out_as_before_ends_the_rebuild_too() {
    let mut bench = fleet(&["b1"]);
    bench.wait(DUE);
    let order = bench.take_job();
    bench.end_job(&order, built(1));
    assert_eq!(last(&bench), "rebuild 1 of web ended: sha256:010101010101 has passed its tests");
}

#[test]
fn a_build_that_ends_after_its_rebuild_still_brings_a_tested_digest() {
    let mut bench = fleet(&["b1"]);
    bench.wait(DUE);
    let order = bench.take_job();
    bench.wait(2 * HOUR);
    assert!(told(&bench)[1].starts_with("rebuild 1 of web ended: overdue"), "{:?}", told(&bench));
    bench.end_job(&order, built(2));
    assert!(last(&bench).starts_with("no longer an alarm: "), "{:?}", told(&bench));
    bench.seen(2);
    assert_eq!(bench.commit(), "n1");
}

#[test]
fn for_an_app_that_follows_another_repository_by_now_the_digest_means_nothing() {
    let mut bench = fleet(&["b1"]);
    bench.wait(DUE);
    let order = bench.take_job();
    let mut spec = web();
    builds(&mut spec);
    spec.image = "r.example/other".parse().expect("well formed");
    bench.ask(Request::Apply(vec![spec])).expect("good");
    bench.end_job(&order, built(2));
    assert!(bench.control.catalog().app(&app()).expect("there").release(&digest(2)).is_none());
    assert!(matches!(order.work.subject(&order.image), JobSubject::Build { .. }));
}

#[test]
fn an_end_that_does_not_say_what_was_built_is_a_failure() {
    let mut bench = fleet(&["b1"]);
    bench.wait(DUE);
    let order = bench.take_job();
    bench.end_job(&order, JobOutcome::Passed);
    assert_eq!(told(&bench)[1], "rebuild 1 of web ended: failed: on b1: its node did not say what it has built");
}

#[test]
fn a_file_that_asks_a_ci_system_from_now_on_lets_it_finish_the_rebuild() {
    let mut bench = fleet(&[]);
    bench.wait(DUE);
    let mut spec = web();
    builds(&mut spec);
    let by_ci = "name = 'web'\nimage = 'r.example/web'\n[rebuild]\ntrigger = { url = 'https://ci.example/build' }\n";
    spec.rebuild = crate::config::read_app("web.toml", by_ci).expect("a good file").rebuild;
    bench.ask(Request::Apply(vec![spec])).expect("good");
    assert_eq!(bench.triggers, [(RebuildNumber(1), 0)]);
}
