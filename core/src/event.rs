//! Facts: what the coordinator stores, in order, once. Everything that it remembers is the fold of these.
//!
//! An event never asks anybody's leave: [`crate::catalog::Catalog::apply`] and [`crate::rollout::Rollout::apply`] take it
//! as it is. Deciding which events come about is the business of [`crate::control`].

mod about;
mod words;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::alarm::Alarm;
use crate::catalog::Availability;
use crate::ids::{AppName, ContainerId, Epoch, Generation, JobId, NodeName, RolloutId, SpecVersion, StepIndex};
use crate::image::{Digest, ImageRef};
use crate::job::{JobOutcome, JobSubject};
use crate::labels::Labels;
use crate::platform::Platform;
use crate::rebuild::{RebuildCause, RebuildNumber, RebuildOutcome};
use crate::release::{KnownGoodBy, TestReport};
use crate::rollout::{Overrides, PlannedStep, RolloutState, StepFate};
use crate::signature::{Signature, Unverified};
use crate::spec::AppSpec;
use crate::step::{FailureKind, Purpose, StepPhase, StepReport};

/// Who or what caused an event: a token's name, a rollout, or a part of Nightshift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub String);

impl Actor {
    /// The coordinator's own decision.
    #[must_use]
    pub fn nightshift() -> Self {
        Self("nightshift".into())
    }

