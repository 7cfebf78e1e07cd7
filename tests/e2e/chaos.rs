//! Rollout after rollout while everything fails that can: engines, agents, the coordinator and the network between them, at
//! moments that a seed chooses, and people who steer at random. Afterwards the engines' own event streams and the audit log
//! are judged by the invariants, with the code that judges simulations.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::Utc;
use nightshift_core::event::Recorded;
use nightshift_core::invariants::{self, Act, Happened, History, Outage, Seen, check_engines};
use serde_json::{Value, json};

use crate::support::chance::Chance;
use crate::support::events::Recording;
use crate::support::fleet::{self, GOOD, Hours, SICK};
use crate::support::history::{self, found, outage};
use crate::support::parts::{Network, Parts};
use crate::support::wire::Way;
use crate::support::{Surroundings, eventually};

/// Within this time after the last fault everything is at rest: a rollout of three steps, an engine that comes back, and
/// agents that try again after pauses of up to 15 s.
const REST: Duration = Duration::from_secs(200);
/// So long nothing must change for it to be rest: longer than the coordinator takes to look around.
const STILL: Duration = Duration::from_secs(6);
/// A fault lasts so long, in milliseconds: shorter and longer than it takes to be noticed.
const FAULT: std::ops::Range<u64> = 200..7_000;
/// Between two of them.
const PAUSE: std::ops::Range<u64> = 200..2_500;

/// What happens to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Push,
    CoordinatorKilled,
    AgentKilled,
    EngineKilled,
    EngineEnded,
    WireCut,
    Person,
}

const EVENTS: [Event; 7] = [
    Event::Push,
    Event::CoordinatorKilled,
    Event::AgentKilled,
    Event::EngineKilled,
    Event::EngineEnded,
    Event::WireCut,
    Event::Person,
];

struct Chaos {
    parts: Parts,
    chance: Chance,
    happened: BTreeMap<Event, u32>,
    versions: u32,
    /// Engines that are away, and come back by themselves.
    away: [Option<JoinHandle<Outage>>; 3],
    outages: Vec<Outage>,
    /// Until when wires are cut.
    cut: [Option<Instant>; 3],
}

impl Chaos {
    fn new(parts: Parts, chance: Chance) -> Self {
        let (happened, outages) = (BTreeMap::new(), Vec::new());
        Self { parts, chance, happened, versions: 1, away: [None, None, None], outages, cut: [None; 3] }
    }

