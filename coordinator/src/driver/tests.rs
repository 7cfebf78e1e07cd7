//! The driver with a real store, played by agents that are mere channels.

use std::sync::Mutex;

use chrono::TimeDelta;
use nightshift_core::config::read_app;
use nightshift_core::container::{Health, RunState};
use nightshift_core::control::Request;
use nightshift_core::fleet::NodeFacts;
use nightshift_core::ids::{AppName, ContainerId, Epoch, JobId};
use nightshift_core::image::Digest;
use nightshift_core::instance::{Findings, ImageReport, ImageState, InstanceView, Surveyed, WatchedApp};
use nightshift_core::job::{JobLog, JobOrder, JobOutcome, JobReport};
use nightshift_core::labels::Labels;
use nightshift_core::release::TestResult;
use nightshift_core::rollout::{PlannedStep, RolloutState};
use nightshift_core::spec::InstanceSelector;
use nightshift_core::step::{StepKey, StepOrder, StepPhase, StepReport};
use nightshift_proto::pb;
use nightshift_proto::pb::coordinator_message::Body;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::Status;

mod rebuilds;

use super::*;
use crate::data_dir::DataDir;
use crate::store::SqliteStore;

/// Nothing in these tests takes longer than this, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(20);

const WEB: &str = r#"
name = "web"
image = "r.example/web:stable"
[update]
delay = "0s"
[quiet_hours]
timezone = "UTC"
[[quiet_hours.allow]]
days = ["daily"]
start = "00:00"
duration = "24h"
"#;

fn digest(number: u8) -> Digest {
    format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().expect("well formed")
}

fn app() -> AppName {
    "web".parse().expect("well formed")
}

fn person() -> Actor {
    Actor("ann".into())
}

/// A running coordinator whose store outlives it.
struct Fixture {
    directory: TempDir,
    clock: Arc<Mutex<DateTime<Utc>>>,
    handle: Handle,
    store: SqliteStore,
    running: JoinHandle<Result<(), Error>>,
    shutdown: CancellationToken,
    fires: mpsc::Receiver<Fire>,
}

impl Fixture {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(Mutex::new(DateTime::from_timestamp(1_800_000_000, 0).expect("in range")));
        Self::open(directory, clock).await
    }

    async fn open(directory: TempDir, clock: Arc<Mutex<DateTime<Utc>>>) -> Self {
        let data_dir = DataDir::open(directory.path()).expect("nobody else has it");
        let store = SqliteStore::open(&data_dir).await.expect("a store");
        let read = clock.clone();
        let (outbox, fires) = triggers::queue();
        let options = Options {
            store: Arc::new(store.clone()),
            clock: Arc::new(move || *read.lock().expect("no panic holds it")),
            unknown_after: Duration::from_secs(120),
            heartbeat_interval: Duration::from_secs(5),
            witness: None,
            triggers: Some(outbox),
        };
        let (driver, handle) = Driver::open(options).await.expect("opens");
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(driver.run(shutdown.clone()));
        Self { directory, clock, handle, store, running, shutdown, fires }
    }

    /// Ends the driver at once, as a crash does, and starts another on the same store.
    async fn crash(self) -> Self {
        self.running.abort();
        drop(self.running.await);
        // It holds the directory's lock.
        drop(self.store);
        Self::open(self.directory, self.clock).await
    }

    fn advance(&self, seconds: i64) {
        *self.clock.lock().expect("no panic holds it") += TimeDelta::seconds(seconds);
    }

    async fn ask(&self, request: Request) {
        self.handle.request(request, person()).await.expect("accepted");
    }

    async fn follow_web(&self) {
        let spec = read_app("web.toml", WEB).expect("a good file");
        self.ask(Request::Apply(vec![spec])).await;
    }

    async fn seen(&self, number: u8) {
        self.ask(Request::Seen {
            app: app(),
            image: "r.example/web:stable".parse().expect("well formed"),
            digest: digest(number),
            about: Default::default(),
        })
        .await;
    }

    async fn tested(&self, number: u8) {
        self.seen(number).await;
        let (app, digest, suite) = (app(), digest(number), "default".to_owned());
        let result = TestResult::Passed;
        self.ask(Request::Report { app, digest, suite, result, url: None, from: None, about: Default::default() })
            .await;
    }

    async fn state(&self) -> Option<RolloutState> {
        let newest = |view: &View<'_>| view.control.rollouts().first().map(|rollout| rollout.state);
        self.handle.ask(newest).await.expect("answers")
    }
}

