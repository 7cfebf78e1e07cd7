//! A newer tested digest appears while a rollout is on its way to an older one.

use super::bench::*;
use crate::spec::Supersede;

/// Twelve hours after the tests' beginning (08:00 UTC).
const EVENING: &str = "[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"20:00\"\nduration = \"2h\"\n";

fn bench(nodes: &[&str], supersede: Supersede, change: impl FnOnce(&mut AppSpec)) -> Bench {
    let mut bench = Bench::with(nodes, |spec| {
        spec.update.supersede = supersede;
        change(spec);
    });
    bench.tested(2);
    bench
}

/// Every rollout with its target and its state, the oldest first.
fn story(bench: &Bench) -> Vec<(u8, RolloutState)> {
    let number = |rollout: &&Rollout| (1..=9).find(|number| digest(*number) == rollout.to).expect("a test digest");
    bench.control.rollouts().iter().rev().map(|rollout| (number(rollout), rollout.state)).collect()
}

#[test]
fn at_a_step_boundary_a_newer_digest_takes_over_and_the_step_in_flight_ends_first() {
    let mut bench = bench(&["n1", "n2", "n3"], Supersede::AtStepBoundary, |_| {});
    bench.tested(3);
    assert_eq!(story(&bench), [(2, RolloutState::Canary)], "a step is in flight");
    let told = "no further step starts: sha256:030303030303 takes over when those in flight have ended";
    assert!(bench.waits().contains(&told.to_owned()), "{:?}", bench.waits());
    bench.commit();
    assert_eq!(story(&bench), [(2, RolloutState::Superseded), (3, RolloutState::Canary)]);
    assert_eq!(bench.commit_all(), ["n1", "n2", "n3"], "the canary is the first one again");
    let first = bench.control.rollouts().pop().expect("the first").clone();
    assert_eq!(first.state_reason, "sha256:030303030303 is newer, and tested");
    assert_eq!(first.state_by, Actor::nightshift());
    let told: Vec<_> =
        bench.log.iter().filter(|one| one.event.to_string().starts_with("rollout is superseded")).collect();
    assert_eq!((told.len(), &told[0].by), (1, &Actor::nightshift()), "it is in the audit log, once, with its cause");
}

#[test]
fn with_several_steps_in_flight_no_further_one_starts_so_that_a_boundary_comes() {
    let nodes = ["n1", "n2", "n3", "n4"];
    let mut bench = bench(&nodes, Supersede::AtStepBoundary, |spec| spec.update.parallelism = 2);
    bench.commit();
    assert_eq!(bench.ordered(), ["n2", "n3"]);
    bench.tested(3);
    bench.commit();
    assert_eq!(bench.ordered(), ["n3"], "n4 does not get a digest that is out of date already");
    bench.commit();
    assert_eq!((story(&bench)[1], bench.ordered()), ((3, RolloutState::Canary), vec!["n1"]));
}

#[test]
fn after_completion_the_rollout_goes_on_and_the_newer_digest_is_next() {
    for supersede in [Supersede::AfterCompletion, Supersede::IfPaused] {
        let mut bench = bench(&["n1", "n2"], supersede, |_| {});
        bench.tested(3);
        bench.commit();
        assert_eq!(story(&bench), [(2, RolloutState::Rolling)], "{supersede:?}");
        bench.commit();
        assert_eq!(story(&bench), [(2, RolloutState::Completed), (3, RolloutState::Canary)], "{supersede:?}");
    }
}

#[test]
fn a_rollout_that_has_touched_nothing_gives_way_whatever_the_file_says() {
    for supersede in [Supersede::AfterCompletion, Supersede::AtStepBoundary, Supersede::IfPaused] {
        let mut bench = bench(&["n1"], supersede, |spec| spec.quiet_hours = Some(quiet(EVENING)));
        bench.tested(3);
        assert_eq!(story(&bench), [(2, RolloutState::Superseded), (3, RolloutState::Waiting)], "{supersede:?}");
        bench.seen(4);
        assert_eq!(bench.rollouts(), 2, "what is not tested takes over from nothing");
        bench.wait(43_200);
        assert_eq!(bench.orders[0].1.digest, digest(3), "the fleet is restarted once in that night");
    }
}

#[test]
fn what_a_person_started_or_let_go_or_told_to_stand_still_does_not_give_way() {
    let now = || StartOptions {
        overrides: Overrides { now: true, ..Overrides::default() },
        reason: "urgent".into(),
        ..StartOptions::default()
    };
    type Deed = fn(&mut Bench, StartOptions);
    let deeds: [Deed; 3] = [
        |bench, _| bench.change(Command::Pause).expect("open"),
        |bench, now| bench.start(now).expect("it waits for the night"),
        |bench, _| {
            bench.change(Command::Abort).expect("open");
            bench.start(StartOptions::default()).expect("a person brings it back");
        },
    ];
    for (which, deed) in deeds.into_iter().enumerate() {
        let mut bench =
            bench(&["n1", "n2"], Supersede::AfterCompletion, |spec| spec.quiet_hours = Some(quiet(EVENING)));
        deed(&mut bench, now());
        let before = bench.rollouts();
        bench.tested(3);
        assert_eq!((bench.rollouts(), bench.rollout().to), (before, digest(2)), "deed {which}");
    }
}

