//! One step: the replacement of one instance, as the coordinator orders it and as the agent reports it.
//!
//! Both sides and the wire share these words. An order says everything that the agent needs, so that it can finish or
//! take back the step alone; reports are monotonic: of two about the same step the later phase wins.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AppName, ContainerId, Epoch, Generation, NodeName, RolloutId, StepIndex};
use crate::image::{Digest, ImageRef};
use crate::signature::Signature;
use crate::spec::{HealthCheck, Hooks, UpdateOrder};

/// Identity of a step: an action that carries an older generation than the agent has seen never acts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepKey {
    /// The rollout that the step belongs to.
    pub rollout: RolloutId,
    /// Its position there.
    pub step: StepIndex,
    /// The rollout's direction when the step was ordered.
    pub generation: Generation,
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.rollout, self.step)
    }
}

/// Why a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To the rollout's target.
    Update,
    /// Back to a known-good digest.
    Rollback,
}

/// Everything an agent needs to replace one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOrder {
    /// Which step this is.
    pub key: StepKey,
    /// The coordinator's epoch when it was given.
    pub epoch: Epoch,
    /// Update or rollback.
    pub purpose: Purpose,
    /// The node that it is for.
    pub node: NodeName,
    /// The app.
    pub app: AppName,
    /// Name of the container to replace.
    pub container: String,
    /// Its id when the step was planned: another one under that name is a failed precondition.
    pub container_id: ContainerId,
    /// The reference that the app follows.
    pub image: ImageRef,
    /// The digest to run afterwards.
    pub digest: Digest,
    /// Which of the two gives way first.
    pub order: UpdateOrder,
    /// How the new container is judged.
    pub health: HealthCheck,
    /// What is called around the replacement.
    pub hooks: Hooks,
    /// How long it may take to become healthy, from its start.
    #[serde(with = "crate::duration::text")]
    pub healthy_deadline: Duration,
    /// How long it is watched after that.
    #[serde(with = "crate::duration::text")]
    pub monitor: Duration,
    /// How many earlier images of the app the node keeps.
    pub keep_images: u32,
    /// The agent gives the order up when more time than this has gone by since it received it without having begun: without a
    /// hook called, or a container started or touched. Fetching the image counts.
    #[serde(with = "crate::duration::text")]
    pub start_within: Duration,
    /// The digest's signatures, as far as the coordinator knows them: the agent judges them by keys of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
}

/// How far a step is. Ordered: a report of a smaller phase than the known one is old news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPhase {
    /// The agent has the order in its journal.
    Assigned,
    /// Preconditions and the whole plan are checked.
    Preflight,
    /// The image is there.
    Pulled,
    /// The new container exists under its temporary name.
    Created,
    /// The old container is stopped and parked.
    OldStopped,
    /// The new container was started.
    Started,
    /// It became healthy.
    Healthy,
    /// It stayed healthy for the monitor period.
    Monitored,
    /// Something went wrong; the old container is being brought back.
    RollingBack,
    /// End: nothing was touched, because a precondition failed or the order came too late.
    Untouched,
    /// End: the new container runs, the old one is gone.
    Committed,
    /// End: the old container runs again, the new one is gone.
    RolledBack,
    /// End: the old container could not be brought back. Someone must act.
    Broken,
}

impl StepPhase {
    /// Every phase, in order.
    pub const ALL: [Self; 13] = [
        Self::Assigned,
        Self::Preflight,
        Self::Pulled,
        Self::Created,
        Self::OldStopped,
        Self::Started,
        Self::Healthy,
        Self::Monitored,
        Self::RollingBack,
        Self::Untouched,
        Self::Committed,
        Self::RolledBack,
        Self::Broken,
    ];

    /// Whether the step has ended.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Untouched | Self::Committed | Self::RolledBack | Self::Broken)
    }

    /// The word in output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Preflight => "preflight",
            Self::Pulled => "pulled",
            Self::Created => "created",
            Self::OldStopped => "old_stopped",
            Self::Started => "started",
            Self::Healthy => "healthy",
            Self::Monitored => "monitored",
            Self::RollingBack => "rolling_back",
            Self::Untouched => "untouched",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Broken => "broken",
        }
    }
}

impl fmt::Display for StepPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a step ended other than committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The new container failed its health check, exited, restarted or was not healthy in time: the version is bad.
    Unhealthy,
    /// The engine refused to create or start the new container: the version may be bad.
    EngineRefused,
    /// The image could not be fetched: never the version's fault.
    Pull,
    /// The container is not what was planned for: gone, renamed, changed, or cannot be re-created exactly.
    Precondition,
    /// The order came too late, was stale, or the agent's own limits forbid it.
    NotAccepted,
    /// The engine failed in a way that says nothing about the version.
    Engine,
    /// A hook failed or took too long: never the version's fault.
    Hook,
    /// A hook asked to leave the instance alone this time.
    Skipped,
}

impl FailureKind {
    /// Whether a failure of this kind speaks against the digest, so that it is quarantined.
    #[must_use]
    pub const fn blames_the_version(self) -> bool {
        matches!(self, Self::Unhealthy | Self::EngineRefused)
    }
}

/// What went wrong in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// One sentence for people, with the engine's own words.
    pub reason: String,
    /// Last lines that the failed container wrote, bounded by [`LOG_LIMIT_BYTES`].
    pub log: String,
}

/// Longest log excerpt in a failure, in bytes: enough for a stack trace, small enough for thousands of reports.
pub const LOG_LIMIT_BYTES: usize = 8 * 1024;

/// What an agent says of a step. Kept and repeated until the coordinator acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Which step.
    pub key: StepKey,
    /// How far it is.
    pub phase: StepPhase,
    /// The container that was found.
    pub old_container_id: Option<ContainerId>,
    /// The container that was made.
    pub new_container_id: Option<ContainerId>,
    /// Time from the stop of the old container to the moment when the new (or again the old) one was healthy.
    pub downtime_ms: Option<u64>,
    /// Set from [`StepPhase::RollingBack`] on, and for [`StepPhase::Untouched`].
    pub failure: Option<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_grow_and_ends_are_last() {
        assert!(StepPhase::ALL.is_sorted());
        let ends: Vec<_> = StepPhase::ALL.iter().filter(|phase| phase.is_end()).collect();
        assert_eq!(ends.len(), 4);
        for phase in StepPhase::ALL {
            assert_eq!(serde_json::to_value(phase).expect("plain"), phase.as_str());
        }
    }
}
