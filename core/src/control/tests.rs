//! The coordinator's judgement, from event to event, on a fleet that a test plays.

use super::*;
use crate::event::Actor;
use crate::fleet::NodeFacts;
use crate::ids::NodeName;
use crate::instance::{ImageReport, ImageState};
use crate::labels::Labels;
use crate::rollout::{Action, RolloutState};
use crate::step::{Failure, FailureKind, StepOrder, StepPhase, StepReport};
use crate::testing::{app, at, digest, instance, node, web};

/// A coordinator with its fleet, driven by hand. Events are folded as a driver folds them.
struct Bench {
    control: Control,
    fleet: Fleet,
    now: i64,
    log: Vec<Recorded>,
    orders: Vec<(NodeName, StepOrder)>,
    wake_at: Option<DateTime<Utc>>,
}

impl Bench {
    fn new(nodes: &[&str]) -> Self {
        let control = Control::new(Epoch(1), at(0), Duration::from_secs(120));
        let mut bench =
            Self { control, fleet: Fleet::default(), now: 0, log: Vec::new(), orders: Vec::new(), wake_at: None };
        let mut spec = web();
        spec.quiet_hours = Some(always());
        bench.ask(Request::Apply(vec![spec])).expect("a good spec");
        for name in nodes {
            bench.connect(name, 1);
        }
        bench
    }

    fn connect(&mut self, name: &str, runs: u8) {
        let (name, now) = (node(name), at(self.now));
        self.fleet.connect(name.clone(), NodeFacts::default(), now);
        let events = self.control.connected(&name, &Labels::new(), &[], now);
        self.store(events);
        self.fleet.inventory(&name, Ok(vec![instance("web", runs)]));
        let events = self.control.inventoried(&name, &self.fleet, now);
        self.store(events);
    }

    fn store(&mut self, events: Vec<Recorded>) {
        for event in events {
            self.control.apply(&event);
            self.log.push(event);
        }
    }

    fn ask(&mut self, request: Request) -> Result<(), Rejection> {
        let events = self.control.request(request, &Actor("ann".into()), &self.fleet, at(self.now))?;
        self.store(events);
        self.run();
        Ok(())
    }

