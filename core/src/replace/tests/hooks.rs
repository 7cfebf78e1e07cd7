//! What is called around a replacement, in which order, and what a hook can bring about.

use super::super::{Action, HookOutcome, Record, TRY_LIMIT};
use super::model::{Image, Model, Run, drive};
use super::order;
use crate::container::RunState;
use crate::spec::{HookPoint, UpdateOrder};
use crate::step::{FailureKind, StepPhase};

fn run(image: Image, order_of: UpdateOrder, change: impl FnOnce(&mut Model)) -> Run {
    let (mut model, mut order) = (Model::new(image, true), order());
    model.one_port = order_of == UpdateOrder::StopFirst;
    (order.order, order.hooks) = (order_of, super::hooks());
    change(&mut model);
    drive(model, Record::new(order), &[])
}

/// The hooks among starts and stops.
fn story(run: &Run) -> Vec<&'static str> {
    let told = ["hook", "stop the", "start the"];
    run.trace.iter().copied().filter(|words| told.iter().any(|part| words.contains(part))).collect()
}

#[test]
fn stop_first_drains_before_the_stop_and_start_first_when_the_new_one_serves() {
    let stop_first = run(Image::Good, UpdateOrder::StopFirst, |_| {});
    let expect = [
        "call the `before` hook",
        "call the `drain` hook",
        "stop the old container",
        "start the new container",
        "call the `after` hook",
    ];
    assert_eq!(story(&stop_first), expect);
    let start_first = run(Image::Good, UpdateOrder::StartFirst, |_| {});
    let expect = [
        "call the `before` hook",
        "start the new container",
        "call the `after` hook",
        "call the `drain` hook",
        "stop the old container",
    ];
    assert_eq!(story(&start_first), expect);
    assert_eq!(start_first.saved.report().downtime_ms, Some(0));
}

#[test]
fn a_hook_that_says_not_now_leaves_the_instance_as_it_is() {
    for (point, order_of, expect) in [
        (HookPoint::Before, UpdateOrder::StopFirst, &["call the `before` hook"][..]),
        (
            HookPoint::Drain,
            UpdateOrder::StopFirst,
            &["call the `before` hook", "call the `drain` hook", "call the `after` hook"],
        ),
    ] {
        let run = run(Image::Good, order_of, |model| {
            model.hook_answers.insert(point, HookOutcome::Skip("busy".to_owned()));
        });
        assert_eq!(story(&run), expect);
        let failure = run.saved.report().failure.expect("told");
        assert_eq!((run.saved.phase, failure.kind), (StepPhase::Untouched, FailureKind::Skipped));
        assert_eq!(failure.reason, format!("the `{point}` hook asks to skip it this time: busy"));
        assert!(!failure.kind.blames_the_version());
        assert!(run.model.is_in_service(&run.saved, &run.saved.order.container_id));
    }
}

#[test]
fn a_hook_that_fails_never_blames_the_version_and_is_undone() {
    for (point, order_of, phase) in [
        (HookPoint::Before, UpdateOrder::StopFirst, StepPhase::Untouched),
        (HookPoint::Drain, UpdateOrder::StopFirst, StepPhase::Untouched),
        (HookPoint::Drain, UpdateOrder::StartFirst, StepPhase::Untouched),
    ] {
        let run = run(Image::Good, order_of, |model| {
            model.hook_answers.insert(point, HookOutcome::Failed("connection refused".to_owned()));
        });
        let failure = run.saved.report().failure.expect("told");
        assert_eq!((run.saved.phase, failure.kind), (phase, FailureKind::Hook), "{point} {order_of:?}");
        assert_eq!(failure.reason, format!("the `{point}` hook failed: connection refused"));
        assert!(run.model.is_in_service(&run.saved, &run.saved.order.container_id), "{point} {order_of:?}");
        assert_eq!(run.model.containers.len(), 1);
    }
}

#[test]
fn an_after_hook_that_never_works_takes_the_new_one_back_and_is_told() {
    let run = run(Image::Good, UpdateOrder::StopFirst, |model| {
        model.hook_answers.insert(HookPoint::After, HookOutcome::Failed("no such server".to_owned()));
    });
    assert_eq!(run.saved.phase, StepPhase::RolledBack);
    let calls = run.trace.iter().filter(|words| **words == "call the `after` hook").count();
    assert_eq!(calls, usize::try_from(TRY_LIMIT).expect("small"), "for the new one once, then for the old one");
    let reason = run.saved.report().failure.expect("told").reason;
    assert!(reason.starts_with("the `after` hook failed: no such server"), "{reason}");
    assert!(reason.contains("failed again and again; hint: "), "{reason}");
    let all: Vec<_> = run.model.containers.values().map(|c| (c.view.id.0.as_str(), c.view.state)).collect();
    assert_eq!(all, [("old", RunState::Running)]);
}

#[test]
fn who_serves_nobody_is_not_drained() {
    for state in [RunState::Exited, RunState::Restarting] {
        let run = run(Image::Good, UpdateOrder::StopFirst, |model| model.old().state = state);
        assert_eq!(run.saved.phase, StepPhase::Committed);
        let called: Vec<_> = run.trace.iter().filter(|words| words.contains("hook")).collect();
        let expect = if state == RunState::Exited { vec![] } else { vec![&"call the `after` hook"] };
        assert_eq!(called, expect, "{state:?}");
    }
}

#[test]
fn a_hook_is_told_which_container_it_is_about() {
    let (model, mut order) = (Model::new(Image::Good, false), order());
    order.hooks = super::hooks();
    let run = drive(model, Record::new(order), &[]);
    assert!(run.model.in_service.contains(&run.saved.instance.new_id.clone().expect("made")));
    let action = Action::Hook {
        point: HookPoint::Drain,
        container: run.saved.order.container_id.clone(),
        hook: run.saved.order.hooks.drain.clone().expect("there"),
    };
    assert_eq!(action.container(), Some(&run.saved.order.container_id));
}
