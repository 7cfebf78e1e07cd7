//! What a failed step means: quarantine, the failure budget, the way back, and where a person must look.

use super::bench::*;

#[test]
fn an_unhealthy_digest_is_quarantined_and_goes_nowhere_else() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    assert_eq!(bench.fail(), "n1");
    assert!(bench.orders.is_empty());
    assert_eq!(bench.state(), RolloutState::Paused);
    assert!(bench.is_quarantined(2) && !bench.is_known_good(2));
    assert_eq!(bench.change(Command::Resume).expect_err("barred").kind, RejectionKind::Rule);
    assert_eq!(bench.change(Command::Retry).expect_err("barred").kind, RejectionKind::Rule);
    bench.change(Command::Abort).expect("open");
    bench.wait(7 * 86_400);
    assert!(bench.orders.is_empty(), "it is not tried again");
}

#[test]
fn the_next_digest_goes_out_after_a_bad_one_was_given_up() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.fail();
    bench.change(Command::Abort).expect("open");
    bench.tested(3);
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
    assert_eq!(bench.steps()[0].from, Some(digest(1)));
}

#[test]
fn a_failure_on_the_last_node_counts_like_any_other() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit();
    bench.fail();
    assert_eq!(bench.state(), RolloutState::Paused);
    assert!(bench.is_quarantined(2));
}

#[test]
fn an_image_that_the_engine_refuses_counts_as_a_failure_though_nothing_was_touched() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::EngineRefused));
    assert_eq!(bench.state(), RolloutState::Paused);
    assert!(bench.is_quarantined(2));
    assert!(bench.orders.is_empty());
}

#[test]
fn a_failure_that_is_not_the_versions_fault_pauses_without_quarantine() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::RolledBack, Some(FailureKind::Engine));
    assert_eq!((bench.state(), bench.is_quarantined(2)), (RolloutState::Paused, false));
    bench.change(Command::Retry).expect("it may be tried again");
    assert_eq!(bench.ordered(), ["n1"]);
    assert!(bench.orders[0].1.key.generation > order.key.generation, "the first order is stale now");
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn a_resumed_rollout_leaves_the_failed_instance_behind_and_stops_at_the_next_failure() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::RolledBack, Some(FailureKind::Engine));
    bench.change(Command::Resume).expect("paused");
    assert_eq!(bench.ordered(), ["n2"]);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::RolledBack, Some(FailureKind::Engine));
    assert_eq!(bench.state(), RolloutState::Paused, "the first failure was accepted, this one was not");
    bench.change(Command::Retry).expect("paused");
    assert_eq!(bench.ordered(), ["n1"]);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::RolledBack, Some(FailureKind::Engine));
    assert_eq!(bench.state(), RolloutState::Paused, "a retry accepts nothing");
}

fn continuing(nodes: &[&str], permille: u16) -> Bench {
    let mut bench = Bench::with(nodes, |spec| {
        spec.update.failure_action = FailureAction::Continue;
        spec.update.max_failure_permille = permille;
    });
    bench.tested(2);
    bench
}

#[test]
fn continue_goes_on_within_its_ratio_and_bars_the_digest_beyond_it() {
    let mut bench = continuing(&["n1", "n2", "n3", "n4"], 250);
    bench.fail();
    assert_eq!((bench.state(), bench.is_quarantined(2)), (RolloutState::Canary, false));
    assert_eq!(bench.ordered(), ["n2"]);
    bench.fail();
    assert_eq!((bench.state(), bench.is_quarantined(2)), (RolloutState::Paused, true));
    assert!(bench.orders.is_empty());
}

#[test]
fn a_tolerated_failure_is_not_tried_again_by_itself() {
    let mut bench = continuing(&["n1", "n2", "n3"], 400);
    bench.commit();
    bench.fail();
    bench.commit();
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    bench.wait(7 * 86_400);
    assert_eq!(bench.rollouts(), 1, "else it would fail every night and bar a version that works elsewhere");
    let id = bench.rollout().id;
    let expect = format!("sha256:020202020202 was given up with rollout {id}; `rollout start` brings it back");
    assert_eq!(bench.waits(), [expect]);
    bench.start(StartOptions::default()).expect("a person may");
    assert_eq!(bench.ordered(), ["n2"]);
}

#[test]
fn the_failure_budget_survives_any_number_of_restarts() {
    let mut bench = continuing(&["n1", "n2", "n3", "n4"], 250);
    bench.fail();
    for _ in 0..3 {
        bench.restart();
        for name in ["n1", "n2", "n3", "n4"] {
            bench.connect(name, 1);
        }
        bench.run();
    }
    let (name, order) = bench.orders.pop().expect("n2 was ordered again, once for each start");
    assert_eq!(name.as_str(), "n2");
    bench.orders.clear();
    bench.say("n2", &order, StepPhase::RolledBack, Some(FailureKind::Unhealthy));
    assert_eq!(bench.state(), RolloutState::Paused);
    assert!(bench.orders.is_empty());
}

#[test]
fn a_broken_instance_is_a_hard_stop_whatever_is_tolerated() {
    let mut bench = continuing(&["n1", "n2", "n3"], 1000);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Broken, Some(FailureKind::Unhealthy));
    assert_eq!((bench.state(), bench.is_quarantined(2)), (RolloutState::Paused, true));
    assert!(bench.orders.is_empty());
}

fn rolling_back(nodes: &[&str]) -> Bench {
    let mut bench = Bench::with(nodes, |spec| spec.update.failure_action = FailureAction::Rollback);
    bench.tested(2);
    bench
}

