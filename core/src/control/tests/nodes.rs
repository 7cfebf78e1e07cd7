//! Nodes that are down, paused, drained or removed, and instances that fail, change or vanish.

use super::bench::*;
use crate::catalog::Availability;
use crate::container::{Health, RunState};

fn with_state(state: RunState, health: Health) -> Vec<InstanceView> {
    vec![InstanceView { state, health, ..instance("web", 1) }]
}

#[test]
fn nothing_starts_while_another_instance_does_not_serve() {
    for (state, health) in [
        (RunState::Running, Health::Unhealthy),
        (RunState::Running, Health::Starting),
        (RunState::Restarting, Health::None),
        (RunState::Exited, Health::None),
        (RunState::Paused, Health::None),
        (RunState::Dead, Health::None),
    ] {
        let mut bench = Bench::new(&["n1", "n2", "n3"]);
        bench.inventory("n3", with_state(state, health));
        bench.tested(2);
        let expect: &[&str] = match (state, health) {
            // It may well be the cure for what fails by itself; that is the only one.
            _ if bench.ordered() == ["n3"] => &["n3"],
            _ => &[],
        };
        assert_eq!(bench.ordered(), expect, "{state:?} {health:?}");
        assert!(!bench.ordered().contains(&"n1"));
        bench.orders.clear();
    }
}

#[test]
fn the_unhealthy_instance_itself_may_be_replaced() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    for name in ["n2", "n3"] {
        bench.inventory(name, with_state(RunState::Running, Health::Unhealthy));
    }
    bench.tested(2);
    assert_eq!(bench.ordered(), ["n2"], "two are away, and only what is away may be replaced");
    bench.commit();
    assert_eq!(bench.ordered(), ["n3"]);
    assert_eq!(bench.commit_all(), ["n3", "n1"]);
}

#[test]
fn with_parallelism_two_one_may_be_missing() {
    let mut bench = Bench::with(&["n1", "n2", "n3", "n4"], |spec| spec.update.parallelism = 2);
    bench.tested(2);
    bench.disconnect("n4");
    bench.commit();
    assert_eq!(bench.ordered(), ["n2"], "one in work and one missing are two");
}

#[test]
fn a_node_that_is_down_counts_as_unavailable_until_it_is_back_drained_or_removed() {
    type Remedy = fn(&mut Bench);
    let remedies: [Remedy; 3] = [
        |bench| bench.connect("n3", 1),
        |bench| bench.set("n3", Availability::Drain),
        |bench| bench.ask(Request::RemoveNode { node: node("n3"), reason: "sold".into() }).expect("known"),
    ];
    for remedy in remedies {
        let mut bench = Bench::new(&["n1", "n2", "n3"]);
        bench.disconnect("n3");
        bench.tested(2);
        bench.wait(3600);
        assert!(bench.orders.is_empty());
        let expect = "n3 is not connected, so its instances count as unavailable; `node drain n3` goes on without it";
        assert_eq!(bench.waits(), [expect]);
        remedy(&mut bench);
        bench.run();
        assert_eq!(bench.ordered(), ["n1"]);
    }
}

#[test]
fn a_node_that_stays_away_is_left_behind_and_caught_up_with_one_paced_step_later() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.disconnect("n2");
    bench.commit();
    assert_eq!((bench.state(), bench.wake_at), (RolloutState::Rolling, Some(at(120))), "it may come back");
    bench.wait(120);
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    bench.wait(60);
    bench.connect("n2", 1);
    bench.run();
    assert!(bench.orders.is_empty(), "nothing happens just because it is back");
    assert_eq!(bench.wake_at, Some(at(120 + 900)));
    bench.wait(840);
    assert_eq!(bench.commit_all(), ["n2"]);
    assert_eq!((bench.state(), bench.rollouts()), (RolloutState::Completed, 2));
}

#[test]
fn a_paused_or_drained_node_takes_no_part_and_is_not_missed() {
    for availability in [Availability::Pause, Availability::Drain] {
        let mut bench = Bench::new(&["n1", "n2", "n3"]);
        bench.set("n2", availability);
        bench.disconnect("n2");
        bench.tested(2);
        assert_eq!(bench.commit_all(), ["n1", "n3"]);
        assert_eq!(bench.state(), RolloutState::Completed);
    }
}

#[test]
fn a_node_drained_in_mid_rollout_is_left_behind() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    bench.set("n2", Availability::Drain);
    assert_eq!(bench.commit_all(), ["n1", "n3"]);
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    assert_eq!(bench.rollout().state_reason, "web on n2: node n2 takes no part");
}

