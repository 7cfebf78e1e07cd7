//! The world: a coordinator, three agents, and a network that loses, doubles and reorders; with everything that may happen
//! next, as `stateright` wants it.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use nightshift_core::config::read_app;
use nightshift_core::event::{Event, Recorded};
use nightshift_core::ids::{AppName, NodeName};
use nightshift_core::image::Digest;
use nightshift_core::rollout::RolloutState;
use nightshift_core::spec::{AppSpec, FailureAction};
use nightshift_core::step::{StepKey, StepOrder, StepPhase, StepReport};
use stateright::{Model, Property};

use crate::agent::{Agent, Met};
use crate::coordinator::Coordinator;

/// Nodes of the fleet.
pub(crate) const NODES: usize = 3;
/// Longest that a run of it is followed in time: after so many wake-ups it is out of bounds.
const WAKES: u8 = 12;

/// A rule broken on purpose, to see that the check sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A silent agent's step counts as ended.
    SilenceIsAnEnd,
    /// Failures are forgotten with the process that counted them.
    BudgetForgotten,
    /// Quarantine is forgotten with the process.
    QuarantineForgotten,
    /// An agent has its step only in memory.
    JournalLost,
    /// An agent takes whatever order comes.
    NoFence,
    /// The way back goes to whatever there is.
    AnyWayBack,
    /// A coordinator that has nothing to do is not woken.
    NeverWoken,
}

/// How many things of each kind may go wrong in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    pub(crate) coordinator_crashes: u8,
    pub(crate) agent_crashes: u8,
    pub(crate) breaks: u8,
    pub(crate) doubles: u8,
    pub(crate) failures: u8,
    /// Times at which the clock runs on although something else could happen.
    pub(crate) hurries: u8,
    pub(crate) resumes: u8,
}

/// The app's rules, the faults that may happen, and what is done wrongly.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) parallelism: u32,
    pub(crate) failure_action: FailureAction,
    pub(crate) max_failure_permille: u16,
    /// The pause between two steps.
    pub(crate) delay: Duration,
    pub(crate) faults: Faults,
    /// Messages of earlier connections arrive, too. A connection does not do that; the fence must hold all the same.
    pub(crate) late: bool,
    pub(crate) mistake: Option<Mistake>,
}

impl Rules {
    pub(crate) fn tolerated(&self) -> usize {
        match self.failure_action {
            FailureAction::Continue => NODES * usize::from(self.max_failure_permille) / 1000,
            FailureAction::Pause | FailureAction::Rollback => 0,
        }
    }

    /// Whether a new coordinator does not know of a stored event.
    pub(crate) fn forgets(&self, event: &Event) -> bool {
        let quarantine = matches!(event, Event::ReleaseQuarantined { .. });
        self.mistake == Some(Mistake::QuarantineForgotten) && quarantine
    }

    /// How a new coordinator reads a stored event.
    pub(crate) fn misread(&self, recorded: &Recorded) -> Recorded {
        let mut read = recorded.clone();
        if let Event::StepReported { report, .. } = &mut read.event
            && self.mistake == Some(Mistake::BudgetForgotten)
            && report.phase == StepPhase::RolledBack
        {
            report.phase = StepPhase::Committed;
        }
        read
    }

    /// What is stored of a decision.
    pub(crate) fn misjudge(&self, mut recorded: Recorded) -> Recorded {
        if let Event::RollbackPlanned { steps, .. } = &mut recorded.event
            && self.mistake == Some(Mistake::AnyWayBack)
        {
            steps.iter_mut().for_each(|step| step.to = digest(3));
        }
        recorded
    }
}

pub(crate) fn app() -> AppName {
    "web".parse().expect("well formed")
}

pub(crate) fn node(number: usize) -> NodeName {
    format!("n{}", number + 1).parse().expect("well formed")
}

pub(crate) fn digest(number: u8) -> Digest {
    format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().expect("well formed")
}

/// The number of a digest of [`digest`].
pub(crate) fn number(digest_of: &Digest) -> u8 {
    (1..=3).find(|number| digest(*number) == *digest_of).expect("a digest of the model")
}

pub(crate) fn spec(rules: &Rules) -> AppSpec {
    let text = "name = \"web\"\nimage = \"r.example/web:stable\"\n[quiet_hours]\ntimezone = \"UTC\"\n\
                [[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n";
    let mut spec = read_app("web.toml", text).expect("a good file");
    spec.update.parallelism = rules.parallelism;
    spec.update.failure_action = rules.failure_action;
    spec.update.max_failure_permille = rules.max_failure_permille;
    // Images are there already: fetching them only adds waiting.
    spec.update.pre_pull = false;
    spec.update.delay = rules.delay;
    spec
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Order(Arc<StepOrder>),
    Forget(StepKey),
    Report(Arc<StepReport>),
}