#[test]
fn failure_action_rollback_takes_every_updated_instance_back_the_last_one_first() {
    let mut bench = rolling_back(&["n1", "n2", "n3"]);
    bench.commit();
    bench.commit();
    bench.fail();
    assert_eq!(bench.state(), RolloutState::RollingBack);
    assert_eq!(bench.orders[0].1.digest, digest(1));
    assert_eq!(bench.commit_all(), ["n2", "n1"]);
    assert_eq!(bench.state(), RolloutState::RolledBack);
    assert!(bench.is_quarantined(2), "though two instances had committed it");
    bench.wait(7 * 86_400);
    assert_eq!(bench.rollouts(), 1, "it is not tried again");
}

#[test]
fn the_way_back_believes_a_committed_step_and_not_an_inventory_from_before_it() {
    let mut bench = rolling_back(&["n1", "n2"]);
    let (name, order) = bench.take();
    // The report is here; the node's inventory still shows the container that was replaced.
    bench.say(&name, &order, StepPhase::Committed, None);
    bench.fail();
    assert_eq!(bench.ordered(), ["n1"], "what looks like the old digest is not at its goal");
    assert_eq!(bench.orders[0].1.container_id, instance("web", 2).container_id);
}

#[test]
fn an_inventory_from_before_the_commit_starts_no_second_rollout() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Committed, None);
    assert_eq!((bench.state(), bench.rollouts()), (RolloutState::Completed, 1));
    assert!(bench.orders.is_empty());
}

#[test]
fn a_rollback_is_never_rolled_back_and_stops_at_each_of_its_failures() {
    let mut bench = rolling_back(&["n1", "n2", "n3"]);
    bench.commit();
    bench.commit();
    bench.fail();
    assert_eq!(bench.fail(), "n2");
    assert_eq!(bench.state(), RolloutState::Paused);
    assert!(bench.orders.is_empty() && !bench.is_quarantined(1));
    bench.change(Command::Resume).expect("a person has looked");
    assert_eq!((bench.state(), bench.ordered()), (RolloutState::RollingBack, vec!["n1"]));
    bench.fail();
    assert_eq!(bench.state(), RolloutState::Paused, "the second failure was not accepted with the first");
    bench.change(Command::Retry).expect("a person tries again");
    assert_eq!(bench.commit_all(), ["n2", "n1"], "of the retreat only, not of the advance");
    assert!(bench.steps()[2].has_failed(), "what led to the retreat stays in the record");
    assert_eq!(bench.state(), RolloutState::RolledBack);
}

#[test]
fn a_paused_retreat_goes_on_as_a_retreat() {
    let mut bench = rolling_back(&["n1", "n2", "n3"]);
    bench.commit();
    bench.commit();
    bench.fail();
    bench.change(Command::Pause).expect("open");
    bench.commit();
    assert!(bench.orders.is_empty());
    bench.change(Command::Resume).expect("the target's quarantine does not forbid the way back");
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!(bench.state(), RolloutState::RolledBack);
}

#[test]
fn the_way_back_is_exempt_from_the_quiet_hours() {
    let mut bench = Bench::with(&["n1", "n2"], |spec| {
        spec.update.failure_action = FailureAction::Rollback;
        let window = "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"08:00\"\nduration = \"30m\"\n";
        spec.quiet_hours = Some(quiet(window));
    });
    bench.tested(2);
    bench.commit();
    bench.now = 3 * 3600;
    bench.fail();
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn the_way_back_takes_no_second_healthy_instance_away_but_cures_failing_ones() {
    use crate::container::Health;
    let mut bench = rolling_back(&["n1", "n2", "n3"]);
    bench.commit();
    bench.commit();
    let sick = |number| vec![InstanceView { health: Health::Unhealthy, ..instance("web", number) }];
    bench.inventory("n3", sick(1));
    bench.fail();
    assert!(bench.orders.is_empty(), "n3 is away, and n2 serves");
    assert_eq!(bench.waits(), ["web on n3 is unhealthy, so no other instance is taken away"]);
    bench.inventory("n1", sick(2));
    bench.run();
    assert_eq!(bench.ordered(), ["n1"], "what fails by itself cannot be taken away");
}

#[test]
fn a_way_back_whose_goal_gets_barred_stops() {
    let mut bench = rolling_back(&["n1", "n2", "n3"]);
    bench.commit();
    bench.commit();
    bench.fail();
    let bar = Request::Quarantine { app: app(), digest: digest(1), quarantined: true, reason: "a hole".into() };
    bench.ask(bar).expect("known");
    bench.commit();
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Paused, 0));
    assert_eq!(bench.change(Command::Resume).expect_err("it would stop at once").kind, RejectionKind::Rule);
}

#[test]
fn a_target_that_fails_a_test_in_mid_rollout_goes_no_further() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.reports(2, TestResult::Failed);
    bench.commit();
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Paused, 0));
}

#[test]
fn a_target_that_a_person_bars_in_mid_rollout_goes_no_further() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let bar = |quarantined| Request::Quarantine { app: app(), digest: digest(2), quarantined, reason: "a hole".into() };
    bench.ask(bar(true)).expect("known");
    bench.commit();
    assert_eq!((bench.state(), bench.orders.len()), (RolloutState::Paused, 0));
    bench.ask(bar(false)).expect("known");
    bench.change(Command::Resume).expect("no longer barred");
    assert_eq!(bench.commit_all(), ["n2"]);
}
