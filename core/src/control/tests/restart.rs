//! The coordinator dies and starts again: the same facts, the same judgement, and first everybody is asked.

use super::bench::*;

#[test]
fn the_same_log_gives_the_same_coordinator() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit();
    let mut again = Control::new(Epoch(1), at(0), Duration::from_secs(120));
    bench.log.iter().for_each(|event| again.apply(event));
    assert_eq!(again.rollouts(), bench.control.rollouts());
    assert_eq!(again.catalog(), bench.control.catalog());
    for recorded in &bench.log {
        let text = serde_json::to_string(recorded).expect("plain data");
        assert_eq!(&serde_json::from_str::<Recorded>(&text).expect("what was written"), recorded);
    }
    assert_eq!(bench.wake_at, again.tick(&bench.fleet, at(0), &"r".parse().expect("well formed")).wake_at);
}

#[test]
fn after_a_start_nothing_is_ordered_before_every_agent_was_asked_or_a_moment_has_gone_by() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    let (_, order) = bench.take();
    bench.restart();
    bench.connect_with("n1", &[Bench::report(&order, StepPhase::Committed, None)]);
    bench.inventory("n1", vec![instance("web", 2)]);
    bench.connect("n2", 1);
    bench.run();
    assert!(bench.orders.is_empty(), "n3 may still be at work");
    assert!(bench.waits().contains(&"the coordinator has just started; agents may still be on their way".to_owned()));
    assert_eq!(bench.wake_at, Some(at(20)));
    bench.connect("n3", 1);
    bench.run();
    let (name, order) = bench.take();
    assert_eq!((name.as_str(), order.epoch), ("n2", Epoch(2)));
}

#[test]
fn a_step_in_flight_is_not_unknown_right_after_a_start() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.restart();
    assert_eq!(bench.steps()[0].state, crate::rollout::StepState::Ordered);
    bench.wait(20);
    assert_eq!(bench.steps()[0].state, crate::rollout::StepState::Unknown);
}

#[test]
fn time_without_a_coordinator_is_not_time_without_progress() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let (_, order) = bench.take();
    bench.now = 2 * 3600;
    bench.restart();
    bench.connect("n2", 1);
    bench.connect_with("n1", &[Bench::report(&order, StepPhase::Started, None)]);
    bench.inventory("n1", vec![instance("web", 2)]);
    bench.run();
    assert_eq!(bench.state(), RolloutState::Canary);
}

#[test]
fn a_coordinator_that_died_between_storing_and_sending_gives_the_order_again() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.orders.clear();
    bench.restart();
    bench.connect("n1", 1);
    bench.run();
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn old_rollouts_are_forgotten_and_the_newest_is_found_by_the_apps_name() {
    let mut bench = Bench::new(&["n1"]);
    for round in 0..40 {
        bench.now = round * 10;
        bench.tested(if round % 2 == 0 { 2 } else { 4 });
        bench.seen(if round % 2 == 0 { 2 } else { 4 });
        bench.commit_all();
    }
    assert_eq!(bench.rollouts(), 30);
    let newest = bench.control.rollouts()[0].id.clone();
    assert_eq!(bench.rollout().id, newest);
    assert_eq!(bench.control.find_rollout(newest.as_str()).expect("by id").id, newest);
    assert_eq!(bench.control.find_rollout("r").expect_err("many").kind, RejectionKind::Usage);
    assert_eq!(bench.control.find_rollout("nothing").expect_err("none").kind, RejectionKind::NotFound);
}
