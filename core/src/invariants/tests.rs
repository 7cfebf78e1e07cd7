//! Each rule is broken on purpose: a good log is changed in one place, and exactly that rule must say so.

use super::*;
use crate::alarm::Alarm;
use crate::catalog::Catalog;
use crate::event::Actor;
use crate::ids::{Epoch, Generation};
use crate::testing::{app, at, digest, node};

/// The parts of a good log: two nodes, one rollout from digest 1 to digest 2.
fn good() -> Vec<Recorded> {
    let text = include_str!("tests/good.json");
    serde_json::from_str(text).expect("a stored log")
}

fn seen() -> Vec<Seen> {
    vec![Seen { allowed: [app()].into(), ..Seen::default() }]
}

fn rules(log: &[Recorded], seen: &[Seen]) -> Vec<&'static str> {
    check(log, seen).into_iter().map(|violation| violation.rule).collect()
}

fn position(log: &[Recorded], kind: &str, nth: usize) -> usize {
    let places = log.iter().enumerate().filter(|(_, one)| one.event.kind() == kind).map(|(place, _)| place);
    places.into_iter().nth(nth).unwrap_or_else(|| panic!("{kind} is in the log"))
}

/// The log with one event changed.
fn changed(kind: &str, nth: usize, change: impl FnOnce(&mut Event)) -> Vec<Recorded> {
    let mut log = good();
    let place = position(&log, kind, nth);
    change(&mut log[place].event);
    log
}

/// The log with one event more, before another.
fn with(event: Event, kind: &str, nth: usize) -> Vec<Recorded> {
    let mut log = good();
    let place = position(&log, kind, nth);
    log.insert(place, Recorded { at: log[place].at, by: Actor("ann".into()), event });
    log
}

fn without(kind: &str, nth: usize) -> Vec<Recorded> {
    let mut log = good();
    log.remove(position(&log, kind, nth));
    log
}

#[test]
fn a_good_log_breaks_nothing() {
    assert_eq!(check(&good(), &seen()), []);
    let mut catalog = Catalog::default();
    good().iter().for_each(|recorded| catalog.apply(recorded));
    assert!(catalog.app(&app()).is_some_and(|app| app.release(&digest(2)).is_some()), "it is about something");
}

#[test]
fn availability_is_watched() {
    // The second step begins before the first has ended: too many in work, and one too many away.
    let mut log = good();
    let end = position(&log, "step_ordered", 1);
    let order = log.remove(end);
    let first = position(&log, "step_ordered", 0);
    log.insert(first + 1, order);
    assert!(rules(&log, &seen()).contains(&"I1"));
    let away = [(app(), node("n2"), "web".to_owned())];
    let mut dark = seen();
    dark[0].away = away.clone().into();
    assert_eq!(rules(&good(), &dark), ["I1"], "n2 is away when n1 begins");
    dark[0].away = [(app(), node("n1"), "web".to_owned()), away[0].clone()].into();
    dark[0].failing = [(app(), node("n1"), "web".to_owned())].into();
    assert_eq!(rules(&good(), &dark), ["I1"], "n1 fails by itself and may be replaced; n2 may not");
    let again = changed("step_ordered", 0, |_| {});
    let twice = {
        let mut log = again;
        let planned = log[position(&log, "rollout_planned", 0)].clone();
        let place = position(&log, "step_ordered", 0);
        log.insert(place, planned);
        log
    };
    assert!(rules(&twice, &seen()).contains(&"I1"), "two rollouts of one app");
}

#[test]
fn the_failure_budget_is_watched() {
    let log = changed("step_reported", 0, |event| {
        let Event::StepReported { report, .. } = event else { unreachable!() };
        report.phase = StepPhase::RolledBack;
        let kind = crate::step::FailureKind::Engine;
        report.failure = Some(crate::step::Failure { kind, reason: "it failed".into(), log: String::new() });
    });
    assert_eq!(rules(&log, &seen()), ["I2"]);
}

#[test]
fn quarantine_is_watched() {
    let bar = Event::ReleaseQuarantined { app: app(), digest: digest(2), reason: "bad".into() };
    assert_eq!(rules(&with(bar.clone(), "step_ordered", 1), &seen()), ["I3"]);
    assert_eq!(rules(&with(bar, "rollout_planned", 0), &seen()), ["I3", "I3", "I3"]);
}

