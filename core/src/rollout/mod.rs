//! The rollout machine: one app, one target digest, one instance after another.
//!
//! [`Rollout::apply`] folds stored facts and never refuses one. [`Rollout::decide`] looks at the rollout, the fleet and the
//! clock, says which facts come next, which actions follow from them, why nothing more happens, and when it wants to be
//! woken; it changes nothing. What a person asks for goes through [`Rollout::command`]. After a crash the same functions
//! are called on the same facts: there is no other code for recovery.

mod apply;
mod command;
mod decide;
mod decision;
mod order;
mod pick;
mod plan;
mod retreat;
mod steps;
mod supersede;
mod waiting;
mod window;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::Actor;
use crate::ids::{AppName, Generation, RolloutId, SpecVersion, StepIndex};
use crate::image::Digest;
use crate::spec::AppSpec;
use crate::step::{Purpose, StepKey};
pub use command::{Command, Rejection, RejectionKind};
pub use decision::{Action, Context, Decision};
pub use plan::{Candidate, Skip, Unfit, candidates, candidates_in_windows, rival, running_digest};
pub(crate) use steps::PUT_OFF_LIMIT;
pub use steps::{PlannedStep, Step, StepFate, StepState};
pub use waiting::{WaitKind, WaitingOn};

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Its steps are known.
    Planned,
    /// Nodes fetch the image.
    Prepulling,
    /// It may not start its first step yet.
    Waiting,
    /// The first instance is in work, or waits for promotion.
    Canary,
    /// One instance after another.
    Rolling,
    /// A person must decide.
    Paused,
    /// Updated instances go back.
    RollingBack,
    /// End: every instance runs the target.
    Completed,
    /// End: some instances could not be reached or must not be touched.
    CompletedWithLaggards,
    /// End: every updated instance is back.
    RolledBack,
    /// End: a person stopped it.
    Aborted,
    /// End: a newer target took over.
    Superseded,
}

impl RolloutState {
    /// Every state, in order.
    pub const ALL: [Self; 12] = [
        Self::Planned,
        Self::Prepulling,
        Self::Waiting,
        Self::Canary,
        Self::Rolling,
        Self::Paused,
        Self::RollingBack,
        Self::Completed,
        Self::CompletedWithLaggards,
        Self::RolledBack,
        Self::Aborted,
        Self::Superseded,
    ];

    /// Whether it has ended.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::CompletedWithLaggards | Self::RolledBack | Self::Aborted | Self::Superseded
        )
    }

    /// The word in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Prepulling => "prepulling",
            Self::Waiting => "waiting",
            Self::Canary => "canary",
            Self::Rolling => "rolling",
            Self::Paused => "paused",
            Self::RollingBack => "rolling_back",
            Self::Completed => "completed",
            Self::CompletedWithLaggards => "completed_with_laggards",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
        }
    }
}

impl fmt::Display for RolloutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a person set aside for one rollout. Each is audited with its reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// Steps may start outside the quiet hours.
    pub now: bool,
    /// Steps may start in a freeze.
    pub freeze: bool,
    /// The target may be quarantined.
    pub quarantine: bool,
}

/// One rollout, folded from its events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its identity.
    pub id: RolloutId,
    /// The spec that it follows: the one in force when it was planned.
    pub spec: AppSpec,
    /// That spec's version.
    pub version: SpecVersion,
    /// What most instances ran when it was planned.
    pub from: Option<Digest>,
    /// The target.
    pub to: Digest,
    /// Update, or a rollback that a person asked for.
    pub purpose: Purpose,
    /// What a person set aside.
    pub overrides: Overrides,
    /// Why it came about.
    pub reason: String,
    /// Who caused it.
    pub by: Actor,
    /// How many rollouts were planned before it: clocks are set back, so times do not tell which of two is newer.
    pub position: u64,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it stands there.
    pub state_reason: String,
    /// Who brought it there.
    pub state_by: Actor,
    /// The state to go on in after a pause.
    pub resume_to: RolloutState,
    /// Its direction; grows at each change of it.
    pub generation: Generation,
    /// Whether a person let it go on after the canary.
    pub promoted: bool,
    /// Its steps; those of a retreat follow those of the advance.
    pub steps: Vec<Step>,
    /// When it was planned.
    pub created_at: DateTime<Utc>,
    /// When something about it was last stored: then the coordinator ran.
    pub looked_at: DateTime<Utc>,
    /// When a step last ended, or a person last let it go on.
    pub progress_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Rollout {
    /// The app that it moves.
    #[must_use]
    pub const fn app(&self) -> &AppName {
        &self.spec.name
    }

    /// The step of that index.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> Option<&Step> {
        self.steps.iter().find(|step| step.index == index)
    }

    /// Steps of the present direction.
    pub fn current_steps(&self) -> impl Iterator<Item = &Step> {
        let purpose = self.steps.last().map(|step| step.purpose);
        self.steps.iter().filter(move |step| Some(step.purpose) == purpose)
    }

    /// Whether updated instances go back, whatever pause or end it is in.
    #[must_use]
    pub fn is_retreat(&self) -> bool {
        self.steps.last().is_some_and(|step| step.purpose != self.purpose)
    }

    /// Steps in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_in_flight())
    }

    /// Whether a step of it was ever ordered.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.steps.iter().any(|step| step.started_at.is_some())
    }

    /// Failed steps of the present direction that nobody has accepted yet.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.current_steps().filter(|step| step.has_failed() && !step.accepted).count()
    }

    /// Whether it has ended and no agent may be at work for it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.is_end() && self.in_flight().next().is_none()
    }

    /// The key under which a step was last ordered.
    #[must_use]
    pub fn key(&self, step: &Step) -> StepKey {
        StepKey { rollout: self.id.clone(), step: step.index, generation: step.generation }
    }
}

#[cfg(test)]
mod tests;
