//! Small stories in which coordinator or agent dies at one certain durable write.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_agent::engine::simulated::{Behaviour, Happening, SimulatedImage};
use nightshift_core::release::TestResult;
use serde_json::json;
use tokio::time::sleep;

use super::chance::Chance;
use super::fuse::Side;
use super::run::{self, Outcome, block_on, rest};
use super::scenario::{HEALTHY_DEADLINE, labelled};
use super::witness::Hours;
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
}

impl Story {
    /// Every story.
    pub const ALL: [Self; 5] = [Self::Good, Self::BadAtOnce, Self::DoesNotStart, Self::Retreat, Self::Newer];
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
        let world = World::build(plan(story), Chance::new(1)).await;
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
        Story::Good => push(world, good()).await,
        Story::BadAtOnce => push(world, version(Behaviour::of(Happening::Unhealthy, healthy))).await,
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
    let action = if story == Story::Retreat { "rollback" } else { "pause" };
    let spec = app_of(&format!(
        "name = \"web\"\nimage = \"registry.example/shop/web:stable\"\n\
         [update]\nfailure_action = \"{action}\"\nmonitor = \"10s\"\ncanary_monitor = \"10s\"\nhealthy_deadline = \"60s\"\n\
         [quiet_hours]\ntimezone = \"UTC\"\n[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n"
    ));
    let always = vec![(start - chrono::TimeDelta::days(1), start + chrono::TimeDelta::days(30))];
    let hours = Hours { windows: always, freezes: Vec::new(), least_cutoff: HEALTHY_DEADLINE };
    let (container, labels) = labelled("web");
    let body = json!({"HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}}});
    let first = good_image(start - chrono::TimeDelta::days(3), Duration::from_secs(2));
    let nodes = ["n1", "n2"].map(|name| (name.parse().expect("well formed"), nightshift_core::labels::Labels::new()));
    Plan {
        start,
        nodes: nodes.into(),
        apps: vec![AppPlan { spec, container, labels, on: vec![0, 1], hours, first, body }],
        heartbeat_interval: Duration::from_secs(10),
        watch_interval: Duration::from_secs(15),
        unknown_after: Duration::from_secs(60),
        skew: false,
    }
}
