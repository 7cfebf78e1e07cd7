//! What operators do at the worst moment, and clocks that jump: each has one right, readable answer.

use super::bench::*;

fn rival() -> AppSpec {
    let mut api = web();
    api.name = "api".parse().expect("well formed");
    api.quiet_hours = Some(quiet("[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n"));
    api
}

fn both(runs: u8) -> Vec<InstanceView> {
    let api = rival().name;
    vec![instance("web", runs), InstanceView { app: api, ..instance("web", runs) }]
}

#[test]
fn a_container_that_two_apps_select_is_replaced_by_neither() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.ask(Request::Apply(vec![rival()])).expect("good");
    bench.inventory("n1", both(1));
    bench.tested(2);
    assert_eq!(bench.commit_all(), ["n2"]);
    assert_eq!(bench.state(), RolloutState::Completed);
    let told = "web on n1 is selected by app api, too, so neither replaces it; change a selector";
    assert_eq!(bench.waits(), [told]);
    let alarms = bench.control.instance_alarms(&bench.fleet);
    assert_eq!(alarms, ["web on n1 is selected by api and web: neither replaces it"], "told once");
    let refused = bench.start(StartOptions::default()).expect_err("nothing is left that may be moved");
    assert!(refused.message.ends_with("web on n1 is selected by app api, too"), "{refused}");
    bench.inventory("n1", vec![instance("web", 1)]);
    bench.run();
    assert_eq!(bench.commit_all(), ["n1"], "as soon as one app lets go of it");
}

#[test]
fn an_app_that_reaches_for_a_container_in_mid_rollout_keeps_it_from_being_touched() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.ask(Request::Apply(vec![rival()])).expect("good");
    bench.inventory("n2", both(1));
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    assert_eq!(bench.rollout().state_reason, "web on n2: app api selects it, too");
}

#[test]
fn an_app_that_does_not_select_the_node_is_no_rival() {
    let mut bench = Bench::new(&["n1"]);
    let elsewhere = AppSpec { nodes: "role=api".parse().expect("well formed"), ..rival() };
    bench.ask(Request::Apply(vec![elsewhere])).expect("good");
    bench.inventory("n1", both(1));
    bench.tested(2);
    assert_eq!(bench.commit_all(), ["n1"]);
}

#[test]
fn a_rollout_keeps_the_rules_of_its_planning_when_the_app_file_changes() {
    let mut bench = Bench::new(&["n1", "n2", "n3", "n4"]);
    bench.tested(2);
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.update.parallelism = 3;
    spec.update.monitor = Duration::from_secs(5);
    spec.update.mode = RolloutMode::Manual;
    bench.ask(Request::Apply(vec![spec])).expect("good");
    bench.commit();
    assert_eq!(bench.ordered(), ["n2"], "still one at a time");
    assert_eq!(bench.orders[0].1.monitor, Duration::from_secs(30));
    assert_eq!(bench.commit_all(), ["n2", "n3", "n4"], "though from now on a person starts");
    bench.tested(3);
    assert_eq!(bench.waits(), ["the app's mode is manual; `rollout start` starts it"]);
    bench.start(StartOptions::default()).expect("a person");
    bench.commit();
    assert_eq!(bench.ordered(), ["n2", "n3", "n4"], "the next one has the new rules");
}

#[test]
fn an_app_without_any_instance_does_nothing_and_says_so_to_whoever_starts() {
    let mut bench = Bench::new(&[]);
    bench.tested(2);
    assert_eq!((bench.rollouts(), bench.waits()), (0, Vec::new()));
    let refused = bench.start(StartOptions::default()).expect_err("nothing to do");
    assert_eq!(refused.message, "app `web` has no instance on a connected node");
    bench.connect("n1", 1);
    bench.run();
    assert_eq!(bench.commit_all(), ["n1"], "the first instance is found, and moved like any other");
}