    /// Decides until nothing more follows. Images arrive at once.
    fn run(&mut self) {
        for round in 0.. {
            assert!(round < 100, "decisions do not come to rest");
            let id = format!("r{}", self.log.len()).parse().expect("well formed");
            let decision = self.control.tick(&self.fleet, at(self.now), &id);
            self.wake_at = decision.wake_at;
            let quiet = decision.events.is_empty() && decision.actions.is_empty();
            self.store(decision.events);
            for action in decision.actions {
                match action {
                    Action::Prepull { node, app, digest } => {
                        let report = ImageReport { app, digest, state: ImageState::Present };
                        self.fleet.image(&node, report, at(self.now));
                    }
                    Action::Order { node, order } => self.orders.push((node, *order)),
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn tested(&mut self, number: u8) {
        self.ask(Request::Seen { app: app(), digest: digest(number), created: None }).expect("known app");
        self.ask(report(number, TestResult::Passed)).expect("known app");
    }

    fn say(&mut self, name: &NodeName, order: &StepOrder, phase: StepPhase, failure: Option<Failure>) {
        let report = StepReport {
            key: order.key.clone(),
            phase,
            old_container_id: Some(order.container_id.clone()),
            new_container_id: None,
            downtime_ms: None,
            failure,
        };
        let events = self.control.reported(name, &report, at(self.now));
        self.store(events);
    }

    /// The newest order is carried out well: the instance runs its digest.
    fn commit(&mut self) -> String {
        let (name, order) = self.orders.pop().expect("an order is there");
        self.say(&name, &order, StepPhase::Committed, None);
        let runs = (1..=9).find(|number| digest(*number) == order.digest).expect("a test digest");
        self.fleet.inventory(&name, Ok(vec![instance("web", runs)]));
        self.run();
        name.to_string()
    }

    /// The newest order fails and is taken back on its node.
    fn fail(&mut self) -> String {
        let (name, order) = self.orders.pop().expect("an order is there");
        let failure = Failure { kind: FailureKind::Unhealthy, reason: "unhealthy".into(), log: String::new() };
        self.say(&name, &order, StepPhase::RolledBack, Some(failure));
        self.run();
        name.to_string()
    }

    fn state(&self) -> RolloutState {
        self.control.rollouts().first().expect("a rollout is there").state
    }

    fn waits(&self) -> Vec<String> {
        let known = self.control.catalog().app(&app()).expect("applied");
        self.control.app_waits(known, &self.fleet, at(self.now)).iter().map(ToString::to_string).collect()
    }
}

use crate::release::TestResult;

fn always() -> crate::quiet::QuietHours {
    let text = "name = \"web\"\nimage = \"r.example/web\"\n[quiet_hours]\ntimezone = \"UTC\"\n\
                [[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n";
    let spec = crate::config::read_app("web.toml", text).expect("a good file");
    spec.quiet_hours.expect("it has some")
}

fn report(number: u8, result: TestResult) -> Request {
    let (app, digest) = (app(), digest(number));
    Request::Report { app, digest, suite: "default".into(), result, url: None, created: None }
}

#[test]
fn instances_are_replaced_one_at_a_time_in_order() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    let mut order = Vec::new();
    while !bench.orders.is_empty() {
        assert_eq!(bench.orders.len(), 1, "never two at once");
        order.push(bench.commit());
    }
    assert_eq!(order, ["n1", "n2", "n3"]);
    assert_eq!(bench.state(), RolloutState::Completed);
    let known = bench.control.catalog().app(&app()).expect("applied").release(&digest(2)).expect("seen");
    assert!(known.known_good.is_some());
}

#[test]
fn an_untested_digest_is_not_deployed_and_the_wait_says_so() {
    let mut bench = Bench::new(&["n1"]);
    bench.ask(Request::Seen { app: app(), digest: digest(2), created: None }).expect("known app");
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["sha256:020202020202: no test report of kind `ci`"]);
}

#[test]
fn a_tag_that_moves_on_does_not_change_the_target() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.ask(Request::Seen { app: app(), digest: digest(3), created: None }).expect("known app");
    assert_eq!(bench.orders.last().expect("ordered").1.digest, digest(2));
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["sha256:030303030303: no test report of kind `ci`"]);
}

#[test]
fn an_unhealthy_digest_is_quarantined_and_goes_nowhere_else() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    assert_eq!(bench.fail(), "n1");
    assert!(bench.orders.is_empty());
    assert_eq!(bench.state(), RolloutState::Paused);
    let known = bench.control.catalog().app(&app()).expect("applied").release(&digest(2)).expect("seen");
    assert!(known.quarantine.is_some());
    let resume =
        Request::Change { rollout: "web".into(), command: crate::rollout::Command::Resume, reason: String::new() };
    assert_eq!(bench.ask(resume).expect_err("barred").kind, RejectionKind::Rule);
    let abort =
        Request::Change { rollout: "web".into(), command: crate::rollout::Command::Abort, reason: String::new() };
    bench.ask(abort).expect("open");
    assert!(bench.orders.is_empty(), "it is not tried again");
}

#[test]
fn the_same_log_gives_the_same_coordinator() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit();
    let mut again = Control::new(Epoch(1), at(0), Duration::from_secs(120));
    bench.log.iter().for_each(|event| again.apply(event));
    assert_eq!(again.rollouts(), bench.control.rollouts());
    assert_eq!(again.catalog(), bench.control.catalog());
    for recorded in &bench.log {
        let text = serde_json::to_string(recorded).expect("plain data");
        assert_eq!(&serde_json::from_str::<Recorded>(&text).expect("what was written"), recorded);
    }
    assert_eq!(bench.wake_at, again.tick(&bench.fleet, at(0), &"r".parse().expect("well formed")).wake_at);
}

#[test]
fn nothing_goes_back_in_time_by_itself() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.commit();
    bench.ask(report(1, TestResult::Passed)).expect("known app");
    assert!(bench.orders.is_empty());
}
