//! The ways of a step, action by action, and what refuses it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::super::{
    Action, Blueprint, Downtime, Next, Observed, Record, Sight, TIMER_GRAIN, TRY_LIMIT, UnitPlan, next, pause_after,
};
use super::model::{Image, Model, NETWORK, drive, view};
use super::order;
use crate::container::RunState;
use crate::ids::ContainerId;
use crate::step::{FailureKind, LOG_LIMIT_BYTES, StepPhase};

const PREPARED: [&str; 7] = [
    "try out the calls of a replacement",
    "pull the image",
    "hold an image by a tag",
    "hold an image by a tag",
    "plan the new container",
    "create the new container",
    "connect the new container to a network",
];
const CLEANED: [&str; 3] = ["remove the old container", "tag the new image", "remove old images"];

fn seen_with(old: Option<crate::container::ContainerView>) -> Observed {
    Observed { instance: Sight { old, ..Sight::default() }, ..Observed::default() }
}

fn trace(model: Model) -> (Vec<&'static str>, Record) {
    let run = drive(model, Record::new(order()), &[]);
    (run.trace.into_iter().filter(|&words| words != "wait").collect(), run.saved)
}

#[test]
fn the_service_is_away_only_for_stop_and_start() {
    let (trace, record) = trace(Model::new(Image::Good, true));
    let swap = [
        "set the old container's restart policy to `no`",
        "rename the old container",
        "give the new container its name",
        "stop the old container",
        "start the new container",
    ];
    assert_eq!(trace, [&PREPARED[..], &swap, &CLEANED].concat());
    let report = record.report();
    // Stop, start, and the two looks of the watch until the health check passes.
    assert_eq!((report.phase, report.downtime_ms, report.failure), (StepPhase::Committed, Some(5_020), None));
    assert_eq!(report.new_container_id, Some(ContainerId("new1".to_owned())));
}

#[test]
fn what_takes_too_long_before_it_touches_anything_is_given_up_and_later_it_goes_on() {
    // Late by one second before each action of a step.
    let good = drive(Model::new(Image::Good, true), Record::new(order()), &[]).trace;
    let first_touch = good.iter().position(|done| done.starts_with("set the old container's")).expect("it is parked");
    for (late, before) in good.iter().enumerate() {
        let (mut model, mut record) = (Model::new(Image::Good, true), Record::new(order()));
        let mut elapsed = Duration::ZERO;
        for number in 0.. {
            assert!(number < 100, "no end");
            let away = if number == late { order().start_within + Duration::from_secs(1) } else { Duration::ZERO };
            record.engine_was_away(away);
            let Next { record: now, action } = next(&record, &model.observe(&record), elapsed);
            record = now;
            if action == Action::End {
                break;
            }
            elapsed = if let Action::Wait(time) = action { time } else { Duration::ZERO };
            model.advance(elapsed);
            model.perform(&action, Some(&mut record));
        }
        let kind = record.failure.as_ref().map(|failure| failure.kind);
        let expect = match late <= first_touch {
            true => (StepPhase::Untouched, Some(FailureKind::NotAccepted)),
            false => (StepPhase::Committed, None),
        };
        assert_eq!((record.phase, kind), expect, "late before {before:?}: {:?}", record.failure);
    }
}

#[test]
fn both_images_are_held_by_a_tag_before_anything_is_made_or_stopped() {
    let run = drive(Model::new(Image::Unhealthy, true), Record::new(order()), &[]);
    assert_eq!(run.saved.phase, StepPhase::RolledBack);
    let place = |words: &str| run.trace.iter().position(|done| *done == words).unwrap_or_else(|| panic!("{words}"));
    let held = run.trace.iter().rposition(|done| *done == "hold an image by a tag").expect("they are held");
    assert!(held < place("create the new container") && held < place("stop the old container"), "{:?}", run.trace);
    // The one to go back to and the new one; neither a clean-up nor a registry can take them away from the way back.
    let [old, new] = &run.saved.kept_images[..] else { panic!("{:?}", run.saved.kept_images) };
    assert_eq!(Some(old), run.saved.instance.old.as_ref().map(|old| &old.image_id));
    assert_eq!((Some(new), old == new), (run.saved.image_id.as_ref(), false));
}