/// An agent's end of a session.
struct Agent {
    name: NodeName,
    handle: Handle,
    inbox: mpsc::Receiver<Result<pb::CoordinatorMessage, Status>>,
    reports: u64,
    /// The last Watch that it has read.
    watch: Option<u64>,
}

impl Agent {
    async fn connect(fixture: &Fixture, name: &str, session: u64, steps: Vec<StepReport>) -> Self {
        Self::connect_as(fixture, name, session, Labels::new(), steps, Vec::new()).await
    }

    /// A node that may test images connects, with these jobs.
    async fn connect_to_test(fixture: &Fixture, session: u64, jobs: Vec<JobId>) -> Self {
        let labels = [("role".to_owned(), "test".to_owned())].into();
        let mut agent = Self::connect_as(fixture, "t1", session, labels, Vec::new(), jobs).await;
        agent.next(|body| matches!(body, Body::Watch(_)).then_some(())).await;
        let revision = agent.watch.expect("just read");
        agent.say(NodeSaid::Inventory { revision, instances: Ok(Vec::new()) }).await;
        agent
    }

    async fn connect_as(
        fixture: &Fixture,
        name: &str,
        session: u64,
        labels: Labels,
        steps: Vec<StepReport>,
        jobs: Vec<JobId>,
    ) -> Self {
        let (outbox, inbox) = mpsc::channel(64);
        let (name, facts) = (name.parse().expect("well formed"), NodeFacts::default());
        let agent = Self { name, handle: fixture.handle.clone(), inbox, reports: 0, watch: None };
        agent.say(NodeSaid::Connected { session, facts, labels, steps, jobs, outbox }).await;
        agent
    }

    async fn job(&mut self) -> JobOrder {
        let job = |body: &Body| if let Body::Job(job) = body { Some(job.clone()) } else { None };
        self.next(job).await.try_into().expect("a whole order")
    }

    /// Says how a job ended, and waits until that is acknowledged.
    async fn ended(&mut self, job: &JobId, outcome: JobOutcome) {
        let log = JobLog { text: "1 test\n".into(), cut: true };
        self.say(NodeSaid::Job(Box::new(JobReport { job: job.clone(), outcome, log }))).await;
        let forgets = |body: &Body| {
            let Body::Acknowledge(told) = body else { return None };
            told.forget_jobs.contains(&job.to_string()).then_some(())
        };
        self.next(forgets).await;
    }

    async fn say(&self, said: NodeSaid) {
        self.handle.node(self.name.clone(), said).await.expect("heard");
    }

    async fn runs(&mut self, number: u8) {
        if self.watch.is_none() {
            self.next(|body| matches!(body, Body::Watch(_)).then_some(())).await;
        }
        let revision = self.watch.expect("just read");
        self.says_it_runs(number, revision).await;
    }

    async fn says_it_runs(&self, number: u8, revision: u64) {
        let instances = Ok(vec![InstanceView {
            app: app(),
            container_id: ContainerId(format!("{}-{number}", self.name)),
            container: "web".into(),
            image: "r.example/web:stable".into(),
            image_id: format!("sha256:image{number}"),
            digests: vec![digest(number)],
            state: RunState::Running,
            health: Health::Healthy,
            refusal: None,
            image_created: None,
            after: Vec::new(),
            start_first_obstacles: Vec::new(),
        }]);
        self.say(NodeSaid::Inventory { revision, instances }).await;
    }