impl Message {
    fn identity(&self) -> (u8, &StepKey, u64, Option<StepPhase>) {
        match self {
            Self::Order(order) => (0, &order.key, order.epoch.0, None),
            Self::Forget(key) => (1, key, 0, None),
            Self::Report(report) => (2, &report.key, 0, Some(report.phase)),
        }
    }
}

/// A message with its node and connection.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    node: usize,
    session: u8,
    message: Message,
}

impl Sent {
    fn identity(&self) -> (usize, u8, (u8, &StepKey, u64, Option<StepPhase>)) {
        (self.node, self.session, self.message.identity())
    }
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) coordinator: Coordinator,
    pub(crate) agents: Vec<Agent>,
    /// In the order of their identities: which was sent first does not matter to a network that reorders.
    pub(crate) network: Vec<Sent>,
    pub(crate) left: Faults,
    pub(crate) wakes: u8,
    pub(crate) broken: BTreeSet<&'static str>,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.coordinator, &self.agents, self.left, self.wakes, &self.broken).hash(state);
        self.network.iter().for_each(|sent| sent.identity().hash(state));
    }
}

/// The checker tells states apart by what is hashed, and so does everybody.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let number = |state: &Self| BuildHasherDefault::<DefaultHasher>::default().hash_one(state);
        number(self) == number(other)
    }
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Deliver(usize),
    Double(usize),
    /// An order arrives, and the agent dies between its two durable writes.
    DeliverAndDie(usize),
    Work(usize, bool),
    Inventory(usize),
    /// The coordinator notices that a connection is gone; the agent may not yet.
    Break(usize),
    Reconnect(usize),
    AgentCrash(usize),
    /// With what was on its way, or without it.
    CoordinatorCrash(bool),
    Sleep,
    Resume,
}

impl State {
    fn send(&mut self, node: usize, session: u8, message: Message) {
        let sent = Sent { node, session, message };
        let place = self.network.partition_point(|other| other.identity() <= sent.identity());
        self.network.insert(place, sent);
    }

    fn settle(&mut self, rules: &Rules) {
        for (node, order) in self.coordinator.settle(rules) {
            // Without a connection there is nobody to send it to: the next Hello tells that it is missing.
            if let Some(session) = self.coordinator.connected[node] {
                self.send(node, session, Message::Order(Arc::new(order)));
            }
        }
    }

    /// Whether a message can still be read by the one for whom it is meant.
    fn is_read(&self, sent: &Sent, rules: &Rules) -> bool {
        let agent = &self.agents[sent.node];
        match sent.message {
            Message::Report(_) => self.coordinator.connected[sent.node] == Some(sent.session),
            Message::Order(_) | Message::Forget(_) => rules.late || agent.dialled && agent.session == sent.session,
        }
    }

    fn lose_unread(&mut self, rules: &Rules) {
        let mut network = std::mem::take(&mut self.network);
        network.retain(|sent| self.is_read(sent, rules));
        self.network = network;
    }

    fn deliver(&mut self, sent: Sent, dies: bool, rules: &Rules) {
        let (node, session) = (sent.node, sent.session);
        match sent.message {
            Message::Report(report) => {
                self.coordinator.reported(node, &report, rules);
                if report.phase.is_end() {
                    self.send(node, session, Message::Forget(report.key.clone()));
                }
            }
            Message::Forget(key) => self.agents[node].forget(&key),
            Message::Order(order) => {
                let met = self.agents[node].take(&order, dies, rules.mistake);
                match met {
                    Some(Met::Answer(report)) => self.answer(node, report),
                    Some(Met::Stale) => drop(self.broken.insert("I7")),
                    Some(Met::Begun) | None => {}
                }
                if dies {
                    self.crash_agent(node, rules);
                }
            }
        }
    }

    fn answer(&mut self, node: usize, report: StepReport) {
        if self.agents[node].dialled {
            let session = self.agents[node].session;
            self.send(node, session, Message::Report(Arc::new(report)));
        }
    }

    fn crash_agent(&mut self, node: usize, rules: &Rules) {
        self.agents[node].crash(rules.mistake);
        self.coordinator.disconnect(node, rules);
    }

