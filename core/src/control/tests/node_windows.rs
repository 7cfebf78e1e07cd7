//! Allow windows that hold for some nodes only, and in time zones of their own.

use super::bench::*;

/// East from 08:10, west from 09:10; the tests begin at 08:00 UTC.
const TWO: &str = "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"08:10\"\nduration = \"40m\"\nnodes = \"zone=east\"\n\
                   [[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"09:10\"\nduration = \"40m\"\nnodes = \"zone=west\"\n";

fn bench(zones: &[(&str, &str)], lines: &str) -> Bench {
    let mut bench = Bench::with(&[], |spec| spec.quiet_hours = Some(quiet(lines)));
    for (name, zone) in zones {
        let labels: Labels = [("zone".to_owned(), (*zone).to_owned())].into();
        bench.connect(name, 1);
        let events = bench.control.connected(&node(name), &labels, &[], at(0));
        bench.store(events);
    }
    bench.run();
    bench.tested(2);
    bench
}

#[test]
fn each_node_keeps_to_its_own_window() {
    let mut bench = bench(&[("n1", "west"), ("n2", "east"), ("n3", "west"), ("n4", "east")], TWO);
    assert_eq!(
        bench.waits(),
        ["n2 and 1 more: window opens at 2027-01-15 08:10 UTC", "n1 and 1 more: window opens at 2027-01-15 09:10 UTC"]
    );
    assert_eq!(bench.wake_at, Some(at(600)));
    bench.wait(600);
    assert_eq!(bench.commit_all(), ["n2", "n4"]);
    assert_eq!(bench.waits(), ["window opens at 2027-01-15 09:10 UTC"]);
    assert_eq!(bench.wake_at, Some(at(4200)));
    bench.wait(4200 - 600);
    assert_eq!(bench.commit_all(), ["n1", "n3"]);
    assert_eq!(bench.state(), RolloutState::Completed);
}

#[test]
fn the_cutoff_is_that_of_the_nodes_own_window() {
    let mut bench = bench(&[("n1", "east"), ("n2", "west")], TWO);
    // 7 minutes for a canary: the last instant is 08:43 in the east.
    bench.wait(600 + 2400 - 420 + 1);
    assert!(bench.orders.is_empty());
    bench.wait(4200 - bench.now);
    assert_eq!(bench.ordered(), ["n2"]);
}

#[test]
fn a_window_with_a_time_zone_of_its_own_opens_by_that_clock() {
    let lines =
        "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"22:00\"\nduration = \"1h\"\ntimezone = \"Asia/Tokyo\"\n";
    let mut bench = bench(&[("n1", "east")], lines);
    // 22:00 in Tokyo is 13:00 UTC.
    assert_eq!(bench.wake_at, Some(at(5 * 3600)));
    bench.wait(5 * 3600);
    assert_eq!(bench.ordered(), ["n1"]);
}

#[test]
fn a_node_that_no_window_names_is_left_alone_and_that_is_said() {
    let mut bench = bench(&[("n1", "east"), ("n2", "north")], TWO);
    bench.wait(600);
    assert_eq!(bench.commit_all(), ["n1"]);
    assert_eq!(bench.state(), RolloutState::Completed, "nobody waits for n2 for ever");
    assert_eq!(bench.waits(), ["no allow window names n2, so nothing is installed automatically there"]);
    let refused = bench.start(StartOptions::default()).expect_err("it could never start");
    assert!(refused.message.ends_with("web on n2 is on a node that no allow window names"), "{refused}");
    let overrides = Overrides { now: true, ..Overrides::default() };
    bench.start(StartOptions { overrides, reason: "urgent".into(), ..StartOptions::default() }).expect("now");
    assert_eq!(bench.commit_all(), ["n2"]);
}

#[test]
fn a_node_whose_window_is_taken_away_in_mid_rollout_is_left_behind() {
    let mut bench = bench(&[("n1", "east"), ("n2", "west")], TWO);
    bench.wait(600);
    bench.commit();
    let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
    spec.quiet_hours = Some(quiet(&TWO.replace("zone=west", "zone=south")));
    bench.ask(Request::Apply(vec![spec])).expect("good");
    assert_eq!(bench.state(), RolloutState::CompletedWithLaggards);
    assert_eq!(bench.rollout().state_reason, "web on n2: no allow window names node n2");
}

#[test]
fn a_step_that_is_stuck_stops_the_rollout_by_the_time_in_its_own_window() {
    let long = TWO.replace("40m", "3h").replace("09:10", "12:10");
    let mut bench = bench(&[("n1", "east"), ("n2", "west")], &long);
    bench.wait(600);
    assert_eq!(bench.ordered(), ["n1"]);
    bench.wait(3599);
    assert_eq!(bench.state(), RolloutState::Canary);
    bench.wait(1);
    assert_eq!(bench.state(), RolloutState::Paused, "an hour in the window of n1 without a finished step");
}

#[test]
fn the_way_back_knows_no_node_windows() {
    let mut bench = bench(&[("n1", "east"), ("n2", "west")], TWO);
    bench.wait(600);
    bench.commit();
    bench.change(Command::Abort).expect("open");
    bench.wait(86_400 / 2);
    bench.roll_back(None).expect("1 was known-good");
    assert_eq!(bench.commit_all(), ["n1"]);
}
