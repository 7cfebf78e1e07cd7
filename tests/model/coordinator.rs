//! The coordinator: the product's own [`Control`], driven as the driver drives it: decide, store, apply, send.
//!
//! Beside it stand the plain facts against which its orders are judged; they are kept from the events alone.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_core::control::{Control, Request};
use nightshift_core::event::{Actor, Event, Recorded};
use nightshift_core::fleet::{Fleet, NodeFacts};
use nightshift_core::ids::{Epoch, NodeName, RolloutId};
use nightshift_core::image::Digest;
use nightshift_core::labels::Labels;
use nightshift_core::release::TestResult;
use nightshift_core::rollout::{Action, Command, Rollout, RolloutState, Step, StepFate, StepState, WaitKind};
use nightshift_core::step::{Purpose, StepOrder, StepPhase, StepReport};

use crate::agent::Agent;
use crate::world::{Mistake, Rules, app, digest, node, spec};

/// Decisions that follow from one input at most, as in the driver.
const ROUND_LIMIT: usize = 100;

/// What is durable (the log and its fold), what is seen (the fleet), and what is remembered of it for judging.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator {
    control: Arc<Control>,
    pub(crate) log: Arc<Vec<Recorded>>,
    fleet: Fleet,
    pub(crate) now: i64,
    wake_at: Option<DateTime<Utc>>,
    /// What each node told last on its present connection.
    pub(crate) told: Vec<Option<(u8, bool)>>,
    /// The number of each node's connection; `None`: it is gone.
    pub(crate) connected: Vec<Option<u8>>,
    facts: Facts,
    /// Rules that were broken.
    pub(crate) broken: BTreeSet<&'static str>,
}

/// Kept from the events alone.
#[derive(Debug, Clone, Default, Hash)]
struct Facts {
    quarantined: BTreeSet<Digest>,
    known_good: BTreeSet<Digest>,
    /// Failed steps since a person last let the rollout go on.
    failures: usize,
    /// Whether it goes back: then the budget of the way forward is done with.
    back: bool,
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).expect("in range")
}

impl Coordinator {
    /// A coordinator whose agents are all there, with a tested digest that is newer than what they run. The first order is
    /// given.
    pub(crate) fn begin(rules: &Rules, agents: &mut [Agent]) -> (Self, Vec<(usize, StepOrder)>) {
        let mut new = Self {
            control: Arc::new(Control::new(Epoch(1), at(0), Duration::from_secs(120))),
            log: Arc::default(),
            fleet: Fleet::default(),
            now: 0,
            wake_at: None,
            told: vec![None; agents.len()],
            connected: vec![None; agents.len()],
            facts: Facts::default(),
            broken: BTreeSet::new(),
        };
        new.ask(Request::Apply(vec![spec(rules)]), rules);
        for (number, agent) in agents.iter_mut().enumerate() {
            new.connect(number, agent, rules);
            new.inventory(number, agent, rules);
        }
        let (tested, suite) = (digest(2), "default".to_owned());
        new.ask(
            Request::Seen {
                app: app(),
                image: "r.example/web:stable".parse().expect("well formed"),
                digest: tested.clone(),
                about: Default::default(),
            },
            rules,
        );
        let result = TestResult::Passed;
        new.ask(
            Request::Report {
                app: app(),
                digest: tested,
                suite,
                result,
                url: None,
                from: None,
                about: Default::default(),
            },
            rules,
        );
        let orders = new.settle(rules);
        (new, orders)
    }

    fn time(&self) -> DateTime<Utc> {
        at(self.now)
    }

    fn ask(&mut self, request: Request, rules: &Rules) -> bool {
        let asked = self.control.request(request, &Actor("ann".into()), &self.fleet, self.time());
        let done = asked.is_ok();
        self.store(asked.unwrap_or_default(), rules);
        done
    }

    /// A person lets a paused rollout go on. Whether that is possible.
    pub(crate) fn resume(&mut self, rules: &Rules) -> bool {
        let reason = "because".to_owned();
        self.ask(Request::Change { rollout: "web".into(), command: Command::Resume, reason }, rules)
    }