    /// Everything that happens by itself in the end, without any fault.
    fn progress(&self, rules: &Rules, steps: &mut Vec<Step>) {
        let mut last = None;
        for (place, sent) in self.network.iter().enumerate() {
            if last != Some(sent.identity()) {
                steps.push(Step::Deliver(place));
            }
            last = Some(sent.identity());
        }
        for (node, agent) in self.agents.iter().enumerate() {
            if agent.job.is_some() {
                steps.push(Step::Work(node, true));
            }
            match self.coordinator.connected[node] {
                Some(_) if self.coordinator.told[node] != Some(agent.shows()) => steps.push(Step::Inventory(node)),
                Some(_) => {}
                None => steps.push(Step::Reconnect(node)),
            }
        }
        if steps.is_empty() && self.coordinator.sleeps(rules) {
            steps.push(Step::Sleep);
        }
    }

    fn faults(&self, rules: &Rules, steps: &mut Vec<Step>) {
        let left = self.left;
        for (place, sent) in self.network.iter().enumerate() {
            if left.doubles > 0 {
                steps.push(Step::Double(place));
            }
            if left.agent_crashes > 0 && matches!(sent.message, Message::Order(_)) {
                steps.push(Step::DeliverAndDie(place));
            }
        }
        for (node, agent) in self.agents.iter().enumerate() {
            if left.failures > 0 && agent.decides() {
                steps.push(Step::Work(node, false));
            }
            if left.agent_crashes > 0 && (agent.dialled || agent.job.is_some()) {
                steps.push(Step::AgentCrash(node));
            }
            if left.breaks > 0 && self.coordinator.connected[node].is_some() {
                steps.push(Step::Break(node));
            }
        }
        if left.coordinator_crashes > 0 {
            steps.extend([Step::CoordinatorCrash(true), Step::CoordinatorCrash(false)]);
        }
        if left.hurries > 0 && self.coordinator.sleeps(rules) {
            steps.push(Step::Sleep);
        }
        if left.resumes > 0 {
            steps.push(Step::Resume);
        }
    }

    /// Whether nothing more happens by itself.
    pub(crate) fn is_quiet(&self, rules: &Rules) -> bool {
        let mut steps = Vec::new();
        self.progress(rules, &mut steps);
        steps.is_empty()
    }
}

impl Model for Rules {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut agents = vec![Agent::new(); NODES];
        let (coordinator, orders) = Coordinator::begin(self, &mut agents);
        let (network, broken) = (Vec::new(), BTreeSet::new());
        let mut state = State { coordinator, agents, network, left: self.faults, wakes: 0, broken };
        for (node, order) in orders {
            let session = state.agents[node].session;
            state.send(node, session, Message::Order(Arc::new(order)));
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        state.progress(self, steps);
        state.faults(self, steps);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        let mut quiet = Vec::new();
        last.progress(self, &mut quiet);
        match step {
            Step::Deliver(place) | Step::DeliverAndDie(place) => {
                let sent = state.network.remove(place);
                let dies = matches!(step, Step::DeliverAndDie(_));
                state.left.agent_crashes -= u8::from(dies);
                state.deliver(sent, dies, self);
            }
            Step::Double(place) => {
                state.left.doubles -= 1;
                let again = state.network[place].clone();
                state.network.insert(place, again);
            }
            Step::Work(node, good) => {
                state.left.failures -= u8::from(!good);
                let report = state.agents[node].work(good)?;
                state.answer(node, report);
            }
            Step::Inventory(node) => {
                let agent = state.agents[node].clone();
                state.coordinator.inventory(node, &agent, self);
            }
            Step::Break(node) => {
                state.left.breaks -= 1;
                state.coordinator.disconnect(node, self);
            }
            Step::Reconnect(node) => {
                let State { coordinator, agents, .. } = &mut state;
                coordinator.connect(node, &mut agents[node], self).then_some(())?;
            }
            Step::AgentCrash(node) => {
                state.left.agent_crashes -= 1;
                state.crash_agent(node, self);
            }
            Step::CoordinatorCrash(arrives) => {
                state.left.coordinator_crashes -= 1;
                state.coordinator.crash(self);
                if !arrives {
                    state.network.clear();
                }
            }
            Step::Sleep => {
                state.left.hurries -= u8::from(quiet != [Step::Sleep]);
                state.wakes += 1;
                state.coordinator.sleep(self).then_some(())?;
            }
            Step::Resume => {
                state.left.resumes -= 1;
                state.coordinator.resume(self).then_some(())?;
            }
        }
        state.settle(self);
        state.lose_unread(self);
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.wakes < WAKES
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties()
    }
}

/// Whether a rollout is at this state at the moment.
pub(crate) fn reached(state: &State, wanted: RolloutState) -> bool {
    state.coordinator.states().contains(&wanted)
}