    /// A node's agent.
    #[must_use]
    pub fn node(node: &NodeName) -> Self {
        Self(format!("node/{node}"))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A new version of an app's spec came into force.
    AppApplied {
        /// The whole spec.
        spec: Box<AppSpec>,
        /// Its version.
        version: SpecVersion,
        /// What changed, one line each.
        differences: Vec<String>,
    },
    /// An app is followed again, or no longer.
    AppEnabled {
        /// The app.
        app: AppName,
        /// Whether it is followed.
        enabled: bool,
        /// Why.
        reason: String,
    },
    /// An app is forgotten; its containers stay as they are.
    AppRemoved {
        /// The app.
        app: AppName,
        /// Why.
        reason: String,
    },
    /// By its rule the app follows this tag from now on.
    TagChosen {
        /// The app.
        app: AppName,
        /// The tag.
        tag: String,
    },
    /// The followed tag moved to this digest.
    ReleaseSeen {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// The tag.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
        /// When the image was built.
        created: Option<DateTime<Utc>>,
        /// What it was built for; empty where that cannot be told.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        platforms: Vec<Platform>,
    },
    /// A test report arrived; the digest may be new.
    TestReported {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// The report.
        report: TestReport,
        /// When the image was built, if the registry could be asked.
        created: Option<DateTime<Utc>>,
        /// What it was built for; empty where that cannot be told.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        platforms: Vec<Platform>,
        /// Of a report about a signature: all signatures that the registry had.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        signatures: Vec<Signature>,
    },
    /// A digest does not count as signed; said again when the reason changes.
    SignatureMissing {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// Why.
        reason: Unverified,
    },
    /// A digest is barred.
    ReleaseQuarantined {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// A digest is no longer barred.
    QuarantineCleared {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// A digest was seen to work on this fleet.
    ReleaseKnownGood {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// How.
        because: KnownGoodBy,
    },
    /// A container was found for the first time.
    InstanceAdopted {
        /// The app.
        app: AppName,
        /// The node.
        node: NodeName,
        /// The container's name.
        container: String,
        /// What it ran then.
        digest: Option<Digest>,
    },
    /// A container is no longer there.
    InstanceForgotten {
        /// The app.
        app: AppName,
        /// The node.
        node: NodeName,
        /// The container's name.
        container: String,
    },
    /// A node's agent has a certificate.
    NodeEnrolled {
        /// The node.
        node: NodeName,
    },
    /// A node's labels as its agent gives them.
    NodeLabelled {
        /// The node.
        node: NodeName,
        /// All its labels.
        labels: Labels,
    },
    /// What a person lets a node do.
    NodeAvailabilitySet {
        /// The node.
        node: NodeName,
        /// What it may do from now on.
        availability: Availability,
        /// Why.
        reason: String,
    },
    /// A node left the fleet; its certificate is revoked.
    NodeRemoved {
        /// The node.
        node: NodeName,
        /// Why.
        reason: String,
    },
    /// A node was told to do a job.
    JobOrdered {
        /// Its identity.
        job: JobId,
        /// The app.
        app: AppName,
        /// The node.
        node: NodeName,
        /// The coordinator's epoch.
        epoch: Epoch,
        /// What it is about.
        subject: JobSubject,
        /// How long the coordinator waits for its end.
        #[serde(with = "crate::duration::text")]
        within: Duration,
    },
    /// A job has ended, or was given up.
    JobEnded {
        /// Its identity.
        job: JobId,
        /// The app.
        app: AppName,
        /// The node.
        node: NodeName,
        /// What it was about.
        subject: JobSubject,
        /// What came of it.
        outcome: JobOutcome,
    },
    /// A rollout came into being.
    RolloutPlanned {
        /// Its identity.
        rollout: RolloutId,
        /// The spec that it follows, as it is now.
        spec: Box<AppSpec>,
        /// That spec's version.
        version: SpecVersion,
        /// The digest that most instances run.
        from: Option<Digest>,
        /// The target. Never changes.
        to: Digest,
        /// Update, or a rollback that a person asked for.
        purpose: Purpose,
        /// What a person set aside.
        overrides: Overrides,
        /// Why.
        reason: String,
        /// One step for each instance, in order.
        steps: Vec<PlannedStep>,
    },
    /// A rollout went from one state to another.
    RolloutMoved {
        /// The rollout.
        rollout: RolloutId,
        /// The new state.
        to: RolloutState,
        /// Why.
        reason: String,
    },
    /// A person let a rollout go on after its canary.
    RolloutPromoted {
        /// The rollout.
        rollout: RolloutId,
        /// Why.
        reason: String,
    },
    /// A person set rules aside for a rollout that was there already.
    RolloutOverridden {
        /// The rollout.
        rollout: RolloutId,
        /// All that is set aside from now on.
        overrides: Overrides,
        /// Why.
        reason: String,
    },
    /// An instruction to replace an instance was given.
    StepOrdered {
        /// The rollout.
        rollout: RolloutId,
        /// The step.
        step: StepIndex,
        /// The rollout's direction.
        generation: Generation,
        /// The coordinator's epoch.
        epoch: Epoch,
        /// The container as it is now.
        container_id: ContainerId,
        /// What it runs now.
        from: Option<Digest>,
        /// Whether it goes first, alone.
        canary: bool,
    },
    /// An agent said how far a step is.
    StepReported {
        /// The rollout.
        rollout: RolloutId,
        /// Everything that it said.
        report: StepReport,
    },
    /// The agent of a step in flight does not answer.
    StepUnknown {
        /// The rollout.
        rollout: RolloutId,
        /// The step.
        step: StepIndex,
    },
    /// The agent of a step in flight has been silent for so long that a person must look. Once for each order.
    StepUnknownAlarm {
        /// The rollout.
        rollout: RolloutId,
        /// The step.
        step: StepIndex,
        /// Since when nobody has heard of the agent.
        silent_since: DateTime<Utc>,
    },
    /// A step that touched nothing is to be ordered again.
    StepRequeued {
        /// The rollout.
        rollout: RolloutId,
        /// The step.
        step: StepIndex,
        /// Not before.
        not_before: DateTime<Utc>,
        /// What kind of failure made it necessary.
        because: FailureKind,
        /// Why.
        reason: String,
    },
    /// A step will not be done in this rollout.
    StepSkipped {
        /// The rollout.
        rollout: RolloutId,
        /// The step.
        step: StepIndex,
        /// Whether its instance is at the target nevertheless.
        fate: StepFate,
        /// Why.
        reason: String,
    },
    /// A window opened for a rollout, and nothing could start at its beginning.
    WindowNotUsed {
        /// The rollout.
        rollout: RolloutId,
        /// The first instant after the window.
        until: DateTime<Utc>,
        /// What it waited for.
        reason: String,
    },
    /// Windows of a rollout went by while the coordinator did not run, or its clock was moved over them.
    WindowMissed {
        /// The rollout.
        rollout: RolloutId,
        /// The first instant of the first of them.
        starts: DateTime<Utc>,
        /// The first instant after the last of them.
        ends: DateTime<Utc>,
        /// How many.
        windows: u32,
    },
    /// A rebuild begins: stored before anybody is told to build.
    RebuildStarted {
        /// The app.
        app: AppName,
        /// Its number.
        number: RebuildNumber,
        /// What is to be built.
        image: ImageRef,
        /// Why.
        cause: RebuildCause,
        /// By when a new tested digest must be there.
        deadline_at: DateTime<Utc>,
    },
    /// The CI system has taken the request.
    RebuildTriggered {
        /// The app.
        app: AppName,
        /// The rebuild.
        number: RebuildNumber,
    },
    /// The CI system has not taken the request.
    RebuildTriggerFailed {
        /// The app.
        app: AppName,
        /// The rebuild.
        number: RebuildNumber,
        /// What happened.
        reason: String,
        /// When it is tried again, if it is.
        retry_at: Option<DateTime<Utc>>,
    },
    /// A rebuild is over.
    RebuildEnded {
        /// The app.
        app: AppName,
        /// The rebuild.
        number: RebuildNumber,
        /// How.
        outcome: RebuildOutcome,
    },
    /// Rebuilds were due while nobody could begin them, and it is too late now.
    RebuildMissed {
        /// The app.
        app: AppName,
        /// When the first of them was due.
        first: DateTime<Utc>,
        /// When the last of them was due.
        last: DateTime<Utc>,
        /// How many.
        count: u32,
    },
    /// A state began that somebody must act on.
    AlarmRaised {
        /// What, as it was known then.
        alarm: Alarm,
    },
    /// It is over.
    AlarmCleared {
        /// What, as it was known when it began.
        alarm: Alarm,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Every updated instance is to go back.
    RollbackPlanned {
        /// The rollout.
        rollout: RolloutId,
        /// One step for each updated instance, in reverse order.
        steps: Vec<PlannedStep>,
    },
}

/// A fact with the time at which, and the one by whom, it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// Who or what caused it.
    pub by: Actor,
    /// The fact.
    pub event: Event,
}

/// Whether a phase is worth an event of its own: every one is, the audit log has each transition once.
#[must_use]
pub fn is_news(known: Option<StepPhase>, said: StepPhase) -> bool {
    known.is_none_or(|known| said > known && !known.is_end())
}