    /// An agent connects and tells its journal. Steps that the coordinator has stored the end of may be forgotten. Whether
    /// the agent took this coordinator.
    pub(crate) fn connect(&mut self, number: usize, agent: &mut Agent, rules: &Rules) -> bool {
        let Some(steps) = agent.hello(self.control.epoch()) else { return false };
        let now = self.time();
        self.connected[number] = Some(agent.session);
        self.told[number] = None;
        self.fleet.connect(node(number), NodeFacts::default(), now);
        let events = self.control.connected(&node(number), &Labels::new(), &steps, now);
        self.store(events, rules);
        steps.iter().filter(|step| step.phase.is_end()).for_each(|step| agent.forget(&step.key));
        true
    }

    /// The stream of a node ended.
    pub(crate) fn disconnect(&mut self, number: usize, rules: &Rules) {
        (self.connected[number], self.told[number]) = (None, None);
        self.fleet.disconnect(&node(number), self.time());
        if rules.mistake == Some(Mistake::SilenceIsAnEnd) {
            let given_up = self.in_flight(&node(number)).map(|(rollout, step)| Event::StepSkipped {
                rollout,
                step: step.index,
                fate: StepFate::Laggard,
                reason: "it is silent".into(),
            });
            let events = given_up.map(|event| Recorded { at: self.time(), by: Actor::nightshift(), event });
            self.store(events.into_iter().collect(), rules);
        }
    }

    fn in_flight(&self, node: &NodeName) -> Option<(RolloutId, Step)> {
        let rollouts = self.control.rollouts();
        let mut steps = rollouts.into_iter().flat_map(|rollout| rollout.in_flight().map(|step| (&rollout.id, step)));
        steps.find(|(_, step)| step.node == *node).map(|(id, step)| (id.clone(), step.clone()))
    }

    pub(crate) fn inventory(&mut self, number: usize, agent: &Agent, rules: &Rules) {
        self.told[number] = Some(agent.shows());
        self.fleet.inventory(&node(number), Ok(vec![agent.inventory()]));
        let events = self.control.inventoried(&node(number), &self.fleet, self.time());
        self.store(events, rules);
    }

    pub(crate) fn reported(&mut self, number: usize, report: &StepReport, rules: &Rules) {
        let events = self.control.reported(&node(number), report, self.time());
        self.store(events, rules);
    }

    /// It ends, and another one begins on its log: nobody is connected.
    pub(crate) fn crash(&mut self, rules: &Rules) {
        let remembered = |recorded: &&Recorded| !rules.forgets(&recorded.event);
        let mut control = Control::new(self.control.epoch().next(), self.time(), Duration::from_secs(120));
        self.log.iter().filter(remembered).for_each(|recorded| control.apply(&rules.misread(recorded)));
        self.control = Arc::new(control);
        self.fleet = Fleet::default();
        self.connected.fill(None);
        self.told.fill(None);
    }

    /// Decides until nothing more follows; the orders that are to be sent.
    pub(crate) fn settle(&mut self, rules: &Rules) -> Vec<(usize, StepOrder)> {
        let mut orders = Vec::new();
        for _ in 0..ROUND_LIMIT {
            let id = format!("r{}", self.control.rollouts().len()).parse().expect("well formed");
            let decision = self.control.tick(&self.fleet, self.time(), &id);
            self.wake_at = decision.wake_at;
            if decision.events.is_empty() && decision.actions.is_empty() {
                return orders;
            }
            let events = decision.events.into_iter().map(|recorded| rules.misjudge(recorded)).collect();
            self.store(events, rules);
            for action in decision.actions {
                let Action::Order { node: name, order } = action else { continue };
                let number = (0..self.connected.len()).find(|number| node(*number) == name).expect("a known node");
                orders.push((number, *order));
            }
        }
        self.broken.insert("restless");
        orders
    }

    fn store(&mut self, events: Vec<Recorded>, rules: &Rules) {
        if events.is_empty() {
            return;
        }
        let control = Arc::make_mut(&mut self.control);
        let log = Arc::make_mut(&mut self.log);
        for recorded in events {
            if let Some(rule) = self.facts.judge(&recorded.event, control, rules) {
                self.broken.insert(rule);
            }
            control.apply(&recorded);
            log.push(recorded);
        }
    }

