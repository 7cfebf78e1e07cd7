//! Each rule is broken on purpose: a good history is changed in one place, and exactly that rule must say so.

use super::*;
use crate::event::{Actor, Event};
use crate::testing::{app, at, digest, node};

/// The log of a rollout from digest 1 to digest 2 on two nodes; the second order comes two minutes after the first.
fn log() -> Vec<Recorded> {
    let text = include_str!("../tests/good.json");
    let mut log: Vec<Recorded> = serde_json::from_str(text).expect("a stored log");
    let last = log.iter().rposition(|one| one.event.kind() == "step_ordered").expect("there is one");
    log[last..].iter_mut().for_each(|one| one.at += TimeDelta::seconds(120));
    log
}

fn ordered() -> Vec<DateTime<Utc>> {
    log().iter().filter(|one| one.event.kind() == "step_ordered").map(|one| one.at).collect()
}

fn place(name: &str) -> Place {
    (app(), node(name), "web".into())
}

fn found(name: &str, id: &str) -> Found {
    let volumes = [("/data".to_owned(), format!("volume-{name}"))].into();
    Found { place: place(name), container: ContainerId(id.into()), own_name: true, running: true, volumes }
}

fn happened(second: i64, name: &str, id: &str, act: Act) -> Happened {
    Happened { at: at(second), place: place(name), container: ContainerId(id.into()), act }
}

/// What the engine says when an instance is replaced, from this second on.
fn replaced(second: i64, name: &str) -> Vec<Happened> {
    let (old, new) = (format!("{name}-old"), format!("{name}-new"));
    vec![
        happened(second, name, &new, Act::Created(Some(digest(2)))),
        happened(second + 1, name, &old, Act::Stopping),
        happened(second + 2, name, &old, Act::Ended),
        happened(second + 3, name, &new, Act::Started),
        happened(second + 4, name, &new, Act::Serving),
        happened(second + 5, name, &old, Act::Removed),
    ]
}

fn second(instant: DateTime<Utc>) -> i64 {
    (instant - at(0)).num_seconds() + 1
}

fn history() -> History {
    let [first, last] = ordered()[..] else { panic!("the good log has two orders") };
    History {
        before: vec![found("n1", "n1-old"), found("n2", "n2-old")],
        happened: [replaced(second(first), "n1"), replaced(second(last), "n2")].concat(),
        outages: Vec::new(),
        allowed: [(app(), vec![at(0)..at(1_000_000)])].into(),
        noticed_within: Duration::from_secs(5),
        after: vec![found("n1", "n1-new"), found("n2", "n2-new")],
    }
}

fn rules(history: &History) -> Vec<&'static str> {
    check_engines(&log(), history).into_iter().map(|violation| violation.rule).collect()
}

fn changed(change: impl FnOnce(&mut History)) -> Vec<&'static str> {
    let mut history = history();
    change(&mut history);
    rules(&history)
}

#[test]
fn a_good_history_breaks_nothing() {
    assert_eq!(check_engines(&log(), &history()), []);
}

#[test]
fn what_is_taken_away_is_counted_until_it_serves_again() {
    // The first new one never serves, and the second one is stopped all the same.
    assert_eq!(changed(|history| drop(history.happened.remove(4))), ["I1"]);
    // It serves and is then taken away again: back on its own old version for a while is not away.
    let fails = |history: &mut History| {
        let when = history.happened[5].at;
        let stop = Happened { at: when, act: Act::Failing, ..history.happened[4].clone() };
        history.happened.insert(5, stop);
    };
    assert_eq!(changed(fails), ["I1"], "it failed long before the next one was ordered");
    let late = |history: &mut History| {
        fails(history);
        history.noticed_within = Duration::from_secs(100_000);
    };
    assert_eq!(changed(late), Vec::<&str>::new(), "nobody can have known, and it was not our doing");
}

#[test]
fn what_ends_with_its_engine_is_not_our_doing() {
    let from = ordered()[0] - TimeDelta::seconds(10);
    let down = |history: &mut History| {
        history.happened.insert(0, happened(second(from) + 1, "n1", "n1-old", Act::Stopping));
        history.happened.insert(1, happened(second(from) + 4, "n1", "n1-old", Act::Serving));
    };
    assert_eq!(changed(down), ["I10"], "nobody asked for that");
    let known = |history: &mut History| {
        down(history);
        history.outages.push(Outage { node: node("n1"), time: from..from + TimeDelta::seconds(4) });
    };
    assert_eq!(changed(known), Vec::<&str>::new());
}

#[test]
fn what_no_step_asked_for_is_seen() {
    assert_eq!(changed(|history| history.happened[0].act = Act::Created(Some(digest(3)))), ["I10"]);
    assert_eq!(changed(|history| history.happened[0].act = Act::Created(None)), ["I10"]);
    assert_eq!(changed(|history| history.happened[0].at = at(-100)), ["I10"], "before its order");
}

#[test]
fn a_barred_digest_and_a_closed_window_are_seen() {
    let mut log = log();
    let place = log.iter().position(|one| one.event.kind() == "step_ordered").expect("there is one");
    let event = Event::ReleaseQuarantined { app: app(), digest: digest(2), reason: "bad".into() };
    log.insert(place, Recorded { at: log[place].at, by: Actor("ann".into()), event });
    let rules: Vec<_> = check_engines(&log, &history()).into_iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, ["I3", "I3"]);
    assert_eq!(changed(|history| history.allowed.clear()), ["I4", "I4"]);
    let closed = |history: &mut History| {
        let end = history.happened[6].at;
        history.allowed = [(app(), vec![at(0)..end])].into();
    };
    assert_eq!(changed(closed), ["I4"], "the end is not part of a window");
}

#[test]
fn an_instance_without_any_container_is_seen() {
    let lost = |history: &mut History| {
        let old = history.happened.remove(5);
        history.happened.insert(0, old);
        history.happened[0].at = history.happened[1].at;
    };
    assert_eq!(changed(lost), ["I5"]);
}

#[test]
fn two_containers_that_run_at_once_are_seen() {
    assert_eq!(changed(|history| drop(history.happened.remove(2))), ["I6"]);
}

#[test]
fn what_is_left_over_lost_or_renamed_is_seen() {
    assert_eq!(changed(|history| history.after.push(found("n2", "other"))), ["I6"]);
    assert_eq!(changed(|history| drop(history.after.pop())), ["I6"]);
    assert_eq!(changed(|history| history.after[0].own_name = false), ["I6"]);
    assert_eq!(changed(|history| history.after[0].running = false), ["I6"]);
    assert_eq!(changed(|history| history.after[0].volumes.clear()), ["I6"]);
    assert_eq!(changed(|history| history.after.push(found("n3", "other"))), ["I6"]);
}
