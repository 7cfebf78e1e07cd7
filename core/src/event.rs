//! Facts: what the coordinator stores, in order, once. Everything that it remembers is the fold of these.
//!
//! An event never asks anybody's leave: [`crate::catalog::Catalog::apply`] and [`crate::rollout::Rollout::apply`] take it
//! as it is. Deciding which events come about is the business of [`crate::control`].

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::catalog::Availability;
use crate::ids::{AppName, ContainerId, Epoch, Generation, NodeName, RolloutId, SpecVersion, StepIndex};
use crate::image::Digest;
use crate::labels::Labels;
use crate::release::{KnownGoodBy, TestReport};
use crate::rollout::{Overrides, PlannedStep, RolloutState, StepFate};
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
    /// The followed tag moved to this digest.
    ReleaseSeen {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// When the image was built.
        created: Option<DateTime<Utc>>,
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
    /// Every updated instance is to go back.
    RollbackPlanned {
        /// The rollout.
        rollout: RolloutId,
        /// One step for each updated instance, in reverse order.
        steps: Vec<PlannedStep>,
    },
}

impl Event {
    /// The rollout that it belongs to.
    #[must_use]
    pub const fn rollout(&self) -> Option<&RolloutId> {
        match self {
            Self::RolloutPlanned { rollout, .. }
            | Self::RolloutMoved { rollout, .. }
            | Self::RolloutPromoted { rollout, .. }
            | Self::RolloutOverridden { rollout, .. }
            | Self::StepOrdered { rollout, .. }
            | Self::StepReported { rollout, .. }
            | Self::StepUnknown { rollout, .. }
            | Self::StepRequeued { rollout, .. }
            | Self::StepSkipped { rollout, .. }
            | Self::RollbackPlanned { rollout, .. } => Some(rollout),
            Self::AppApplied { .. }
            | Self::AppEnabled { .. }
            | Self::AppRemoved { .. }
            | Self::ReleaseSeen { .. }
            | Self::TestReported { .. }
            | Self::ReleaseQuarantined { .. }
            | Self::QuarantineCleared { .. }
            | Self::ReleaseKnownGood { .. }
            | Self::InstanceAdopted { .. }
            | Self::InstanceForgotten { .. }
            | Self::NodeEnrolled { .. }
            | Self::NodeLabelled { .. }
            | Self::NodeAvailabilitySet { .. }
            | Self::NodeRemoved { .. } => None,
        }
    }

    /// The step of that rollout that it says something of.
    #[must_use]
    pub const fn step(&self) -> Option<StepIndex> {
        match self {
            Self::StepReported { report, .. } => Some(report.key.step),
            Self::StepOrdered { step, .. }
            | Self::StepUnknown { step, .. }
            | Self::StepRequeued { step, .. }
            | Self::StepSkipped { step, .. } => Some(*step),
            Self::RolloutPlanned { .. }
            | Self::RolloutMoved { .. }
            | Self::RolloutPromoted { .. }
            | Self::RolloutOverridden { .. }
            | Self::RollbackPlanned { .. }
            | Self::AppApplied { .. }
            | Self::AppEnabled { .. }
            | Self::AppRemoved { .. }
            | Self::ReleaseSeen { .. }
            | Self::TestReported { .. }
            | Self::ReleaseQuarantined { .. }
            | Self::QuarantineCleared { .. }
            | Self::ReleaseKnownGood { .. }
            | Self::InstanceAdopted { .. }
            | Self::InstanceForgotten { .. }
            | Self::NodeEnrolled { .. }
            | Self::NodeLabelled { .. }
            | Self::NodeAvailabilitySet { .. }
            | Self::NodeRemoved { .. } => None,
        }
    }

    /// The app that it says something of, where it names one.
    #[must_use]
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Self::AppApplied { spec, .. } | Self::RolloutPlanned { spec, .. } => Some(&spec.name),
            Self::AppEnabled { app, .. }
            | Self::AppRemoved { app, .. }
            | Self::ReleaseSeen { app, .. }
            | Self::TestReported { app, .. }
            | Self::ReleaseQuarantined { app, .. }
            | Self::QuarantineCleared { app, .. }
            | Self::ReleaseKnownGood { app, .. }
            | Self::InstanceAdopted { app, .. }
            | Self::InstanceForgotten { app, .. } => Some(app),
            Self::NodeEnrolled { .. }
            | Self::NodeLabelled { .. }
            | Self::NodeAvailabilitySet { .. }
            | Self::NodeRemoved { .. }
            | Self::RolloutMoved { .. }
            | Self::RolloutPromoted { .. }
            | Self::RolloutOverridden { .. }
            | Self::StepOrdered { .. }
            | Self::StepReported { .. }
            | Self::StepUnknown { .. }
            | Self::StepRequeued { .. }
            | Self::StepSkipped { .. }
            | Self::RollbackPlanned { .. } => None,
        }
    }

    /// The node that it says something of, where it names one.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::InstanceAdopted { node, .. }
            | Self::InstanceForgotten { node, .. }
            | Self::NodeEnrolled { node }
            | Self::NodeLabelled { node, .. }
            | Self::NodeAvailabilitySet { node, .. }
            | Self::NodeRemoved { node, .. } => Some(node),
            Self::AppApplied { .. }
            | Self::AppEnabled { .. }
            | Self::AppRemoved { .. }
            | Self::ReleaseSeen { .. }
            | Self::TestReported { .. }
            | Self::ReleaseQuarantined { .. }
            | Self::QuarantineCleared { .. }
            | Self::ReleaseKnownGood { .. }
            | Self::RolloutPlanned { .. }
            | Self::RolloutMoved { .. }
            | Self::RolloutPromoted { .. }
            | Self::RolloutOverridden { .. }
            | Self::StepOrdered { .. }
            | Self::StepReported { .. }
            | Self::StepUnknown { .. }
            | Self::StepRequeued { .. }
            | Self::StepSkipped { .. }
            | Self::RollbackPlanned { .. } => None,
        }
    }

    /// The word by which scripts know it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AppApplied { .. } => "app_applied",
            Self::AppEnabled { .. } => "app_enabled",
            Self::AppRemoved { .. } => "app_removed",
            Self::ReleaseSeen { .. } => "release_seen",
            Self::TestReported { .. } => "test_reported",
            Self::ReleaseQuarantined { .. } => "release_quarantined",
            Self::QuarantineCleared { .. } => "quarantine_cleared",
            Self::ReleaseKnownGood { .. } => "release_known_good",
            Self::InstanceAdopted { .. } => "instance_adopted",
            Self::InstanceForgotten { .. } => "instance_forgotten",
            Self::NodeEnrolled { .. } => "node_enrolled",
            Self::NodeLabelled { .. } => "node_labelled",
            Self::NodeAvailabilitySet { .. } => "node_availability_set",
            Self::NodeRemoved { .. } => "node_removed",
            Self::RolloutPlanned { .. } => "rollout_planned",
            Self::RolloutMoved { .. } => "rollout_moved",
            Self::RolloutPromoted { .. } => "rollout_promoted",
            Self::RolloutOverridden { .. } => "rollout_overridden",
            Self::StepOrdered { .. } => "step_ordered",
            Self::StepReported { .. } => "step_reported",
            Self::StepUnknown { .. } => "step_unknown",
            Self::StepRequeued { .. } => "step_requeued",
            Self::StepSkipped { .. } => "step_skipped",
            Self::RollbackPlanned { .. } => "rollback_planned",
        }
    }
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