    /// Time goes by until it wants to be woken.
    pub(crate) fn sleep(&mut self, rules: &Rules) -> bool {
        let Some(wake) = self.wake_at.filter(|_| rules.mistake != Some(Mistake::NeverWoken)) else { return false };
        self.now += (wake - self.time()).max(TimeDelta::zero()).num_seconds() + 1;
        true
    }

    /// Whether it would be woken.
    pub(crate) fn sleeps(&self, rules: &Rules) -> bool {
        self.wake_at.is_some() && rules.mistake != Some(Mistake::NeverWoken)
    }

    /// Where the rollouts stand.
    pub(crate) fn states(&self) -> Vec<RolloutState> {
        self.control.rollouts().into_iter().map(|rollout| rollout.state).collect()
    }

    /// Whether every rollout has ended or waits for a person.
    pub(crate) fn is_at_rest(&self) -> bool {
        let waits_for_person = |rollout: &Rollout| {
            let waits = self.control.rollout_waits(rollout, &self.fleet, self.time());
            waits.iter().any(|wait| wait.kind() == WaitKind::Operator)
        };
        self.control.rollouts().into_iter().all(|rollout| rollout.is_over() || waits_for_person(rollout))
    }
}

impl Facts {
    /// Judges one event before it is applied, and remembers it. The broken rule, if one is.
    fn judge(&mut self, event: &Event, control: &Control, rules: &Rules) -> Option<&'static str> {
        if let Event::ReleaseQuarantined { digest, .. } = event {
            self.quarantined.insert(digest.clone());
        }
        if let Event::ReleaseKnownGood { digest, .. } = event {
            self.known_good.insert(digest.clone());
        }
        if let Event::RollbackPlanned { steps, .. } = event {
            self.back = true;
            return steps.iter().any(|step| !self.known_good.contains(&step.to)).then_some("I8");
        }
        if let Event::RolloutMoved { rollout, to, .. } = event {
            let paused = control.rollout(rollout).is_some_and(|known| known.state.as_str() == "paused");
            if paused && !to.is_end() {
                self.failures = 0;
            }
        }
        if let Event::StepReported { report, .. } = event
            && report.phase == StepPhase::RolledBack
        {
            self.failures += 1;
        }
        let Event::StepOrdered { rollout, step, .. } = event else { return None };
        let step = control.rollout(rollout)?.step(*step)?;
        if self.quarantined.contains(&step.to) {
            return Some("I3");
        }
        (step.purpose == Purpose::Update && !self.back && self.failures > rules.tolerated()).then_some("I2")
    }
}

/// What makes two coordinators the same for everything that can follow: not when things happened, but what is known.
impl Hash for Coordinator {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.now, self.wake_at, &self.told, &self.connected, &self.facts, &self.broken).hash(state);
        self.control.epoch().0.hash(state);
        for rollout in self.control.rollouts() {
            (rollout.id.as_str(), rollout.state, rollout.resume_to, rollout.generation.0, rollout.promoted).hash(state);
            for step in &rollout.steps {
                (word(step.state), step.phase, step.generation.0, step.accepted, step.canary, step.not_before)
                    .hash(state);
                (step.to.short(), &step.container_id.0, step.put_off).hash(state);
            }
        }
        let Some(app) = self.control.catalog().app(&app()) else { return };
        for release in &app.releases {
            (release.known_good.is_some(), release.quarantine.is_some()).hash(state);
        }
        for adopted in app.adopted.values() {
            let replaced = adopted.replaced.as_ref().map(|replaced| (&replaced.old, &replaced.new));
            (replaced, adopted.left_behind.is_some()).hash(state);
        }
    }
}

const fn word(state: StepState) -> u8 {
    match state {
        StepState::Pending => 0,
        StepState::Ordered => 1,
        StepState::At(_) => 2,
        StepState::Unknown => 3,
        StepState::Skipped(StepFate::AtTarget) => 4,
        StepState::Skipped(StepFate::Laggard) => 5,
    }
}
