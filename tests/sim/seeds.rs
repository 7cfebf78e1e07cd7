//! Seeds: those that failed once, the same ones each time, and fresh ones.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nightshift::simulation::run;

use crate::batch::{must_be_good, play};

/// Fresh seeds in an everyday run; `SIM_SEEDS` asks for more.
const FRESH: usize = 30;
/// Seeds that are the same each time: together they must have seen every situation.
const SAME: std::ops::RangeInclusive<u64> = 1..=40;

/// What a batch of seeds must have been through, or it proves little.
const MUST: &[&str] = &[
    "Inspect: Hang",
    "SetRestartPolicy: Refused",
    "agent killed at a durable write",
    "agent killed when a step was pulled",
    "clock set back",
    "clock set forward",
    "configuration reloaded",
    "connection broken with an order in it",
    "container became unhealthy",
    "container died",
    "a node on which new containers fall ill",
    "failure_action continue",
    "fault DoneButHangs",
    "fault DoneButReplyLost",
    "fault Hang",
    "fault NotSent",
    "fault Refused",
    "failure_action pause",
    "failure_action rollback",
    "a container that depends on an instance",
    "health by exec",
    "health by http",
    "health by tcp",
    "node set to Drain",
    "node set to Pause",
    "node_removed",
    "order of an earlier generation delivered",
    "order start-first",
    "order stop-first",
    "quiet hours in America/Moncton",
    "quiet hours in Asia/Kolkata",
    "quiet hours in Australia/Lord_Howe",
    "quiet hours in Europe/Berlin",
    "quiet hours: a fixed cutoff",
    "quiet hours: a freeze",
    "quiet hours: a window with a time zone of its own",
    "quiet hours: nodes without a window",
    "quiet hours: windows of single nodes",
    "resumed at the end of a window",
    "rollback_planned",
    "step_unknown_alarm",
    "supersede after_completion",
    "supersede at_step_boundary",
    "supersede if_paused",
    "the watcher heard Failed",
    "the watcher heard NotFound",
    "the watcher heard RateLimited",
    "unflushed write lost",
    "window_not_used",
    "coordinator killed at a durable write",
    "coordinator killed with a step in flight",
    "engine restarted",
    "engine restarted while an old container was down",
    "an image is gone from the registry for good",
    "clocks of nodes that differ by more than 5 s",
    "hook by http: Refused",
    "hook by http: Silent",
    "hook by http: Status(425)",
    "hook by http: Status(503)",
    "hook by http: well",
    "hooks by exec",
    "hooks by http",
    "message doubled",
    "message late",
    "message lost",
    "message reordered",
    "one-way partition: the agent hears nothing",
    "one-way partition: the coordinator hears nothing",
    "order of an earlier epoch delivered",
    "partition",
    "registry failing: NotFound",
    "registry failing: RateLimited",
    "registry failing: Unreachable",
    "release_quarantined",
    "rollout aborted",
    "rollout completed",
    "rollout completed_with_laggards",
    "rollout paused",
    "rollout rolled_back",
    "rollout superseded",
    "rollout_overridden",
    "rollout_promoted",
    "step rolled_back: Unhealthy",
    "step untouched: Hook",
    "step untouched: NotAccepted",
    "step untouched: Pull",
    "step untouched: Skipped",
    "step_requeued",
    "step_skipped",
    "step_unknown",
    "waited for the next window",
];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("it is a number"))
}

#[test]
fn replay() {
    let Some(seed) = number("SIM_SEED") else { return };
    tracing_subscriber::fmt().with_env_filter("info").with_ansi(false).without_time().init();
    let outcome = run(seed);
    outcome.trace.iter().for_each(|line| eprintln!("{line}"));
    eprintln!("seed {seed}: {} rollouts in {:?} of virtual time", outcome.rollouts, outcome.time);
    eprintln!("reached: {:?}", outcome.situations);
    assert_eq!(outcome.wrong, Vec::<String>::new());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 11] {
        let (one, other) = (run(seed), run(seed));
        let differs = one.trace.iter().zip(&other.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one, other, "seed {seed}");
    }
}

#[test]
fn seeds_that_failed_once_are_good_for_ever() {
    let seeds: Vec<u64> = include_str!("seeds.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a line begins with a seed")
        })
        .collect();
    must_be_good(&play(&seeds));
}

#[test]
fn no_seed_breaks_an_invariant_and_together_they_see_every_situation() {
    let batch = play(&SAME.collect::<Vec<_>>());
    must_be_good(&batch);
    if number("SIM_SITUATIONS").is_some() {
        batch.situations.iter().for_each(|(situation, runs)| eprintln!("{runs:4} {situation}"));
    }
    let never: Vec<_> = MUST.iter().filter(|situation| !batch.situations.contains_key(**situation)).collect();
    assert!(never.is_empty(), "no seed of {} ever saw {never:?}", batch.seeds);
}

#[test]
fn no_fresh_seed_breaks_an_invariant() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is not 1970").as_nanos();
    let first = u64::try_from(now % u128::from(u64::MAX)).expect("less than the limit");
    let count = number("SIM_SEEDS").map_or(FRESH, |count| usize::try_from(count).expect("small"));
    let seeds: Vec<u64> = (0..count as u64).map(|number| first.wrapping_add(number)).collect();
    let begun = Instant::now();
    let batch = play(&seeds);
    eprintln!("{count} fresh seeds from {first} with {} rollouts in {:?}", batch.rollouts, begun.elapsed());
    must_be_good(&batch);
}
