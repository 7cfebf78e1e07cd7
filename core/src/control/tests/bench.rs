//! A coordinator with a played fleet, driven by hand. Events are folded as a driver folds them.

pub(super) use std::time::Duration;

pub(super) use chrono::{DateTime, Utc};

pub(super) use crate::control::{Control, Request, StartOptions};
pub(super) use crate::event::{Actor, Event, Recorded};
pub(super) use crate::fleet::{Fleet, NodeFacts};
use crate::ids::JobId;
pub(super) use crate::ids::{AppName, Epoch, NodeName};
pub(super) use crate::instance::{ImageReport, ImageState, InstanceView};
pub(super) use crate::job::JobOrder;
use crate::job::{JobLog, JobOutcome, JobReport};
pub(super) use crate::labels::Labels;
use crate::quiet::QuietHours;
pub(super) use crate::rebuild::RebuildNumber;
pub(super) use crate::release::TestResult;
pub(super) use crate::rollout::{
    Action, Command, Overrides, Rejection, RejectionKind, Rollout, RolloutState, Step, WaitingOn,
};
pub(super) use crate::spec::{AppSpec, FailureAction, RolloutMode};
pub(super) use crate::step::{Failure, FailureKind, StepOrder, StepPhase, StepReport};
pub(super) use crate::testing::{app, at, digest, instance, node, web};

/// A fleet that decides more often than this on what stands still will never rest: far more than parallel steps of any test.
const ROUNDS: usize = 1_000;

/// A coordinator with its fleet. Every instance is called like its app; time stands still until it is moved.
pub(super) struct Bench {
    pub(super) control: Control,
    pub(super) fleet: Fleet,
    pub(super) now: i64,
    pub(super) log: Vec<Recorded>,
    /// Orders that no agent has ended yet.
    pub(super) orders: Vec<(NodeName, StepOrder)>,
    /// Jobs that were ordered and that nobody has taken.
    pub(super) jobs: Vec<JobOrder>,
    pub(super) wake_at: Option<DateTime<Utc>>,
    /// Requests to CI that were sent, and that nobody has answered.
    pub(super) triggers: Vec<(RebuildNumber, u32)>,
    /// What becomes of pulls from now on.
    pub(super) pulls: ImageState,
}

impl Bench {
    /// The app `web`, always in its quiet hours, with a healthy instance of digest 1 on each node.
    pub(super) fn new(nodes: &[&str]) -> Self {
        Self::with(nodes, |_| {})
    }

    /// The same with a changed spec.
    pub(super) fn with(nodes: &[&str], change: impl FnOnce(&mut AppSpec)) -> Self {
        let mut bench = Self {
            control: Control::new(Epoch(1), at(-60), Duration::from_secs(120)),
            fleet: Fleet::default(),
            now: 0,
            log: Vec::new(),
            orders: Vec::new(),
            jobs: Vec::new(),
            wake_at: None,
            triggers: Vec::new(),
            pulls: ImageState::Present,
        };
        let mut spec = web();
        spec.quiet_hours = Some(always());
        change(&mut spec);
        bench.ask(Request::Apply(vec![spec])).expect("a good spec");
        for name in nodes {
            bench.connect(name, 1);
        }
        bench.run();
        bench
    }

    /// A node's agent connects, with nothing in its journal, and tells of its instance.
    pub(super) fn connect(&mut self, name: &str, runs: u8) {
        self.connect_with(name, &[]);
        self.inventory(name, vec![instance("web", runs)]);
    }

    /// A node's agent connects with these steps in its journal.
    pub(super) fn connect_with(&mut self, name: &str, journal: &[StepReport]) {
        let (name, now) = (node(name), at(self.now));
        self.fleet.connect(name.clone(), NodeFacts::default(), now);
        let events = self.control.connected(&name, &Labels::new(), journal, now);
        self.store(events);
    }

    /// A node with this role connects, without any instance.
    pub(super) fn join(&mut self, name: &str, role: &str) {
        let labels = [("role".to_owned(), role.to_owned())].into();
        self.fleet.connect(node(name), NodeFacts::default(), at(self.now));
        let events = self.control.connected(&node(name), &labels, &[], at(self.now));
        self.store(events);
        self.inventory(name, Vec::new());
        self.run();
    }

