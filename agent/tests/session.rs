//! The session against a scripted coordinator: what is said, what is said again, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test")]

mod scripted;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nightshift_agent::dial::Server;
use nightshift_agent::identity::{JoinToken, Membership, enrol};
use nightshift_agent::inventory::{self, Questions};
use nightshift_agent::session::{Epochs, Facts, Outbox, Session, TlsLine, Work};
use nightshift_agent::storage::FileStorage;
use nightshift_agent::surroundings::Surroundings;
use nightshift_core::ids::{Epoch, Generation, JobId, NodeName, StepIndex};
use nightshift_core::instance::{Findings, ImageReport, ImageState, Prepull, Survey};
use nightshift_core::job::{JobLog, JobOrder, JobOutcome, JobReport, JobWork};
use nightshift_core::spec::{HealthCheck, Hooks, SelfTest, TestLimits, TestRun, UpdateOrder};
use nightshift_core::step::{Purpose, StepKey, StepOrder, StepPhase, StepReport};
use nightshift_proto::pb;
use pb::agent_message::Body as Ours;
use pb::coordinator_message::Body as Theirs;
use scripted::logs::Logs;
use scripted::pki::Pki;
use scripted::{Coordinator, PATIENCE, Setup};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "s3cret-word";

/// What the session asked of the worker.
#[derive(Debug, PartialEq)]
enum Asked {
    Order(Box<StepOrder>),
    Prepull(Prepull),
    Forget(Vec<StepKey>),
    Job(Box<JobOrder>),
    ForgetJobs(Vec<JobId>),
}

#[derive(Debug)]
struct Journal {
    steps: Vec<StepReport>,
    asked: mpsc::UnboundedSender<Asked>,
}

#[async_trait]
impl Work for Journal {
    async fn steps(&self) -> Vec<StepReport> {
        self.steps.clone()
    }
    async fn order(&self, order: StepOrder) {
        self.asked.send(Asked::Order(Box::new(order))).unwrap();
    }
    async fn prepull(&self, prepull: Prepull) {
        self.asked.send(Asked::Prepull(prepull)).unwrap();
    }
    async fn survey(&self, survey: Survey) -> Result<Findings, String> {
        Err(format!("nobody looks for {survey:?} here"))
    }

    async fn forget(&self, steps: Vec<StepKey>) {
        self.asked.send(Asked::Forget(steps)).unwrap();
    }

    async fn jobs(&self) -> Vec<JobId> {
        vec!["held".parse().unwrap()]
    }

    async fn job(&self, order: JobOrder) {
        self.asked.send(Asked::Job(Box::new(order))).unwrap();
    }

    async fn forget_jobs(&self, jobs: Vec<JobId>) {
        self.asked.send(Asked::ForgetJobs(jobs)).unwrap();
    }
}

/// A session under test, with both of its inner ends.
struct Agent {
    outbox: Arc<Outbox>,
    asked: mpsc::UnboundedReceiver<Asked>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    _questions: Questions,
}

impl Agent {
    async fn asked(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("a call in time").unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.running).await.expect("an end in time").unwrap();
    }
}

async fn join(coordinator: &Coordinator, pki: &Pki, data_dir: &Path) -> Membership {
    let node: NodeName = "node-1".parse().unwrap();
    let token: JoinToken = pki.token(SECRET).parse().unwrap();
    let server: Server = coordinator.address.to_string().parse().unwrap();
    Membership::new(data_dir, enrol(data_dir, &node, &server, &token).await.unwrap())
}

