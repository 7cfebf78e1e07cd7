//! The steps of a rollout: as they are planned, and with everything that became known of them since.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{ContainerId, Generation, NodeName, StepIndex};
use crate::image::Digest;
use crate::step::{Failure, Purpose, StepPhase};

/// Longest pause before a step that touched nothing is ordered again.
pub(crate) const PUT_OFF_LIMIT: Duration = Duration::from_secs(600);

/// A step as it is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Where.
    pub node: NodeName,
    /// The container's name.
    pub container: String,
    /// Its id at planning.
    pub container_id: ContainerId,
    /// What it runs.
    pub from: Option<Digest>,
    /// What it shall run.
    pub to: Digest,
}

/// What became of a step that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepFate {
    /// Its instance runs the target anyway.
    AtTarget,
    /// Its instance stays as it is, behind the others.
    Laggard,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not ordered yet.
    Pending,
    /// Ordered; its agent has not said anything yet.
    Ordered,
    /// What its agent said last.
    At(StepPhase),
    /// Its agent does not answer.
    Unknown,
    /// Left out.
    Skipped(StepFate),
}

/// One step with everything known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its position; never reused.
    pub index: StepIndex,
    /// Update or rollback.
    pub purpose: Purpose,
    /// Where.
    pub node: NodeName,
    /// The container's name.
    pub container: String,
    /// The container to be replaced.
    pub container_id: ContainerId,
    /// The container that was made.
    pub new_container_id: Option<ContainerId>,
    /// What it ran.
    pub from: Option<Digest>,
    /// What it shall run.
    pub to: Digest,
    /// Whether it goes first, alone.
    pub canary: bool,
    /// Where it stands.
    pub state: StepState,
    /// The last phase that its agent reported, also while it is unknown.
    pub phase: Option<StepPhase>,
    /// The rollout's generation when it was last ordered.
    pub generation: Generation,
    /// Why it failed, was put off or left out.
    pub reason: Option<String>,
    /// What failed, with the container's last lines.
    pub failure: Option<Failure>,
    /// How long its instance did not serve.
    pub downtime_ms: Option<u64>,
    /// When it was last ordered.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Not to be ordered before.
    pub not_before: Option<DateTime<Utc>>,
    /// How often it was put off.
    pub put_off: u32,
    /// Whether a person has let the rollout go on in spite of its failure.
    pub accepted: bool,
    /// Whether the silence of its agent has been an alarm already.
    pub alarmed: bool,
}

impl Step {
    /// Whether an agent may be at work on it.
    #[must_use]
    pub const fn is_in_flight(&self) -> bool {
        match self.state {
            StepState::Ordered | StepState::Unknown => true,
            StepState::At(phase) => !phase.is_end(),
            StepState::Pending | StepState::Skipped(_) => false,
        }
    }

    /// Whether it still has to be done.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        matches!(self.state, StepState::Pending)
    }

    /// Whether nothing more is to be done for it.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        !self.is_pending() && !self.is_in_flight()
    }

    /// Whether its instance runs what it shall run.
    #[must_use]
    pub const fn is_at_target(&self) -> bool {
        matches!(self.state, StepState::At(StepPhase::Committed) | StepState::Skipped(StepFate::AtTarget))
    }

    /// Whether it failed in a way that counts against the failure budget: it was taken back, or could not be, or the engine
    /// would not even create what the version asks for.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        match self.state {
            StepState::At(StepPhase::RolledBack | StepPhase::Broken) => true,
            StepState::At(StepPhase::Untouched) => {
                self.failure.as_ref().is_some_and(|failure| failure.kind.blames_the_version())
            }
            StepState::At(_) | StepState::Pending | StepState::Ordered | StepState::Unknown | StepState::Skipped(_) => {
                false
            }
        }
    }

    /// Until when it may not be ordered. An instant further away than any pause comes from a clock that was set back.
    pub(super) fn put_off_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let pause = |until: DateTime<Utc>| (until - now).to_std().is_ok_and(|pause| pause <= PUT_OFF_LIMIT);
        self.not_before.filter(|until| *until > now && pause(*until))
    }

    /// A few words for people about what became of it.
    pub(super) fn words(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        format!("{} on {}: {reason}", self.container, self.node)
    }
}