    /// The one job that was ordered.
    #[track_caller]
    pub(super) fn take_job(&mut self) -> JobOrder {
        assert_eq!(self.jobs.len(), 1, "{:?}", self.waits());
        self.jobs.remove(0)
    }

    /// The job's node says how it ended.
    pub(super) fn end_job(&mut self, order: &JobOrder, outcome: JobOutcome) {
        self.end_job_as(order.node.as_str(), &order.id, outcome);
    }

    /// A node says how a job ended.
    pub(super) fn end_job_as(&mut self, name: &str, job: &JobId, outcome: JobOutcome) {
        let report = JobReport { job: job.clone(), outcome, log: JobLog::default() };
        let events = self.control.job_reported(&node(name), &report, at(self.now));
        self.store(events);
        self.run();
    }

    pub(super) fn disconnect(&mut self, name: &str) {
        self.fleet.disconnect(&node(name), at(self.now));
        self.run();
    }

    pub(super) fn inventory(&mut self, name: &str, instances: Vec<InstanceView>) {
        self.fleet.inventory(&node(name), Ok(instances));
        let events = self.control.inventoried(&node(name), &self.fleet, at(self.now));
        self.store(events);
    }

    pub(super) fn store(&mut self, events: Vec<Recorded>) {
        for event in events {
            self.control.apply(&event);
            self.log.push(event);
        }
    }

    pub(super) fn ask(&mut self, request: Request) -> Result<(), Rejection> {
        let events = self.control.request(request, &Actor("ann".into()), &self.fleet, at(self.now))?;
        self.store(events);
        self.run();
        Ok(())
    }

