//! When rebuilds begin, are triggered, and end.
//!
//! What began is stored before anybody is told to build. A coordinator that dies in between tells it once more when it is back:
//! at worst a build runs twice, never is a night lost.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::App;
use crate::control::Control;
use crate::event::{Actor, Event, Recorded};
use crate::ids::AppName;
use crate::image::Digest;
use crate::rebuild::schedule::Schedule;
use crate::rebuild::trigger::{TriggerOutcome, Verdict};
use crate::rebuild::{OpenRebuild, RebuildCause, RebuildNumber, RebuildOutcome, RebuildSpec, TriggerState};
use crate::release::{Release, TestResult};
use crate::rollout::{Action, Context, Decision, Rejection, RejectionKind};
use crate::spec::{Gate, TestKind};

/// Nights that one decision looks at: after a long absence the rest follows in the next one.
const MISSED_LIMIT: u32 = 1_000;
/// How long the shell may take with one request before it is sent again: longer than its own deadline for it.
pub const TRIGGER_PATIENCE: Duration = Duration::from_secs(90);

fn after(at: DateTime<Utc>, length: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(length)
        .ok()
        .and_then(|length| at.checked_add_signed(length))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

impl Control {
    /// What follows for the rebuilds of every app.
    pub(super) fn decide_rebuilds(&self, context: &Context<'_>, decision: &mut Decision) {
        let now = context.now;
        for app in self.catalog.apps() {
            let events = match &app.rebuilds.open {
                Some(open) => go_on(app, open, context, decision),
                None => due(app, now, decision),
            };
            let by = Actor::nightshift;
            decision.events.extend(events.into_iter().map(|event| Recorded { at: now, by: by(), event }));
        }
    }

    pub(super) fn rebuild(&self, app: AppName, reason: String, now: DateTime<Utc>) -> Result<Vec<Event>, Rejection> {
        let known = self.must_know(&app)?;
        let refused = |message, hint: &str| Err(Rejection::new(RejectionKind::Rule, message).hint(hint));
        let Some(spec) = &known.spec.rebuild else {
            return refused(format!("app `{app}` has no `[rebuild]`"), "say in its file who builds: docs/rebuild.md");
        };
        if !known.enabled {
            return refused(format!("app `{app}` is not followed"), "`nightshift app enable` comes first");
        }
        if let Some(open) = &known.rebuilds.open {
            let (number, until) = (open.number, open.deadline_at.format("%F %T UTC"));
            let message = format!("rebuild {number} of app `{app}` has not ended");
            return refused(message, &format!("wait for it; it ends by {until} at the latest"));
        }
        Ok(vec![started(known, spec, RebuildCause::Asked { reason }, now)])
    }

    /// What came of a request that [`Action::Trigger`] asked for. One about something else than what is due now is a late
    /// answer and changes nothing.
    pub(super) fn trigger_answered(
        &self,
        app: &AppName,
        number: RebuildNumber,
        attempt: u32,
        outcome: &TriggerOutcome,
        now: DateTime<Utc>,
    ) -> Vec<Event> {
        let open = self.catalog.app(app).and_then(|known| known.rebuilds.open.as_ref());
        let current = |open: &&OpenRebuild| {
            open.number == number && open.failures == attempt && matches!(open.trigger, TriggerState::Due(_))
        };
        let Some(open) = open.filter(current) else { return Vec::new() };
        let app = app.clone();
        let failed = |reason: &str, retry_at| {
            let reason = reason.to_owned();
            Event::RebuildTriggerFailed { app: app.clone(), number, reason, retry_at }
        };
        let ended = |reason| {
            let outcome = RebuildOutcome::NotTriggered { reason };
            Event::RebuildEnded { app: app.clone(), number, outcome }
        };
        match outcome.judge(open.failures) {
            Verdict::Accepted => vec![Event::RebuildTriggered { app, number }],
            Verdict::Again { reason, pause } => match Some(after(now, pause)).filter(|at| *at < open.deadline_at) {
                Some(at) => vec![failed(&reason, Some(at))],
                None => vec![failed(&reason, None), ended(reason)],
            },
            Verdict::Hopeless { reason } => vec![failed(&reason, None), ended(reason)],
        }
    }
}

/// A rebuild that begins now.
fn started(app: &App, spec: &RebuildSpec, cause: RebuildCause, now: DateTime<Utc>) -> Event {
    Event::RebuildStarted {
        app: app.spec.name.clone(),
        number: app.rebuilds.next_number(),
        image: app.spec.image.clone(),
        cause,
        deadline_at: after(now, spec.deadline),
    }
}

/// Begins what is due. A night is still the same as long as the rebuild is late by no more than its own deadline; what is later
/// is missed, and said so.
fn due(app: &App, now: DateTime<Utc>, decision: &mut Decision) -> Vec<Event> {
    let spec = app.spec.rebuild.as_ref().filter(|_| app.enabled);
    let Some((spec, schedule, first)) =
        spec.and_then(|spec| Some((spec, spec.schedule.as_ref()?, app.rebuilds.next_due?)))
    else {
        return Vec::new();
    };
    if first > now {
        decision.wake(first, now);
        return Vec::new();
    }
    let dues = dues(schedule, first, now);
    let Some((last, earlier)) = dues.split_last() else { return Vec::new() };
    let whole = dues.len() < MISSED_LIMIT as usize;
    let in_time = whole && after(*last, spec.deadline) >= now;
    let missed = if in_time { earlier } else { &dues };
    let missed = missed.first().zip(missed.last()).map(|(first, last)| Event::RebuildMissed {
        app: app.spec.name.clone(),
        first: *first,
        last: *last,
        count: u32::try_from(missed.len()).unwrap_or(u32::MAX),
    });
    let begins = in_time.then(|| started(app, spec, RebuildCause::Schedule { due: *last }, now));
    missed.into_iter().chain(begins).collect()
}

/// Everything that is due from `first` until now.
fn dues(schedule: &Schedule, first: DateTime<Utc>, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let next = |at: &DateTime<Utc>| schedule.next_after(*at).filter(|next| *next <= now);
    std::iter::successors(Some(first), next).take(MISSED_LIMIT as usize).collect()
}

/// Ends a rebuild, or has its trigger sent.
fn go_on(app: &App, open: &OpenRebuild, context: &Context<'_>, decision: &mut Decision) -> Vec<Event> {
    let now = context.now;
    let name = &app.spec.name;
    if let Some(outcome) = outcome(app, open, now) {
        return vec![Event::RebuildEnded { app: name.clone(), number: open.number, outcome }];
    }
    decision.wake(open.deadline_at, now);
    let asks_ci = app.spec.rebuild.as_ref().is_some_and(|spec| spec.builder().is_none());
    if let TriggerState::Due(at) = open.trigger
        && asks_ci
    {
        let sent = context.fleet.trigger_sent(name, open.number, open.failures);
        // A clock that was set back since does not make it wait for longer.
        let unanswered = sent.filter(|sent| *sent <= now).map(|sent| after(sent, TRIGGER_PATIENCE));
        match unanswered.unwrap_or(at) {
            at if at > now => decision.wake(at, now),
            _ => decision.actions.push(Action::Trigger {
                app: name.clone(),
                number: open.number,
                attempt: open.failures,
            }),
        }
    }
    Vec::new()
}

/// How a rebuild has ended, if it has.
fn outcome(app: &App, open: &OpenRebuild, now: DateTime<Utc>) -> Option<RebuildOutcome> {
    let given_up = |reason: &str| Some(RebuildOutcome::GivenUp { reason: reason.to_owned() });
    if !app.enabled {
        return given_up("the app is no longer followed");
    }
    let Some(spec) = &app.spec.rebuild else {
        return given_up("the app's file has no `[rebuild]` any more");
    };
    if app.spec.image.repository != open.image.repository {
        return given_up("the app follows another repository now");
    }
    // A build that came out as one that is known already is its result all the same.
    let built = open.built.as_ref().and_then(|digest| app.release(digest));
    let built = built.filter(|release| judged(app, release, now).is_ok());
    if let Some(release) = built.or_else(|| tested_since(app, open.started_at, now)) {
        return Some(RebuildOutcome::Tested { digest: release.digest.clone() });
    }
    if now < open.deadline_at {
        return None;
    }
    Some(match open.trigger {
        TriggerState::Accepted(_) => RebuildOutcome::Overdue { reason: what_is_there(app, open.started_at, now) },
        TriggerState::Due(_) if spec.builder().is_some() => {
            let reason = open.last_failure.clone();
            RebuildOutcome::Overdue { reason: reason.unwrap_or_else(|| "no node has built it in time".to_owned()) }
        }
        TriggerState::Due(_) => {
            let reason = open.last_failure.clone().unwrap_or_else(|| "no answer came in time".to_owned());
            RebuildOutcome::NotTriggered { reason }
        }
    })
}

/// The gate without its cooldown: what a rebuild must bring is tested, and may well have to wait.
fn judged(app: &App, release: &Release, now: DateTime<Utc>) -> Result<(), crate::release::GateDenial> {
    Gate { cooldown: Duration::ZERO, ..app.spec.gate.clone() }.judge(release, now)
}

/// The newest digest that a rebuild which began then can have brought, and that has passed: one that is known since, or one
/// that CI built just the same again and whose suite it reports once more. (A suite that is late with an old digest says
/// nothing about a rebuild.)
pub(super) fn tested_since(app: &App, since: DateTime<Utc>, now: DateTime<Utc>) -> Option<&Release> {
    let again = |release: &Release| {
        let of_ci = || release.reports.iter().filter(|report| report.kind == TestKind::Ci);
        of_ci().any(|new| {
            let repeats = of_ci().any(|old| old.suite == new.suite && old.at < since);
            new.at >= since && new.result == TestResult::Passed && repeats
        })
    };
    let brought = |release: &&Release| release.first_seen >= since || again(release);
    app.releases.iter().rev().filter(brought).find(|release| judged(app, release, now).is_ok())
}

/// Why there is no new tested digest: what the newest one since then lacks.
fn what_is_there(app: &App, since: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let denied = |release: &Release| Some((release.digest.clone(), judged(app, release, now).err()?));
    let new = app.releases.iter().rev().filter(|release| release.first_seen >= since).find_map(denied);
    let said = |(digest, denial): (Digest, _)| format!("{} is new, but {denial}", digest.short());
    new.map_or_else(|| "no new digest came and no report".to_owned(), said)
}