    /// The next message of a kind; images are reported as present on the way.
    async fn next<T>(&mut self, want: impl Fn(&Body) -> Option<T>) -> T {
        let search = async {
            loop {
                let message = self.inbox.recv().await.expect("the session is open").expect("no refusal");
                let body = message.body.expect("a body");
                if let Body::Prepull(wanted) = &body {
                    let digest = wanted.digest.parse().expect("a digest");
                    self.say(NodeSaid::Image(ImageReport { app: app(), digest, state: ImageState::Present })).await;
                }
                if let Body::Watch(watch) = &body {
                    self.watch = Some(watch.revision);
                }
                if let Some(found) = want(&body) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the message comes")
    }

    async fn order(&mut self) -> StepOrder {
        let step = |body: &Body| if let Body::Step(step) = body { Some(step.clone()) } else { None };
        self.next(step).await.try_into().expect("a whole order")
    }

    async fn acknowledged(&mut self) -> pb::Acknowledge {
        self.next(|body| if let Body::Acknowledge(ack) = body { Some(ack.clone()) } else { None }).await
    }

    async fn report(&mut self, key: &StepKey, phase: StepPhase) -> u64 {
        self.reports += 1;
        let report = Box::new(report(key, phase));
        self.say(NodeSaid::Report { sequence: self.reports, report }).await;
        self.reports
    }
}

fn report(key: &StepKey, phase: StepPhase) -> StepReport {
    let key = key.clone();
    StepReport { key, phase, old_container_id: None, new_container_id: None, downtime_ms: None, failure: None }
}

#[tokio::test]
async fn a_session_begins_with_welcome_and_watch() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    let mut agent = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let kind = |body: &Body| match body {
            Body::Welcome(welcome) => Some(format!("welcome {}", welcome.epoch)),
            Body::Watch(watch) => Some(format!("watch {}", watch.apps.len())),
            Body::Acknowledge(_) => None,
            Body::Prepull(_)
            | Body::Step(_)
            | Body::Heartbeat(_)
            | Body::Goodbye(_)
            | Body::Survey(_)
            | Body::Job(_) => Some(format!("{body:?}")),
        };
        kinds.push(agent.next(kind).await);
    }
    assert_eq!(kinds, ["welcome 1", "watch 1"]);
}

#[tokio::test]
async fn a_tested_digest_goes_to_one_node_after_the_other() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    let mut first = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    let mut second = Agent::connect(&fixture, "n2", 2, Vec::new()).await;
    first.runs(1).await;
    second.runs(1).await;
    fixture.tested(2).await;
    // Both fetch the image before either is touched.
    second.next(|body| matches!(body, Body::Prepull(_)).then_some(())).await;
    for agent in [&mut first, &mut second] {
        let order = agent.order().await;
        assert_eq!((order.digest.clone(), order.container.as_str()), (digest(2), "web"));
        let sequence = agent.report(&order.key, StepPhase::Committed).await;
        let answer = loop {
            let answer = agent.acknowledged().await;
            if answer.sequence == sequence {
                break answer;
            }
        };
        assert_eq!(answer.forget.len(), 1, "an ended step is forgotten once it is stored");
        agent.runs(2).await;
    }
    assert_eq!(fixture.state().await, Some(RolloutState::Completed));
}

#[tokio::test]
async fn a_crash_in_mid_step_is_taken_up_where_the_agent_is() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    let mut agent = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    agent.runs(1).await;
    fixture.tested(2).await;
    let order = agent.order().await;
    let fixture = fixture.crash().await;
    let steps = vec![report(&order.key, StepPhase::Started)];
    let mut agent = Agent::connect(&fixture, "n1", 1, steps).await;
    let epoch = agent.next(|body| if let Body::Welcome(welcome) = body { Some(welcome.epoch) } else { None }).await;
    assert_eq!(epoch, 2);
    agent.report(&order.key, StepPhase::Committed).await;
    agent.runs(2).await;
    assert_eq!(fixture.state().await, Some(RolloutState::Completed));
}