#[test]
fn a_container_in_a_restart_loop_is_stopped_before_it_is_renamed() {
    let mut model = Model::new(Image::Good, false);
    model.old().state = RunState::Restarting;
    let (trace, record) = trace(model);
    let swap = [
        "set the old container's restart policy to `no`",
        "stop the old container",
        "rename the old container",
        "give the new container its name",
        "start the new container",
    ];
    assert_eq!(trace, [&PREPARED[..], &swap, &CLEANED].concat());
    assert_eq!(record.phase, StepPhase::Committed);
}

#[test]
fn on_the_way_back_the_service_comes_first() {
    let (trace, record) = trace(Model::new(Image::CannotStart, false));
    let back = [
        "start the new container",
        "take the name away from the new container",
        "give the old container its name back",
        "restore the old container's restart policy",
        "start the old container again",
        "remove the new container",
    ];
    assert_eq!(trace[trace.len() - back.len()..], back);
    let failure = record.report().failure.expect("told");
    assert_eq!(failure.kind, FailureKind::EngineRefused);
    assert_eq!(failure.reason, "it could not be started (exit code 127: exec: no such file)");
    assert!(record.report().downtime_ms.is_some());
}

#[test]
fn a_failed_containers_last_words_are_told() {
    let (_, record) = trace(Model::new(Image::Exits, false));
    assert_eq!(record.failure.clone().expect("told").log, "last words");
    let mut long = record;
    long.logged(&"é".repeat(LOG_LIMIT_BYTES));
    let log = long.failure.expect("told").log;
    assert!(log.len() <= LOG_LIMIT_BYTES && log.chars().all(|c| c == 'é'), "{} bytes", log.len());
}

#[test]
fn what_did_not_run_is_replaced_and_not_started() {
    for state in [RunState::Exited, RunState::Created] {
        let mut model = Model::new(Image::Good, false);
        model.old().state = state;
        let run = drive(model, Record::new(order()), &[]);
        assert_eq!(run.saved.phase, StepPhase::Committed);
        assert!(
            !run.trace.iter().any(|words| words.starts_with("start") || words.starts_with("stop")),
            "{:?}",
            run.trace
        );
        let all: Vec<_> = run.model.containers.values().map(|c| (c.view.name.as_str(), c.view.state)).collect();
        assert_eq!(all, [("web", RunState::Created)]);
        assert_eq!(run.saved.report().downtime_ms, None);
    }
}

#[test]
fn what_is_not_as_planned_is_left_untouched() {
    let check = |change: &dyn Fn(&mut Model, &mut Record), kind: FailureKind, words: &str| {
        let mut model = Model::new(Image::Good, false);
        let mut record = Record::new(order());
        change(&mut model, &mut record);
        let before: Vec<_> = model.containers.values().map(|c| c.view.clone()).collect();
        let run = drive(model, record, &[]);
        let failure = run.saved.report().failure.expect("told");
        assert_eq!((run.saved.phase, failure.kind), (StepPhase::Untouched, kind), "{failure:?}");
        assert!(failure.reason.contains(words), "{}", failure.reason);
        let after: Vec<_> = run.model.containers.values().map(|c| c.view.clone()).collect();
        assert_eq!(before, after, "{words}");
    };
    let precondition = FailureKind::Precondition;
    check(&|_, record| record.engine_was_away(Duration::from_secs(61)), FailureKind::NotAccepted, "be begun within 1m");
    check(&|_, record| record.resumed(), FailureKind::NotAccepted, "the agent was restarted before");
    check(&|_, record| record.instance.id = ContainerId("gone".to_owned()), precondition, "is gone");
    check(&|model, _| model.old().name = "other".to_owned(), precondition, "is called `other` now");
    check(&|model, _| model.old().state = RunState::Paused, precondition, "hint: `docker unpause web`");
    check(&|model, _| model.old().state = RunState::Removing, precondition, "is being removed");
    check(&|model, _| model.old().state = RunState::Dead, precondition, "is being removed");
    check(&|model, _| model.old().auto_remove = true, precondition, "`--rm`");
    for (words, kind) in [
        ("try out the calls of a replacement", precondition),
        ("pull the image", FailureKind::Pull),
        ("hold an image by a tag", precondition),
        ("create the new container", FailureKind::EngineRefused),
        ("connect the new container to a network", FailureKind::EngineRefused),
        ("set the old container's restart policy to `no`", FailureKind::Engine),
    ] {
        let refuse = |model: &mut Model, _: &mut Record| {
            model.refuses.insert(words);
        };
        if words.starts_with("set") {
            // The policy is the first change of the old one: the step is taken back, not merely left.
            let mut model = Model::new(Image::Good, false);
            refuse(&mut model, &mut Record::new(order()));
            assert_eq!(trace(model).1.phase, StepPhase::RolledBack);
        } else {
            check(&refuse, kind, words);
        }
    }
}

