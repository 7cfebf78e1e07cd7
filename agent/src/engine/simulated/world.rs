//! The state of a simulated engine, and its time: what was planned falls due in order, whoever looks first.
//!
//! No task runs in the background. Every look at the world first lets happen what is due ([`World::settle`]); whoever
//! waits for events sleeps until the next thing is due. So the same calls at the same (paused) times give the same world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::labels::Labels;
use nightshift_core::recreate::Product;
use tokio::time::Instant;

use super::container::Container;
use super::fault::Faults;
use super::images::Images;
use super::registry::Happening;
use crate::engine::{EngineEvent, Error, EventKind, ExecOutcome, Result};

/// As many events as a real engine remembers for those who come later.
const REPLAY_LIMIT: usize = 256;
/// The engine's first pause before it restarts a container; it doubles each time.
const FIRST_RESTART_PAUSE: Duration = Duration::from_millis(100);
/// The engine's longest pause.
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(60);
/// Exit code of a process that was killed.
pub(super) const KILLED: i64 = 137;

/// What is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// In this run of the container.
    Happening { container: String, run: u64, what: Happening },
    /// The end of a stop.
    Stopped { container: String, run: u64, exit_code: i64 },
    /// The restart policy strikes.
    Restart { container: String, run: u64 },
    /// The daemon is back.
    DaemonUp,
}

/// An event, with the (virtual) instant at which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Instant,
    /// What.
    pub event: EngineEvent,
}

/// Everything that a simulated engine knows.
#[derive(Debug)]
pub(super) struct World {
    pub(super) name: String,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) images: Images,
    /// Networks by name, with their labels.
    pub(super) networks: BTreeMap<String, Labels>,
    pub(super) faults: Faults,
    pub(super) disk_full: bool,
    /// Which engine it says that it is.
    pub(super) product: Product,
    /// What commands say here, whatever the images say.
    pub(super) commands: BTreeMap<Vec<String>, Option<ExecOutcome>>,
    /// How long after each start the containers that are created from now on fall ill, whatever their images say.
    pub(super) allergy: Option<Duration>,
    pub(super) daemon_is_up: bool,
    /// Grows with each end of the daemon: streams of an earlier one are broken.
    pub(super) session: u64,
    made: u64,
    plan: BTreeMap<(Instant, u64), Due>,
    planned: u64,
    events: VecDeque<EngineEvent>,
    /// Everything that ever happened, when somebody wants to know.
    pub(super) history: Option<Vec<Happened>>,
    forgotten: u64,
    origin: (Instant, DateTime<Utc>),
    now: Instant,
}

pub(super) fn no_such_container(reference: &str) -> Error {
    Error::NotFound { message: format!("No such container: {reference}") }
}

impl World {
    pub(super) fn new(name: String, time: DateTime<Utc>) -> Self {
        let now = Instant::now();
        Self {
            name,
            containers: BTreeMap::new(),
            images: Images::default(),
            networks: ["bridge", "host", "none"].map(|name| (name.to_owned(), Labels::new())).into(),
            faults: Faults::default(),
            disk_full: false,
            product: Product::Docker,
            commands: BTreeMap::new(),
            allergy: None,
            daemon_is_up: true,
            session: 0,
            made: 0,
            plan: BTreeMap::new(),
            planned: 0,
            events: VecDeque::new(),
            history: None,
            forgotten: 0,
            origin: (now, time),
            now,
        }
    }

    /// The engine's clock.
    pub(super) fn time(&self) -> DateTime<Utc> {
        let (origin, time) = self.origin;
        TimeDelta::from_std(self.now - origin).ok().and_then(|passed| time.checked_add_signed(passed)).unwrap_or(time)
    }

    /// A number that was never given before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// Lets happen what is due by `now`, each thing at its own time.
    pub(super) fn settle(&mut self, now: Instant) {
        while let Some(entry) = self.plan.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = self.now.max(now);
    }

