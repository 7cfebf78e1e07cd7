//! Random walks: a small fleet under random requests, reports, losses and restarts. Every log is held against the invariants;
//! when the faults stop, every rollout ends or waits for a person.

use std::collections::BTreeSet;

use super::agents::{Agent, Rng};
use super::bench::*;
use crate::invariants::{Seen, check};
use crate::rollout::{Command, Overrides, WaitKind};
use crate::spec::{FailureAction, RolloutMode};

/// How many walks a test run makes; each is a few milliseconds.
const SEEDS: u64 = 500;
/// How many things happen in one walk before the faults stop.
const LENGTH: usize = 200;
/// When a step may start in half of the walks, in seconds of a day: 08:10 to 10:00, with a cutoff of ten minutes.
const SHORT_WINDOW: (i64, i64) = (8 * 3600 + 600, 10 * 3600 - 600);
/// The same for the others, in seconds of a week that begins on a Friday: six days.
const LONG_WINDOW: (i64, i64) = (0, 6 * 86_400 - 600);
/// Second of the day at [`at`] 0, a Friday.
const MORNING: i64 = 8 * 3600;
/// The freeze of those with short windows, in seconds after [`at`] 0.
const FREEZE: (i64, i64) = (3000, 4200);

struct World {
    rng: Rng,
    control: Control,
    fleet: Fleet,
    agents: Vec<Agent>,
    apps: Vec<AppName>,
    long_window: bool,
    now: i64,
    log: Vec<Recorded>,
    seen: Vec<Seen>,
    wanted: Vec<(usize, AppName, crate::image::Digest)>,
    wake_at: Option<DateTime<Utc>>,
}