    /// Makes a mess for a time, then mends everything, and rolls out once more: whatever chance said, there is something to judge.
    fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.happen(Event::Push);
        while Instant::now() < end {
            std::thread::sleep(self.some(PAUSE));
            self.mend_what_is_due(Instant::now());
            self.lay_ghosts();
            let event = self.chance.pick(&EVENTS);
            self.happen(event);
        }
        self.mend_what_is_due(end + REST);
        for number in 0..3 {
            self.engine_back(number);
        }
        self.everything_runs();
        self.push(&GOOD);
    }

    /// Waits until every instance runs under its own name, and does what Engine 20.10 leaves to people.
    fn everything_runs(&mut self) {
        eventually("every instance runs", REST, || {
            for (number, held) in self.lay_ghosts() {
                held.iter().for_each(|id| self.parts.surroundings.engines[number].try_start(id));
            }
            let found = found(&self.parts.surroundings);
            let away: Vec<_> = found.into_iter().filter(|found| found.own_name && !found.running).collect();
            if away.is_empty() { Ok(()) } else { Err(format!("{away:?}")) }
        });
    }

    /// Frees containers that a killed engine cannot start any more: its own restart would not.
    #[expect(clippy::print_stderr, reason = "what the engine does wrong must be seen")]
    fn lay_ghosts(&mut self) -> Vec<(usize, Vec<String>)> {
        let mut laid = Vec::new();
        for number in 0..3 {
            if self.away[number].as_ref().is_none_or(JoinHandle::is_finished) {
                self.engine_back(number);
                let held = self.parts.surroundings.engines[number].lay_ghosts();
                held.iter().for_each(|id| eprintln!("engine {number} had a ghost of {id}"));
                laid.push((number, held));
            }
        }
        laid
    }

    fn some(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.chance.within(range))
    }

    fn node(&mut self) -> usize {
        self.chance.pick(&[0, 1, 2])
    }

    fn happen(&mut self, event: Event) {
        *self.happened.entry(event).or_default() += 1;
        match event {
            Event::Push => {
                let ends = ["--cmd", "sleep 1; exit 3", "--volume", "/data", "--label", "kind=ends"];
                let options: &[&str] = match self.chance.within(0..10) {
                    0..7 => &GOOD,
                    7..9 => &SICK,
                    _ => &ends,
                };
                self.push(options);
            }
            Event::CoordinatorKilled => {
                self.parts.control.crash();
                std::thread::sleep(self.some(0..2_000));
                self.parts.control.up();
            }
            Event::AgentKilled => {
                let node = self.node();
                self.parts.agent_crash(node);
                std::thread::sleep(self.some(0..2_000));
                self.parts.agent_up(node);
            }
            Event::EngineKilled => self.engine_away(true),
            Event::EngineEnded => self.engine_away(false),
            Event::WireCut => {
                let (node, way, time) = (
                    self.node(),
                    self.chance.pick(&[Way::Both, Way::ToNode, Way::FromNode, Way::Down]),
                    self.some(FAULT),
                );
                if self.cut[node].is_none() {
                    self.parts.wires[node].cut(way);
                    self.cut[node] = Some(Instant::now() + time);
                }
            }
            Event::Person => self.person(),
        }
    }

    /// A version, tested.
    fn push(&mut self, options: &[&str]) {
        self.versions += 1;
        let text = format!("v{}", self.versions);
        let image = self.parts.surroundings.registry.push_text("web:stable", &text, options);
        // The coordinator may not have seen it yet, or be unreachable: CI tries again.
        let app = self.parts.surroundings.app();
        let report = ["release", "report", &app, "--digest", &image.digest, "--result", "passed", "--suite", "all"];
        eventually("the report is taken", REST, || {
            let reported = self.parts.control.cli.run(&report);
            if reported.code == 0 { Ok(()) } else { Err(format!("{reported:?}")) }
        });
    }

    fn engine_away(&mut self, kill: bool) {
        let (number, time) = (self.node(), self.some(FAULT));
        if self.away[number].as_ref().is_some_and(JoinHandle::is_finished) {
            self.engine_back(number);
        }
        if self.away[number].is_some() {
            return;
        }
        let engine = self.parts.surroundings.engines[number].clone();
        self.away[number] = Some(std::thread::spawn(move || {
            outage(number, || {
                if kill {
                    engine.kill()
                } else {
                    engine.end()
                }
                std::thread::sleep(time);
                engine.start();
            })
        }));
    }

    fn engine_back(&mut self, number: usize) {
        if let Some(away) = self.away[number].take() {
            self.outages.push(away.join().expect("the engine comes back"));
        }
    }

    fn mend_what_is_due(&mut self, now: Instant) {
        for (wire, until) in self.parts.wires.iter().zip(&mut self.cut) {
            if until.is_some_and(|until| until <= now) {
                wire.heal();
                *until = None;
            }
        }
    }

    /// Somebody does something, whether it fits or not.
    fn person(&mut self) {
        let app = self.parts.surroundings.app();
        let verb = self.chance.pick(&["pause", "resume", "resume", "abort", "promote", "retry"]);
        let done = self.parts.control.cli.run(&["rollout", verb, &app, "--reason", "chance"]);
        assert!(done.code < 70, "{verb}: {done:?}");
    }

    /// Whether nothing more will happen by itself; what there is, to be compared with the next look.
    fn rest(&self) -> Result<Value, String> {
        let cli = &self.parts.control.cli;
        let nodes = cli.json(&["node", "list"]);
        let well = |node: &Value| node["connected"] == true && node["problem"].is_null();
        if !nodes.as_array().is_some_and(|nodes| nodes.iter().all(well)) {
            return Err(format!("{nodes:#}"));
        }
        let rollouts = cli.json(&["rollout", "list", "--app", &self.parts.surroundings.app(), "--limit", "0"]);
        let ends = ["committed", "untouched", "rolled_back", "broken", "pending", "skipped", "laggard"];
        let flying = |rollout: &Value| {
            let mut steps = rollout["steps"].as_array().into_iter().flatten();
            steps.any(|step| step["ended_at"].is_null() && !ends.contains(&step["state"].as_str().unwrap_or_default()))
        };
        let rests = |rollout: &Value| (rollout["ended"] == true || rollout["state"] == "paused") && !flying(rollout);
        match rollouts.as_array().into_iter().flatten().find(|rollout| !rests(rollout)) {
            Some(rollout) => Err(format!("{rollout:#}")),
            None => Ok(json!([rollouts, fleet::ids(&self.parts.surroundings)])),
        }
    }

    /// Waits until nothing has happened for a while.
    fn come_to_rest(&self) {
        let mut still: Option<(Value, Instant)> = None;
        eventually("everything is at rest", REST, || {
            let now = self.rest()?;
            match &still {
                Some((before, since)) if *before == now && since.elapsed() >= STILL => Ok(()),
                Some((before, _)) if *before == now => Err("it is at rest for a moment only".to_owned()),
                Some(_) | None => {
                    still = Some((now, Instant::now()));
                    Err("something happened".to_owned())
                }
            }
        });
    }
}

