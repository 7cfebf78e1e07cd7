//! Every crash: the agent or the engine dies at each action, once and twice, and the step still ends well.

use super::super::Record;
use super::model::{Fault, Image, Model, Run, SIDECAR, drive};
use super::order;
use crate::container::RunState;
use crate::spec::UpdateOrder;
use crate::step::{FailureKind, StepPhase};

const IMAGES: [Image; 6] =
    [Image::Good, Image::CannotStart, Image::Exits, Image::Unhealthy, Image::NeverHealthy, Image::DiesInMonitor];
const LOST: [Fault; 3] = [Fault::CrashBefore, Fault::CrashAfter, Fault::ReplyLost];
const RESTARTS: [Fault; 2] = [Fault::HostRestart, Fault::EngineRestart];

/// What is replaced, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    StopFirst,
    StartFirst,
    /// Another container lives in the instance's network.
    WithSidecar,
    StopFirstWithHooks,
    StartFirstWithHooks,
}

const SCENES: [Scene; 5] =
    [Scene::StopFirst, Scene::StartFirst, Scene::WithSidecar, Scene::StopFirstWithHooks, Scene::StartFirstWithHooks];

impl Scene {
    fn start(self, image: Image) -> (Model, Record) {
        let has_health_check = matches!(image, Image::Good | Image::Unhealthy | Image::NeverHealthy);
        let (mut model, mut order) = (Model::new(image, has_health_check), order());
        match self {
            Self::StopFirst => {}
            Self::WithSidecar => model = model.with_sidecar(),
            Self::StopFirstWithHooks => order.hooks = super::hooks(),
            Self::StartFirst | Self::StartFirstWithHooks => {
                model.one_port = false;
                order.order = UpdateOrder::StartFirst;
                order.hooks = if self == Self::StartFirst { order.hooks } else { super::hooks() };
            }
        }
        (model, Record::new(order))
    }

    fn run(self, image: Image, faults: &[(usize, Fault)]) -> Run {
        let (model, record) = self.start(image);
        drive(model, record, faults)
    }
}

/// I6: exactly one container of each name, with its own restart policy, running; and the hooks lead to it.
fn check_one_runs(run: &Run, what: &str) {
    let mut all: Vec<_> = run.model.containers.values().map(|c| &c.view).collect();
    all.sort_by_key(|view| view.name == SIDECAR);
    let parts = run.saved.parts().count();
    let names = &["web", SIDECAR][..parts];
    let ids = if run.model.has_sidecar() { 2 } else { 1 };
    assert_eq!(all.len(), ids, "{what}: {all:?} after {:?}", run.trace);
    for (view, name) in all.iter().zip(names) {
        assert_eq!((view.name.as_str(), view.state), (*name, RunState::Running), "{what}: {:?}", run.trace);
        assert_eq!(view.restart_policy["Name"], "always", "{what}: {:?}", run.trace);
    }
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
    for view in &all {
        assert_eq!(view.id.0.starts_with("old"), expect_old, "{what}: {} after {:?}", run.saved.phase, run.trace);
    }
    assert!(run.model.is_in_service(&run.saved, &all[0].id), "{what}: out of service after {:?}", run.trace);
    assert!(run.model.sidecar_is_with(&all[0].id), "{what}: the sidecar is elsewhere after {:?}", run.trace);
}

fn check_end(run: &Run, image: Image, what: &str) {
    check_one_runs(run, what);
    if given_up(run, what) {
        return;
    }
    // With `start-first` a bad image fails before the old one was touched, unless it dies only later.
    let expect = match (image, run.saved.order.order) {
        (Image::Good, _) => &[StepPhase::Committed][..],
        (Image::DiesInMonitor, UpdateOrder::StartFirst) => &[StepPhase::RolledBack, StepPhase::Untouched],
        // Without a health check an image that runs for a moment counts as healthy until it ends.
        (Image::Exits, UpdateOrder::StartFirst) => &[StepPhase::RolledBack, StepPhase::Untouched],
        (_, UpdateOrder::StartFirst) => &[StepPhase::Untouched],
        (_, UpdateOrder::StopFirst) => &[StepPhase::RolledBack],
    };
    assert!(expect.contains(&run.saved.phase), "{what}: {} {:?} {:?}", run.saved.phase, run.saved.failure, run.trace);
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
    for (scene, image) in cases() {
        let run = scene.run(image, &[]);
        assert!(!given_up(&run, "no fault"));
        check_end(&run, image, &format!("{scene:?}, {image:?}"));
    }
}

