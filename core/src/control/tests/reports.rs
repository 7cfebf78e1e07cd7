//! What agents say: late, twice, in the wrong order, of the wrong generation, or not at all.

use super::bench::*;

#[test]
fn phases_may_jump_and_each_is_stored_once() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    let (name, order) = bench.take();
    let before = bench.log.len();
    use StepPhase::{Assigned, Committed, Created, Healthy};
    for (phase, news) in [(Assigned, true), (Healthy, true), (Healthy, false), (Created, false), (Committed, true)] {
        let known = bench.log.len();
        let events = bench.control.reported(&node(&name), &Bench::report(&order, phase, None), at(0));
        bench.store(events);
        assert_eq!(bench.log.len() > known, news, "{phase}");
    }
    assert_eq!(bench.log.len(), before + 4, "three phases, and a digest that is known-good");
    bench.say(&name, &order, StepPhase::Committed, None);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn reports_of_other_nodes_and_other_generations_bring_nothing_about() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    let (name, order) = bench.take();
    let said = |bench: &Bench, name: &str, order: &StepOrder| {
        bench.control.reported(&node(name), &Bench::report(order, StepPhase::Committed, None), at(0))
    };
    assert_eq!(said(&bench, "n2", &order), []);
    bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::NotAccepted));
    bench.wait(10);
    let (_, again) = bench.take();
    assert!(again.key.generation > order.key.generation);
    assert_eq!(said(&bench, "n1", &order), [], "the stale order is not the one that counts");
    assert_ne!(said(&bench, "n1", &again), []);
}

#[test]
fn a_step_that_is_ordered_again_does_not_make_others_in_flight_stale() {
    let mut bench = Bench::with(&["n1", "n2", "n3"], |spec| spec.update.parallelism = 2);
    bench.tested(2);
    bench.commit();
    let (first, second) = (bench.take(), bench.take());
    bench.say(&first.0, &first.1, StepPhase::Untouched, Some(FailureKind::NotAccepted));
    bench.say(&second.0, &second.1, StepPhase::Committed, None);
    assert!(bench.steps()[2].is_at_target(), "its own generation is still the one that counts");
    bench.inventory(&second.0, vec![instance("web", 2)]);
    bench.wait(10);
    assert_eq!(bench.commit_all(), ["n2"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn a_failed_pull_is_tried_again_with_growing_pauses_and_is_never_the_versions_fault() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    for pause in [10, 20, 40, 80] {
        let (name, order) = bench.take();
        bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::Pull));
        assert_eq!(bench.waits(), ["web on n1 is put off: it failed"]);
        assert_eq!(bench.wake_at, Some(at(bench.now + pause)));
        bench.wait(pause - 1);
        assert!(bench.orders.is_empty());
        bench.wait(1);
    }
    assert!(!bench.is_quarantined(2));
    assert_eq!(bench.commit_all(), ["n1"]);
}

#[test]
fn a_failed_precondition_is_not_tried_again_in_this_rollout() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::Precondition));
    assert_eq!(bench.commit_all(), ["n2"]);
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    assert_eq!(bench.wake_at, Some(at(900)), "but a while later, in another one");
}

#[test]
fn a_registry_that_is_down_touches_nothing_and_is_asked_again() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.pulls = ImageState::Failed("no route to host".into());
    bench.tested(2);
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Prepulling, 0));
    assert_eq!(bench.waits()[0], "n1 cannot fetch the image: no route to host");
    assert_eq!(bench.wake_at, Some(at(5)));
    bench.pulls = ImageState::Present;
    bench.wait(5);
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
}

#[test]
fn a_silent_agent_makes_its_step_unknown_which_blocks_the_rest_and_has_no_end_by_time() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::OldStopped, None);
    bench.disconnect("n1");
    assert_eq!(bench.steps()[0].state, crate::rollout::StepState::Unknown);
    assert_eq!(bench.wake_at, Some(at(120)), "then it is an alarm");
    bench.wait(3000);
    assert_eq!(bench.waits()[0], "the agent of n1 does not answer in the middle of a step of web");
    assert!(bench.orders.is_empty());
    // It says the same phase again, and goes on.
    bench.connect_with("n1", &[Bench::report(&order, StepPhase::OldStopped, None)]);
    bench.run();
    assert_eq!(bench.steps()[0].state, crate::rollout::StepState::At(StepPhase::OldStopped));
    bench.say("n1", &order, StepPhase::Committed, None);
    bench.inventory("n1", vec![instance("web", 2)]);
    bench.run();
    assert_eq!(bench.ordered(), ["n2"]);
}

#[test]
fn the_silence_of_an_agent_in_mid_step_is_an_alarm_in_the_log_once_for_each_silence() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let (_, order) = bench.take();
    bench.disconnect("n1");
    let alarms = |bench: &Bench| {
        let told = bench.log.iter().filter(|one| one.event.kind() == "step_unknown_alarm");
        told.map(|one| format!("{}: {}", one.by, one.event)).collect::<Vec<_>>()
    };
    bench.wait(119);
    assert_eq!(alarms(&bench), Vec::<String>::new());
    bench.wait(1);
    let expect = "nightshift: alarm: step 0 is unknown, its agent has been silent since 2027-01-15 08:00:00 UTC";
    assert_eq!(alarms(&bench), [expect]);
    bench.wait(3600);
    bench.restart();
    bench.wait(3600);
    assert_eq!(alarms(&bench).len(), 1, "a restart does not raise it again");
    bench.connect_with("n1", &[Bench::report(&order, StepPhase::Started, None)]);
    bench.disconnect("n1");
    bench.wait(120);
    assert_eq!(alarms(&bench).len(), 2, "a new silence does");
}

#[test]
fn an_agent_that_ended_its_step_while_it_was_away_says_so_when_it_is_back() {
    for (phase, failure, expect) in [
        (StepPhase::Committed, None, RolloutState::Rolling),
        (StepPhase::RolledBack, Some(FailureKind::Unhealthy), RolloutState::Paused),
    ] {
        let mut bench = Bench::new(&["n1", "n2"]);
        bench.tested(2);
        let (_, order) = bench.take();
        bench.disconnect("n1");
        let end = Bench::report(&order, phase, failure);
        // Its outbox and its journal say the same, and something older.
        let older = Bench::report(&order, StepPhase::Created, None);
        let before = bench.log.len();
        bench.connect_with("n1", &[end.clone(), older, end]);
        let stored = bench.log[before..].iter().filter(|one| one.event.kind() == "step_reported").count();
        assert_eq!(stored, 1, "the furthest one, once");
        bench.inventory("n1", vec![instance("web", if failure.is_none() { 2 } else { 1 })]);
        bench.run();
        assert_eq!(bench.state(), expect);
    }
}

#[test]
fn an_order_that_never_arrived_is_given_again_under_a_new_generation() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    let (_, first) = bench.take();
    bench.disconnect("n1");
    bench.connect("n1", 1);
    bench.run();
    let (_, second) = bench.take();
    assert!(second.key.generation > first.key.generation);
}

#[test]
fn a_step_that_takes_too_long_says_so() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.wait(420 + 60);
    assert_eq!(bench.waits(), ["web on n1 is ordered"]);
    bench.wait(1);
    assert_eq!(bench.waits(), ["web on n1 is ordered, and takes longer than its deadlines allow"]);
}
