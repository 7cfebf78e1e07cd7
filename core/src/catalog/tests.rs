//! What the catalog remembers, event by event.

use super::*;
use crate::event::Actor;
use crate::event::{Event, Recorded};
use crate::release::{DEFAULT_SUITE, KnownGoodBy, TestReport, TestResult};
use crate::spec::TestKind;
use crate::testing::{app, at, digest, node, web};

fn fold(events: Vec<(i64, Event)>) -> Catalog {
    let mut catalog = Catalog::default();
    for (second, event) in events {
        catalog.apply(&Recorded { at: at(second), by: Actor("someone".into()), event });
    }
    catalog
}

fn applied() -> Event {
    Event::AppApplied { spec: Box::new(web()), version: SpecVersion(1), differences: Vec::new() }
}

fn seen(number: u8) -> Event {
    Event::ReleaseSeen {
        app: app(),
        digest: digest(number),
        tag: None,
        created: Some(at(i64::from(number))),
        platforms: Vec::new(),
    }
}

fn passed(number: u8, created: Option<DateTime<Utc>>) -> Event {
    let report = TestReport {
        kind: TestKind::Ci,
        suite: DEFAULT_SUITE.into(),
        result: TestResult::Passed,
        by: "ci".into(),
        at: at(0),
        url: None,
        from: None,
    };
    Event::TestReported {
        app: app(),
        digest: digest(number),
        report,
        created,
        platforms: Vec::new(),
        signatures: Vec::new(),
    }
}

fn order(events: Vec<Event>) -> Vec<Digest> {
    let mut all = vec![(0, applied())];
    all.extend(events.into_iter().map(|event| (1, event)));
    fold(all).app(&app()).expect("applied").releases.iter().map(|release| release.digest.clone()).collect()
}

fn digests(numbers: &[u8]) -> Vec<Digest> {
    numbers.iter().copied().map(digest).collect()
}

#[test]
fn the_newest_release_is_the_one_to_which_the_tag_moved_last() {
    assert_eq!(order(vec![seen(1), seen(2), seen(3)]), digests(&[1, 2, 3]));
    assert_eq!(order(vec![seen(1), seen(2), seen(1)]), digests(&[2, 1]), "a tag that moves back is followed");
}

#[test]
fn a_digest_that_only_ci_knows_is_ordered_by_its_build_time() {
    let built = |second| Some(at(second));
    assert_eq!(order(vec![seen(1), passed(2, built(2)), seen(3)]), digests(&[1, 2, 3]), "the tag moved on unseen");
    assert_eq!(order(vec![seen(5), passed(2, built(2))]), digests(&[2, 5]), "a late report is no new release");
    assert_eq!(order(vec![seen(5), passed(2, None)]), digests(&[2, 5]), "nothing known: not newer than the tag");
    assert_eq!(order(vec![passed(2, None)]), digests(&[2]));
}

#[test]
fn what_was_found_running_is_older_than_what_the_tag_shows() {
    let found = Event::ReleaseKnownGood { app: app(), digest: digest(9), because: KnownGoodBy::Adoption };
    assert_eq!(order(vec![seen(1), found.clone()]), digests(&[9, 1]));
    assert_eq!(order(vec![seen(9), seen(1), found]), digests(&[9, 1]), "its known place stays");
}

#[test]
fn the_target_is_the_newest_tested_one_and_never_a_barred_one() {
    let mut events = vec![(0, applied()), (1, seen(1)), (1, passed(1, None)), (2, seen(2)), (2, passed(2, None))];
    events.push((3, seen(3)));
    let target = |events: &[(i64, Event)]| {
        fold(events.to_vec()).app(&app()).expect("applied").target(at(9)).map(|release| release.digest.clone())
    };
    assert_eq!(target(&events), Some(digest(2)), "3 is not tested");
    events.push((4, Event::ReleaseQuarantined { app: app(), digest: digest(2), reason: "bad".into() }));
    assert_eq!(target(&events), Some(digest(1)));
    events.push((5, Event::QuarantineCleared { app: app(), digest: digest(2), reason: "fine".into() }));
    assert_eq!(target(&events), Some(digest(2)));
}

#[test]
fn a_new_repository_starts_with_an_empty_history_and_a_new_tag_does_not() {
    let mut other = web();
    other.image = "r.example/web:next".parse().expect("well formed");
    let apply = |spec: &AppSpec| Event::AppApplied {
        spec: Box::new(spec.clone()),
        version: SpecVersion(2),
        differences: Vec::new(),
    };
    let events = vec![(0, applied()), (1, seen(1)), (2, apply(&other))];
    let catalog = fold(events.clone());
    let kept = catalog.app(&app()).expect("applied");
    assert_eq!((kept.releases.len(), &kept.tagged), (1, &None));
    other.image = "r.example/elsewhere:stable".parse().expect("well formed");
    let mut events = events;
    events.push((3, apply(&other)));
    assert!(fold(events).app(&app()).expect("applied").releases.is_empty());
}

#[test]
fn a_removed_node_takes_its_instances_along() {
    let adopt = |on: &str| Event::InstanceAdopted {
        app: app(),
        node: node(on),
        container: "web".into(),
        digest: Some(digest(1)),
    };
    let gone = Event::NodeRemoved { node: node("n1"), reason: "sold".into() };
    let catalog = fold(vec![(0, applied()), (1, adopt("n1")), (1, adopt("n2")), (2, gone)]);
    let left: Vec<_> = catalog.app(&app()).expect("applied").adopted.keys().map(|(node, _)| node.to_string()).collect();
    assert_eq!(left, ["n2"]);
}

#[test]
fn the_memory_for_releases_is_limited_and_keeps_what_matters() {
    let name = |number: usize| -> Digest { format!("sha256:{number:064x}").parse().expect("well formed") };
    let mut events = vec![(0, applied())];
    for number in 0..RELEASE_LIMIT + 10 {
        events.push((
            1,
            Event::ReleaseSeen { app: app(), digest: name(number), tag: None, created: None, platforms: Vec::new() },
        ));
        if number == 0 {
            let because = KnownGoodBy::Rollout;
            events.push((1, Event::ReleaseKnownGood { app: app(), digest: name(0), because }));
        }
    }
    let catalog = fold(events);
    let known = catalog.app(&app()).expect("applied");
    assert_eq!(known.releases.len(), RELEASE_LIMIT);
    assert!(known.release(&name(0)).is_some(), "a known-good release is kept");
    assert!(known.release(&name(1)).is_none());
}
