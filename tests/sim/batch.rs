//! Many seeds on as many threads as there are processors.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nightshift::simulation::{Outcome, run};

/// What a batch of seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) seeds: usize,
    pub(crate) rollouts: usize,
    /// In how many runs each situation was reached.
    pub(crate) situations: BTreeMap<String, usize>,
    /// What is wrong, by seed.
    pub(crate) wrong: BTreeMap<u64, Vec<String>>,
}

/// Plays seeds. They share nothing, so it does not matter which thread plays which.
pub(crate) fn play(seeds: &[u64]) -> Batch {
    let (next, batch) = (AtomicUsize::new(0), Mutex::new(Batch::default()));
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = run_or_say(*seed);
            let mut batch = batch.lock().expect("nobody panics with it");
            batch.seeds += 1;
            batch.rollouts += outcome.rollouts;
            for situation in outcome.situations {
                *batch.situations.entry(situation).or_default() += 1;
            }
            if !outcome.wrong.is_empty() {
                batch.wrong.insert(*seed, outcome.wrong);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    batch.into_inner().expect("nobody panics with it")
}

/// A panic is a finding like any other.
pub(crate) fn run_or_say(seed: u64) -> Outcome {
    std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|cause| {
        let words = cause.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("without words");
        Outcome { seed, wrong: vec![format!("panicked: {words}")], ..Outcome::default() }
    })
}

/// Fails with every bad seed and the command that replays it.
pub(crate) fn must_be_good(batch: &Batch) {
    let words = batch.wrong.iter().map(|(seed, wrong)| {
        let wrong = wrong.join("\n    ");
        format!("seed {seed}:\n    {wrong}\n  replay: SIM_SEED={seed} cargo test -p nightshift --test sim -- --nocapture replay")
    });
    let words: Vec<_> = words.collect();
    assert!(words.is_empty(), "{} of {} seeds are bad\n{}", words.len(), batch.seeds, words.join("\n"));
}
