//! Lets things happen to a fleet: faults, pushes, and (in `operators`) people who do what people do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use nightshift_agent::engine::simulated::{Call, Fault, Happening};
use nightshift_agent::engine::{Engine as _, ExecOutcome, PullFailure};
use nightshift_coordinator::registry;
use nightshift_core::catalog::Availability;
use nightshift_core::control::Request;
use nightshift_core::image::Digest;
use nightshift_core::release::TestResult;
use nightshift_core::spec::SKIP_HTTP_STATUS;
use nightshift_core::step::{StepPhase, StepReport};
use nightshift_proto::pb;
use tokio::time::{Instant, sleep};

use super::chance::Chance;
use super::fuse::Side;
use super::network::{Ways, Weather};
use super::node::Node;
use super::outside::Trouble;
use super::scenario;
use super::store::{Moment, Snare};
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

/// For how long, and how often, is looked for the worst moment for the end of an engine.
const WORST_MOMENT_LOOKS: u32 = 150;
const WORST_MOMENT_LOOK: Duration = Duration::from_secs(2);

/// How soon a new container falls ill where that is so.
const ALLERGY: Duration = Duration::from_secs(4);

/// Lets things happen to a world.
pub(crate) struct Director<'a> {
    pub(super) world: &'a World,
    pub(super) chance: Chance,
    pub(super) digests: Vec<Vec<Digest>>,
}

