//! A large fleet: a decision stays far below what the design grants a step, and grows with the fleet, not with its square.

use super::bench::*;

const NODES: usize = 5000;

fn large() -> Bench {
    let mut bench = Bench::with(&[], |spec| spec.update.parallelism = 100);
    for number in 0..NODES {
        bench.connect(&format!("n{number:05}"), 1);
    }
    bench.run();
    bench
}

/// Measures by hand: `cargo test --release -p nightshift-core --lib scale -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, to be run by hand in a release build"]
fn a_decision_in_a_fleet_of_five_thousand_nodes_takes_a_few_milliseconds() {
    let mut bench = large();
    let id = "r".parse().expect("well formed");
    let measure = |bench: &Bench, what: &str| {
        let one = |_| {
            #[expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]
            let start = std::time::Instant::now();
            drop(bench.control.tick(&bench.fleet, at(bench.now), &id));
            start.elapsed()
        };
        // The least of many: a busy machine must not look like a slow decision.
        let each = (0..50).map(one).min().expect("some");
        #[expect(clippy::print_stderr, reason = "a measurement is read by a person")]
        {
            eprintln!("{what}: {each:?}");
        }
        // `scripts/test --full` comes by in a build that nobody runs: it shows that the fleet gets through, and no more.
        assert!(cfg!(debug_assertions) || each < Duration::from_millis(20), "{what}: {each:?}");
    };
    measure(&bench, "at rest");
    let pulls = std::mem::replace(&mut bench.pulls, ImageState::Pulling(crate::instance::PullProgress::default()));
    bench.tested(2);
    measure(&bench, "every node fetches the image");
    bench.pulls = pulls;
    for number in 0..NODES {
        let state = ImageState::Present;
        let report = ImageReport { app: app(), digest: digest(2), state };
        bench.fleet.image(&node(&format!("n{number:05}")), report, at(0));
    }
    bench.run();
    measure(&bench, "the canary is in work");
    for _ in 0..50 {
        bench.commit();
    }
    measure(&bench, "a hundred are in work");
    for number in 2500..NODES {
        bench.fleet.disconnect(&node(&format!("n{number:05}")), at(0));
    }
    measure(&bench, "half of the fleet is down");
}

#[test]
fn the_work_for_a_decision_grows_with_the_fleet_and_not_with_its_square() {
    // Counted in reasons and actions, not in time: each instance is looked at and spoken of once.
    let mut bench = Bench::new(&["n1", "n2", "n3", "n4"]);
    bench.pulls = ImageState::Pulling(crate::instance::PullProgress::default());
    bench.tested(2);
    assert_eq!(bench.waits().len(), 4);
    for name in ["n1", "n2", "n3", "n4"] {
        bench.disconnect(name);
    }
    assert_eq!(bench.waits().len(), 4, "nobody is named twice");
}
