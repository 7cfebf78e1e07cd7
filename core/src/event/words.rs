//! A sentence about each event, for people who read the log.

use std::fmt;

use serde::Serialize;

use crate::event::Event;
use crate::rebuild::RebuildCause;
use crate::release::KnownGoodBy;

impl fmt::Display for Event {
    #[expect(clippy::too_many_lines, reason = "one sentence for each event, and nothing else")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppApplied { spec, version, .. } => write!(f, "app {} version {version} is in force", spec.name),
            Self::AppEnabled { app, enabled: true, .. } => write!(f, "app {app} is followed again"),
            Self::AppEnabled { app, enabled: false, reason } => write!(f, "app {app} is no longer followed: {reason}"),
            Self::AppRemoved { app, reason } => write!(f, "app {app} is removed: {reason}"),
            Self::TagChosen { app, tag } => write!(f, "{app} follows the tag {tag}"),
            Self::ReleaseSeen { app, digest, tag, .. } => {
                write!(f, "the tag{} of {app} points to {}", named(tag.as_deref()), digest.short())
            }
            Self::TestReported { app, digest, report, .. } => {
                let word = serde_word(&report.result);
                write!(f, "{} of {app}: suite {} ({}) {word}", digest.short(), report.suite, report.kind)
            }
            Self::SignatureMissing { app, digest, reason } => write!(f, "{} of {app}: {reason}", digest.short()),
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
            Self::JobOrdered { .. } | Self::JobEnded { .. } => f.write_str(&self.about_job()),
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
            Self::StepUnknownAlarm { step, silent_since, .. } => write!(
                f,
                "alarm: step {step} is unknown, its agent has been silent since {}",
                silent_since.format("%F %T UTC")
            ),
            Self::WindowNotUsed { .. } | Self::WindowMissed { .. } => {
                f.write_str(&self.of_window().unwrap_or_default())
            }
            Self::StepRequeued { step, reason, .. } => write!(f, "step {step} is put off: {reason}"),
            Self::StepSkipped { step, reason, .. } => write!(f, "step {step} is left out: {reason}"),
            Self::AlarmRaised { alarm } => write!(f, "alarm: {alarm}"),
            Self::AlarmCleared { alarm, .. } => write!(f, "no longer an alarm: {alarm}"),
            Self::RebuildStarted { .. }
            | Self::RebuildTriggered { .. }
            | Self::RebuildTriggerFailed { .. }
            | Self::RebuildEnded { .. }
            | Self::RebuildMissed { .. } => f.write_str(&self.of_rebuild().unwrap_or_default()),
            Self::RollbackPlanned { steps, .. } => write!(f, "{} instances go back", steps.len()),
        }
    }
}

/// A tag's name behind the word, where it is known: old logs do not have it.
fn named(tag: Option<&str>) -> String {
    tag.map(|tag| format!(" {tag}")).unwrap_or_default()
}

impl Event {
    /// The sentence about a job; none for what is about something else.
    fn about_job(&self) -> String {
        if let Self::JobOrdered { app, node, subject, .. } = self {
            return format!("{subject} of {app} is ordered on {node}");
        }
        let Self::JobEnded { app, node, subject, outcome, .. } = self else { return String::new() };
        format!("{subject} of {app} on {node} {outcome}")
    }

    /// The sentence about a window, if it is about one.
    fn of_window(&self) -> Option<String> {
        if let Self::WindowNotUsed { until, reason, .. } = self {
            let until = until.format("%F %T UTC");
            return Some(format!("a window is open until {until}, and nothing starts yet: {reason}"));
        }
        let Self::WindowMissed { starts, ends, windows, .. } = self else { return None };
        let (starts, ends) = (starts.format("%F %T UTC"), ends.format("%F %T UTC"));
        let many = if *windows == 1 { "the window".to_owned() } else { format!("{windows} windows") };
        Some(format!("missed {many} from {starts} to {ends}: the coordinator did not run, or its clock was moved"))
    }

    /// The sentence about a rebuild, if it is about one.
    fn of_rebuild(&self) -> Option<String> {
        if let Self::RebuildStarted { app, number, cause, deadline_at, .. } = self {
            let until = deadline_at.format("%F %T UTC");
            let why = match cause {
                RebuildCause::Schedule { due } => format!("due {}:", due.format("%F %T UTC")),
                RebuildCause::Asked { reason } => format!("{reason};"),
            };
            return Some(format!(
                "rebuild {number} of {app} begins, {why} a new tested digest must be there by {until}"
            ));
        }
        if let Self::RebuildTriggered { app, number } = self {
            return Some(format!("rebuild {number} of {app} is triggered"));
        }
        if let Self::RebuildTriggerFailed { app, number, reason, retry_at } = self {
            let again = match retry_at {
                Some(at) => format!("is not triggered yet, again at {}", at.format("%F %T UTC")),
                None => "cannot be triggered".to_owned(),
            };
            return Some(format!("rebuild {number} of {app} {again}: {reason}"));
        }
        if let Self::RebuildEnded { app, number, outcome } = self {
            return Some(format!("rebuild {number} of {app} ended: {outcome}"));
        }
        let Self::RebuildMissed { app, first, last, count } = self else { return None };
        let (first, last) = (first.format("%F %T UTC"), last.format("%F %T UTC"));
        let many = if *count == 1 {
            format!("a rebuild of {app} that was due {first}")
        } else {
            format!("{count} rebuilds of {app} that were due from {first} to {last}")
        };
        let why = "the coordinator did not run, its clock was moved, or another one had not ended";
        Some(format!("missed {many}: {why}"))
    }
}

/// The word that serde writes for a plain enum value.
fn serde_word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}