fn cases() -> impl Iterator<Item = (Scene, Image)> {
    SCENES.into_iter().flat_map(|scene| IMAGES.map(|image| (scene, image)))
}

#[test]
fn a_crash_or_a_lost_reply_at_any_action_changes_no_outcome() {
    for (scene, image) in cases() {
        for at in 0..scene.run(image, &[]).trace.len() {
            for fault in LOST {
                check_end(
                    &scene.run(image, &[(at, fault)]),
                    image,
                    &format!("{scene:?}, {image:?}, {fault:?} at {at}"),
                );
            }
        }
    }
}

#[test]
fn two_crashes_change_no_outcome_either() {
    for (scene, image) in cases() {
        let actions = scene.run(image, &[]).trace.len();
        for (first, second) in
            (0..actions).flat_map(|first| (first + 1..actions + 2).map(move |second| (first, second)))
        {
            // Three of the nine pairs of faults for each pair of places, others for the next: all of them many times over.
            let pair = |kind: usize| [(first, LOST[kind]), (second, LOST[(kind + first + second) % LOST.len()])];
            for faults in (0..LOST.len()).map(pair) {
                check_end(&scene.run(image, &faults), image, &format!("{scene:?}, {image:?}, {faults:?}"));
            }
        }
    }
}

#[test]
fn after_a_restart_of_engine_or_host_exactly_one_container_runs() {
    for (scene, image) in cases() {
        for at in 0..scene.run(image, &[]).trace.len() {
            for fault in RESTARTS {
                let run = scene.run(image, &[(at, fault)]);
                let what = format!("{scene:?}, {image:?}, {fault:?} at {at}");
                check_one_runs(&run, &what);
                assert!(image == Image::Good || run.saved.phase != StepPhase::Committed, "{what}: {:?}", run.trace);
            }
        }
    }
}

#[test]
fn an_action_that_is_always_refused_still_leaves_one_container_running() {
    for (scene, image) in cases() {
        let actions = scene.run(image, &[]).trace;
        for words in actions.into_iter().filter(|&words| words != "wait") {
            let (mut model, record) = scene.start(image);
            model.refuses.insert(words);
            let run = drive(model, record, &[]);
            let what = format!("{scene:?}, {image:?}, could not {words}");
            let running: Vec<_> = run
                .model
                .containers
                .values()
                .map(|c| &c.view)
                .filter(|view| view.state == RunState::Running && !view.name.starts_with(SIDECAR))
                .collect();
            let phase = run.saved.phase;
            assert!(phase.is_end(), "{what}");
            match words {
                // The old one is stopped and the engine will not start it: nobody but a person can help.
                "start the old container again" if phase == StepPhase::Broken => assert!(running.len() <= 1, "{what}"),
                // What was never in the way is left lying, and told.
                "remove the new container" | "stop the new container" => {
                    assert!(!running.is_empty(), "{what}: {phase} {:?}", run.trace);
                }
                _ => assert_eq!(running.len(), 1, "{what}: {phase} {:?}", run.trace),
            }
            let named = running.iter().filter(|view| view.name == "web").count() == 1;
            assert!(named || phase == StepPhase::Broken, "{what}: {phase} {:?}", run.trace);
            let told = run.saved.failure.as_ref().is_some_and(|failure| failure.reason.contains(words));
            assert!(phase != StepPhase::Broken || told, "{what}: {:?}", run.saved.failure);
        }
    }
}