/// A sentence about each event, for people who read the log.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppApplied { spec, version, .. } => write!(f, "app {} version {version} is in force", spec.name),
            Self::AppEnabled { app, enabled: true, .. } => write!(f, "app {app} is followed again"),
            Self::AppEnabled { app, enabled: false, reason } => write!(f, "app {app} is no longer followed: {reason}"),
            Self::AppRemoved { app, reason } => write!(f, "app {app} is removed: {reason}"),
            Self::ReleaseSeen { app, digest, .. } => write!(f, "the tag of {app} points to {}", digest.short()),
            Self::TestReported { app, digest, report, .. } => {
                let word = serde_word(&report.result);
                write!(f, "{} of {app}: suite {} ({}) {word}", digest.short(), report.suite, report.kind)
            }
            Self::ReleaseQuarantined { app, digest, reason } => {
                write!(f, "{} of {app} is quarantined: {reason}", digest.short())
            }
            Self::QuarantineCleared { app, digest, reason } => {
                write!(f, "{} of {app} is no longer quarantined: {reason}", digest.short())
            }
            Self::ReleaseKnownGood { app, digest, because: KnownGoodBy::Adoption } => {
                write!(f, "{} of {app} counts as known-good: it was found running", digest.short())
            }
            Self::ReleaseKnownGood { app, digest, because: KnownGoodBy::Rollout } => {
                write!(f, "{} of {app} is known-good", digest.short())
            }
            Self::InstanceAdopted { app, node, container, .. } => write!(f, "{container} on {node} belongs to {app}"),
            Self::InstanceForgotten { app, node, container } => {
                write!(f, "{container} on {node} no longer belongs to {app}")
            }
            Self::NodeEnrolled { node } => write!(f, "node {node} enrolled"),
            Self::NodeLabelled { node, .. } => write!(f, "node {node} has new labels"),
            Self::NodeAvailabilitySet { node, availability, reason } => {
                write!(f, "node {node} is set to {}: {reason}", serde_word(availability))
            }
            Self::NodeRemoved { node, reason } => write!(f, "node {node} is removed: {reason}"),
            Self::RolloutPlanned { spec, to, steps, reason, .. } => {
                write!(f, "rollout of {} to {}, {} steps: {reason}", spec.name, to.short(), steps.len())
            }
            Self::RolloutMoved { to, reason, .. } if reason.is_empty() => write!(f, "rollout is {to}"),
            Self::RolloutMoved { to, reason, .. } => write!(f, "rollout is {to}: {reason}"),
            Self::RolloutPromoted { reason, .. } => write!(f, "rollout is promoted: {reason}"),
            Self::RolloutOverridden { overrides, reason, .. } => write!(f, "rollout sets aside {overrides}: {reason}"),
            Self::StepOrdered { step, container_id, .. } => {
                write!(f, "step {step} is ordered for container {}", container_id.short())
            }
            Self::StepReported { report, .. } => match &report.failure {
                Some(failure) => write!(f, "step {} is {}: {}", report.key.step, report.phase, failure.reason),
                None => write!(f, "step {} is {}", report.key.step, report.phase),
            },
            Self::StepUnknown { step, .. } => write!(f, "step {step} is unknown: its agent does not answer"),
            Self::StepRequeued { step, reason, .. } => write!(f, "step {step} is put off: {reason}"),
            Self::StepSkipped { step, reason, .. } => write!(f, "step {step} is left out: {reason}"),
            Self::RollbackPlanned { steps, .. } => write!(f, "{} instances go back", steps.len()),
        }
    }
}

/// The word that serde writes for a plain enum value.
fn serde_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

/// Whether a phase is worth an event of its own: every one is, the audit log has each transition once.
#[must_use]
pub fn is_news(known: Option<StepPhase>, said: StepPhase) -> bool {
    known.is_none_or(|known| said > known && !known.is_end())
}
