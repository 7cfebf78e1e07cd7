//! Lets things happen to a fleet: faults, pushes, and people who do what people do.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use nightshift_agent::engine::simulated::{Call, Fault, Happening};
use nightshift_agent::engine::{Engine as _, PullFailure};
use nightshift_coordinator::registry;
use nightshift_core::catalog::Availability;
use nightshift_core::control::{Request, StartOptions};
use nightshift_core::image::Digest;
use nightshift_core::release::TestResult;
use nightshift_core::rollout::{Command, Overrides};
use tokio::time::sleep;

use super::chance::Chance;
use super::fuse::Side;
use super::network::{Ways, Weather};
use super::node::Node;
use super::scenario;
use super::world::World;

/// Calls that a fault may hit.
const CALLS: [Call; 16] = [
    Call::Info,
    Call::List,
    Call::Inspect,
    Call::InspectImage,
    Call::ListImages,
    Call::Pull,
    Call::Tag,
    Call::RemoveImage,
    Call::Create,
    Call::SetRestartPolicy,
    Call::Start,
    Call::Stop,
    Call::Rename,
    Call::Remove,
    Call::Discard,
    Call::Events,
];

/// Lets things happen to a world.
pub(crate) struct Director<'a> {
    world: &'a World,
    chance: Chance,
    digests: Vec<Vec<Digest>>,
}