impl<'a> Director<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let digests = world.plan.apps.iter().map(|app| world.source.registry.resolve(&app.spec.image));
        let digests = digests.map(|digest| digest.into_iter().collect()).collect();
        Self { world, chance: world.chance.fork("director"), digests }
    }

    /// Lets things happen for a time.
    pub(crate) async fn play(&mut self, time: Duration) {
        let end = Instant::now() + time;
        if self.chance.permille(700) {
            self.moody_hooks(time);
        }
        // Something to roll out, soon.
        self.push().await;
        while Instant::now() < end {
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
            node.link.set_snare(false);
            node.link.set_weather(Weather::default());
            node.link.set_ways(Ways::OPEN);
            // What was lost in the middle of a stream is told again by the next one.
            node.link.cut();
            node.engine.forgive();
            node.engine.set_disk_full(false);
            node.engine.forget_commands();
            node.outside.forgive();
        }
        world.host.crash_at(0, Side::Before);
        world.host.events.set_snare(None);
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

    pub(super) fn node(&self) -> Arc<Node> {
        self.chance.pick(&self.world.nodes)
    }

    async fn happen(&mut self) {
        match self.chance.below(100) {
            0..=7 => self.push().await,
            8..=12 => self.retest().await,
            13..=27 => self.operate().await,
            28..=31 => self.make_allergic(),
            32..=38 => self.kill_agent(),
            39..=41 => self.kill_coordinator(),
            42..=44 => self.snare_coordinator(),
            45..=49 => self.partition(),
            50..=51 => self.world.nodes.iter().for_each(|node| node.link.set_snare(true)),
            52..=56 => self.weather(),
            57..=69 => self.fail_a_call(),
            70..=73 => self.restart_engine(),
            74..=75 => self.fill_disk(),
            76..=80 => self.strike_container().await,
            81..=83 => self.fail_registry(),
            84 => self.lose_image(),
            85..=87 => self.step_clock(),
            88..=92 => self.reload().await,
            93..=95 => self.resume_at_the_end().await,
            96 => self.remove_node().await,
            _ => self.haunt().await,
        }
    }

    pub(super) fn app(&self) -> usize {
        self.chance.index(self.world.plan.apps.len())
    }

    pub(super) async fn push(&mut self) {
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

    /// The coordinator is to die at the very order of a step, or when it has just learned that one failed.
    fn snare_coordinator(&self) {
        let at = self.chance.pick(&[Moment::Order, Moment::Failure]);
        let side = self.chance.pick(&[Side::Before, Side::After]);
        self.world.host.events.set_snare(Some(Snare { at, side }));
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

    /// An engine ends and comes back: any time, or while the old container of a step is down.
    fn restart_engine(&self) {
        let downtime = self.seconds(1, 60);
        if self.chance.permille(400) {
            self.world.notes.reached("engine restarted");
            return self.node().engine.restart_daemon(downtime);
        }
        let (nodes, notes) = (self.world.nodes.clone(), self.world.notes.clone());
        tokio::spawn(async move {
            for _ in 0..WORST_MOMENT_LOOKS {
                sleep(WORST_MOMENT_LOOK).await;
                let swapped = |step: &StepReport| (StepPhase::OldStopped..StepPhase::Monitored).contains(&step.phase);
                let busy = |node: &&Arc<Node>| node.steps().is_some_and(|steps| steps.iter().any(swapped));
                if let Some(node) = nodes.iter().find(busy) {
                    notes.reached("engine restarted while an old container was down");
                    return node.engine.restart_daemon(downtime);
                }
            }
        });
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
        self.world.notes.reached(match what {
            Happening::Unhealthy => "container became unhealthy",
            Happening::Exit(_) => "container died",
            Happening::Healthy => "container became healthy",
        });
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

    /// A node on which every new container falls ill for a while: what is good elsewhere is not good there.
    fn make_allergic(&self) {
        let (node, looks) = (self.node(), self.chance.below(200) + 40);
        self.world.notes.reached("a node on which new containers fall ill");
        tokio::spawn(async move {
            let mut known = None;
            for _ in 0..looks {
                let ids: BTreeSet<_> = node.engine.ids();
                let known = known.get_or_insert_with(|| ids.clone());
                ids.difference(known).for_each(|id| node.engine.let_happen(id, Happening::Unhealthy));
                sleep(ALLERGY).await;
            }
        });
    }

    /// What hooks call changes its mind all the time: it works, fails, says "not this time", or never ends.
    fn moody_hooks(&self, time: Duration) {
        let called = |command: &&str| self.world.plan.apps.iter().any(|app| app.fixed.calls(command));
        let commands: Vec<&str> = scenario::HOOKS.into_iter().filter(called).collect();
        if commands.is_empty() {
            return;
        }
        let (nodes, chance, end) = (self.world.nodes.clone(), self.chance.fork("hooks"), Instant::now() + time);
        tokio::spawn(async move {
            while Instant::now() < end {
                for node in &nodes {
                    node.engine.forget_commands();
                    node.outside.forgive();
                    if chance.permille(400) {
                        trouble(&chance, node, chance.pick(&commands));
                    }
                }
                sleep(chance.between(Duration::from_secs(5), Duration::from_secs(60))).await;
            }
        });
    }

    /// A digest that was pushed is gone for good: who has not fetched it never will.
    fn lose_image(&self) {
        let app = self.app();
        // What the fleet began with stays: every node has it anyway.
        let Some(digest) = self.digests[app].last().filter(|_| self.digests[app].len() > 1) else { return };
        let repository = &self.world.plan.apps[app].spec.image.repository;
        if self.world.source.registry.remove(repository, digest) {
            self.world.notes.reached("an image is gone from the registry for good");
        }
    }

    /// The oldest network of all delivers orders of the past once more.
    async fn haunt(&self) {
        let Some(epoch) = self.world.view(|view| view.control.epoch().0).await else { return };
        for node in &self.world.nodes {
            if node.link.haunt(|order| order.epoch < epoch) {
                self.world.notes.reached("order of an earlier epoch delivered");
            }
            let seen = node.generations();
            let earlier = |order: &pb::StepOrder| {
                let key = order.key.as_ref();
                order.epoch == epoch && key.is_some_and(|key| seen.get(&key.rollout) > Some(&key.generation))
            };
            if node.link.haunt(earlier) {
                self.world.notes.reached("order of an earlier generation delivered");
            }
        }
    }
}

/// A hook that calls this, one way or the other, has no luck on a node.
fn trouble(chance: &Chance, node: &Node, command: &str) {
    let ends = |exit_code| Some(ExecOutcome { exit_code, output: "something is in the way".to_owned() });
    let (outcome, trouble) = chance.pick(&[
        (ends(scenario::NOT_NOW), Trouble::Status(SKIP_HTTP_STATUS)),
        (ends(1), Trouble::Status(503)),
        (ends(1), Trouble::Refused),
        (None, Trouble::Silent),
    ]);
    node.engine.answer_command(&[command], outcome);
    node.outside.trouble(&scenario::hook_url(command), trouble);
}