#[test]
fn a_node_removed_in_mid_step_ends_its_step() {
    for abort in [false, true] {
        let mut bench = Bench::new(&["n1", "n2"]);
        bench.tested(2);
        bench.disconnect("n1");
        if abort {
            bench.change(Command::Abort).expect("open");
        }
        bench.ask(Request::RemoveNode { node: node("n1"), reason: "burnt".into() }).expect("known");
        bench.orders.remove(0);
        if abort {
            assert!(bench.rollout().is_over());
        } else {
            assert_eq!(bench.commit_all(), ["n2"]);
            assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
        }
    }
}

#[test]
fn an_instance_that_someone_else_replaced_since_planning_is_not_touched() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.inventory("n2", vec![InstanceView { container_id: instance("other", 1).container_id, ..instance("web", 1) }]);
    bench.commit();
    let first = bench.control.rollouts().pop().expect("the first one").clone();
    assert_eq!(first.state, RolloutState::CompletedWithLaggards);
    let reason = "the container was replaced by someone else since the rollout was planned";
    assert_eq!(first.steps[1].reason.as_deref(), Some(reason));
    assert_eq!(bench.rollouts(), 2, "a new rollout plans with what is there now");
    assert_eq!(bench.orders[0].1.container_id, instance("other", 1).container_id);
}

#[test]
fn an_instance_that_vanished_is_left_out_and_no_longer_missed() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    bench.inventory("n2", Vec::new());
    assert_eq!(bench.commit_all(), ["n1", "n3"]);
    assert_eq!(bench.steps()[1].reason.as_deref(), Some("the container is no longer there"));
    assert_eq!(bench.control.catalog().app(&app()).expect("applied").adopted.len(), 2);
}

#[test]
fn an_instance_that_cannot_be_replaced_exactly_is_left_out_with_the_reason() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.inventory("n2", vec![InstanceView { refusal: Some("it is a swarm task".into()), ..instance("web", 1) }]);
    bench.tested(2);
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!(bench.state(), RolloutState::Completed);
    assert_eq!(bench.waits(), ["web on n2 cannot be replaced: it is a swarm task"]);
}

#[test]
fn an_engine_that_does_not_answer_has_lost_nothing() {
    let mut bench = Bench::new(&["n1"]);
    let adopted = |bench: &Bench| bench.control.catalog().app(&app()).expect("applied").adopted.len();
    // At once after a connection: there is no inventory of before.
    for reconnect in [false, true] {
        if reconnect {
            bench.connect_with("n1", &[]);
        }
        bench.fleet.inventory(&node("n1"), Err("connection refused".into()));
        let events = bench.control.inventoried(&node("n1"), &bench.fleet, at(0));
        assert_eq!(events, []);
        assert_eq!(adopted(&bench), 1);
        bench.run();
    }
    bench.tested(2);
    assert!(bench.orders.is_empty());
    bench.inventory("n1", Vec::new());
    assert_eq!(adopted(&bench), 0, "a healthy engine without the container is believed");
}

#[test]
fn what_serves_at_adoption_is_known_good_and_what_does_not_is_not() {
    for (state, health, expect) in [
        (RunState::Running, Health::None, true),
        (RunState::Running, Health::Healthy, true),
        (RunState::Running, Health::Unhealthy, false),
        (RunState::Created, Health::None, false),
        (RunState::Exited, Health::None, false),
    ] {
        let mut bench = Bench::new(&[]);
        bench.connect_with("n1", &[]);
        bench.inventory("n1", with_state(state, health));
        assert_eq!(bench.is_known_good(1), expect, "{state:?} {health:?}");
    }
}

#[test]
fn a_target_that_no_step_has_proven_is_not_known_good_because_someone_started_it() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.connect("n9", 2);
    assert!(!bench.is_known_good(2));
    bench.commit();
    assert!(bench.is_known_good(2));
}

#[test]
fn no_instance_is_adopted_or_forgotten_in_the_middle_of_its_step() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    let before = bench.log.len();
    bench.inventory("n1", vec![instance("web-old", 1)]);
    assert_eq!(bench.log.len(), before);
}

#[test]
fn a_node_that_the_app_no_longer_selects_is_left_out() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    let labels = [("role".to_owned(), "web".to_owned())].into();
    let events = bench.control.connected(
        &node("n1"),
        &labels,
        &[Bench::report(&bench.orders[0].1, StepPhase::Assigned, None)],
        at(0),
    );
    bench.store(events);
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.nodes = "role=web".parse().expect("well formed");
    bench.ask(Request::Apply(vec![spec])).expect("good");
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.rollout().state_reason, "web on n2: the app no longer selects node n2");
}
