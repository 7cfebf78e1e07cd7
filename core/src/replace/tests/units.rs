//! Containers that are one unit: created, stopped, started and taken back together.

use super::super::Record;
use super::model::{Image, Model, SIDECAR, drive};
use super::order;
use crate::container::RunState;
use crate::ids::ContainerId;
use crate::step::{FailureKind, StepPhase};

#[test]
fn what_depends_on_the_instance_stops_first_and_starts_last() {
    let run = drive(Model::new(Image::Good, true).with_sidecar(), Record::new(order()), &[]);
    assert_eq!(run.saved.phase, StepPhase::Committed);
    let trace: Vec<_> = run.targets.iter().map(|(words, id)| (*words, id.0.as_str())).collect();
    let of = |words: &str| -> Vec<&str> { trace.iter().filter(|(w, _)| *w == words).map(|(_, id)| *id).collect() };
    assert_eq!(of("stop the old container"), ["oldside", "old"]);
    assert_eq!(of("start the new container"), ["new1", "new2"]);
    assert_eq!(of("remove the old container"), ["oldside", "old"]);
    let position = |words: &str| trace.iter().position(|(w, _)| *w == words).expect("done");
    assert!(position("rename the old container") < position("stop the old container"));
}

#[test]
fn the_unit_is_taken_back_as_a_whole() {
    for image in [Image::CannotStart, Image::Exits, Image::Unhealthy] {
        let run = drive(Model::new(image, image == Image::Unhealthy).with_sidecar(), Record::new(order()), &[]);
        assert_eq!(run.saved.phase, StepPhase::RolledBack, "{image:?}");
        let trace: Vec<_> = run.targets.iter().map(|(words, id)| (*words, id.0.as_str())).collect();
        let starts: Vec<&str> =
            trace.iter().filter(|(words, _)| words.starts_with("start the old")).map(|(_, id)| *id).collect();
        assert_eq!(starts, ["old", "oldside"], "{image:?}");
    }
}

#[test]
fn a_dependent_that_fails_takes_the_whole_unit_back_and_is_named() {
    let mut model = Model::new(Image::Good, true).with_sidecar();
    model.sidecar_exits = true;
    let run = drive(model, Record::new(order()), &[]);
    let failure = run.saved.report().failure.expect("told");
    assert_eq!((run.saved.phase, failure.kind), (StepPhase::RolledBack, FailureKind::Unhealthy));
    assert!(failure.reason.starts_with("container `sidecar`, which depends on it: it ended"), "{}", failure.reason);
    assert_eq!(failure.log, "last words");
    assert!(run.targets.contains(&("read the new container's log", ContainerId("new2".to_owned()))));
}

#[test]
fn a_stopped_dependent_is_made_anew_and_not_started() {
    let mut model = Model::new(Image::Good, true).with_sidecar();
    model.containers.get_mut(&ContainerId("oldside".to_owned())).expect("there").view.state = RunState::Exited;
    let run = drive(model, Record::new(order()), &[]);
    assert_eq!(run.saved.phase, StepPhase::Committed);
    let side = run.model.containers.values().find(|c| c.view.name == SIDECAR).expect("made anew");
    assert_eq!((side.view.id.0.as_str(), side.view.state), ("new2", RunState::Created));
}