fn agent(membership: Membership, address: std::net::SocketAddr, data_dir: &Path, steps: Vec<StepReport>) -> Agent {
    let (link, questions) = inventory::link();
    let (asked_tx, asked) = mpsc::unbounded_channel();
    let outbox = Arc::new(Outbox::default());
    let session = Session {
        line: Arc::new(TlsLine::new(
            address.to_string().parse().unwrap(),
            Arc::new(membership),
            Surroundings::default(),
        )),
        surroundings: Surroundings::default(),
        facts: Facts {
            engine_name: "host".into(),
            engine_version: "20.10.24".into(),
            engine_api_version: "1.41".into(),
            os: "linux".into(),
            architecture: "amd64".into(),
            labels: [("role".to_owned(), "web".to_owned())].into(),
        },
        work: Arc::new(Journal { steps, asked: asked_tx }),
        outbox: Arc::clone(&outbox),
        epochs: Epochs::open(Arc::new(FileStorage::new(data_dir))).unwrap(),
        inventory: link,
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(session.run(shutdown.clone()));
    Agent { outbox, asked, shutdown, running, _questions: questions }
}

fn setup(pki: &Arc<Pki>) -> Setup {
    Setup { tokens: vec![SECRET.into()], ..Setup::new(pki) }
}

fn key(step: u32) -> StepKey {
    StepKey { rollout: "r1".parse().unwrap(), step: StepIndex(step), generation: Generation(1) }
}

fn report(step: u32, phase: StepPhase) -> StepReport {
    StepReport {
        key: key(step),
        phase,
        old_container_id: None,
        new_container_id: None,
        downtime_ms: None,
        failure: None,
    }
}

fn order(epoch: u64) -> StepOrder {
    StepOrder {
        key: key(0),
        epoch: Epoch(epoch),
        purpose: Purpose::Update,
        node: "node1".parse().expect("well formed"),
        app: "web".parse().unwrap(),
        container: "web".into(),
        container_id: nightshift_core::ids::ContainerId("0123".into()),
        image: "r.example/web:stable".parse().unwrap(),
        digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
        order: UpdateOrder::StopFirst,
        health: HealthCheck::Auto,
        hooks: Hooks::default(),
        healthy_deadline: Duration::from_secs(300),
        monitor: Duration::from_secs(30),
        keep_images: 2,
        start_within: Duration::from_secs(30),
        signatures: Vec::new(),
    }
}

fn phases(reports: &[pb::Report]) -> Vec<(u64, i32)> {
    reports.iter().map(|report| (report.sequence, report.step.as_ref().unwrap().phase)).collect()
}

#[tokio::test]
async fn hello_tells_the_journal_and_orders_reach_the_worker() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let in_flight = report(3, StepPhase::Started);
    let mut agent = agent(membership, coordinator.address, data.path(), vec![in_flight.clone()]);
    let session = coordinator.session().await;
    assert_eq!(session.node, "node-1");
    assert_eq!((session.hello.engine_version.as_str(), session.hello.epoch), ("20.10.24", 0));
    assert_eq!(session.hello.labels["role"], "web");
    assert_eq!(session.hello.steps, [pb::StepReport::from(&in_flight)]);
    session.welcome(4).await;

    let prepull = Prepull {
        app: order(4).app,
        image: order(4).image,
        digest: order(4).digest,
        epoch: Epoch(4),
        signatures: Vec::new(),
    };
    session.say(Theirs::Prepull((&prepull).into())).await;
    // Of another epoch, or malformed: neither is carried out, and the stream goes on.
    session.say(Theirs::Step((&order(3)).into())).await;
    session.say(Theirs::Step((&order(5)).into())).await;
    session.say(Theirs::Step(pb::StepOrder { digest: "latest".into(), ..(&order(4)).into() })).await;
    session.say(Theirs::Step((&order(4)).into())).await;
    let forget = vec![(&key(3)).into()];
    session.say(Theirs::Acknowledge(pb::Acknowledge { sequence: 0, forget, forget_jobs: vec![] })).await;
    assert_eq!(agent.asked().await, Asked::Prepull(prepull));
    assert_eq!(agent.asked().await, Asked::Order(Box::new(order(4))));
    assert_eq!(agent.asked().await, Asked::Forget(vec![key(3)]));
    agent.stop().await;
}

fn job(epoch: u64) -> JobOrder {
    let step = order(epoch);
    let test = SelfTest {
        test_nodes: "role=test".parse().unwrap(),
        env: [].into(),
        run: TestRun::Image,
        timeout: Duration::from_secs(60),
        limits: TestLimits::default(),
        internet: false,
    };
    JobOrder {
        id: "j1".parse().unwrap(),
        epoch: Epoch(epoch),
        node: step.node,
        app: step.app,
        image: step.image,
        work: JobWork::SelfTest { digest: step.digest, test, health: HealthCheck::Auto },
        signatures: vec![],
    }
}