fn quiet(long_window: bool) -> crate::quiet::QuietHours {
    let hours = if long_window {
        "days = [\"fri\"]\nstart = \"00:00\"\nduration = \"6d\"\n".to_owned()
    } else {
        let bound = |second| at(second).to_rfc3339();
        let freeze = format!("name = \"f\"\nfrom = \"{}\"\nto = \"{}\"\n", bound(FREEZE.0), bound(FREEZE.1));
        format!("days = [\"daily\"]\nstart = \"08:10\"\nduration = \"110m\"\n[[quiet_hours.freeze]]\n{freeze}")
    };
    let text = format!(
        "name = \"x\"\nimage = \"r.example/x\"\n[quiet_hours]\ntimezone = \"UTC\"\ncutoff = \"10m\"\n\
         [[quiet_hours.allow]]\n{hours}"
    );
    crate::config::read_app("x.toml", &text).expect("a good file").quiet_hours.expect("it has some")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let apps: Vec<AppName> = ["api", "web"].map(|name| name.parse().expect("well formed")).to_vec();
        let names = (1..=3 + rng.below(6)).map(|number| node(&format!("n{number}")));
        let agents = names.map(|name| Agent::new(name, &apps)).collect();
        let mut world = Self {
            long_window: rng.chance(50),
            control: Control::new(Epoch(1), at(0), Duration::from_secs(120)),
            fleet: Fleet::default(),
            agents,
            apps: apps.clone(),
            now: 0,
            log: Vec::new(),
            seen: Vec::new(),
            wanted: Vec::new(),
            wake_at: None,
            rng,
        };
        let specs = apps.iter().map(|app| world.spec(app)).collect();
        world.ask(Request::Apply(specs));
        (0..world.agents.len()).for_each(|agent| world.connect(agent));
        world
    }

    fn spec(&mut self, app: &AppName) -> crate::spec::AppSpec {
        let rng = &mut self.rng;
        let mut spec = web();
        spec.name = app.clone();
        spec.quiet_hours = Some(quiet(self.long_window));
        spec.update.parallelism = u32::try_from(1 + rng.below(3)).expect("small");
        use FailureAction::{Continue, Pause, Rollback};
        spec.update.failure_action = rng.pick(&[Pause, Continue, Rollback, Rollback]);
        spec.update.max_failure_permille =
            if spec.update.failure_action == Continue { rng.pick(&[0, 200, 500]) } else { 0 };
        spec.update.mode = rng.pick(&[RolloutMode::Auto, RolloutMode::Auto, RolloutMode::Approve]);
        use crate::spec::Supersede::{AfterCompletion, AtStepBoundary, IfPaused};
        spec.update.supersede = rng.pick(&[AfterCompletion, AfterCompletion, AtStepBoundary, IfPaused]);
        spec.update.pre_pull = rng.chance(70);
        spec.update.delay = Duration::from_secs(rng.pick(&[0, 30]));
        spec.after = if app.as_str() == "api" && rng.chance(40) { vec![self.apps[1].clone()] } else { Vec::new() };
        spec
    }

    fn store(&mut self, events: Vec<Recorded>) {
        for event in events {
            self.control.apply(&event);
            self.log.push(event);
        }
    }

    fn ask(&mut self, request: Request) {
        let asked = self.control.request(request, &Actor("ann".into()), &self.fleet, at(self.now));
        self.store(asked.unwrap_or_default());
    }

    fn connect(&mut self, agent: usize) {
        let (now, epoch) = (at(self.now), self.control.epoch());
        let agent = &mut self.agents[agent];
        (agent.connected, agent.told, agent.engine_is_away) = (true, None, false);
        let (name, steps) = (agent.name.clone(), agent.journal(epoch));
        self.fleet.connect(name.clone(), NodeFacts::default(), now);
        let events = self.control.connected(&name, &Labels::new(), &steps, now);
        self.store(events);
    }

    fn disconnect(&mut self, agent: usize) {
        self.agents[agent].connected = false;
        self.fleet.disconnect(&self.agents[agent].name, at(self.now));
    }

    fn tell(&mut self, agent: usize, inventory: Result<Vec<crate::instance::InstanceView>, String>) {
        let name = self.agents[agent].name.clone();
        self.agents[agent].engine_is_away = inventory.is_err();
        if let Ok(all) = &inventory {
            self.agents[agent].told = Some(all.clone());
        }
        self.fleet.inventory(&name, inventory);
        let events = self.control.inventoried(&name, &self.fleet, at(self.now));
        self.store(events);
    }

    fn deliver(&mut self, agent: usize, any_order: bool) {
        let agent = &mut self.agents[agent];
        if !agent.connected || agent.outbox.is_empty() {
            return;
        }
        let place = if any_order { self.rng.below(agent.outbox.len()) } else { 0 };
        let doubled = any_order && self.rng.chance(20);
        let report = if doubled { agent.outbox[place].clone() } else { agent.outbox.remove(place) };
        agent.acknowledged(&report);
        let events = self.control.reported(&agent.name.clone(), &report, at(self.now));
        self.store(events);
    }

    /// What the coordinator can know now, from the played facts alone.
    fn observe(&mut self) {
        let mut seen = Seen { after: self.log.len(), ..Seen::default() };
        let (window, period) = if self.long_window { (LONG_WINDOW, 7 * 86_400) } else { (SHORT_WINDOW, 86_400) };
        let open = (window.0..=window.1).contains(&((self.now + MORNING) % period));
        let frozen = !self.long_window && (FREEZE.0..FREEZE.1).contains(&self.now);
        for app in &self.apps {
            if open {
                seen.allowed.insert(app.clone());
            }
            if frozen {
                seen.frozen.insert(app.clone());
            }
            for agent in &self.agents {
                let place = (app.clone(), agent.name.clone(), app.to_string());
                let Some(told) = agent.told.as_ref().filter(|_| agent.connected && !agent.engine_is_away) else {
                    seen.away.insert(place);
                    continue;
                };
                use crate::container::{Health, RunState};
                let Some(view) = told.iter().find(|view| view.app == *app) else { continue };
                if view.state != RunState::Running || view.health != Health::Healthy {
                    seen.away.insert(place.clone());
                }
                if view.state == RunState::Running && view.health == Health::Unhealthy {
                    seen.failing.insert(place);
                }
            }
        }
        self.seen.push(seen);
    }

    fn run(&mut self, faults: bool) {
        for round in 0.. {
            assert!(round < 300, "decisions do not come to rest");
            self.observe();
            let id = format!("r{:06}", self.log.len()).parse().expect("well formed");
            let decision = self.control.tick(&self.fleet, at(self.now), &id);
            assert!(decision.wake_at.is_none_or(|wake| wake > at(self.now)), "it wants to be woken in the past");
            self.wake_at = decision.wake_at;
            if decision.events.is_empty() && decision.actions.is_empty() {
                return;
            }
            self.store(decision.events);
            for action in decision.actions {
                self.act(action, faults);
            }
        }
    }

    fn act(&mut self, action: Action, faults: bool) {
        let place = |agents: &[Agent], node| agents.iter().position(|agent| agent.name == node).expect("a known node");
        match action {
            Action::Prepull { node, app, digest } => {
                self.fleet.requested(&node, app.clone(), digest.clone(), at(self.now));
                self.wanted.push((place(&self.agents, node), app, digest));
            }
            Action::Trigger { .. } => panic!("no app here is built again"),
            Action::Order { node, order } => {
                let agent = place(&self.agents, node);
                // An order can only be lost together with its stream.
                if faults && self.rng.chance(5) { self.disconnect(agent) } else { self.agents[agent].take(*order) }
            }
            Action::Job { order } => panic!("no app of the walk tests itself: {order:?}"),
        }
    }

    fn pulls(&mut self, faults: bool) {
        for (agent, app, digest) in std::mem::take(&mut self.wanted) {
            let failed = faults && self.rng.chance(15);
            let state = if failed { ImageState::Failed("no route".into()) } else { ImageState::Present };
            self.fleet.image(&self.agents[agent].name, ImageReport { app, digest, state }, at(self.now));
        }
    }

    fn restart(&mut self) {
        let epoch = self.control.epoch().next();
        self.now += self.rng.pick(&[0, 0, 60, 3600, 90_000]);
        self.control = Control::new(epoch, at(self.now), Duration::from_secs(120));
        self.log.iter().for_each(|event| self.control.apply(event));
        self.fleet = Fleet::default();
        self.agents.iter_mut().for_each(|agent| agent.connected = false);
        self.wanted.clear();
    }

    /// One of the agents of which this holds; of all where it holds of none.
    fn one_that(&mut self, holds: impl Fn(&Agent) -> bool) -> usize {
        let such: Vec<usize> = (0..self.agents.len()).filter(|agent| holds(&self.agents[*agent])).collect();
        if such.is_empty() { self.rng.below(self.agents.len()) } else { self.rng.pick(&such) }
    }

    fn happen(&mut self) {
        let agent = self.rng.below(self.agents.len());
        match self.rng.below(100) {
            // Those that have something to do: walks in which nobody gets anywhere show nothing.
            0..=29 => {
                let agent = self.one_that(Agent::is_busy);
                self.agents[agent].work(&mut self.rng, true);
            }
            30..=54 => {
                let agent = self.one_that(|agent| agent.connected && !agent.outbox.is_empty());
                self.deliver(agent, true);
            }
            55..=64 => {
                // Who has not told anything since it connected counts as down.
                let silent = |agent: &Agent| agent.connected && agent.told.is_none();
                let agent = if self.rng.chance(70) { self.one_that(silent) } else { agent };
                if self.agents[agent].connected {
                    let late = self.agents[agent].told.clone().filter(|_| self.rng.chance(20));
                    let fresh = self.agents[agent].inventory();
                    self.tell(agent, Ok(late.unwrap_or(fresh)));
                }
            }
            65 if self.agents[agent].connected => self.tell(agent, Err("no answer".into())),
            66 => self.disconnect(agent),
            65..=75 => {
                let agent = self.one_that(|agent| !agent.connected);
                if !self.agents[agent].connected {
                    self.connect(agent);
                }
            }
            76..=80 => self.pulls(true),
            81 => self.restart(),
            82 => {
                let app = self.rng.pick(&[0, 1]);
                let sick = |agent: &Agent| agent.containers.values().any(|real| !real.healthy);
                let agent = if self.rng.chance(70) { self.one_that(sick) } else { agent };
                let real = self.agents[agent].containers.get_mut(&self.apps[app]).expect("it is there");
                real.healthy = !real.healthy;
            }
            83..=89 => self.now += i64::try_from(self.rng.below(300)).expect("small"),
            90..=99 => self.operate(agent),
            _ => {}
        }
        self.run(true);
    }

    fn operate(&mut self, agent: usize) {
        let which = self.rng.below(2);
        let app = self.apps[which].clone();
        let number = u8::try_from(1 + self.rng.below(9)).expect("small");
        let (node, reason) = (self.agents[agent].name.clone(), "because".to_owned());
        let id = format!("r{:06}", self.log.len()).parse().expect("well formed");
        let digest = digest(number);
        let request = match self.rng.below(20) {
            0..=4 => Request::Seen {
                app,
                image: "r.example/x".parse().expect("well formed"),
                digest,
                about: Default::default(),
            },
            5..=8 => {
                let result = if self.rng.chance(10) { TestResult::Failed } else { TestResult::Passed };
                Request::Report {
                    app,
                    digest,
                    suite: "default".into(),
                    result,
                    url: None,
                    from: None,
                    about: Default::default(),
                }
            }
            9..=10 => {
                let mut some = || self.rng.chance(30);
                let overrides = Overrides { now: some(), freeze: some(), quarantine: some() };
                let digest = Some(digest).filter(|_| self.rng.chance(60));
                Request::Start { app, options: StartOptions { digest, overrides, reason }, id }
            }
            11 => Request::Rollback { app, digest: Some(digest).filter(|_| self.rng.chance(30)), reason, id },
            12..=15 => {
                use Command::{Abort, Pause, Promote, Resume, Retry};
                let command = self.rng.pick(&[Abort, Pause, Promote, Promote, Resume, Resume, Retry, Retry]);
                Request::Change { rollout: app.to_string(), command, reason }
            }
            16 => Request::Quarantine { app, digest, quarantined: self.rng.chance(40), reason },
            17 => Request::Enable { app, enabled: self.rng.chance(80), reason },
            18 => {
                use crate::catalog::Availability::{Active, Drain, Pause};
                let availability = self.rng.pick(&[Active, Active, Active, Pause, Drain]);
                Request::SetAvailability { node, availability, reason }
            }
            _ => {
                if self.rng.chance(80) {
                    return;
                }
                self.disconnect(agent);
                Request::RemoveNode { node, reason }
            }
        };
        self.ask(request);
    }

    /// No more faults: everybody comes back and does what is asked, and time goes by.
    fn settle(&mut self) {
        for round in 0..600 {
            for agent in 0..self.agents.len() {
                if !self.agents[agent].connected {
                    self.connect(agent);
                }
                self.agents[agent].containers.values_mut().for_each(|real| real.healthy = true);
                self.agents[agent].work(&mut self.rng, false);
                while !self.agents[agent].outbox.is_empty() {
                    self.deliver(agent, false);
                }
                let fresh = self.agents[agent].inventory();
                self.tell(agent, Ok(fresh));
            }
            self.pulls(false);
            self.run(false);
            let idle = !self.agents.iter().any(Agent::is_busy) && self.wanted.is_empty();
            match self.wake_at {
                Some(wake) if idle => self.now += (wake - at(self.now)).num_seconds() + 1,
                Some(_) => self.now += 1,
                None if idle && round > 20 => return,
                None => self.now += 1,
            }
        }
    }

    fn judge(&self) {
        let broken: Vec<_> = check(&self.log, &self.seen).iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        for rollout in self.control.rollouts().into_iter().filter(|rollout| !rollout.is_over()) {
            let waits = self.control.rollout_waits(rollout, &self.fleet, at(self.now));
            let a_person = |wait: &WaitingOn| matches!(wait.kind(), WaitKind::Operator | WaitKind::App);
            assert!(waits.iter().any(a_person), "{} is {} and waits for {waits:?}", rollout.id, rollout.state);
        }
        for app in self.control.catalog().apps() {
            let Some(target) = app.target(at(self.now)).map(|release| &release.digest) else { continue };
            let behind = |step: &&crate::rollout::Candidate| step.skipped.is_none();
            let behind = crate::rollout::candidates(app, self.control.catalog(), &self.fleet, target, false)
                .iter()
                .filter(behind)
                .count();
            let waits = self.control.app_waits(app, &self.fleet, at(self.now));
            assert!(behind == 0 || !waits.is_empty(), "{behind} instances are behind, and nobody says why");
        }
        let mut again = Control::new(self.control.epoch(), at(0), Duration::from_secs(120));
        self.log.iter().for_each(|event| again.apply(event));
        assert_eq!(again.rollouts(), self.control.rollouts());
        assert_eq!(again.catalog(), self.control.catalog());
    }
}

