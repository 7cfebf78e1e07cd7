//! What a person must act on: what is stored when it begins and when it ends, and what of the instances is only shown.

use super::bench::*;
use crate::catalog::Availability;
use crate::container::{Health, RunState};
use crate::image::ImageRef;
use crate::spec::Freshness;

const DAY: i64 = 86_400;

/// Every alarm of the log, as the sentence that people read, with the second at which it was stored.
fn told(bench: &Bench) -> Vec<(i64, String)> {
    let about = bench.log.iter().filter(|one| one.event.kind().starts_with("alarm_"));
    about.map(|one| ((one.at - at(0)).num_seconds(), one.event.to_string())).collect()
}

/// The alarms that hold, each with the second at which it began.
fn holding(bench: &Bench) -> Vec<(i64, String)> {
    let alarms = bench.control.alarms(&bench.fleet, at(bench.now));
    alarms.iter().map(|(alarm, since)| ((*since - at(0)).num_seconds(), alarm.to_string())).collect()
}

/// An instance of digest 1 whose image was built then.
fn built(second: i64) -> InstanceView {
    InstanceView { image_created: Some(at(second)), ..instance("web", 1) }
}

fn weekly(nodes: &[&str]) -> Bench {
    Bench::with(nodes, |spec| spec.freshness = Some(Freshness { max_age: Duration::from_secs(7 * 86_400) }))
}

#[test]
fn an_image_that_becomes_too_old_is_an_alarm_once_and_its_end_is_told() {
    let mut bench = weekly(&["n1", "n2"]);
    bench.inventory("n1", vec![built(-DAY)]);
    bench.inventory("n2", vec![built(0)]);
    bench.run();
    assert_eq!(told(&bench), []);
    let becomes_old = bench.wake_at.expect("it wants to be woken when the first image becomes too old");
    assert_eq!(becomes_old, at(6 * DAY) + chrono::TimeDelta::milliseconds(1));
    bench.wait(6 * DAY);
    assert_eq!(told(&bench), [], "it is just as old as it may be");
    bench.wait(1);
    let raised = "alarm: 1 of 2 instances of web run an image older than 7d; the oldest, web on n1, was built 2027-01-14 \
                  08:00:00 UTC";
    assert_eq!(told(&bench), [(6 * DAY + 1, raised.to_owned())]);
    bench.wait(2 * DAY);
    assert_eq!(told(&bench).len(), 1, "the second instance is part of the same alarm");
    let now =
        "2 of 2 instances of web run an image older than 7d; the oldest, web on n1, was built 2027-01-14 08:00:00 UTC";
    assert_eq!(holding(&bench), [(6 * DAY + 1, now.to_owned())], "what is shown is what is known now");
    let newer = || vec![InstanceView { image_created: Some(at(8 * DAY)), ..instance("web", 2) }];
    bench.inventory("n1", newer());
    bench.inventory("n2", newer());
    bench.wait(1);
    let over = raised.replace("alarm: ", "no longer an alarm: ");
    assert_eq!(told(&bench)[1..], [(8 * DAY + 2, over)]);
    assert_eq!(holding(&bench), []);
}

#[test]
fn an_image_whose_build_has_no_real_date_is_as_old_as_its_digest_is_known() {
    let mut bench = weekly(&["n1"]);
    let reproducible =
        |second| InstanceView { image_created: DateTime::from_timestamp(second, 0), ..instance("web", 1) };
    for date in [0, 315_532_800] {
        bench.inventory("n1", vec![reproducible(date)]);
        bench.run();
        assert_eq!(told(&bench), [], "built in 1970 or 1980, and seen today");
    }
    bench.wait(7 * DAY + 1);
    let expect = "alarm: 1 of 1 instances of web run an image older than 7d; the oldest, web on n1, has no date of its build and \
                  was first seen 2027-01-15 08:00:00 UTC";
    assert_eq!(told(&bench), [(7 * DAY + 1, expect.to_owned())]);
}

