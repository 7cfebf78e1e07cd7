//! What survives the wire, and what is refused by name.

use std::time::Duration;

use nightshift_core::ids::Epoch;
use nightshift_core::image::Digest;
use nightshift_core::signature::Signature;
use nightshift_core::spec::HealthCheck;

use super::*;

fn digest() -> Digest {
    format!("sha256:{}", "0a".repeat(32)).parse().expect("a digest")
}

fn directory() -> BuildContext {
    BuildContext::Directory { path: "/srv/build/web".into() }
}

fn git(directory: Option<&str>) -> BuildContext {
    let (url, branch) = ("https://git.example/web.git".into(), "main".into());
    BuildContext::Git { url, branch, directory: directory.map(str::to_owned) }
}

fn build(context: BuildContext) -> JobWork {
    let target = matches!(context, BuildContext::Git { .. }).then(|| "final".to_owned());
    let builder = Builder {
        build_nodes: "role=build".parse().expect("a selector"),
        context,
        dockerfile: "Dockerfile".into(),
        target,
        args: [("VERSION".to_owned(), "1".to_owned()), ("EMPTY".to_owned(), String::new())].into(),
        timeout: Duration::from_secs(600),
    };
    let (test, health) = (order(TestRun::Image).work.test().clone(), HealthCheck::Auto);
    JobWork::Build { rebuild: RebuildNumber(3), builder, test, health }
}

fn order(run: TestRun) -> JobOrder {
    let test = SelfTest {
        test_nodes: "role=test".parse().expect("a selector"),
        env: [("NIGHTSHIFT_TEST".to_owned(), "1".to_owned()), ("EMPTY".to_owned(), String::new())].into(),
        run,
        timeout: Duration::from_secs(90),
        limits: TestLimits::default(),
        internet: true,
    };
    JobOrder {
        id: "20261126-220000-000-1".parse().expect("a name"),
        epoch: Epoch(7),
        node: "t1".parse().expect("a name"),
        app: "web".parse().expect("a name"),
        image: "127.0.0.1:5000/web:stable".parse().expect("a reference"),
        work: JobWork::SelfTest { digest: digest(), test, health: HealthCheck::Tcp { port: 80 } },
        signatures: vec![Signature { payload: "{}".into(), signature: "MEUCIQ==".into() }],
    }
}

fn report(outcome: JobOutcome) -> JobReport {
    let log = JobLog { text: "1 test\n1 failed\n".into(), cut: true };
    JobReport { job: "j1".parse().expect("a name"), outcome, log }
}

fn failed() -> JobOutcome {
    JobOutcome::Failed { reason: "exit code 1".into() }
}

#[test]
fn orders_and_reports_survive_the_wire() {
    let words = || vec!["/t".to_owned(), String::new()];
    for run in [TestRun::Image, TestRun::Command(words()), TestRun::Entrypoint(words())] {
        let order = order(run);
        assert_eq!(JobOrder::try_from(pb::JobOrder::from(&order)), Ok(order));
    }
    for work in [build(git(Some("images/web"))), build(git(None)), build(directory())] {
        let order = JobOrder { work, ..order(TestRun::Image) };
        assert_eq!(JobOrder::try_from(pb::JobOrder::from(&order)), Ok(order));
    }
    let built = JobOutcome::Built { digest: digest() };
    for outcome in [JobOutcome::Passed, built, failed(), JobOutcome::NotDone { reason: "no space".into() }] {
        let report = report(outcome);
        assert_eq!(JobReport::try_from(pb::JobReport::from(&report)), Ok(report));
    }
}

fn test_of(order: &mut pb::JobOrder) -> &mut pb::SelfTest {
    let Some(pb::job_order::Work::SelfTest(work)) = &mut order.work else { panic!("a self-test") };
    work.test.as_mut().expect("there")
}

#[test]
fn an_order_without_a_field_is_refused_by_the_fields_name() {
    type Breaks = fn(&mut pb::JobOrder);
    let cases: [(&str, Breaks); 13] = [
        ("id", |order| order.id.clear()),
        ("epoch", |order| order.epoch = 0),
        ("node", |order| order.node.clear()),
        ("app", |order| order.app.clear()),
        ("image", |order| order.image.clear()),
        ("work", |order| order.work = None),
        ("self_test.test.test_nodes", |order| test_of(order).test_nodes.clear()),
        ("self_test.test.timeout", |order| test_of(order).timeout = None),
        ("self_test.test.memory_bytes", |order| test_of(order).memory_bytes = 0),
        ("self_test.test.cpus_milli", |order| test_of(order).cpus_milli = 0),
        ("self_test.test.pids", |order| test_of(order).pids = 0),
        ("self_test.test.env", |order| drop(test_of(order).env.insert(String::new(), "1".into()))),
        ("self_test.test.command", |order| {
            test_of(order).run = Some(pb::self_test::Run::Command(pb::self_test::Command::default()));
        }),
    ];
    for (field, breaks) in cases {
        let mut wire = pb::JobOrder::from(&order(TestRun::Image));
        breaks(&mut wire);
        assert_eq!(JobOrder::try_from(wire), Err(Error::missing(field)), "{field}");
    }
    for (field, breaks) in [
        ("self_test.digest", (|work| work.digest.clear()) as fn(&mut pb::SelfTestJob)),
        ("self_test.test", |work| work.test = None),
        ("self_test.health", |work| work.health = None),
    ] {
        let mut wire = pb::JobOrder::from(&order(TestRun::Image));
        let Some(pb::job_order::Work::SelfTest(work)) = &mut wire.work else { panic!("a self-test") };
        breaks(work);
        assert_eq!(JobOrder::try_from(wire), Err(Error::missing(field)), "{field}");
    }
}