#[test]
fn a_paused_rollout_gives_way_where_the_file_says_so_and_else_waits_for_its_person() {
    for (supersede, expect) in
        [(Supersede::AfterCompletion, false), (Supersede::AtStepBoundary, true), (Supersede::IfPaused, true)]
    {
        let mut bench = bench(&["n1", "n2"], supersede, |_| {});
        bench.fail();
        assert_eq!((bench.state(), bench.is_quarantined(2)), (RolloutState::Paused, true));
        bench.tested(4);
        let second = story(&bench).get(1).copied();
        assert_eq!(second, expect.then_some((4, RolloutState::Canary)), "{supersede:?}");
        if expect {
            assert_eq!(story(&bench)[0], (2, RolloutState::Superseded));
            assert_eq!(bench.commit_all(), ["n1", "n2"]);
            assert_eq!(bench.state(), RolloutState::Completed);
        }
    }
}

#[test]
fn if_paused_a_step_still_in_flight_ends_before_the_newer_digest_takes_over() {
    let mut bench = bench(&["n1", "n2"], Supersede::IfPaused, |_| {});
    bench.change(Command::Pause).expect("open");
    bench.tested(3);
    assert_eq!(story(&bench), [(2, RolloutState::Paused)], "an agent is at work");
    bench.commit();
    assert_eq!(story(&bench), [(2, RolloutState::Superseded), (3, RolloutState::Canary)]);
}

#[test]
fn a_broken_instance_is_a_hard_stop_for_newer_digests_too() {
    let mut bench = bench(&["n1", "n2"], Supersede::AtStepBoundary, |_| {});
    let (name, order) = bench.take();
    bench.say(&name, &order, StepPhase::Broken, Some(FailureKind::Unhealthy));
    bench.tested(4);
    assert_eq!((story(&bench), bench.orders.len()), (vec![(2, RolloutState::Paused)], 0));
}

#[test]
fn a_way_back_ends_before_a_newer_digest_starts() {
    let mut bench = bench(&["n1", "n2", "n3"], Supersede::AtStepBoundary, |spec| {
        spec.update.failure_action = FailureAction::Rollback;
    });
    bench.commit();
    bench.tested(4);
    assert_eq!(bench.rollouts(), 1, "a step is in flight");
    bench.fail();
    assert_eq!(story(&bench), [(2, RolloutState::RollingBack)], "what is bad goes back first");
    bench.commit();
    assert_eq!(story(&bench), [(2, RolloutState::RolledBack), (4, RolloutState::Canary)]);
}

#[test]
fn the_rollback_target_after_a_take_over_is_what_was_known_good() {
    let mut bench = bench(&["n1", "n2", "n3"], Supersede::AtStepBoundary, |spec| {
        spec.update.failure_action = FailureAction::Rollback;
    });
    bench.commit();
    let (name, order) = bench.take();
    bench.tested(3);
    bench.say(&name, &order, StepPhase::Untouched, Some(FailureKind::Precondition));
    assert_eq!(story(&bench)[1], (3, RolloutState::Canary));
    assert_eq!((bench.commit(), bench.commit()), ("n1".to_owned(), "n2".to_owned()));
    bench.fail();
    let back: Vec<_> = bench.orders.iter().map(|(name, order)| (name.to_string(), order.digest.clone())).collect();
    assert_eq!(back, [("n2".to_owned(), digest(1))], "n2 never ran 2");
    bench.commit();
    assert_eq!(bench.orders[0].1.digest, digest(2), "n1 did, and it was good there");
}

#[test]
fn nothing_gives_way_to_what_could_not_start() {
    type Change = fn(&mut Bench);
    let changes: [Change; 2] = [
        |bench| {
            let mut spec = bench.control.catalog().app(&app()).expect("applied").spec.clone();
            spec.update.mode = RolloutMode::Manual;
            bench.ask(Request::Apply(vec![spec])).expect("good");
        },
        |bench| {
            let bar = Request::Quarantine { app: app(), digest: digest(3), quarantined: true, reason: "no".into() };
            bench.seen(3);
            bench.ask(bar).expect("known");
        },
    ];
    for change in changes {
        let mut bench = bench(&["n1", "n2"], Supersede::AtStepBoundary, |_| {});
        change(&mut bench);
        bench.tested(3);
        bench.commit();
        assert_eq!((story(&bench), bench.ordered()), (vec![(2, RolloutState::Rolling)], vec!["n2"]));
    }
}

#[test]
fn a_digest_that_is_barred_while_its_rollout_waits_stops_it_and_the_next_one_takes_over() {
    let mut bench = bench(&["n1"], Supersede::AfterCompletion, |spec| spec.quiet_hours = Some(quiet(EVENING)));
    let bar = Request::Quarantine { app: app(), digest: digest(2), quarantined: true, reason: "a hole".into() };
    bench.ask(bar).expect("known");
    assert_eq!(bench.state(), RolloutState::Paused);
    let told = "paused by nightshift: sha256:020202020202 may not be started any more: quarantined: a hole";
    assert_eq!(bench.waits(), [told]);
    let refused = bench.change(Command::Resume).expect_err("it would stop again");
    assert_eq!(refused.kind, RejectionKind::Rule);
    bench.tested(3);
    assert_eq!(story(&bench), [(2, RolloutState::Superseded), (3, RolloutState::Waiting)]);
}

#[test]
fn a_rollout_that_waits_is_looked_at_again_when_a_newer_digest_has_cooled_down() {
    let mut bench = Bench::with(&["n1"], |spec| spec.gate.cooldown = Duration::from_secs(300));
    bench.pulls = ImageState::Pulling(crate::instance::PullProgress::default());
    bench.tested(2);
    bench.now = 300;
    bench.run();
    assert_eq!(story(&bench), [(2, RolloutState::Prepulling)]);
    bench.now = 400;
    bench.tested(3);
    assert_eq!((story(&bench).len(), bench.wake_at), (1, Some(at(700))), "nothing else happens until then");
    bench.now = 700;
    bench.run();
    assert_eq!(story(&bench), [(2, RolloutState::Superseded), (3, RolloutState::Prepulling)]);
}