#[test]
fn the_last_tested_digest_keeps_its_age_when_its_tests_are_too_old() {
    let mut bench = Bench::with(&["n1"], |spec| spec.gate.max_age = Some(Duration::from_secs(3600)));
    let tested = |bench: &Bench| {
        let app = bench.control.catalog().app(&app()).expect("applied").clone();
        app.age_of_last_tested(at(bench.now)).map(|age| (age.since - at(0)).num_seconds())
    };
    assert_eq!(tested(&bench), None);
    bench.wait(100);
    bench.tested(2);
    bench.wait(2 * DAY);
    bench.seen(3);
    assert_eq!(tested(&bench), Some(100), "digest 3 is newer, and nobody has tested it");
}

#[test]
fn a_step_that_may_still_be_taken_back_ends_no_alarm() {
    for good in [true, false] {
        let mut bench = weekly(&["n1"]);
        bench.inventory("n1", vec![built(-8 * DAY)]);
        bench.tested(2);
        assert_eq!((bench.ordered(), told(&bench).len()), (vec!["n1"], 1));
        // The old one is put aside, and then the new one is watched.
        for instances in [vec![], vec![InstanceView { image_created: Some(at(0)), ..instance("web", 2) }]] {
            bench.inventory("n1", instances);
            bench.run();
            assert_eq!((holding(&bench).len(), told(&bench).len()), (1, 1));
        }
        if good {
            bench.commit();
        } else {
            bench.fail();
            bench.inventory("n1", vec![built(-8 * DAY)]);
        }
        bench.run();
        assert_eq!(told(&bench).len(), if good { 2 } else { 1 }, "good: {good}");
    }
}

#[test]
fn a_restart_neither_repeats_nor_forgets_an_alarm() {
    let mut bench = weekly(&["n1", "n2"]);
    bench.inventory("n1", vec![built(-8 * DAY)]);
    bench.run();
    assert_eq!(told(&bench).len(), 1);
    bench.restart();
    bench.wait(60);
    assert_eq!(told(&bench).len(), 1, "nobody has told of an instance yet: that is no end of the alarm");
    assert_eq!(holding(&bench).len(), 1, "it is still shown");
    bench.connect("n2", 1);
    bench.wait(1);
    assert_eq!(told(&bench).len(), 1, "the old one may still be on n1");
    bench.connect_with("n1", &[]);
    bench.inventory("n1", vec![built(-8 * DAY)]);
    bench.wait(1);
    assert_eq!(told(&bench).len(), 1, "it is told already");
    bench.inventory("n1", vec![built(0)]);
    bench.wait(1);
    assert_eq!(told(&bench).len(), 2);
}

#[test]
fn an_alarm_ends_with_the_rule_or_the_app_that_it_is_about() {
    type Change = fn(&mut Bench);
    let changes: [Change; 2] = [
        |bench| {
            let spec =
                AppSpec { freshness: None, ..bench.control.catalog().app(&app()).expect("applied").spec.clone() };
            bench.ask(Request::Apply(vec![spec])).expect("a good spec");
        },
        |bench| bench.ask(Request::Remove { app: app(), reason: "moved".into() }).expect("known"),
    ];
    for change in changes {
        let mut bench = weekly(&["n1"]);
        bench.inventory("n1", vec![built(-8 * DAY)]);
        bench.run();
        assert_eq!(holding(&bench).len(), 1);
        change(&mut bench);
        assert_eq!((holding(&bench), told(&bench).len()), (Vec::new(), 2));
    }
}

