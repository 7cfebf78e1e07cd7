//! Coordinator and agents die at each durable write of each story, before it and after it: the invariants hold, and the
//! story comes to its end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nightshift::simulation::crash_points::{Death, Story, Victim, tell};

/// Every death that a story has room for.
fn deaths(story: Story) -> Vec<Death> {
    let told = tell(story, None);
    assert_eq!(told.outcome.wrong, Vec::<String>::new(), "{story:?} without any death");
    assert!(told.outcome.rollouts > 0, "{story:?} has a rollout");
    let agents = told.agent_writes.iter().enumerate().map(|(agent, writes)| (Victim::Agent(agent), *writes));
    let victims = agents.chain([(Victim::Coordinator, told.coordinator_writes)]);
    let points = victims.flat_map(|(victim, writes)| {
        (1..=writes).flat_map(move |write| [false, true].map(|done| Death { victim, write, done }))
    });
    points.collect()
}

fn survive(story: Story) {
    let deaths = deaths(story);
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(death) = deaths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let told = tell(story, Some(*death));
            let killed = told.outcome.situations.iter().any(|reached| reached.ends_with("killed at a durable write"));
            let mut found = told.outcome.wrong;
            if !killed {
                found.push("nobody died".to_owned());
            }
            if !found.is_empty() {
                wrong.lock().expect("nobody panics with it").push(format!("{story:?} with {death:?}: {found:#?}"));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().expect("nobody panics with it");
    eprintln!("{story:?}: {} crash points", deaths.len());
    assert!(wrong.is_empty(), "{} of {} crash points\n{}", wrong.len(), deaths.len(), wrong.join("\n"));
}

#[test]
fn a_good_rollout_survives_a_death_at_every_write() {
    survive(Story::Good);
}

#[test]
fn a_bad_image_is_taken_back_whoever_dies_at_whichever_write() {
    survive(Story::BadAtOnce);
    survive(Story::DoesNotStart);
}

#[test]
fn a_retreat_survives_a_death_at_every_write() {
    survive(Story::Retreat);
}

#[test]
fn a_newer_digest_waits_for_its_turn_whoever_dies_at_whichever_write() {
    survive(Story::Newer);
}

#[test]
fn a_new_container_beside_the_old_one_survives_a_death_at_every_write() {
    survive(Story::StartFirst);
    survive(Story::StartFirstBad);
}

#[test]
fn what_depends_on_an_instance_goes_with_it_whoever_dies_at_whichever_write() {
    survive(Story::Unit);
    survive(Story::UnitBad);
}

#[test]
fn hooks_that_say_not_now_survive_a_death_at_every_write() {
    survive(Story::Hooks);
}