#[tokio::test]
async fn jobs_are_told_ordered_reported_and_forgotten() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let mut agent = agent(membership, coordinator.address, data.path(), vec![]);
    let mut session = coordinator.session().await;
    assert_eq!(session.hello.jobs, ["held"]);
    session.welcome(4).await;
    // Of another epoch: not carried out.
    session.say(Theirs::Job((&job(3)).into())).await;
    session.say(Theirs::Job((&job(4)).into())).await;
    assert_eq!(agent.asked().await, Asked::Job(Box::new(job(4))));
    let report = JobReport { job: job(4).id, outcome: JobOutcome::Passed, log: JobLog::default() };
    agent.outbox.job(report.clone());
    assert_eq!(session.hears_news().await, Ours::Job((&report).into()));

    // Not acknowledged: it is told to the next coordinator as well.
    let address = coordinator.stop().await;
    let mut coordinator = Coordinator::start(Setup { address, ..setup(&pki) });
    let mut session = coordinator.session().await;
    session.welcome(5).await;
    assert_eq!(session.hears_news().await, Ours::Job((&report).into()));
    let forget_jobs = vec![report.job.to_string()];
    session.say(Theirs::Acknowledge(pb::Acknowledge { forget_jobs, ..pb::Acknowledge::default() })).await;
    assert_eq!(agent.asked().await, Asked::ForgetJobs(vec![report.job]));
    agent.stop().await;
}

#[tokio::test]
async fn after_a_crash_of_the_coordinator_what_it_did_not_acknowledge_is_sent_once_more_and_in_order() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let agent = agent(membership, coordinator.address, data.path(), vec![]);
    let mut session = coordinator.session().await;
    session.welcome(1).await;
    for phase in [StepPhase::Assigned, StepPhase::Preflight, StepPhase::Pulled] {
        agent.outbox.step(report(0, phase));
    }
    for _ in 0..3 {
        session.hears_report().await;
    }
    session.say(Theirs::Acknowledge(pb::Acknowledge { sequence: 1, ..pb::Acknowledge::default() })).await;
    // The answer to a heartbeat shows that the acknowledgement has arrived.
    while !matches!(session.hears().await, Ours::Heartbeat(_)) {}

    let address = coordinator.stop().await;
    agent.outbox.step(report(0, StepPhase::Created));
    let mut coordinator = Coordinator::start(Setup { address, ..setup(&pki) });
    let mut session = coordinator.session().await;
    assert_eq!(session.hello.epoch, 1);
    session.welcome(2).await;
    let mut again = Vec::new();
    for _ in 0..3 {
        again.push(session.hears_report().await);
    }
    agent.outbox.step(report(0, StepPhase::OldStopped));
    again.push(session.hears_report().await);
    let expect = [StepPhase::Preflight, StepPhase::Pulled, StepPhase::Created, StepPhase::OldStopped];
    let expect: Vec<_> = (2..).zip(expect.map(|phase| i32::from(pb::StepPhase::from(phase)))).collect();
    assert_eq!(phases(&again), expect);
    agent.stop().await;
}

#[tokio::test]
async fn an_images_end_is_sent_again_after_a_reconnect() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let agent = agent(membership, coordinator.address, data.path(), vec![]);
    let mut session = coordinator.session().await;
    session.welcome(1).await;
    let failed =
        ImageReport { app: order(1).app, digest: order(1).digest, state: ImageState::Failed("no space left".into()) };
    agent.outbox.image(failed.clone());
    assert_eq!(session.hears_news().await, Ours::Image((&failed).into()));
    let address = coordinator.stop().await;
    let mut coordinator = Coordinator::start(Setup { address, ..setup(&pki) });
    let mut session = coordinator.session().await;
    session.welcome(2).await;
    assert_eq!(session.hears_news().await, Ours::Image((&failed).into()));
    agent.stop().await;
}