    /// Decides until nothing more follows. Pulls end at once.
    pub(super) fn run(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS, "decisions do not come to rest");
            let id = format!("r{:04}", self.log.len()).parse().expect("well formed");
            let decision = self.control.tick(&self.fleet, at(self.now), &id);
            self.wake_at = decision.wake_at;
            let quiet = decision.events.is_empty() && decision.actions.is_empty();
            self.store(decision.events);
            for action in decision.actions {
                match action {
                    Action::Prepull { node, app, digest } => {
                        self.fleet.requested(&node, app.clone(), digest.clone(), at(self.now));
                        let report = ImageReport { app, digest, state: self.pulls.clone() };
                        self.fleet.image(&node, report, at(self.now));
                    }
                    Action::Order { node, order } => self.orders.push((node, *order)),
                    Action::Job { order } => self.jobs.push(*order),
                    Action::Trigger { app, number, attempt } => {
                        self.fleet.trigger_requested(app, number, attempt, at(self.now));
                        self.triggers.push((number, attempt));
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Time goes by, and the coordinator looks again.
    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += seconds;
        self.run();
    }

    /// The coordinator ends and starts again; no agent is connected yet.
    pub(super) fn restart(&mut self) {
        self.control = Control::new(self.control.epoch().next(), at(self.now), Duration::from_secs(120));
        self.log.iter().for_each(|event| self.control.apply(event));
        self.fleet = Fleet::default();
        self.run();
    }

    pub(super) fn seen(&mut self, number: u8) {
        self.ask(Request::Seen { app: app(), image: web().image, digest: digest(number), about: Default::default() })
            .expect("known app");
    }

    pub(super) fn reports(&mut self, number: u8, result: TestResult) {
        let (app, digest) = (app(), digest(number));
        let report = Request::Report {
            app,
            digest,
            suite: "default".into(),
            result,
            url: None,
            from: None,
            about: Default::default(),
        };
        self.ask(report).expect("known app");
    }

    /// A digest appears at the tag and has passed its tests.
    pub(super) fn tested(&mut self, number: u8) {
        self.seen(number);
        self.reports(number, TestResult::Passed);
    }

    pub(super) fn start(&mut self, options: StartOptions) -> Result<(), Rejection> {
        let id = format!("r{:04}", self.log.len()).parse().expect("well formed");
        self.ask(Request::Start { app: app(), options, id })
    }

    pub(super) fn roll_back(&mut self, to: Option<u8>) -> Result<(), Rejection> {
        let id = format!("r{:04}", self.log.len()).parse().expect("well formed");
        self.ask(Request::Rollback { app: app(), digest: to.map(digest), reason: "it is slow".into(), id })
    }

    pub(super) fn change(&mut self, command: Command) -> Result<(), Rejection> {
        self.ask(Request::Change { rollout: "web".into(), command, reason: "because".into() })
    }

    pub(super) fn set(&mut self, name: &str, availability: crate::catalog::Availability) {
        let request = Request::SetAvailability { node: node(name), availability, reason: "work".into() };
        self.ask(request).expect("a known node");
    }

    pub(super) fn report(order: &StepOrder, phase: StepPhase, failure: Option<FailureKind>) -> StepReport {
        let failure = failure.map(|kind| Failure { kind, reason: "it failed".into(), log: String::new() });
        let number = (1..=9).find(|number| digest(*number) == order.digest).expect("a test digest");
        let made = (phase == StepPhase::Committed).then(|| instance("web", number).container_id);
        StepReport {
            key: order.key.clone(),
            phase,
            old_container_id: Some(order.container_id.clone()),
            new_container_id: made,
            downtime_ms: None,
            failure,
        }
    }

    /// An agent says how far a step is.
    pub(super) fn say(&mut self, name: &str, order: &StepOrder, phase: StepPhase, failure: Option<FailureKind>) {
        let report = Self::report(order, phase, failure);
        let events = self.control.reported(&node(name), &report, at(self.now));
        self.store(events);
        self.run();
    }

    /// Takes the oldest order that nobody has ended, if there is one.
    pub(super) fn take(&mut self) -> (String, StepOrder) {
        assert!(!self.orders.is_empty(), "an order is there");
        let (name, order) = self.orders.remove(0);
        (name.to_string(), order)
    }

    /// The oldest order is carried out well: the instance runs its digest. The inventory comes before the next decision.
    pub(super) fn commit(&mut self) -> String {
        let (name, order) = self.take();
        let report = Self::report(&order, StepPhase::Committed, None);
        let events = self.control.reported(&node(&name), &report, at(self.now));
        self.store(events);
        let runs = (1..=9).find(|number| digest(*number) == order.digest).expect("a test digest");
        self.inventory(&name, vec![instance("web", runs)]);
        self.run();
        name
    }

    /// The same, until no order is left: the nodes in their order.
    pub(super) fn commit_all(&mut self) -> Vec<String> {
        std::iter::from_fn(|| (!self.orders.is_empty()).then(|| self.commit())).collect()
    }

    /// The oldest order fails and is taken back on its node.
    pub(super) fn fail(&mut self) -> String {
        let (name, order) = self.take();
        self.say(&name, &order, StepPhase::RolledBack, Some(FailureKind::Unhealthy));
        name
    }

    /// Where the orders stand that nobody has ended.
    pub(super) fn ordered(&self) -> Vec<&str> {
        self.orders.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn rollout(&self) -> Rollout {
        self.control.find_rollout("web").expect("a rollout is there").clone()
    }

    pub(super) fn state(&self) -> RolloutState {
        self.rollout().state
    }

    /// How many rollouts there have been.
    pub(super) fn rollouts(&self) -> usize {
        self.control.rollouts().len()
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        self.rollout().steps
    }

    pub(super) fn waits(&self) -> Vec<String> {
        let known = self.control.catalog().app(&app()).expect("applied");
        self.control.app_waits(known, &self.fleet, at(self.now)).iter().map(ToString::to_string).collect()
    }

    pub(super) fn is_quarantined(&self, number: u8) -> bool {
        let app = self.control.catalog().app(&app()).expect("applied");
        app.release(&digest(number)).is_some_and(|release| release.quarantine.is_some())
    }

    pub(super) fn is_known_good(&self, number: u8) -> bool {
        let app = self.control.catalog().app(&app()).expect("applied");
        app.release(&digest(number)).is_some_and(|release| release.known_good.is_some())
    }
}

/// Quiet hours of these lines.
pub(super) fn quiet(lines: &str) -> QuietHours {
    let text = format!("name = \"web\"\nimage = \"r.example/web\"\n[quiet_hours]\ntimezone = \"UTC\"\n{lines}");
    crate::config::read_app("web.toml", &text).expect("a good file").quiet_hours.expect("it has some")
}

fn always() -> QuietHours {
    quiet("[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n")
}