impl<'a> Director<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let digests = world.plan.apps.iter().map(|app| world.source.registry.resolve(&app.spec.image));
        let digests = digests.map(|digest| digest.into_iter().collect()).collect();
        Self { world, chance: world.chance.fork("director"), digests }
    }

    /// Lets things happen for a time.
    pub(crate) async fn play(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        // Something to roll out, soon.
        self.push().await;
        while tokio::time::Instant::now() < end {
            sleep(self.seconds(1, 50)).await;
            self.happen().await;
        }
    }

    /// Everything heals, and people tidy up.
    pub(crate) async fn heal(&self) {
        let world = self.world;
        world.source.set_failure(None);
        world.source.registry.set_failure(None);
        for node in &world.nodes {
            node.crash_at(0, Side::Before);
            node.link.set_weather(Weather::default());
            node.link.set_ways(Ways::OPEN);
            // What was lost in the middle of a stream is told again by the next one.
            node.link.cut();
            node.engine.forgive();
            node.engine.set_disk_full(false);
        }
        world.host.crash_at(0, Side::Before);
        sleep(Duration::from_secs(90)).await;
        for node in &world.nodes {
            for container in node.engine.list().await.unwrap_or_default() {
                node.engine.let_happen(&container.id, Happening::Healthy);
            }
            let (name, reason) = (node.name.clone(), "all is well again".to_owned());
            let request = Request::SetAvailability { node: name, availability: Availability::Active, reason };
            drop(world.ask(request, "ann").await);
        }
    }

    fn seconds(&self, from: u64, to: u64) -> Duration {
        self.chance.between(Duration::from_secs(from), Duration::from_secs(to))
    }

    fn node(&self) -> Arc<Node> {
        self.chance.pick(&self.world.nodes)
    }

    async fn happen(&mut self) {
        match self.chance.below(100) {
            0..=7 => self.push().await,
            8..=13 => self.retest().await,
            14..=33 => self.operate().await,
            34..=41 => self.kill_agent(),
            42..=47 => self.kill_coordinator(),
            48..=54 => self.partition(),
            55..=59 => self.weather(),
            60..=74 => self.fail_a_call(),
            75..=78 => self.restart_engine(),
            79..=80 => self.fill_disk(),
            81..=86 => self.strike_container().await,
            87..=90 => self.fail_registry(),
            91..=93 => self.step_clock(),
            94..=96 => self.reload().await,
            _ => self.haunt().await,
        }
    }

    fn app(&self) -> usize {
        self.chance.index(self.world.plan.apps.len())
    }

    async fn push(&mut self) {
        let app = self.app();
        let image = scenario::version(&self.chance, self.world.clock.now());
        let digest = self.world.push(app, image);
        self.digests[app].push(digest.clone());
        sleep(self.seconds(0, 30)).await;
        let result = if self.chance.permille(900) { TestResult::Passed } else { TestResult::Failed };
        self.world.report(app, &digest, result).await;
    }

    async fn retest(&self) {
        let app = self.app();
        let digest = self.chance.pick(&self.digests[app]);
        let result = if self.chance.permille(900) { TestResult::Passed } else { TestResult::Failed };
        self.world.report(app, &digest, result).await;
    }

    async fn operate(&self) {
        let position = self.app();
        let app = self.world.plan.apps[position].spec.name.clone();
        let reason = "because".to_owned();
        let digest = Some(self.chance.pick(&self.digests[position]));
        let digest = digest.filter(|_| self.chance.permille(500));
        let by = nightshift_core::event::Actor("ann".to_owned());
        let Some(handle) = self.world.host.handle() else { return };
        let request = match self.chance.below(20) {
            0..=2 => {
                let some = |share| self.chance.permille(share);
                let overrides = Overrides { now: some(300), freeze: some(300), quarantine: some(200) };
                let options = StartOptions { digest, overrides, reason };
                let start = move |id| Request::Start { app: app.clone(), options, id };
                drop(handle.start(self.world.plan.apps[position].spec.name.clone(), start, by).await);
                return;
            }
            3..=4 => {
                let start = move |id| Request::Rollback { app: app.clone(), digest, reason, id };
                drop(handle.start(self.world.plan.apps[position].spec.name.clone(), start, by).await);
                return;
            }
            5..=13 => {
                use Command::{Abort, Pause, Promote, Resume, Retry};
                let command = self.chance.pick(&[Abort, Pause, Promote, Promote, Resume, Resume, Resume, Retry, Retry]);
                Request::Change { rollout: app.to_string(), command, reason }
            }
            14..=15 => {
                let digest = self.chance.pick(&self.digests[position]);
                Request::Quarantine { app, digest, quarantined: self.chance.permille(400), reason }
            }
            16 => Request::Enable { app, enabled: self.chance.permille(800), reason },
            _ => {
                let availability = self.chance.pick(&[
                    Availability::Active,
                    Availability::Active,
                    Availability::Pause,
                    Availability::Drain,
                ]);
                Request::SetAvailability { node: self.node().name.clone(), availability, reason }
            }
        };
        // Refused where it does not fit: that is what is tried.
        drop(handle.request(request, by).await);
    }

    fn kill_agent(&self) {
        let node = self.node();
        if self.chance.permille(500) {
            let side = self.chance.pick(&[Side::Before, Side::After]);
            node.crash_at(node.writes() + 1 + self.chance.below(12), side);
            return;
        }
        let (power, downtime) = (self.chance.permille(400), self.seconds(1, 90));
        node.kill();
        if power {
            node.lose_power();
        }
        tokio::spawn(async move {
            sleep(downtime).await;
            node.start_unless_running();
        });
    }

    fn kill_coordinator(&self) {
        let host = self.world.host.clone();
        if self.chance.permille(500) {
            host.crash_at(host.writes() + 1 + self.chance.below(12), self.chance.pick(&[Side::Before, Side::After]));
            return;
        }
        let in_flight = |node: &Arc<Node>| node.steps().is_some_and(|steps| steps.iter().any(|s| !s.phase.is_end()));
        if self.world.nodes.iter().any(in_flight) {
            self.world.notes.reached("coordinator killed with a step in flight");
        }
        host.kill();
        let downtime = self.seconds(1, 60);
        tokio::spawn(async move {
            sleep(downtime).await;
            host.start_unless_running();
        });
    }

    fn partition(&self) {
        let ways = self.chance.pick(&[
            (Ways { up: false, down: false }, "partition"),
            (Ways { up: true, down: false }, "one-way partition: the agent hears nothing"),
            (Ways { up: false, down: true }, "one-way partition: the coordinator hears nothing"),
        ]);
        let (node, time) = (self.node(), self.seconds(2, 200));
        self.world.notes.reached(ways.1);
        node.link.set_ways(ways.0);
        tokio::spawn(async move {
            sleep(time).await;
            node.link.set_ways(Ways::OPEN);
        });
    }

    fn weather(&self) {
        let some = |most| if self.chance.permille(500) { self.chance.below(most) } else { 0 };
        let weather = Weather { lost: some(100), doubled: some(200), late: some(200), reordered: some(300) };
        self.node().link.set_weather(weather);
    }

    fn fail_a_call(&self) {
        let call = self.chance.pick(&CALLS);
        let refused = || Fault::Refused { status: 500, message: "something went wrong in the daemon".to_owned() };
        let fault = match self.chance.below(5) {
            0 => refused(),
            1 => Fault::Hang,
            2 => Fault::DoneButHangs,
            3 => Fault::DoneButReplyLost,
            _ => Fault::NotSent,
        };
        self.node().engine.fail_next(call, fault);
    }

    fn restart_engine(&self) {
        self.world.notes.reached("engine restarted");
        self.node().engine.restart_daemon(self.seconds(1, 60));
    }

    fn fill_disk(&self) {
        let (node, time) = (self.node(), self.seconds(10, 120));
        node.engine.set_disk_full(true);
        tokio::spawn(async move {
            sleep(time).await;
            node.engine.set_disk_full(false);
        });
    }

    async fn strike_container(&self) {
        let node = self.node();
        let containers = node.engine.list().await.unwrap_or_default();
        if containers.is_empty() {
            return;
        }
        let container = self.chance.pick(&containers).id;
        let what = self.chance.pick(&[Happening::Unhealthy, Happening::Exit(1), Happening::Exit(137)]);
        self.world.notes.reached("container struck");
        node.engine.let_happen(&container, what);
        if what == Happening::Unhealthy {
            let time = self.seconds(5, 120);
            tokio::spawn(async move {
                sleep(time).await;
                node.engine.let_happen(&container, Happening::Healthy);
            });
        }
    }

    fn fail_registry(&self) {
        let host = "registry.example".to_owned();
        let retry_after = Some(Duration::from_secs(30));
        let (seen, pulled) = match self.chance.below(3) {
            0 => (registry::Error::RateLimited { registry: host, retry_after }, PullFailure::RateLimited),
            1 => (registry::Error::Failed { registry: host, status: 503, retry_after: None }, PullFailure::Unreachable),
            _ => (registry::Error::NotFound { reference: "stable".to_owned() }, PullFailure::NotFound),
        };
        self.world.notes.reached(format!("registry failing: {pulled:?}"));
        self.world.source.set_failure(Some(seen));
        self.world.source.registry.set_failure(Some(pulled));
        let (source, time) = (self.world.source.clone(), self.seconds(10, 240));
        tokio::spawn(async move {
            sleep(time).await;
            source.set_failure(None);
            source.registry.set_failure(None);
        });
    }

    fn step_clock(&self) {
        let seconds = i64::try_from(self.chance.below(600)).unwrap_or(0);
        let back = self.chance.permille(500);
        self.world.notes.reached(if back { "clock set back" } else { "clock set forward" });
        self.world.clock.step(TimeDelta::seconds(if back { -seconds } else { seconds }));
    }

    async fn reload(&self) {
        let position = self.app();
        let spec = scenario::respec(&self.chance, &self.world.plan.apps[position].spec);
        if self.world.ask(Request::Apply(vec![spec]), "ann").await.is_ok() {
            self.world.notes.reached("configuration reloaded");
        }
    }

    async fn haunt(&self) {
        let Some(epoch) = self.world.view(|view| view.control.epoch().0).await else { return };
        if self.node().link.haunt(epoch) {
            self.world.notes.reached("order of an earlier epoch delivered");
        }
    }
}
