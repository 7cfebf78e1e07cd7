//! The simulation can see: each rule that is broken on purpose is found within a few seeds.
//!
//! Runs with `--features mutations` alone: nothing of it is in any other build.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nightshift_core::mutation::{Rule, break_rule};

use crate::batch::run_or_say;

/// Seeds after which a broken rule counts as not found.
const LIMIT: u64 = 200;

/// The first seed that finds a rule broken, and what it says: of the invariant that the rule serves, for it is no proof that
/// something else goes wrong as well.
fn find(rule: Rule, invariant: &str) -> Option<(u64, String)> {
    let meant = format!("{invariant} is broken");
    (1..=LIMIT).find_map(|seed| {
        break_rule(Some(rule));
        let outcome = run_or_say(seed);
        break_rule(None);
        outcome.wrong.into_iter().find(|wrong| wrong.starts_with(&meant)).map(|wrong| (seed, wrong))
    })
}

#[test]
fn every_broken_rule_is_found() {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((rule, invariant)) = Rule::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = find(*rule, invariant);
            rows.lock().expect("nobody panics with it").push((*invariant, format!("{rule:?}"), found));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut rows = rows.into_inner().expect("nobody panics with it");
    rows.sort();
    let mut table = format!("{:5} {:12} {:>5}  first word\n", "", "broken rule", "seeds");
    for (invariant, rule, found) in &rows {
        let (seeds, words) = found.as_ref().map_or(("-".to_owned(), "NOT FOUND"), |(s, w)| (s.to_string(), w.as_str()));
        let words: String = words.chars().take(120).collect();
        writeln!(table, "{invariant:5} {rule:12} {seeds:>5}  {words}").expect("a text takes everything");
    }
    eprintln!("{table}");
    assert!(rows.iter().all(|(_, _, found)| found.is_some()), "within {LIMIT} seeds\n{table}");
}
