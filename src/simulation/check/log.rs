//! The event log against the invariants, and against the state that the coordinator made of it.

use nightshift_core::control::Control;
use nightshift_core::invariants;

use super::super::world::World;

pub(super) async fn judge(world: &World) -> Vec<String> {
    let stored = world.host.events.all();
    let log = world.host.events.log();
    let mut wrong: Vec<String> =
        invariants::check(&log, &world.memory.seen()).iter().map(ToString::to_string).collect();
    let gap = stored.iter().zip(1..).find(|((_, event), number)| event.sequence.0 != *number);
    if let Some(((_, event), number)) = gap {
        wrong.push(format!("I10 is broken: event {number} bears the number {}", event.sequence));
    }
    let folded = world.view(move |view| {
        let mut again = Control::new(view.control.epoch(), view.now, std::time::Duration::from_secs(60));
        log.iter().for_each(|recorded| again.apply(recorded));
        again.rollouts() == view.control.rollouts() && again.catalog() == view.control.catalog()
    });
    if folded.await == Some(false) {
        wrong.push("I10 is broken: the log does not fold to what the coordinator knows".to_owned());
    }
    wrong
}