#[test]
fn the_window_and_the_freeze_are_watched() {
    assert_eq!(rules(&good(), &[]), ["I4", "I4"]);
    let mut closing = seen();
    closing.push(Seen { after: position(&good(), "step_ordered", 1), ..Seen::default() });
    assert_eq!(rules(&good(), &closing), ["I4"], "the first step was in time");
    let mut frozen = seen();
    frozen[0].frozen = [app()].into();
    assert_eq!(rules(&good(), &frozen), ["I4", "I4"]);
    let now = |freeze| {
        changed("rollout_planned", 0, |event| {
            let Event::RolloutPlanned { overrides, .. } = event else { unreachable!() };
            (overrides.now, overrides.freeze) = (true, freeze);
        })
    };
    assert_eq!(rules(&now(false), &[]), Vec::<&str>::new(), "a person set the window aside");
    frozen[0].allowed.clear();
    assert_eq!(rules(&now(false), &frozen), ["I4", "I4"], "but not the freeze");
    assert_eq!(rules(&now(true), &frozen), Vec::<&str>::new());
}

#[test]
fn epochs_and_generations_are_watched() {
    let log = changed("step_ordered", 0, |event| {
        let Event::StepOrdered { epoch, .. } = event else { unreachable!() };
        *epoch = Epoch(9);
    });
    assert_eq!(rules(&log, &seen()), ["I7"]);
    let log = changed("step_ordered", 0, |event| {
        let Event::StepOrdered { generation, .. } = event else { unreachable!() };
        *generation = Generation(9);
    });
    assert!(rules(&log, &seen()).iter().all(|rule| *rule == "I7") && !rules(&log, &seen()).is_empty());
}

/// The rollout of the log goes back to this digest.
fn way_back(to: u8) -> Recorded {
    let planned = PlannedStep {
        node: node("n1"),
        container: "web".into(),
        container_id: crate::ids::ContainerId("x".into()),
        from: None,
        to: digest(to),
    };
    let rollout = good().iter().find_map(|one| one.event.rollout().cloned()).expect("there is one");
    let event = Event::RollbackPlanned { rollout, steps: vec![planned] };
    Recorded { at: at(0), by: Actor("ann".into()), event }
}

#[test]
fn rollback_targets_are_watched() {
    let last = |to| [good(), vec![way_back(to)]].concat();
    assert_eq!(rules(&last(7), &seen()), ["I8"]);
    assert_eq!(rules(&last(1), &seen()), Vec::<&str>::new(), "found at adoption");
}

#[test]
fn that_a_way_back_never_goes_back_is_watched() {
    let twice = [good(), vec![way_back(1), way_back(1)]].concat();
    assert_eq!(rules(&twice, &seen()), ["I8"], "the same rollout goes back a second time");
    // A person's rollback is a way back from its beginning.
    let mut log = changed("rollout_planned", 0, |event| {
        let Event::RolloutPlanned { purpose, to, steps, .. } = event else { unreachable!() };
        (*purpose, *to) = (Purpose::Rollback, digest(1));
        steps.iter_mut().for_each(|step| step.to = digest(1));
    });
    assert_eq!(rules(&log, &seen()), Vec::<&str>::new(), "forward it is a good one");
    log.push(way_back(1));
    assert_eq!(rules(&log, &seen()), ["I8"]);
}

#[test]
fn the_gate_is_watched() {
    assert_eq!(rules(&without("test_reported", 0), &seen()), ["I9"]);
    let failed = changed("test_reported", 0, |event| {
        let Event::TestReported { report, .. } = event else { unreachable!() };
        report.result = TestResult::Failed;
    });
    assert!(rules(&failed, &seen()).contains(&"I9"));
}

#[test]
fn that_alarms_begin_and_end_in_turn_is_watched() {
    let alarm = Alarm::NodeAway { node: node("n1"), since: at(0) };
    let raised = || Event::AlarmRaised { alarm: alarm.clone() };
    let cleared = || Event::AlarmCleared { alarm: alarm.clone(), since: at(0) };
    let log = |events: Vec<Event>| -> Vec<Recorded> {
        events.into_iter().map(|event| Recorded { at: at(0), by: Actor::nightshift(), event }).collect()
    };
    assert_eq!(rules(&log(vec![raised(), cleared(), raised(), cleared()]), &[]), Vec::<&str>::new());
    assert_eq!(rules(&log(vec![raised(), raised()]), &[]), ["I10"]);
    assert_eq!(rules(&log(vec![cleared()]), &[]), ["I10"]);
}

#[test]
fn the_order_of_the_log_is_watched() {
    let twice = good().iter().find(|one| one.event.kind() == "step_reported").cloned().expect("there is one").event;
    assert_eq!(rules(&with(twice, "step_ordered", 1), &seen()), ["I10", "I10"]);
    assert!(rules(&without("step_ordered", 0), &seen()).contains(&"I10"), "a report without an order");
    let last = good().last().cloned().expect("not empty");
    let mut log = good();
    log.push(last);
    assert!(rules(&log, &seen()).contains(&"I10"), "it ends once");
}