#[test]
fn a_build_without_a_field_is_refused_by_the_fields_name() {
    type Breaks = fn(&mut pb::BuildJob);
    let git_of = |work: &mut pb::BuildJob| -> pb::build_job::Git {
        let Some(pb::build_job::Context::Git(git)) = work.context.take() else { panic!("a repository") };
        git
    };
    let cases: [(&str, Breaks); 7] = [
        ("rebuild", |work| work.rebuild = 0),
        ("build_nodes", |work| work.build_nodes.clear()),
        ("context", |work| work.context = None),
        ("dockerfile", |work| work.dockerfile.clear()),
        ("timeout", |work| work.timeout = None),
        ("test", |work| work.test = None),
        ("health", |work| work.health = None),
    ];
    let refused = |breaks: &dyn Fn(&mut pb::BuildJob), field: &str| {
        let mut wire = pb::JobOrder::from(&JobOrder { work: build(git(None)), ..order(TestRun::Image) });
        let Some(pb::job_order::Work::Build(work)) = &mut wire.work else { panic!("a build") };
        breaks(work);
        assert_eq!(JobOrder::try_from(wire), Err(Error::missing(&format!("build.{field}"))), "{field}");
    };
    for (field, breaks) in cases {
        refused(&breaks, field);
    }
    for (field, breaks) in
        [("git.url", (|git| git.url.clear()) as fn(&mut pb::build_job::Git)), ("git.branch", |git| git.branch.clear())]
    {
        let breaks = |work: &mut pb::BuildJob| {
            let mut git = git_of(work);
            breaks(&mut git);
            work.context = Some(pb::build_job::Context::Git(git));
        };
        refused(&breaks, field);
    }
    let pathless = |work: &mut pb::BuildJob| {
        work.context = Some(pb::build_job::Context::Directory(pb::build_job::Directory::default()))
    };
    refused(&pathless, "directory.path");
}

#[test]
fn a_report_without_a_field_is_refused_by_the_fields_name() {
    type Breaks = fn(&mut pb::JobReport);
    let cases: [(&str, Breaks); 3] = [
        ("job", |report| report.job.clear()),
        ("result", |report| report.result = 0),
        ("reason", |report| report.reason.clear()),
    ];
    for (field, breaks) in cases {
        let mut wire = pb::JobReport::from(&report(failed()));
        breaks(&mut wire);
        assert_eq!(JobReport::try_from(wire), Err(Error::missing(field)), "{field}");
    }
    let built = digest().to_string();
    let lies = pb::JobReport { built: built.clone(), ..pb::JobReport::from(&report(failed())) };
    assert!(matches!(JobReport::try_from(lies), Err(Error::Malformed { field, .. }) if field == "built"));
    let cut = pb::JobReport { built: built[1..].to_owned(), ..pb::JobReport::from(&report(JobOutcome::Passed)) };
    assert!(matches!(JobReport::try_from(cut), Err(Error::Malformed { field, .. }) if field == "built"));
    let unknown = pb::JobReport { result: 99, ..pb::JobReport::from(&report(failed())) };
    assert!(matches!(JobReport::try_from(unknown), Err(Error::Malformed { field, .. }) if field == "result"));
}

#[test]
fn a_long_log_arrives_with_its_end_and_says_that_it_was_cut() {
    let mut long = report(JobOutcome::Passed);
    long.log = JobLog { text: format!("{}the end\n", "ü".repeat(JOB_LOG_LIMIT_BYTES)), cut: false };
    let arrived = JobReport::try_from(pb::JobReport::from(&long)).expect("a report must arrive");
    assert!(
        arrived.log.cut && arrived.log.text.len() <= JOB_LOG_LIMIT_BYTES && arrived.log.text.ends_with("the end\n")
    );
    let hostile = pb::JobReport { log: "x".repeat(JOB_LOG_LIMIT_BYTES + 1), ..pb::JobReport::from(&long) };
    assert!(matches!(JobReport::try_from(hostile), Err(Error::TooLong { .. })));
}

#[test]
fn lists_of_jobs_are_bounded_and_checked() {
    assert_eq!(job_ids("jobs", vec!["a".into()]), Ok(vec!["a".parse().expect("a name")]));
    assert!(job_ids("jobs", vec!["a b".into()]).is_err());
    assert!(job_ids("jobs", vec!["a".into(); HELD_LIMIT + 1]).is_err());
}
