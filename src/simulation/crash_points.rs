//! Small stories in which coordinator or agent dies at one certain durable write.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_agent::engine::ExecOutcome;
use nightshift_agent::engine::simulated::{Behaviour, Happening, SimulatedImage};
use nightshift_core::release::TestResult;
use serde_json::json;
use tokio::time::sleep;

use super::chance::Chance;
use super::fuse::Side;
use super::hours::{Allowed, Hours};
use super::notes::Notes;
use super::run::{self, Outcome, block_on, rest};
use super::scenario::{Fixed, NOT_NOW, commands, labelled};
use super::world::{AppPlan, Plan, World, app_of, good_image, image};

/// A story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Story {
    /// Every node gets a good image.
    Good,
    /// The first node finds the image bad; the rollout pauses.
    BadAtOnce,
    /// The image cannot even be started.
    DoesNotStart,
    /// The second node finds it bad, and the first one goes back.
    Retreat,
    /// A good image comes, and a newer one in the middle of its rollout.
    Newer,
    /// The new container of a good image starts beside the old one.
    StartFirst,
    /// The same with a bad image.
    StartFirstBad,
    /// A container lives in the network of the instance and is replaced with it.
    Unit,
    /// The same with a bad image.
    UnitBad,
    /// Hooks are called; one says "not now" for a while.
    Hooks,
}

impl Story {
    /// What the app's file says besides.
    fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Retreat => ("failure_action = \"rollback\"\n", ""),
            Self::StartFirst | Self::StartFirstBad => ("order = \"start-first\"\n", ""),
            Self::Hooks => (
                "",
                "[hooks]\nbefore = { exec = [\"announce\"] }\ndrain = { exec = [\"drain\"] }\nafter = { exec = [\"ready\"] }\n",
            ),
            Self::Good | Self::BadAtOnce | Self::DoesNotStart | Self::Newer | Self::Unit | Self::UnitBad => ("", ""),
        }
    }
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The coordinator.
    Coordinator,
    /// The agent of this node, by position.
    Agent(usize),
}

/// A death: who, at which durable write counted from 1, and whether the write is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Who dies.
    pub victim: Victim,
    /// At which write.
    pub write: u64,
    /// Whether the write is done.
    pub done: bool,
}

/// How a story ended, and how many durable writes there were in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As for a seed.
    pub outcome: Outcome,
    /// Writes of the coordinator.
    pub coordinator_writes: u64,
    /// Writes of each agent.
    pub agent_writes: Vec<u64>,
}

/// Tells a story with at most one death in it.
#[must_use]
pub fn tell(story: Story, death: Option<Death>) -> Told {
    block_on(async move {
        let world = World::build(plan(story), Chance::new(1), Notes::default()).await;
        if let Some(Death { victim, write, done }) = death {
            let side = if done { Side::After } else { Side::Before };
            match victim {
                Victim::Coordinator => world.host.crash_at(write, side),
                Victim::Agent(position) => world.nodes[position].crash_at(write, side),
            }
        }
        world.start().await;
        play(&world, story).await;
        rest(&world).await;
        let outcome = run::outcome(&world, 1).await;
        let agent_writes = world.nodes.iter().map(|node| node.writes()).collect();
        Told { outcome, coordinator_writes: world.host.writes(), agent_writes }
    })
}

async fn play(world: &World, story: Story) {
    let (healthy, created) = (Duration::from_secs(3), world.plan.start);
    let version = |behaviour| image(created, behaviour);
    let good = || version(Behaviour::of(Happening::Healthy, healthy));
    match story {
        Story::Good | Story::StartFirst | Story::Unit => push(world, good()).await,
        Story::BadAtOnce | Story::StartFirstBad | Story::UnitBad => {
            push(world, version(Behaviour::of(Happening::Unhealthy, healthy))).await;
        }
        Story::Hooks => {
            let not_now = ExecOutcome { exit_code: NOT_NOW, output: "a long download".to_owned() };
            world.nodes[1].engine.answer_command(&["drain"], Some(not_now));
            let mut image = good();
            image.behaviour.commands = commands();
            push(world, image).await;
            sleep(Duration::from_secs(60)).await;
            world.nodes[1].engine.forget_commands();
        }
        Story::DoesNotStart => {
            let start_error = Some("exec: \"serve\": executable file not found".to_owned());
            push(world, version(Behaviour { start_error, ..Behaviour::default() })).await;
        }
        Story::Retreat => {
            let image = good();
            let first = world.nodes[1].engine.clone();
            push(world, image).await;
            // The second node's new container falls ill as soon as it is there.
            loop {
                sleep(Duration::from_secs(1)).await;
                let ill =
                    first.history().into_iter().find(|happened| happened.event.labels.contains_key("nightshift.step"));
                if let Some(happened) = ill {
                    sleep(healthy + Duration::from_secs(2)).await;
                    first.let_happen(&happened.event.id, Happening::Unhealthy);
                    return;
                }
                if tokio::time::Instant::now().duration_since(world.begun) > Duration::from_secs(3600) {
                    return;
                }
            }
        }
        Story::Newer => {
            push(world, good()).await;
            sleep(Duration::from_secs(45)).await;
            let mut newer = good();
            newer.config["Labels"] = json!({"version": "2"});
            push(world, newer).await;
        }
    }
}

/// Pushes, and reports until the coordinator has heard it.
async fn push(world: &World, image: SimulatedImage) {
    let digest = world.push(0, image);
    for _ in 0..4 {
        sleep(Duration::from_secs(5)).await;
        world.report(0, &digest, TestResult::Passed).await;
    }
}

fn plan(story: Story) -> Plan {
    let start: DateTime<Utc> = "2026-03-02T22:00:00Z".parse().expect("it is an instant");
    let (update, tables) = story.file();
    let spec = app_of(&format!(
        "name = \"web\"\nimage = \"registry.example/shop/web:stable\"\n{tables}\
         [update]\n{update}monitor = \"10s\"\ncanary_monitor = \"10s\"\nhealthy_deadline = \"60s\"\n\
         [quiet_hours]\ntimezone = \"UTC\"\n[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n"
    ));
    let span = (start - chrono::TimeDelta::days(1), start + chrono::TimeDelta::days(30));
    let hours = Hours { windows: vec![Allowed { span, role: None }], ..Hours::default() };
    let nights = vec![(spec.quiet_hours.clone(), hours)];
    let (container, labels) = labelled("web");
    let body = json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}}});
    let mut first = good_image(start - chrono::TimeDelta::days(3), Duration::from_secs(2));
    first.behaviour.commands = commands();
    let beside = matches!(story, Story::Unit | Story::UnitBad).then(|| "web-log".to_owned());
    let fixed = Fixed::default();
    let nodes = ["n1", "n2"].map(|name| (name.parse().expect("well formed"), nightshift_core::labels::Labels::new()));
    Plan {
        start,
        nodes: nodes.into(),
        apps: vec![AppPlan { spec, fixed, container, labels, on: vec![0, 1], nights, first, body, beside }],
        heartbeat_interval: Duration::from_secs(10),
        watch_interval: Duration::from_secs(15),
        unknown_after: Duration::from_secs(60),
        skew: false,
    }
}
