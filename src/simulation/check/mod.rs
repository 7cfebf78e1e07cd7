//! Judges a run: the invariants on the event log, on what the engines did, and on how everything ended.
//!
//! Nothing here shares code with the planner, nor with the replacement machine: names and labels are written out once more.

mod end;
mod engines;
mod log;

use super::world::World;

pub(crate) use end::{Standing, standing};

/// Everything that is wrong with a run, each with the number of the rule.
pub(crate) async fn judge(world: &World) -> Vec<String> {
    let mut wrong = world.notes.mistakes();
    wrong.extend(log::judge(world).await);
    wrong.extend(engines::judge(world));
    wrong.extend(end::judge(world).await);
    wrong
}
