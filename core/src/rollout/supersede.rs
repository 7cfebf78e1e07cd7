//! Whether a rollout gives way to a newer digest, as the app's `supersede` says.

use crate::event::Actor;
use crate::rollout::{Rollout, RolloutState, StepState};
use crate::spec::{FailureAction, Supersede};
use crate::step::StepPhase;

impl Rollout {
    /// Whether a newer digest may take over now. What has touched nothing yet always gives way, except to whom a person has
    /// told to stand still: otherwise the fleet would be restarted for a digest of which a newer one is known already.
    pub(super) fn gives_way(&self) -> bool {
        let paused = self.state == RolloutState::Paused;
        // A fleet that has to go back does so first.
        let retreats = self.spec.update.failure_action == FailureAction::Rollback && self.failures() > 0 && !paused;
        if self.in_flight().next().is_some() || self.is_broken() || retreats {
            return false;
        }
        let untouched = !self.has_begun() && (!paused || self.state_by == Actor::nightshift());
        untouched
            || match self.spec.update.supersede {
                Supersede::AfterCompletion => false,
                Supersede::AtStepBoundary => true,
                Supersede::IfPaused => paused,
            }
    }

    /// Whether it starts no further step because a newer digest takes over when those in flight have ended.
    pub(super) fn comes_to_a_boundary(&self) -> bool {
        self.spec.update.supersede == Supersede::AtStepBoundary && self.in_flight().next().is_some()
    }

    /// Whether an instance could not be taken back, and no person has said yet that it may go on.
    pub(super) fn is_broken(&self) -> bool {
        self.steps.iter().any(|step| step.state == StepState::At(StepPhase::Broken) && !step.accepted)
    }
}