#[tokio::test]
async fn a_coordinator_with_a_smaller_epoch_is_refused() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let (logs, _listening) = Logs::listen();
    let mut agent = agent(membership, coordinator.address, data.path(), vec![]);
    let session = coordinator.session().await;
    session.welcome(7).await;
    logs.until("INFO", "session with the coordinator is up").await;
    let address = coordinator.stop().await;
    let mut coordinator = Coordinator::start(Setup { address, ..setup(&pki) });
    let mut session = coordinator.session().await;
    assert_eq!(session.hello.epoch, 7);
    session.welcome(6).await;
    session.say(Theirs::Step((&order(6)).into())).await;
    assert_eq!(session.hears_or_end().await, None);
    logs.until("WARN", "this coordinator is outdated: its epoch is 6, and epoch 7 was obeyed already").await;
    assert!(agent.asked.try_recv().is_err());
    // The next one is refused as well, and that is not said again.
    let mut session = coordinator.session().await;
    session.welcome(6).await;
    assert_eq!(session.hears_or_end().await, None);
    logs.until("DEBUG", "still no session with the coordinator").await;
    assert_eq!(logs.lines("WARN").iter().filter(|line| line.contains("outdated")).count(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn shutdown_says_goodbye_and_ends_the_stream() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let agent = agent(membership, coordinator.address, data.path(), vec![]);
    let mut session = coordinator.session().await;
    session.welcome(1).await;
    while !matches!(session.hears().await, Ours::Heartbeat(_)) {}
    let stopping = tokio::spawn(agent.stop());
    let Ours::Goodbye(goodbye) = session.hears_news().await else { panic!("no goodbye") };
    assert_eq!(goodbye.reason, "the agent is shutting down");
    assert_eq!(session.hears_or_end().await, None);
    drop(session);
    timeout(PATIENCE, stopping).await.expect("an end in time").unwrap();
}

#[tokio::test]
async fn a_certificate_that_the_coordinator_does_not_accept_is_said_once_and_readably() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let address = coordinator.stop().await;
    let _picky = Coordinator::start(Setup { address, clients: Arc::new(Pki::new("two")), ..setup(&pki) });
    let (logs, _listening) = Logs::listen();
    let agent = agent(membership, address, data.path(), vec![]);
    logs.until("DEBUG", "still no session with the coordinator").await;
    let warnings = logs.lines("WARN");
    let expect = format!(
        "error=coordinator `{address}` does not accept this node's certificate (UnknownCA); hint: the node may have been \
         removed; join again with a new token"
    );
    assert!(matches!(warnings.as_slice(), [one] if one.contains(&expect)), "{warnings:#?}");
    agent.stop().await;
    assert!(!logs.text().contains(SECRET));
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_at_the_start_is_found_later() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let address = coordinator.stop().await;
    let (logs, _listening) = Logs::listen();
    let agent = agent(membership, address, data.path(), vec![]);
    logs.until("DEBUG", "still no session with the coordinator").await;
    let warnings = logs.lines("WARN");
    let expect = format!("error=cannot connect to coordinator `{address}`: Connection refused");
    assert!(matches!(warnings.as_slice(), [one] if one.contains(&expect)), "{warnings:#?}");
    let mut coordinator = Coordinator::start(Setup { address, ..setup(&pki) });
    coordinator.session().await.welcome(1).await;
    logs.until("INFO", "session with the coordinator is up").await;
    agent.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_said_without_asking_anybody() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let coordinator = Coordinator::start(Setup { lifetime: Duration::from_secs(1800), ..setup(&pki) });
    let membership = join(&coordinator, &pki, data.path()).await;
    let (logs, _listening) = Logs::listen();
    let agent = agent(membership, coordinator.address, data.path(), vec![]);
    logs.until("WARN", "error=this node's certificate ended at ").await;
    agent.stop().await;
}

#[tokio::test]
async fn clocks_that_differ_are_said_once_and_when_they_agree_again() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let (logs, _listening) = Logs::listen();
    let agent = agent(membership, coordinator.address, data.path(), vec![]);
    let mut session = coordinator.session().await;
    session.welcome(1).await;
    let mut answer = async |behind_seconds: i64| {
        while !matches!(session.hears().await, Ours::Heartbeat(_)) {}
        let now = chrono::Utc::now() - chrono::TimeDelta::seconds(behind_seconds);
        let now = Some(nightshift_proto::convert::from_timestamp(now));
        session.say(Theirs::Heartbeat(pb::HeartbeatReply { now })).await;
    };
    answer(0).await;
    answer(60).await;
    logs.until("WARN", "this node's clock differs from the coordinator's").await;
    answer(60).await;
    answer(0).await;
    logs.until("INFO", "clock agrees with the coordinator's again").await;
    assert_eq!(logs.lines("WARN").len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_coordinator_that_no_longer_answers_is_left_for_a_new_connection() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let mut coordinator = Coordinator::start(setup(&pki));
    let membership = join(&coordinator, &pki, data.path()).await;
    let (logs, _listening) = Logs::listen();
    let agent = agent(membership, coordinator.address, data.path(), vec![]);
    let hung = coordinator.session().await;
    hung.welcome(1).await;
    let next = coordinator.session().await;
    let expect = format!("error=coordinator `{}` is silent", coordinator.address);
    assert!(logs.lines("WARN").iter().any(|line| line.contains(&expect)), "{:#?}", logs.lines("WARN"));
    drop((hung, next));
    agent.stop().await;
}