#[test]
fn a_registry_that_fails_is_an_alarm_when_it_lasts() {
    let mut bench = Bench::new(&["n1"]);
    let image: ImageRef = "r.example/web:stable".parse().expect("well formed");
    let fail = |bench: &mut Bench, error: &str| {
        bench.fleet.looked_up(image.clone(), Some((error.to_owned(), at(bench.now + 60))), at(bench.now));
        bench.run();
    };
    for _ in 0..15 {
        fail(&mut bench, "connection refused");
        bench.wait(59);
    }
    assert_eq!(told(&bench), [], "not yet a quarter of an hour");
    fail(&mut bench, "no such host");
    bench.wait(15);
    let error = "r.example/web:stable cannot be looked at since 2027-01-15 08:00:00 UTC: no such host";
    assert_eq!(told(&bench), [(900, format!("alarm: {error}"))]);
    bench.restart();
    bench.connect("n1", 1);
    bench.wait(10);
    fail(&mut bench, "no such host");
    bench.wait(1);
    assert_eq!(told(&bench).len(), 1, "a restart counts anew, and that ends nothing");
    bench.fleet.looked_up(image.clone(), None, at(bench.now));
    bench.run();
    assert_eq!(told(&bench)[1..], [(911, format!("no longer an alarm: {error}"))]);
    fail(&mut bench, "connection refused");
    bench.wait(899);
    bench.fleet.looked_up(image.clone(), None, at(bench.now));
    bench.wait(899);
    assert_eq!(told(&bench).len(), 2, "what comes and goes does not fill the log");
}

#[test]
fn a_node_that_stays_away_is_an_alarm_unless_a_person_has_set_it_aside() {
    let mut bench = Bench::new(&["n1", "n2"]);
    bench.disconnect("n2");
    bench.wait(299);
    assert_eq!(told(&bench), [], "a host restarts within that time");
    bench.wait(1);
    let away = "node n2 is not connected since 2027-01-15 08:00:00 UTC";
    assert_eq!(told(&bench), [(300, format!("alarm: {away}"))]);
    bench.restart();
    bench.wait(600);
    assert_eq!(told(&bench)[1..], [(900, "alarm: node n1 is not connected since 2027-01-15 08:05:20 UTC".to_owned())]);
    bench.connect("n1", 1);
    bench.run();
    bench.set("n2", Availability::Drain);
    assert_eq!(holding(&bench), [], "it may go");
    bench.set("n2", Availability::Active);
    assert_eq!(holding(&bench).len(), 1, "it should be there");
    bench.connect("n2", 1);
    bench.run();
    assert_eq!(holding(&bench), []);
}

#[test]
fn a_node_that_has_just_enrolled_is_on_its_way() {
    let mut bench = Bench::new(&["n1"]);
    bench.wait(DAY);
    bench.ask(Request::Enrolled(node("n2"))).expect("a new node");
    bench.wait(299);
    assert_eq!(told(&bench), []);
    bench.wait(1);
    assert_eq!(told(&bench).len(), 1);
}

#[test]
fn an_instance_that_does_not_serve_is_an_alarm_unless_a_step_works_on_it() {
    let cases = [
        (RunState::Running, Health::Healthy, None),
        (RunState::Running, Health::Starting, None),
        (RunState::Running, Health::Unhealthy, Some("web on n2 is unhealthy")),
        (RunState::Exited, Health::None, Some("web on n2 is stopped")),
        (RunState::Created, Health::None, Some("web on n2 is not running: it was created, but never started")),
        (RunState::Paused, Health::None, Some("web on n2 is paused")),
    ];
    for (state, health, expected) in cases {
        let mut bench = Bench::new(&["n1", "n2"]);
        bench.inventory("n2", vec![InstanceView { state, health, ..instance("web", 1) }]);
        let alarms = bench.control.instance_alarms(&bench.fleet);
        assert_eq!(alarms, expected.into_iter().collect::<Vec<_>>(), "{state:?}");
    }
    let mut bench = Bench::new(&["n1"]);
    bench.tested(2);
    bench.inventory("n1", vec![InstanceView { state: RunState::Exited, ..instance("web", 1) }]);
    assert_eq!(bench.ordered(), ["n1"]);
    assert!(bench.control.instance_alarms(&bench.fleet).is_empty(), "its step has stopped it");
}
