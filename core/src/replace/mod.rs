//! Replacing one container on one node: what to do next, decided from the journal and from what the engine holds.
//!
//! [`next`] is the one function for the beginning, for going on, for recovery after a crash, and for the way back. It is
//! level-triggered: it asks what is not yet as it should be, not what was done before. So an action that was done while
//! its reply, or the record of it, was lost needs no case of its own. The shell's loop is: look → [`next`] → write the
//! record → act → look again.
//!
//! # The order of the calls, and why
//!
//! 1. While the old container runs undisturbed: try out whether the calls of the steps below are allowed at all, pull, hold old and new image by local tags, plan, create the new
//!    container under a temporary name, connect its networks. What the engine refuses here has touched nothing.
//! 2. Park the old one: restart policy `no` (a restart of the engine must not revive it), then **both renames, before
//!    the stop**. The engine renames running containers, so the time in which nothing runs is stop and start alone. A
//!    crash between the renames and the stop leaves the old container *running* under its parked name, which is better
//!    than a stopped one; both ids are in the journal, so either way is open. Who finds the service by container name
//!    on a Docker network misses it from the first rename on: as long as with the renames after the stop, only earlier.
//! 3. Stop the old one, start the new one, watch it ([`Watch`]).
//!    With `start-first` the new one is started and becomes healthy before 2, and is watched on when the old one has stopped.
//! 4. Commit: from [`StepPhase::Monitored`] in the journal on there is no way back. Only then is the old container
//!    removed (never its volumes), the followed tag moved, and surplus images are let go.
//!
//! Back: log, park and stop the new one, names, restart policy, start, verify, and last remove the new one, for that is nothing
//! the service has to wait for.
//!
//! What depends on the container is a part of the step like itself: each of these is done for all parts before the next
//! one begins. Hooks come before the first change of the old container (`before`, `drain`) and when one serves (`after`).
//!
//! # Ends
//! `Committed`; `Untouched`: the old container was never changed; `RolledBack`: it runs as before; `Broken`: a person
//! must act. A container that did not run is replaced and not started. A paused one is refused. An engine that is away
//! is no failure: the step stays in flight.

mod action;
mod backward;
mod blueprint;
mod forward;
mod hooks;
pub mod images;
mod names;
mod observed;
mod part;
mod record;
mod refused;
#[cfg(test)]
mod tests;
mod unit;
mod watch;

use std::time::Duration;

pub use action::Action;
pub use blueprint::{Dependent, Inspects, UnitPlan, blueprint};
pub use hooks::{HookLog, HookOutcome};
pub use names::{
    KEEP_REPOSITORY, LABEL_DIGEST, LABEL_ROLE, LABEL_ROLLOUT, LABEL_STEP, ROLE_NEW, is_in_replacement, keep_tag,
    parked, temporary,
};
pub use observed::{Observed, Sight, image_id};
pub use part::{Blueprint, Old, Part, Was};
pub use record::{Downtime, Record, TIMER_GRAIN, TRY_LIMIT, Timers, Tried, pause_after};
pub use unit::{Place, dependents};
pub use watch::{PROBE_EVERY_HEALTHY, PROBE_EVERY_STARTING, PROBE_FAILURE_LIMIT, VERIFY_UP, Verdict, Verify, Watch};

#[cfg(doc)]
use crate::step::StepPhase;

/// What [`next`] says.
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// The record as it is now. Where it [differs](Record::differs_from) from the journal it is written *before* the
    /// action is done.
    pub record: Record,
    /// What to do.
    pub action: Action,
}

/// What to do next about a step, by its record and by what the engine holds. `elapsed` is the time since the last call
/// by a monotonic clock, zero for the first call of a process.
#[must_use]
pub fn next(record: &Record, seen: &Observed, elapsed: Duration) -> Next {
    let mut record = record.clone();
    pass(&mut record, elapsed);
    if record.phase.is_end() {
        return Next { record, action: Action::End };
    }
    if !record.timers.pause.is_zero() {
        let action = Action::Wait(record.timers.pause);
        return Next { record, action };
    }
    if record.failure.is_none() {
        match forward::action(&mut record, seen) {
            Ok(action) => return Next { record, action },
            Err(failure) => record.failure = Some(failure),
        }
    }
    let action = backward::action(&mut record, seen);
    Next { record, action }
}

fn pass(record: &mut Record, elapsed: Duration) {
    let timers = &mut record.timers;
    timers.pause = timers.pause.saturating_sub(elapsed);
    timers.waited += elapsed;
    if let Downtime::Running(time) = timers.downtime {
        timers.downtime = Downtime::Running(time + elapsed);
    }
    for part in record.parts_mut() {
        part.watch.pass(elapsed);
        part.verify.pass(elapsed);
    }
}
