//! An engine that is restarted ends containers, and not all of them come back by themselves: that says nothing about a version.

use std::time::Duration;

use super::super::{Action, Observed, Record, next};
use super::model::{Image, Model, instant};
use super::order;
use crate::container::RunState;
use crate::step::{FailureKind, StepPhase};

/// Drives a step without faults to the first wait after the new container's start.
fn watching(image: Image) -> (Model, Record) {
    let (mut model, mut record) = (Model::new(image, true), Record::new(order()));
    for _ in 0..100 {
        let decided = next(&record, &model.observe(&record), Duration::from_millis(10));
        record = decided.record;
        if record.phase == StepPhase::Started {
            return (model, record);
        }
        model.perform(&decided.action, Some(&mut record));
    }
    panic!("it never started: {record:?}");
}

/// What the engine holds once the new container has ended, with nothing that restarts it.
fn ended(model: &Model, record: &Record, exit_code: i64) -> Observed {
    let mut seen = model.observe(record);
    let new = seen.instance.new.as_mut().expect("it was created");
    (new.state, new.exit_code) = (RunState::Exited, exit_code);
    seen
}

/// What the step does next, in words, and whether it blames the version.
fn decided(record: &Record, seen: &Observed) -> (&'static str, bool) {
    let next = next(record, seen, Duration::from_millis(10));
    let blames = next.record.failure.as_ref().is_some_and(|failure| failure.kind.blames_the_version());
    (next.action.words(), blames)
}

#[test]
fn what_ended_while_nobody_looked_on_is_started_once_more() {
    let (model, record) = watching(Image::Good);
    for exit_code in [0, 143, 137, 1] {
        let seen = ended(&model, &record, exit_code);
        assert_eq!(decided(&record, &seen), ("read the new container's log", true), "it ended in plain view");
        let ways: [fn(&mut Record); 3] =
            [|record| record.engine_was_away(Duration::from_secs(4)), Record::lost_sight, Record::resumed];
        for lose_sight in ways {
            let mut record = record.clone();
            lose_sight(&mut record);
            assert_eq!(decided(&record, &seen), ("start the new container", false), "exit code {exit_code}");
            // Started, it ends again, and this time somebody looks on.
            record.done(&Action::Start { new: record.instance.new_id.clone().expect("created") });
            assert_eq!(decided(&record, &seen), ("read the new container's log", true), "exit code {exit_code}");
        }
    }
}

#[test]
fn what_was_seen_to_run_afterwards_has_no_excuse() {
    let (model, mut record) = watching(Image::Good);
    record.lost_sight();
    let runs = next(&record, &model.observe(&record), Duration::from_millis(10));
    let seen = ended(&model, &record, 0);
    assert_eq!(decided(&runs.record, &seen), ("read the new container's log", true));
}

#[test]
fn memory_that_ran_out_is_no_restart_of_the_engine() {
    let (model, mut record) = watching(Image::Good);
    record.lost_sight();
    let mut seen = ended(&model, &record, 137);
    seen.instance.new.as_mut().expect("created").oom_killed = true;
    assert_eq!(decided(&record, &seen), ("read the new container's log", true));
}

#[test]
fn an_engine_that_never_starts_it_again_is_the_engines_failure() {
    let (model, mut record) = watching(Image::Good);
    record.instance.watch.spent = record.order.healthy_deadline;
    record.lost_sight();
    let next = next(&record, &ended(&model, &record, 0), Duration::ZERO);
    let failure = next.record.failure.expect("the deadline is over");
    assert_eq!(failure.kind, FailureKind::Engine, "{failure:?}");
}

#[test]
fn a_step_whose_container_the_engine_ended_is_committed_after_all() {
    let (mut model, mut record) = watching(Image::Good);
    let new = record.instance.new_id.clone().expect("created");
    let view = &mut model.containers.get_mut(&new).expect("it is there").view;
    (view.state, view.exit_code, view.started_at) = (RunState::Exited, 0, Some(instant(7)));
    record.engine_was_away(Duration::from_secs(3));
    for _ in 0..100 {
        let decided = next(&record, &model.observe(&record), Duration::from_secs(1));
        record = decided.record;
        if decided.action == Action::End {
            break;
        }
        model.advance(Duration::from_secs(1));
        model.perform(&decided.action, Some(&mut record));
    }
    assert_eq!((record.phase, &record.failure), (StepPhase::Committed, &None));
}