#[test]
fn an_instance_that_appears_in_mid_rollout_is_caught_up_by_a_rollout_of_its_own() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.commit();
    bench.connect("n3", 1);
    bench.run();
    assert_eq!((bench.steps().len(), bench.ordered()), (2, vec!["n2"]), "the plan does not change");
    bench.commit();
    assert_eq!(bench.rollouts(), 2);
    assert_eq!(bench.commit_all(), ["n3"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn an_instance_that_starts_in_mid_rollout_and_does_not_serve_holds_the_others() {
    use crate::container::{Health, RunState};
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.connect_with("n3", &[]);
    let starting = InstanceView { state: RunState::Running, health: Health::Starting, ..instance("web", 1) };
    bench.inventory("n3", vec![starting]);
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["web on n3 is still starting, so no other instance is taken away"]);
    bench.inventory("n3", vec![instance("web", 1)]);
    bench.run();
    assert_eq!(bench.ordered(), ["n2"]);
}

#[test]
fn a_node_that_was_removed_and_joins_again_is_a_new_node() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.tested(2);
    bench.disconnect("n2");
    bench.ask(Request::RemoveNode { node: node("n2"), reason: "sold".into() }).expect("known");
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    bench.ask(Request::Enrolled(node("n2"))).expect("it joins");
    bench.connect("n2", 1);
    bench.run();
    assert_eq!(
        (bench.rollouts(), bench.commit_all()),
        (2, vec!["n2".to_owned()]),
        "caught up, and nothing held against it"
    );
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn whoever_goes_back_in_the_middle_of_a_rollout_is_told_to_end_it_first() {
    let mut bench = Bench::new(&["n1", "n2", "n3"]);
    bench.tested(2);
    bench.commit();
    let id = bench.rollout().id;
    let refused = bench.roll_back(None).expect_err("a step is in flight");
    assert_eq!(refused.message, format!("app `web` has an open rollout, `{id}`, which is rolling"));
    let hint = format!("`nightshift rollout show {id}`, or `nightshift rollout abort {id}` first");
    assert_eq!(refused.hint, Some(hint));
    bench.change(Command::Abort).expect("open");
    assert_eq!(bench.roll_back(None).expect_err("its last step is in work").kind, RejectionKind::Conflict);
    assert_eq!(bench.commit(), "n2");
    bench.roll_back(None).expect("now");
    assert_eq!(bench.commit_all(), ["n1", "n2"]);
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut bench = Bench::with(&["n1", "n2", "n3"], |spec| spec.update.delay = Duration::from_secs(90));
    bench.tested(2);
    bench.commit();
    bench.wait(90);
    bench.pulls = ImageState::Failed("no route".into());
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::Pull));
    bench.now -= 7 * 86_400;
    bench.run();
    assert_eq!(bench.ordered(), ["n2"], "neither the pause between two steps nor that of the step lasts for a week");
    assert_eq!(bench.commit(), "n2");
    bench.wait(90);
    assert_eq!(bench.commit_all(), ["n3"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn a_clock_that_is_set_back_behind_the_start_does_not_make_the_coordinator_wait_for_agents() {
    let mut bench = Bench::new(&["n1"]);
    bench.now = -86_400;
    bench.tested(2);
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn after_a_clock_was_set_back_the_newest_rollout_is_still_the_newest() {
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.commit();
    bench.now = -86_400;
    bench.roll_back(None).expect("1 was known-good");
    bench.commit();
    assert_eq!(bench.rollout().to, digest(1), "`web` means that one");
    bench.wait(3600);
    assert_eq!(bench.rollouts(), 2, "2 stays given up");
}

#[test]
fn a_clock_that_jumps_ahead_starts_nothing_outside_the_window_and_ends_no_step() {
    let morning = "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"08:10\"\nduration = \"2h\"\n";
    let mut bench = Bench::with(&["n1", "n2"], |spec| spec.quiet_hours = Some(quiet(morning)));
    bench.tested(2);
    bench.wait(600);
    bench.wait(6 * 3600);
    assert_eq!(bench.state(), RolloutState::Canary, "no deadline runs outside the window");
    bench.commit();
    assert!(bench.orders.is_empty());
    assert_eq!(bench.waits(), ["window opens at 2027-01-16 08:10 UTC"]);
}

#[test]
fn an_image_that_failed_before_the_clock_was_set_back_is_asked_for_once_and_not_for_ever() {
    use crate::fleet::NodeImage;
    use crate::instance::ImageReport;
    let mut fleet = Fleet::default();
    fleet.connect(node("n1"), NodeFacts::default(), at(10_000));
    let state = ImageState::Failed("no route".into());
    fleet.image(&node("n1"), ImageReport { app: app(), digest: digest(2), state }, at(10_000));
    fleet.requested(&node("n1"), app(), digest(2), at(0));
    let image = NodeImage::Failed { error: "no route".into(), retry_at: at(300) };
    assert_eq!(fleet.image_on(&node("n1"), &app(), &digest(2)), Some(&image), "counted from the clock as it is now");
}