fn walk(seed: u64) -> World {
    let mut world = World::new(seed);
    (0..LENGTH).for_each(|_| world.happen());
    world.settle();
    world
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person names the seed to replay in the environment")]
fn no_walk_breaks_an_invariant_and_every_rollout_ends_or_says_what_it_waits_for() {
    let one = std::env::var("NIGHTSHIFT_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = one.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut reached = BTreeSet::new();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let world = walk(seed);
            world.judge();
            let kinds: Vec<_> = world.log.iter().map(|recorded| recorded.event.kind().to_owned()).collect();
            let states = world.control.rollouts().into_iter().map(|rollout| rollout.state.to_string());
            kinds.into_iter().chain(states).collect::<BTreeSet<_>>()
        });
        match outcome {
            Ok(found) => reached.extend(found),
            Err(cause) => {
                let words = cause.downcast_ref::<String>().map_or("it panicked", String::as_str);
                panic!(
                    "seed {seed}: {words}\nreplay: NIGHTSHIFT_SEED={seed} cargo test -p nightshift-core --lib no_walk"
                );
            }
        }
    }
    if one.is_none() {
        for must in [
            "rollback_planned",
            "step_unknown",
            "step_unknown_alarm",
            "window_not_used",
            "window_missed",
            "step_requeued",
            "step_skipped",
            "rollout_promoted",
            "node_removed",
            "release_quarantined",
            "completed",
            "completed_with_laggards",
            "rolled_back",
            "aborted",
            "superseded",
            "paused",
        ] {
            assert!(reached.contains(must), "no walk ever saw {must}");
        }
    }
}