#[tokio::test]
async fn an_order_that_never_arrived_is_given_again_with_a_greater_generation() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    let mut agent = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    agent.runs(1).await;
    fixture.tested(2).await;
    let lost = agent.order().await;
    let fixture = fixture.crash().await;
    let mut agent = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    agent.runs(1).await;
    let again = agent.order().await;
    assert_eq!(again.key.step, lost.key.step);
    assert!(again.key.generation > lost.key.generation && again.epoch > lost.epoch);
}

#[tokio::test]
async fn an_older_session_that_ends_late_does_not_end_the_newer_one() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    let old = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    let mut new = Agent::connect(&fixture, "n1", 2, Vec::new()).await;
    new.runs(1).await;
    old.say(NodeSaid::Gone { session: 1 }).await;
    let connected = |view: &View<'_>| view.fleet.connected().count();
    assert_eq!(fixture.handle.ask(connected).await.expect("answers"), 1);
    new.say(NodeSaid::Gone { session: 2 }).await;
    assert_eq!(fixture.handle.ask(connected).await.expect("answers"), 0);
}

#[tokio::test]
async fn agents_hear_goodbye_when_the_coordinator_ends() {
    let fixture = Fixture::start().await;
    let mut agent = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    agent.next(|body| matches!(body, Body::Welcome(_)).then_some(())).await;
    fixture.shutdown.cancel();
    agent.next(|body| matches!(body, Body::Goodbye(_)).then_some(())).await;
    fixture.running.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn every_fact_is_in_the_log_once_and_the_fold_of_it_is_the_same() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    fixture.tested(2).await;
    fixture.advance(60);
    fixture.tested(2).await;
    let before = fixture.handle.ask(|view| (view.control.catalog().clone(), view.sequence)).await.expect("answers");
    let fixture = fixture.crash().await;
    let after = fixture.handle.ask(|view| (view.control.catalog().clone(), view.sequence)).await.expect("answers");
    assert_eq!(before, after);
    assert_eq!(before.1, crate::store::Sequence(3), "applied, seen, reported: what is no news is not stored");
}

#[tokio::test]
async fn an_inventory_that_answers_an_earlier_watch_loses_no_instance() {
    let fixture = Fixture::start().await;
    fixture.follow_web().await;
    let mut agent = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    agent.runs(1).await;
    let adopted = |view: &View<'_>| view.control.catalog().app(&app()).map(|app| app.adopted.len());
    assert_eq!(fixture.handle.ask(adopted).await.expect("answers"), Some(1));
    let earlier = agent.watch.expect("read") - 1;
    agent.say(NodeSaid::Inventory { revision: earlier, instances: Ok(Vec::new()) }).await;
    assert_eq!(fixture.handle.ask(adopted).await.expect("answers"), Some(1));
    let now = agent.watch.expect("read");
    agent.say(NodeSaid::Inventory { revision: now, instances: Ok(Vec::new()) }).await;
    assert_eq!(fixture.handle.ask(adopted).await.expect("answers"), Some(0));
}

#[tokio::test]
async fn a_survey_asks_every_chosen_node_once_and_waits_for_nobody_who_is_gone() {
    let fixture = Fixture::start().await;
    let survey = |nodes: &str| {
        let (handle, nodes) = (fixture.handle.clone(), nodes.parse().expect("a selector"));
        let app = WatchedApp {
            name: app(),
            repository: "r.example/web".parse().expect("well formed"),
            instances: InstanceSelector::Image,
        };
        tokio::spawn(async move { handle.survey(app, nodes, PATIENCE).await.expect("the driver is there") })
    };
    let nobody = survey("").await.expect("no panic");
    assert_eq!(nobody, [], "with no node connected there is nothing to wait for");
    let mut first = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    let mut second = Agent::connect(&fixture, "n2", 2, Vec::new()).await;
    assert_eq!(survey("role=db").await.expect("no panic"), [], "nor with none that is chosen");
    let asked = survey("");
    let id = |body: &Body| if let Body::Survey(survey) = body { Some(survey.id) } else { None };
    let (id, _) = (first.next(id).await, second.next(id).await);
    first.say(NodeSaid::Surveyed { id: id + 1, found: Ok(Findings::Instances(Vec::new())) }).await;
    for _ in 0..2 {
        first.say(NodeSaid::Surveyed { id, found: Err("no engine".to_owned()) }).await;
    }
    second.say(NodeSaid::Gone { session: 2 }).await;
    let expect = Surveyed { node: first.name.clone(), found: Err("no engine".to_owned()) };
    assert_eq!(asked.await.expect("no panic"), [expect]);
}

