//! The rollout machine: one app, one target digest, one instance after another.
//!
//! [`Rollout::apply`] folds stored facts and never refuses one. [`Rollout::decide`] looks at the rollout, the fleet and the
//! clock, says which facts come next, which actions follow from them, why nothing more happens, and when it wants to be
//! woken; it changes nothing. What a person asks for goes through [`Rollout::command`]. After a crash the same functions
//! are called on the same facts: there is no other code for recovery.

mod apply;
mod command;
mod decide;
mod pick;
mod plan;
mod retreat;
mod waiting;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::event::{Actor, Recorded};
use crate::fleet::Fleet;
use crate::ids::{AppName, ContainerId, Epoch, Generation, NodeName, RolloutId, SpecVersion, StepIndex};
use crate::image::Digest;
use crate::spec::AppSpec;
use crate::step::{Failure, Purpose, StepKey, StepOrder, StepPhase};
pub use command::{Command, Rejection, RejectionKind};
pub use plan::{Candidate, Skip, candidates, running_digest};
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

    /// Whether its instance runs what it shall run.
    #[must_use]
    pub const fn is_at_target(&self) -> bool {
        matches!(self.state, StepState::At(StepPhase::Committed) | StepState::Skipped(StepFate::AtTarget))
    }

    /// Whether it failed in a way that counts against the failure budget.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        matches!(self.state, StepState::At(StepPhase::RolledBack | StepPhase::Broken))
    }
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
    /// When a step last ended, or a person last let it go on.
    pub progress_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Failed steps that a person has accepted by resuming.
    pub failures_accepted: usize,
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
        let retreat = self.is_retreat();
        self.steps.iter().filter(move |step| !retreat || step.purpose == Purpose::Rollback)
    }

    /// Whether updated instances go back, whatever pause it is in.
    #[must_use]
    pub fn is_retreat(&self) -> bool {
        let going_back = |state| matches!(state, RolloutState::RollingBack | RolloutState::RolledBack);
        going_back(self.state) || self.state == RolloutState::Paused && going_back(self.resume_to)
    }

    /// Steps in flight.
    pub fn in_flight(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.is_in_flight())
    }

    /// Failed steps that nobody has accepted yet.
    #[must_use]
    pub fn failures(&self) -> usize {
        let failed = self.steps.iter().filter(|step| step.purpose == self.purpose && step.has_failed()).count();
        failed.saturating_sub(self.failures_accepted)
    }

    /// The key under which a step is ordered now.
    #[must_use]
    pub fn key(&self, step: &Step) -> StepKey {
        StepKey { rollout: self.id.clone(), step: step.index, generation: step.generation }
    }
}

/// What a decision is made on, apart from the rollout itself.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The coordinator's clock.
    pub now: DateTime<Utc>,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// Apps, releases and nodes.
    pub catalog: &'a Catalog,
    /// What agents report.
    pub fleet: &'a Fleet,
    /// Every rollout that has not ended, this one included.
    pub open: &'a [&'a Rollout],
    /// Until then agents may still be on their way back after a start of the coordinator.
    pub settled_at: DateTime<Utc>,
    /// After this long without an answer an unknown step is an alarm.
    pub unknown_after: std::time::Duration,
}

/// What a decision says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Facts to store, in order. Nothing else may happen before they are stored.
    pub events: Vec<Recorded>,
    /// What follows from them. Each is idempotent.
    pub actions: Vec<Action>,
    /// Why nothing more happens now.
    pub waiting_on: Vec<WaitingOn>,
    /// When to look again, if nothing else happens before.
    pub wake_at: Option<DateTime<Utc>>,
}

impl Decision {
    /// Asks to be woken at an instant, unless it is woken earlier anyway.
    pub fn wake(&mut self, at: DateTime<Utc>) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }

    /// Adds a reason to wait.
    pub fn wait(&mut self, reason: WaitingOn) {
        if let Some(until) = reason.until() {
            self.wake(until);
        }
        self.waiting_on.push(reason);
    }
}

/// What a shell does after the events are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell a node to fetch an image.
    Prepull {
        /// The node.
        node: NodeName,
        /// The app's spec names the reference.
        app: AppName,
        /// The digest.
        digest: Digest,
    },
    /// Tell a node to replace a container.
    Order {
        /// The node.
        node: NodeName,
        /// The whole order.
        order: Box<StepOrder>,
    },
}

#[cfg(test)]
mod tests;
