//! One run from one seed: build, play, heal, wait until everything rests, judge.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use nightshift_core::event::Event;
use nightshift_core::rollout::RolloutState;
use tokio::time::sleep;

use super::chance::Chance;
use super::check::{self, Standing};
use super::director::Director;
use super::notes::Notes;
use super::scenario;
use super::world::World;

/// How long things happen, in virtual time.
const PLAY: (Duration, Duration) = (Duration::from_secs(15 * 60), Duration::from_secs(50 * 60));
/// Looks at a healed fleet before it counts as one that never rests, and the time between two of them.
const LOOKS: u32 = 240;
const LOOK: Duration = Duration::from_secs(20);
/// A rest must last, for so many looks in a row.
const RESTS: u32 = 4;

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The broken rules; none in a good run.
    pub wrong: Vec<String>,
    /// The situations that it has seen.
    pub situations: BTreeSet<String>,
    /// Everything that happened, a line for each: the event log, then each engine's history.
    pub trace: Vec<String>,
    /// Rollouts in it.
    pub rollouts: usize,
    /// How much virtual time has passed.
    pub time: Duration,
}

/// Runs a seed. It needs no runtime around it: it makes one of its own, whose time is virtual.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    block_on(async move {
        let chance = Chance::new(seed);
        let notes = Notes::default();
        let plan = scenario::plan(&chance.fork("plan"), &notes);
        let world = World::build(plan, chance, notes).await;
        world.start().await;
        let time = world.chance.fork("length").between(PLAY.0, PLAY.1);
        let mut director = Director::new(&world);
        director.play(time).await;
        director.heal().await;
        rest(&world).await;
        outcome(&world, seed).await
    })
}

/// One thread, virtual time.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without threads and sockets needs nothing of the system").block_on(work)
}

/// Waits until nothing more happens. Hours in which nothing can happen are skipped: the coordinator's clock goes forward.
pub(crate) async fn rest(world: &World) {
    let mut rests = 0;
    for _ in 0..LOOKS {
        sleep(LOOK).await;
        match check::standing(world).await {
            Standing::Busy => rests = 0,
            Standing::AtRest => rests += 1,
            Standing::Until(seconds) => {
                rests += 1;
                if rests > RESTS {
                    world.notes.reached("waited for the next window");
                    world.clock.step(TimeDelta::seconds(seconds.max(0)));
                    rests = 0;
                }
            }
        }
        if rests > RESTS {
            return;
        }
    }
}

pub(crate) async fn outcome(world: &World, seed: u64) -> Outcome {
    let begun = tokio::time::Instant::now();
    let wrong = check::judge(world).await;
    let log = world.host.events.log();
    let rollouts = log.iter().filter(|recorded| matches!(recorded.event, Event::RolloutPlanned { .. })).count();
    let mut situations = world.notes.situations();
    situations.extend(log.iter().map(|recorded| recorded.event.kind().to_owned()));
    situations.extend(log.iter().filter_map(|recorded| situation(&recorded.event)));
    let mut trace: Vec<String> =
        log.iter().map(|recorded| format!("{} {} {}", recorded.at.to_rfc3339(), recorded.by, recorded.event)).collect();
    for node in &world.nodes {
        situations.extend(node.engine.struck().iter().flat_map(|(call, fault)| struck(*call, fault)));
        let lines = node.engine.history().into_iter().map(|happened| {
            let event = happened.event;
            format!("{} {} {} {:?}", node.name, event.at.to_rfc3339(), event.name, event.kind)
        });
        trace.extend(lines);
    }
    Outcome { seed, wrong, situations, trace, rollouts, time: begun.duration_since(world.begun) }
}

fn situation(event: &Event) -> Option<String> {
    if let Event::RolloutMoved { to, .. } = event {
        return (to.is_end() || *to == RolloutState::Paused).then(|| format!("rollout {to}"));
    }
    let Event::StepReported { report, .. } = event else { return None };
    let kind = report.failure.as_ref().map(|failure| format!(": {:?}", failure.kind)).unwrap_or_default();
    report.phase.is_end().then(|| format!("step {}{kind}", report.phase))
}

fn struck(
    call: nightshift_agent::engine::simulated::Call,
    fault: &nightshift_agent::engine::simulated::Fault,
) -> [String; 2] {
    let words = format!("{fault:?}");
    let word = words.split([' ', '{']).next().unwrap_or_default();
    [format!("{call:?}: {word}"), format!("fault {word}")]
}
