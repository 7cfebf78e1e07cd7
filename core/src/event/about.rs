//! What an event is about: its rollout, step, app and node, and the word by which scripts know it. Readers filter by these.

use crate::event::Event;
use crate::ids::{AppName, NodeName, RolloutId, StepIndex};

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
            | Self::StepUnknownAlarm { rollout, .. }
            | Self::WindowNotUsed { rollout, .. }
            | Self::WindowMissed { rollout, .. }
            | Self::StepRequeued { rollout, .. }
            | Self::StepSkipped { rollout, .. }
            | Self::RollbackPlanned { rollout, .. } => Some(rollout),
            Self::AppApplied { .. }
            | Self::AppEnabled { .. }
            | Self::AppRemoved { .. }
            | Self::TagChosen { .. }
            | Self::ReleaseSeen { .. }
            | Self::TestReported { .. }
            | Self::SignatureMissing { .. }
            | Self::ReleaseQuarantined { .. }
            | Self::QuarantineCleared { .. }
            | Self::ReleaseKnownGood { .. }
            | Self::InstanceAdopted { .. }
            | Self::InstanceForgotten { .. }
            | Self::NodeEnrolled { .. }
            | Self::NodeLabelled { .. }
            | Self::NodeAvailabilitySet { .. }
            | Self::NodeRemoved { .. }
            | Self::JobOrdered { .. }
            | Self::JobEnded { .. }
            | Self::RebuildStarted { .. }
            | Self::RebuildTriggered { .. }
            | Self::RebuildTriggerFailed { .. }
            | Self::RebuildEnded { .. }
            | Self::RebuildMissed { .. }
            | Self::AlarmRaised { .. }
            | Self::AlarmCleared { .. } => None,
        }
    }

    /// The step of that rollout that it says something of.
    #[must_use]
    pub const fn step(&self) -> Option<StepIndex> {
        match self {
            Self::StepReported { report, .. } => Some(report.key.step),
            Self::StepOrdered { step, .. }
            | Self::StepUnknown { step, .. }
            | Self::StepUnknownAlarm { step, .. }
            | Self::StepRequeued { step, .. }
            | Self::StepSkipped { step, .. } => Some(*step),
            Self::RolloutPlanned { .. }
            | Self::RolloutMoved { .. }
            | Self::RolloutPromoted { .. }
            | Self::RolloutOverridden { .. }
            | Self::WindowNotUsed { .. }
            | Self::WindowMissed { .. }
            | Self::RollbackPlanned { .. }
            | Self::AppApplied { .. }
            | Self::AppEnabled { .. }
            | Self::AppRemoved { .. }
            | Self::TagChosen { .. }
            | Self::ReleaseSeen { .. }
            | Self::TestReported { .. }
            | Self::SignatureMissing { .. }
            | Self::ReleaseQuarantined { .. }
            | Self::QuarantineCleared { .. }
            | Self::ReleaseKnownGood { .. }
            | Self::InstanceAdopted { .. }
            | Self::InstanceForgotten { .. }
            | Self::NodeEnrolled { .. }
            | Self::NodeLabelled { .. }
            | Self::NodeAvailabilitySet { .. }
            | Self::NodeRemoved { .. }
            | Self::JobOrdered { .. }
            | Self::JobEnded { .. }
            | Self::RebuildStarted { .. }
            | Self::RebuildTriggered { .. }
            | Self::RebuildTriggerFailed { .. }
            | Self::RebuildEnded { .. }
            | Self::RebuildMissed { .. }
            | Self::AlarmRaised { .. }
            | Self::AlarmCleared { .. } => None,
        }
    }

    /// The app that it says something of, where it names one.
    #[must_use]
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Self::AppApplied { spec, .. } | Self::RolloutPlanned { spec, .. } => Some(&spec.name),
            Self::AppEnabled { app, .. }
            | Self::AppRemoved { app, .. }
            | Self::TagChosen { app, .. }
            | Self::ReleaseSeen { app, .. }
            | Self::TestReported { app, .. }
            | Self::SignatureMissing { app, .. }
            | Self::ReleaseQuarantined { app, .. }
            | Self::QuarantineCleared { app, .. }
            | Self::ReleaseKnownGood { app, .. }
            | Self::InstanceAdopted { app, .. }
            | Self::InstanceForgotten { app, .. }
            | Self::RebuildStarted { app, .. }
            | Self::RebuildTriggered { app, .. }
            | Self::RebuildTriggerFailed { app, .. }
            | Self::RebuildEnded { app, .. }
            | Self::RebuildMissed { app, .. }
            | Self::JobOrdered { app, .. }
            | Self::JobEnded { app, .. } => Some(app),
            Self::AlarmRaised { alarm } | Self::AlarmCleared { alarm, .. } => alarm.app(),
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
            | Self::StepUnknownAlarm { .. }
            | Self::WindowNotUsed { .. }
            | Self::WindowMissed { .. }
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
            | Self::NodeRemoved { node, .. }
            | Self::JobOrdered { node, .. }
            | Self::JobEnded { node, .. } => Some(node),
            Self::AlarmRaised { alarm } | Self::AlarmCleared { alarm, .. } => alarm.node(),
            Self::AppApplied { .. }
            | Self::AppEnabled { .. }
            | Self::AppRemoved { .. }
            | Self::TagChosen { .. }
            | Self::ReleaseSeen { .. }
            | Self::TestReported { .. }
            | Self::SignatureMissing { .. }
            | Self::ReleaseQuarantined { .. }
            | Self::QuarantineCleared { .. }
            | Self::ReleaseKnownGood { .. }
            | Self::RebuildStarted { .. }
            | Self::RebuildTriggered { .. }
            | Self::RebuildTriggerFailed { .. }
            | Self::RebuildEnded { .. }
            | Self::RebuildMissed { .. }
            | Self::RolloutPlanned { .. }
            | Self::RolloutMoved { .. }
            | Self::RolloutPromoted { .. }
            | Self::RolloutOverridden { .. }
            | Self::StepOrdered { .. }
            | Self::StepReported { .. }
            | Self::StepUnknown { .. }
            | Self::StepUnknownAlarm { .. }
            | Self::WindowNotUsed { .. }
            | Self::WindowMissed { .. }
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
            Self::TagChosen { .. } => "tag_chosen",
            Self::ReleaseSeen { .. } => "release_seen",
            Self::TestReported { .. } => "test_reported",
            Self::SignatureMissing { .. } => "signature_missing",
            Self::ReleaseQuarantined { .. } => "release_quarantined",
            Self::QuarantineCleared { .. } => "quarantine_cleared",
            Self::ReleaseKnownGood { .. } => "release_known_good",
            Self::InstanceAdopted { .. } => "instance_adopted",
            Self::InstanceForgotten { .. } => "instance_forgotten",
            Self::NodeEnrolled { .. } => "node_enrolled",
            Self::NodeLabelled { .. } => "node_labelled",
            Self::NodeAvailabilitySet { .. } => "node_availability_set",
            Self::NodeRemoved { .. } => "node_removed",
            Self::JobOrdered { .. } => "job_ordered",
            Self::JobEnded { .. } => "job_ended",
            Self::RolloutPlanned { .. } => "rollout_planned",
            Self::RolloutMoved { .. } => "rollout_moved",
            Self::RolloutPromoted { .. } => "rollout_promoted",
            Self::RolloutOverridden { .. } => "rollout_overridden",
            Self::StepOrdered { .. } => "step_ordered",
            Self::StepReported { .. } => "step_reported",
            Self::StepUnknown { .. } => "step_unknown",
            Self::StepUnknownAlarm { .. } => "step_unknown_alarm",
            Self::WindowNotUsed { .. } => "window_not_used",
            Self::WindowMissed { .. } => "window_missed",
            Self::StepRequeued { .. } => "step_requeued",
            Self::StepSkipped { .. } => "step_skipped",
            Self::RebuildStarted { .. } => "rebuild_started",
            Self::RebuildTriggered { .. } => "rebuild_triggered",
            Self::RebuildTriggerFailed { .. } => "rebuild_trigger_failed",
            Self::RebuildEnded { .. } => "rebuild_ended",
            Self::RebuildMissed { .. } => "rebuild_missed",
            Self::AlarmRaised { .. } => "alarm_raised",
            Self::AlarmCleared { .. } => "alarm_cleared",
            Self::RollbackPlanned { .. } => "rollback_planned",
        }
    }
}