/// Makes chaos for a time, and judges it.
#[expect(clippy::print_stderr, reason = "how much was seen is worth knowing")]
fn chaos(scenario: &str, time: Duration, least: u32) {
    let Some(surroundings) = Surroundings::to_kill(scenario) else { return };
    let chance = Chance::from_environment(scenario);
    // Engine 20.10 takes what it stops after a crash for stopped by a person: `unless-stopped` would bring nothing back.
    let more = json!({"StopTimeout": 3, "HostConfig": {"RestartPolicy": {"Name": "always"}}});
    let (parts, _) = Parts::start_on(surroundings, Network::Wired, &GOOD, &more);
    let update = "supersede = \"at_step_boundary\"\nfailure_action = \"rollback\"\n";
    fleet::apply(&parts.surroundings, &parts.control.cli, Hours::Always, update);
    let before = found(&parts.surroundings);
    let recording = Recording::start(&parts.surroundings);

    let mut chaos = Chaos::new(parts, chance);
    chaos.run(time);
    chaos.come_to_rest();

    let Chaos { mut parts, happened, outages, .. } = chaos;
    parts.agents.iter_mut().for_each(|agent| drop(agent.take()));
    drop(parts.control.coordinator.take());
    let log = history::log(parts.surroundings.directory.path());
    let history = history::history(&parts.surroundings, before, &recording, outages);
    let planned = log.iter().filter(|recorded| recorded.event.kind() == "rollout_planned").count();
    let created = history.happened.iter().filter(|happened| matches!(happened.act, Act::Created(_))).count();
    eprintln!("{scenario}: {happened:?}, {planned} rollouts, {created} containers, {} events", history.happened.len());
    judge(&log, &history);
    sees_what_is_doctored(&log, &history);
    for event in EVENTS {
        let times = happened.get(&event).copied().unwrap_or_default();
        assert!(times >= least, "{event:?} happened {times} times: too few for a verdict");
    }
    assert!(planned >= 2 && created >= 3, "{planned} rollouts and {created} containers are too few for a verdict");
}

/// Holds what happened against the invariants.
fn judge(log: &[Recorded], history: &History) {
    let allowed = history.allowed.keys().cloned().collect();
    let mut broken = invariants::check(log, &[Seen { allowed, ..Seen::default() }]);
    broken.extend(check_engines(log, history));
    let around = |position: usize| {
        let happened = &history.happened;
        let range = position.saturating_sub(12).min(happened.len())..happened.len().min(position + 3);
        happened[range].iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let words: Vec<String> = broken.iter().map(|one| format!("{one}\n{}", around(one.position))).collect();
    assert!(broken.is_empty(), "{}\noutages: {:#?}", words.join("\n\n"), history.outages);
}

fn line(happened: &Happened) -> String {
    let Happened { at, place, container, act } = happened;
    format!("{at} {} {} {act:?}", place.1, container.short())
}

/// A verdict that nothing is wrong is worth something only if the same history with one wrong in it is judged otherwise.
fn sees_what_is_doctored(log: &[Recorded], history: &History) {
    let rules = |doctor: &dyn Fn(&mut History)| {
        let mut doctored = history.clone();
        doctor(&mut doctored);
        check_engines(log, &doctored).into_iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    let is = |act: fn(&Act) -> bool| history.happened.iter().position(|happened| act(&happened.act));
    let created = is(|act| matches!(act, Act::Created(_))).expect("containers were made");
    let nameless = rules(&|history| history.happened[created].act = Act::Created(None));
    assert!(nameless.contains(&"I10"), "a container that no step asked for: {nameless:?}");
    let closed = rules(&|history| history.allowed.clear());
    assert!(closed.contains(&"I4"), "everything outside the quiet hours: {closed:?}");
    let left = rules(&|history| history.after.push(history.after[0].clone()));
    assert!(left.contains(&"I6"), "a container that is left over: {left:?}");
    let lost = rules(&|history| drop(history.after.pop()));
    assert!(lost.contains(&"I6"), "an instance that is lost: {lost:?}");
    let last = history.after.first().expect("there are instances");
    let gone =
        Happened { at: Utc::now(), place: last.place.clone(), container: last.container.clone(), act: Act::Removed };
    let gone = rules(&|history| history.happened.push(gone.clone()));
    assert!(gone.contains(&"I5"), "the last container of an instance is removed: {gone:?}");
    // All of an app at once is more than any `parallelism` here.
    let stopped = rules(&|history| {
        let stop = |found: &invariants::Found| Happened {
            at: Utc::now(),
            place: found.place.clone(),
            container: found.container.clone(),
            act: Act::Stopping,
        };
        let stops: Vec<Happened> = history.after.iter().map(stop).collect();
        history.happened.extend(stops);
    });
    assert!(stopped.contains(&"I1") || stopped.contains(&"I10"), "all are taken away at once: {stopped:?}");
}

#[test]
fn whatever_fails_for_a_while_no_invariant_is_broken_on_the_engines() {
    chaos("chaos", Duration::from_secs(40), 0);
}

#[test]
#[ignore = "minutes: scripts/test --full"]
fn whatever_fails_for_five_minutes_no_invariant_is_broken_on_the_engines() {
    chaos("long-chaos", Duration::from_secs(300), 1);
}