#[test]
fn the_plan_of_a_fleet_of_five_thousand_nodes_fits_into_the_store() {
    let step = |number: usize| PlannedStep {
        node: format!("{number:0>60}").parse().expect("well formed"),
        container: "c".repeat(120),
        container_id: ContainerId("f".repeat(64)),
        from: Some(digest(1)),
        to: digest(2),
    };
    let plan: Vec<_> = (0..5_000).map(step).collect();
    let bytes = serde_json::to_vec(&plan).expect("plain data").len();
    assert!(bytes * 2 < crate::store::BODY_LIMIT_BYTES, "{bytes} bytes");
}

#[tokio::test]
async fn a_candidate_is_tested_on_a_node_and_its_log_is_kept() {
    let fixture = Fixture::start().await;
    let gate = "[gate]\ntests = ['self-test']\n[self_test]\ntest_nodes = 'role=test'\n";
    let spec = read_app("web.toml", &format!("{WEB}{gate}")).expect("a good file");
    fixture.ask(Request::Apply(vec![spec])).await;
    let mut web = Agent::connect(&fixture, "n1", 1, Vec::new()).await;
    web.runs(1).await;
    let mut tester = Agent::connect_to_test(&fixture, 2, Vec::new()).await;
    fixture.seen(2).await;
    let first = tester.job().await;
    assert_eq!((first.app.clone(), first.node.as_str(), first.epoch), (app(), "t1", Epoch(1)));

    // It connects again with the job in work: nothing is ordered anew.
    let mut tester = Agent::connect_to_test(&fixture, 3, vec![first.id.clone()]).await;
    tester.ended(&first.id, JobOutcome::NotDone { reason: "no space left on device".into() }).await;
    fixture.advance(15);
    // It looks again at once.
    fixture.seen(2).await;
    let second = tester.job().await;
    assert_ne!(first.id, second.id);

    // A crash of the coordinator loses neither the job nor its end.
    let fixture = fixture.crash().await;
    let mut tester = Agent::connect_to_test(&fixture, 1, vec![second.id.clone()]).await;
    tester.ended(&second.id, JobOutcome::Passed).await;
    // Said once more, it is acknowledged once more.
    tester.ended(&second.id, JobOutcome::Passed).await;
    let passed = |view: &View<'_>| {
        let app = view.control.catalog().app(&app()).expect("there");
        app.release(&digest(2)).expect("there").reports.len()
    };
    assert_eq!(fixture.handle.ask(passed).await.expect("answers"), 1);
    let logs = fixture.store.job_logs("web", Some(digest(2).as_str()), 10).await.expect("readable");
    let told: Vec<_> = logs.iter().map(|log| (log.job.as_str(), log.result.as_str(), log.node.as_str())).collect();
    assert_eq!(told, [(second.id.as_str(), "passed", "t1"), (first.id.as_str(), "not-done", "t1")]);
    assert_eq!((logs[0].text.as_str(), logs[0].cut), ("1 test\n", true));
    assert_eq!(logs[1].reason.as_deref(), Some("no space left on device"));
    let mut web = Agent::connect(&fixture, "n1", 2, Vec::new()).await;
    web.runs(1).await;
    assert_eq!(web.order().await.digest, digest(2));
}