#[test]
fn a_change_between_plan_and_stop_is_seen() {
    let mut record = Record::new(order());
    let old = view("old", "web", RunState::Running);
    let mut seen = seen_with(Some(old.clone()));
    seen.image = Some("sha256:4e3".to_owned());
    record = next(&record, &seen, Duration::ZERO).record;
    record.done(&Action::TryCalls);
    record.kept_images = vec!["sha256:01d".to_owned(), "sha256:4e3".to_owned()];
    let instance = Blueprint { create_body: json!({}), connects: vec![], settings: Some(1) };
    seen.instance.old_settings = Some(1);
    record.planned(Ok(UnitPlan { instance, dependents: vec![] }));
    record.created("web.nightshift-new-59d13469a65a", ContainerId("new1".to_owned()));
    seen.instance.new = Some(view("new1", "web.nightshift-new-59d13469a65a", RunState::Created));
    seen.instance.new_networks = BTreeSet::from([NETWORK.to_owned()]);
    let parks = next(&record, &seen, Duration::ZERO).action;
    assert_eq!(parks, Action::ParkRestartPolicy { old: ContainerId("old".to_owned()) });
    let mut renamed = old.clone();
    renamed.name = "other".to_owned();
    let mut other_policy = old.clone();
    other_policy.restart_policy = json!({"Name": "no"});
    let in_state = |state| Some(crate::container::ContainerView { state, ..old.clone() });
    for (changed, settings) in [
        (Some(renamed), 1),
        (Some(other_policy), 1),
        (in_state(RunState::Paused), 1),
        (in_state(RunState::Exited), 1),
        (Some(old.clone()), 2),
        (None, 1),
    ] {
        let mut seen = seen.clone();
        seen.instance.old = changed.clone();
        seen.instance.old_settings = Some(settings);
        let then = next(&record, &seen, Duration::ZERO);
        assert_eq!(then.action, Action::RemoveNew { new: ContainerId("new1".to_owned()) }, "{changed:?}");
        let kind = then.record.failure.expect("told").kind;
        assert_eq!(kind, FailureKind::Precondition, "{changed:?}");
    }
}

#[test]
fn a_full_disk_or_a_taken_port_is_the_nodes_fault() {
    let start = Action::Start { new: ContainerId("new1".to_owned()) };
    for (message, kind) in [
        ("exec format error", FailureKind::EngineRefused),
        ("`POST /containers/{id}/start` refused with status 403: forbidden", FailureKind::Engine),
        ("write /x: No space left on device", FailureKind::Engine),
        ("Bind for 0.0.0.0:80 failed: port is already allocated", FailureKind::Engine),
        ("failed to create shim: task 2c26 already exists: unknown", FailureKind::Engine),
    ] {
        let mut record = Record::new(order());
        record.refused(&start, message, false);
        assert_eq!(record.failure.expect("told").kind, kind, "{message}");
    }
}

#[test]
fn a_new_container_that_the_engine_cannot_start_again_after_its_own_restart_bars_no_version() {
    let mut record = Record::new(order());
    let running = seen_with(Some(view("old", "web", RunState::Running)));
    record = next(&record, &running, Duration::ZERO).record;
    record.done(&Action::TryCalls);
    record.old_touched = true;
    record.image_id = Some("sha256:4e3".to_owned());
    record.kept_images = vec!["sha256:01d".to_owned(), "sha256:4e3".to_owned()];
    let instance = Blueprint { create_body: json!({}), connects: vec![], settings: None };
    record.planned(Ok(UnitPlan { instance, dependents: vec![] }));
    record.created("web.nightshift-new-59d13469a65a", ContainerId("new1".to_owned()));
    let mut old = view("old", "web.nightshift-old-59d13469a65a", RunState::Exited);
    old.restart_policy = json!({"Name": "no"});
    for (error, kind) in [("port is already allocated", FailureKind::Engine), ("", FailureKind::Unhealthy)] {
        let mut new = view("new1", "web", RunState::Exited);
        (new.started_at, new.error) = (Some(super::model::instant(7)), error.to_owned());
        let mut seen = seen_with(Some(old.clone()));
        seen.instance.new = Some(new);
        let failure = next(&record, &seen, Duration::ZERO).record.failure.expect("it ended");
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_blames_no_version() {
    let start = Action::Start { new: ContainerId("new1".to_owned()) };
    let mut record = Record::new(order());
    for count in 1..TRY_LIMIT {
        record.unanswered(&start, "no answer");
        assert_eq!((&record.failure, record.timers.pause), (&None, pause_after(count)));
    }
    record.unanswered(&start, "no answer");
    let failure = record.failure.expect("given up");
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Engine, "could not start the new container: no answer")
    );
}