    /// When the next thing is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.plan.first_key_value().map(|((at, _), _)| *at)
    }

    fn plan(&mut self, after: Duration, due: Due) {
        self.planned += 1;
        self.plan.insert((self.now + after, self.planned), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Happening { container, run, what } if self.in_run(&container, run) => self.strike(&container, what),
            Due::Stopped { container, run, exit_code } if self.in_run(&container, run) => {
                self.die(&container, exit_code);
                self.emit(&container, EventKind::Stop);
                self.leave(&container);
            }
            Due::Restart { container, run } if self.restarts_in(&container, run) => {
                if let Some(container) = self.containers.get_mut(&container) {
                    container.restart_count += 1;
                }
                // A start that fails here shows in the container's state, as on a real engine.
                drop(self.run(&container));
            }
            Due::DaemonUp => self.daemon_starts(),
            Due::Happening { .. } | Due::Stopped { .. } | Due::Restart { .. } => {}
        }
    }

    fn in_run(&self, id: &str, run: u64) -> bool {
        self.containers.get(id).is_some_and(|container| container.run == run && container.is_up())
    }

    fn restarts_in(&self, id: &str, run: u64) -> bool {
        let waits = |container: &Container| container.run == run && container.status == RunState::Restarting;
        self.daemon_is_up && self.containers.get(id).is_some_and(waits)
    }

    pub(super) fn strike(&mut self, id: &str, what: Happening) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.status == RunState::Paused {
            container.postponed.push(what);
            return;
        }
        match what {
            Happening::Healthy => self.set_health(id, Health::Healthy),
            Happening::Unhealthy => self.set_health(id, Health::Unhealthy),
            Happening::Exit(code) => {
                self.die(id, code);
                self.restart_or_leave(id);
            }
        }
    }

    fn set_health(&mut self, id: &str, health: Health) {
        let Some(container) = self.containers.get_mut(id).filter(|container| container.health.is_some()) else {
            return;
        };
        if container.health != Some(health) {
            container.health = Some(health);
            self.emit(id, EventKind::HealthStatus(health));
        }
    }

    /// Adds an event. Times only grow, so that a replay has no two readings.
    pub(super) fn emit(&mut self, id: &str, kind: EventKind) {
        let Some(container) = self.containers.get(id) else { return };
        let after_last = self.events.back().map(|last| last.at + TimeDelta::nanoseconds(1));
        let at = after_last.map_or(self.time(), |after_last| after_last.max(self.time()));
        let (name, labels) = (container.name.clone(), container.labels());
        let event = EngineEvent { id: ContainerId(id.to_owned()), name, kind, labels, at };
        if let Some(history) = &mut self.history {
            history.push(Happened { at: self.now, event: event.clone() });
        }
        self.events.push_back(event);
        if self.events.len() > REPLAY_LIMIT {
            self.events.pop_front();
            self.forgotten += 1;
        }
    }

    /// How many events there have been.
    pub(super) fn event_count(&self) -> u64 {
        self.forgotten + self.events.len() as u64
    }

    /// The event with this number; the next one that is remembered if it is forgotten.
    pub(super) fn event(&self, number: u64) -> Option<(u64, EngineEvent)> {
        let number = number.max(self.forgotten);
        let position = usize::try_from(number - self.forgotten).ok()?;
        self.events.get(position).map(|event| (number, event.clone()))
    }

    /// The number of the first remembered event that is not older than `since`.
    pub(super) fn first_event_since(&self, since: DateTime<Utc>) -> u64 {
        self.forgotten + self.events.iter().take_while(|event| event.at < since).count() as u64
    }

    /// Starts a container that is not up: all that can go wrong there, and all that follows.
    pub(super) fn run(&mut self, id: &str) -> Result<()> {
        let taken = self.taken_port(id);
        let time = self.time();
        let Some(container) = self.containers.get_mut(id) else { return Err(no_such_container(id)) };
        let network = container.networks.keys().find(|network| !self.networks.contains_key(*network)).cloned();
        if let Some(network) = network {
            return Err(Error::NotFound { message: format!("network {network} not found") });
        }
        let port_error = taken.map(|port| {
            format!(
                "driver failed programming external connectivity on endpoint {}: Bind for 0.0.0.0:{port} failed: port is \
                 already allocated",
                container.name
            )
        });
        if let Some(message) = port_error.or_else(|| container.behaviour.start_error.clone()) {
            container.error.clone_from(&message);
            // The engine takes a program that is not there for a wrong request.
            let (status, exit_code) =
                if message.contains("no such file or directory") { (400, 127) } else { (500, 128) };
            container.exit_code = exit_code;
            if container.started_at.is_some() {
                container.status = RunState::Exited;
            }
            return Err(Error::Refused { call: "POST /containers/{id}/start", status, message });
        }
        container.run += 1;
        container.status = RunState::Running;
        (container.error, container.exit_code) = (String::new(), 0);
        container.started_at = Some(time);
        container.health = container.has_health_check().then_some(Health::Starting);
        container.postponed.clear();
        container.log.extend(container.behaviour.log.clone());
        let (run, timeline) = (container.run, container.behaviour.timeline.clone());
        self.emit(id, EventKind::Start);
        for (after, what) in timeline {
            self.plan(after, Due::Happening { container: id.to_owned(), run, what });
        }
        Ok(())
    }

    /// A host port that the container wants and another one that is up holds.
    fn taken_port(&self, id: &str) -> Option<String> {
        let others = self.containers.values().filter(|other| other.id != id && other.is_up());
        let held: BTreeSet<_> = others.flat_map(Container::host_ports).collect();
        self.containers.get(id)?.host_ports().find(|port| held.contains(port)).map(|(_, port)| port)
    }

    /// Plans the end of a container that was asked to stop, and says when it is.
    pub(super) fn begin_stop(&mut self, id: &str) -> Option<Instant> {
        let container = self.containers.get_mut(id)?;
        container.stopped_on_request = true;
        if container.status == RunState::Restarting {
            container.status = RunState::Exited;
            return None;
        }
        if !container.is_up() {
            return None;
        }
        let grace = container.config.get("StopTimeout").and_then(serde_json::Value::as_u64).unwrap_or(10);
        let grace = Duration::from_secs(grace);
        let ends_itself = container.behaviour.stop_takes < grace;
        let after = container.behaviour.stop_takes.min(grace);
        let (run, exit_code) = (container.run, if ends_itself { 0 } else { KILLED });
        self.emit(id, EventKind::Kill);
        self.plan(after, Due::Stopped { container: id.to_owned(), run, exit_code });
        Some(self.now + after)
    }

    /// The main process ends.
    pub(super) fn die(&mut self, id: &str, exit_code: i64) {
        let time = self.time();
        let Some(container) = self.containers.get_mut(id) else { return };
        container.status = RunState::Exited;
        container.exit_code = exit_code;
        container.finished_at = Some(time);
        // The engine calls a container without a health monitor unhealthy.
        container.health = container.health.map(|_| Health::Unhealthy);
        self.emit(id, EventKind::Die { exit_code });
    }

    fn restart_or_leave(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let (policy, limit) = container.policy();
        let again = match policy {
            "always" | "unless-stopped" => true,
            "on-failure" => container.exit_code != 0 && (limit == 0 || container.restart_count < limit),
            _ => false,
        };
        if !again {
            return self.leave(id);
        }
        container.status = RunState::Restarting;
        let run = container.run;
        let doublings = u32::try_from(container.restart_count).unwrap_or(u32::MAX).min(16);
        let pause = (FIRST_RESTART_PAUSE * 2u32.pow(doublings)).min(LONGEST_RESTART_PAUSE);
        self.plan(pause, Due::Restart { container: id.to_owned(), run });
    }

    /// What comes after the end: nothing, or `--rm`.
    pub(super) fn leave(&mut self, id: &str) {
        if self.containers.get(id).is_some_and(|container| container.flag("AutoRemove")) {
            self.emit(id, EventKind::Destroy);
            self.containers.remove(id);
        }
    }

    /// The daemon ends in good order, and with it all containers and all streams; it comes back later.
    pub(super) fn daemon_stops(&mut self, downtime: Duration) {
        self.daemon_is_up = false;
        self.session += 1;
        let up: Vec<String> =
            self.containers.values().filter(|container| container.is_up()).map(|c| c.id.clone()).collect();
        for id in up {
            self.emit(&id, EventKind::Kill);
            self.die(&id, 0);
            self.emit(&id, EventKind::Stop);
            self.leave(&id);
        }
        self.plan(downtime, Due::DaemonUp);
    }

    /// The daemon is back: restart policies decide what runs. Observed on Engine 20.10: `always` brings back also what a
    /// person stopped, but nothing that was created and never started; `on-failure` does not count the daemon's own stop.
    fn daemon_starts(&mut self) {
        self.daemon_is_up = true;
        let again = |container: &&Container| match container.policy() {
            ("always", _) => true,
            ("unless-stopped", _) => !container.stopped_on_request,
            ("on-failure", limit) => container.exit_code != 0 && (limit == 0 || container.restart_count < limit),
            _ => false,
        };
        let again = self.containers.values().filter(|container| container.started_at.is_some()).filter(again);
        let again: Vec<String> = again.map(|container| container.id.clone()).collect();
        for id in again {
            // A start that fails here shows in the container's state.
            drop(self.run(&id));
        }
    }

    /// Lets paused processes go on, with what they missed.
    pub(super) fn unpause(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        container.status = RunState::Running;
        let missed = std::mem::take(&mut container.postponed);
        self.emit(id, EventKind::Unpause);
        for what in missed {
            self.strike(id, what);
        }
    }
}
