//! Every crash: the agent or the engine dies at each action, once and twice, and the step still ends well.

use super::super::Record;
use super::model::{Fault, Image, Model, Run, drive};
use super::order;
use crate::container::RunState;
use crate::step::{FailureKind, StepPhase};

const IMAGES: [Image; 6] =
    [Image::Good, Image::CannotStart, Image::Exits, Image::Unhealthy, Image::NeverHealthy, Image::DiesInMonitor];
const LOST: [Fault; 3] = [Fault::CrashBefore, Fault::CrashAfter, Fault::ReplyLost];
const RESTARTS: [Fault; 2] = [Fault::HostRestart, Fault::EngineRestart];

fn run(image: Image, faults: &[(usize, Fault)]) -> Run {
    let has_health_check = matches!(image, Image::Good | Image::Unhealthy | Image::NeverHealthy);
    drive(Model::new(image, has_health_check), Record::new(order()), faults)
}

/// I6: exactly one container, under its own name, with its own restart policy, running.
fn check_one_runs(run: &Run, what: &str) {
    let all: Vec<_> = run.model.containers.values().map(|c| &c.view).collect();
    let [one] = all.as_slice() else { panic!("{what}: {all:?} after {:?}", run.trace) };
    assert_eq!((one.name.as_str(), one.state), ("web", RunState::Running), "{what}: {:?}", run.trace);
    assert_eq!(one.restart_policy["Name"], "always", "{what}: {:?}", run.trace);
    let expect_old = match run.saved.phase {
        StepPhase::Committed => false,
        StepPhase::RolledBack | StepPhase::Untouched => true,
        StepPhase::Assigned
        | StepPhase::Preflight
        | StepPhase::Pulled
        | StepPhase::Created
        | StepPhase::OldStopped
        | StepPhase::Started
        | StepPhase::Healthy
        | StepPhase::Monitored
        | StepPhase::RollingBack
        | StepPhase::Broken => panic!("{what}: ended as {} after {:?}", run.saved.phase, run.trace),
    };
    assert_eq!(one.id.0 == "old", expect_old, "{what}: {} after {:?}", run.saved.phase, run.trace);
}

fn check_end(run: &Run, image: Image, what: &str) {
    check_one_runs(run, what);
    if given_up(run, what) {
        return;
    }
    let expect = if image == Image::Good { StepPhase::Committed } else { StepPhase::RolledBack };
    assert_eq!(run.saved.phase, expect, "{what}: {:?} {:?}", run.saved.failure, run.trace);
    let kind = run.saved.failure.as_ref().map(|failure| failure.kind);
    match image {
        Image::Good => assert_eq!(kind, None, "{what}"),
        Image::CannotStart => assert_eq!(kind, Some(FailureKind::EngineRefused), "{what}"),
        Image::Exits | Image::Unhealthy | Image::NeverHealthy | Image::DiesInMonitor => {
            assert_eq!(kind, Some(FailureKind::Unhealthy), "{what}");
        }
    }
}

/// Whether the agent came back before anything was changed, and left it so.
fn given_up(run: &Run, what: &str) -> bool {
    let kind = run.saved.failure.as_ref().map(|failure| failure.kind);
    if kind != Some(FailureKind::NotAccepted) {
        return false;
    }
    assert_eq!(run.saved.phase, StepPhase::Untouched, "{what}");
    assert!(!run.trace.contains(&"stop the old container"), "{what}: {:?}", run.trace);
    true
}

#[test]
fn without_faults_a_good_image_commits_and_a_bad_one_is_taken_back() {
    for image in IMAGES {
        assert!(!given_up(&run(image, &[]), "no fault"));
        check_end(&run(image, &[]), image, &format!("{image:?}"));
    }
}

#[test]
fn a_crash_or_a_lost_reply_at_any_action_changes_no_outcome() {
    for image in IMAGES {
        for at in 0..run(image, &[]).trace.len() {
            for fault in LOST {
                check_end(&run(image, &[(at, fault)]), image, &format!("{image:?}, {fault:?} at {at}"));
            }
        }
    }
}

#[test]
fn two_crashes_change_no_outcome_either() {
    for image in IMAGES {
        let actions = run(image, &[]).trace.len();
        for (first, second) in
            (0..actions).flat_map(|first| (first + 1..actions + 2).map(move |second| (first, second)))
        {
            for faults in LOST.iter().flat_map(|&a| LOST.map(|b| [(first, a), (second, b)])) {
                check_end(&run(image, &faults), image, &format!("{image:?}, {faults:?}"));
            }
        }
    }
}

#[test]
fn after_a_restart_of_engine_or_host_exactly_one_container_runs() {
    for image in IMAGES {
        for at in 0..run(image, &[]).trace.len() {
            for fault in RESTARTS {
                let run = run(image, &[(at, fault)]);
                let what = format!("{image:?}, {fault:?} at {at}");
                check_one_runs(&run, &what);
                assert!(image == Image::Good || run.saved.phase != StepPhase::Committed, "{what}: {:?}", run.trace);
            }
        }
    }
}

#[test]
fn an_action_that_is_always_refused_still_leaves_one_container_running() {
    for image in IMAGES {
        let actions = run(image, &[]).trace;
        for words in actions.into_iter().filter(|&words| words != "wait") {
            let mut model = Model::new(image, image != Image::Exits && image != Image::DiesInMonitor);
            model.refuses.insert(words);
            let run = drive(model, Record::new(order()), &[]);
            let what = format!("{image:?}, could not {words}");
            let running: Vec<_> =
                run.model.containers.values().map(|c| &c.view).filter(|view| view.state == RunState::Running).collect();
            assert!(run.saved.phase.is_end(), "{what}");
            match words {
                // The old one is stopped and the engine will not start it: nobody but a person can help.
                "start the old container again" => {
                    assert_eq!((run.saved.phase, running.len()), (StepPhase::Broken, 0), "{what}");
                }
                _ => assert_eq!(running.len(), 1, "{what}: {} {:?}", run.saved.phase, run.trace),
            }
            let named = running.iter().all(|view| view.name == "web");
            assert!(named || run.saved.phase == StepPhase::Broken, "{what}: {} {:?}", run.saved.phase, run.trace);
            let is_broken = run.saved.phase == StepPhase::Broken;
            let told = run.saved.failure.as_ref().is_some_and(|failure| failure.reason.contains(words));
            assert!(!is_broken || told, "{what}: {:?}", run.saved.failure);
        }
    }
}