#[test]
fn a_look_that_is_refused_ends_a_step_only_while_nothing_was_made() {
    let mut record = Record::new(order());
    for _ in 1..TRY_LIMIT {
        assert!(!record.not_seen("forbidden"));
    }
    let mut made = record.clone();
    made.created("web.nightshift-new-59d13469a65a", ContainerId("new1".to_owned()));
    assert!(!made.not_seen("forbidden") && made.failure.is_none());
    assert!(record.not_seen("forbidden"));
    let report = record.report();
    assert_eq!(report.phase, StepPhase::Untouched);
    assert_eq!(report.failure.expect("told").reason, "could not look at the containers: forbidden");
}

#[test]
fn a_registry_that_is_down_is_tried_again_and_never_blames_the_version() {
    let mut record = Record::new(order());
    record.done(&Action::TryCalls);
    let seen = seen_with(Some(view("old", "web", RunState::Running)));
    for count in 1..TRY_LIMIT {
        let Action::Pull { .. } = next(&record, &seen, Duration::ZERO).action else { panic!("no pull") };
        record = next(&record, &seen, Duration::ZERO).record;
        let pull = next(&record, &seen, Duration::ZERO).action;
        record.refused(&pull, "connection refused", true);
        let pause = pause_after(count);
        assert_eq!(next(&record, &seen, Duration::ZERO).action, Action::Wait(pause));
        record = next(&record, &seen, pause).record;
    }
    let pull = next(&record, &seen, Duration::ZERO).action;
    record.refused(&pull, "connection refused", true);
    let end = next(&record, &seen, Duration::ZERO);
    assert_eq!((end.action, end.record.phase), (Action::End, StepPhase::Untouched));
    assert!(!end.record.failure.expect("told").kind.blames_the_version());
}

#[test]
fn timers_are_worth_a_write_only_now_and_then_and_survive_it() {
    let mut saved = Record::new(order());
    saved.instance.watch.begun = true;
    let mut later = saved.clone();
    later.instance.watch.spent = TIMER_GRAIN - Duration::from_millis(1);
    assert!(!later.differs_from(&saved));
    later.instance.watch.spent = TIMER_GRAIN;
    later.timers.downtime = Downtime::Running(TIMER_GRAIN);
    assert!(later.differs_from(&saved));
    let text = serde_json::to_string(&later).expect("plain");
    let mut read: Record = serde_json::from_str(&text).expect("round trip");
    assert_eq!(read, later);
    read.resumed();
    assert_eq!((read.timers.downtime, read.instance.watch.spent), (Downtime::Unknown, TIMER_GRAIN));
    assert_eq!(read.report().downtime_ms, None);
}

#[test]
fn a_container_under_the_temporary_name_without_our_labels_is_not_ours() {
    let record = Record::new(order());
    let inspect = |labels: serde_json::Value| {
        json!({"Id": "x", "Name": "/web.nightshift-new-59d13469a65a", "Image": "sha256:1", "Config": {"Labels": labels},
               "State": {"Status": "created"}, "NetworkSettings": {"Networks": {"backend": {}}}})
    };
    let (key, part) = (&record.order.key, &record.instance);
    let read = |inspect: serde_json::Value| Sight::read(key, part, None, Some(&inspect)).expect("complete");
    assert_eq!(read(inspect(json!({}))), Sight::default());
    let ours = read(inspect(json!({"nightshift.rollout": "r-0001", "nightshift.step": "3"})));
    assert_eq!(ours.new.map(|view| view.id.0), Some("x".to_owned()));
    assert_eq!(ours.new_networks, BTreeSet::from([NETWORK.to_owned()]));
}
