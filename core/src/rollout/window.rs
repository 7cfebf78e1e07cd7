//! When the quiet hours let a step start, and for how long a rollout may be allowed to work without getting anywhere.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::quiet::{Denial, QuietHours};
use crate::rollout::{Context, Decision, Overrides, Rollout, RolloutState, WaitingOn};
use crate::step::Purpose;

impl Overrides {
    /// Whether a person set anything aside: it needs a reason then.
    #[must_use]
    pub const fn any(self) -> bool {
        self.now || self.freeze || self.quarantine
    }

    /// What is set aside by the one or the other.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            now: self.now || other.now,
            freeze: self.freeze || other.freeze,
            quarantine: self.quarantine || other.quarantine,
        }
    }

    /// Whether a step with this worst case may start now; with the instant since which it may.
    ///
    /// # Errors
    /// The quiet hours forbid it, as far as they are not set aside.
    pub(crate) fn may_start(
        self,
        quiet: &QuietHours,
        now: DateTime<Utc>,
        worst_case: Duration,
    ) -> Result<Option<DateTime<Utc>>, Denial> {
        if self.now {
            return match quiet.freeze_at(now) {
                Some(denial) if !self.freeze => Err(denial),
                Some(_) | None => Ok(None),
            };
        }
        let quiet = if self.freeze { Cow::Owned(quiet.without_freezes()) } else { Cow::Borrowed(quiet) };
        quiet.may_start(now, worst_case).map(|window| Some(window.starts))
    }
}

/// The words of people: `quiet hours, freeze`.
impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [(self.now, "quiet hours"), (self.freeze, "freeze"), (self.quarantine, "quarantine")];
        let words: Vec<_> = all.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
        f.pad(&words.join(", "))
    }
}

impl Rollout {
    /// Whether a step may start now by the quiet hours in force, since when, and why not. What goes back is exempt.
    pub(super) fn window(&self, canary: bool, context: &Context<'_>) -> Result<Option<DateTime<Utc>>, WaitingOn> {
        if self.purpose == Purpose::Rollback || self.is_retreat() {
            return Ok(None);
        }
        let in_force = context.catalog.app(self.app()).map_or(&self.spec, |app| &app.spec);
        let Some(quiet) = &in_force.quiet_hours else {
            return if self.overrides.now { Ok(None) } else { Err(WaitingOn::NoQuietHours) };
        };
        let worst_case = self.spec.update.worst_case(canary);
        self.overrides.may_start(quiet, context.now, worst_case).map_err(WaitingOn::Window)
    }

    /// Pauses a rollout whose steps in flight do not end. Time in which it was not allowed to work does not count: before the
    /// window opened, while the coordinator was away, while the app was disabled or another went first. Nor does a rollout
    /// that only waits for others stop: it goes on by itself as soon as they are back.
    pub(super) fn check_progress(&self, opened: Option<DateTime<Utc>>, context: &Context<'_>, decision: &mut Decision) {
        let Some(begun) = self.in_flight().filter_map(|step| step.started_at).max() else { return };
        let app = context.catalog.app(self.app());
        let earlier = self.spec.after.iter().filter_map(|first| context.catalog.app(first)?.rollout_ended_at);
        let allowed = [Some(begun), opened, app.and_then(|app| app.enabled_at), Some(context.settled_at)];
        let since = allowed.into_iter().flatten().chain(earlier).fold(self.progress_at, DateTime::max);
        let limit = self.spec.update.progress_deadline;
        let deadline = since + TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX);
        if deadline <= context.now {
            let reason = format!("no step ended within {}", crate::duration::format(limit));
            self.go(RolloutState::Paused, &reason, context, decision);
        } else {
            decision.wake(deadline, context.now);
        }
    }
}
