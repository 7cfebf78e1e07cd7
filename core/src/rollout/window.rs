//! When the quiet hours let a step start, and for how long a rollout may be allowed to work without getting anywhere.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::{App, Node};
use crate::event::Event;
use crate::ids::NodeName;
use crate::mutation::{Rule, broken};
use crate::quiet::{Denial, Entries, Passed, QuietHours, Window};
use crate::rollout::decide::record;
use crate::rollout::{Context, Decision, Overrides, Rollout, RolloutState, WaitingOn};
use crate::step::Purpose;

/// Most reasons that the event of an unused window names: more say nothing more to a person.
const REASON_LIMIT: usize = 3;

/// Whether a step may start, in which window, or why not. Without a window none is needed.
type Verdict = Result<Option<Window>, WaitingOn>;

/// Whether steps may start by the quiet hours, node by node. Nodes with the same allow windows have the same verdict, which is
/// worked out once.
pub(super) struct Windows<'a> {
    /// Not set: they say nothing.
    quiet: Option<&'a QuietHours>,
    /// The verdict where they say nothing.
    without: Verdict,
    overrides: Overrides,
    worst_case: Duration,
    context: &'a Context<'a>,
    answers: BTreeMap<Entries, Verdict>,
}

/// What the quiet hours say about several nodes.
pub(super) struct Survey {
    /// The first open window; not set where every node has to wait, or none needs one.
    pub(super) open: Option<Window>,
    /// Whether a step may start on any of them.
    pub(super) any: bool,
    /// What the others wait for.
    pub(super) closed: Vec<WaitingOn>,
}

impl Windows<'_> {
    /// The verdict on a node.
    pub(super) fn of(&mut self, node: &NodeName) -> &Verdict {
        let Some(quiet) = self.quiet else { return &self.without };
        let entries = self.entries(quiet, node);
        self.answers.entry(entries).or_insert_with(|| {
            let own = quiet.only(entries);
            self.overrides.may_start(&own, self.context.now, self.worst_case).map_err(WaitingOn::Window)
        })
    }

    fn entries(&self, quiet: &QuietHours, node: &NodeName) -> Entries {
        if !quiet.names_nodes() || broken(Rule::NodeWindow) {
            return Entries::ALL;
        }
        self.context.catalog.node(node).map_or(Entries::ALL, |known| quiet.entries_for(&known.labels))
    }

    /// What they say about all of these nodes.
    pub(super) fn survey<'n>(&mut self, nodes: impl Iterator<Item = &'n NodeName>) -> Survey {
        let mut closed: BTreeMap<Option<Entries>, (&NodeName, usize, WaitingOn)> = BTreeMap::new();
        let (mut open, mut any) = (None, false);
        for node in nodes {
            let entries = self.quiet.map(|quiet| self.entries(quiet, node));
            match self.of(node) {
                Ok(window) => {
                    any = true;
                    open = open.or(*window);
                }
                Err(reason) => {
                    let known = closed.entry(entries).or_insert_with(|| (node, 0, reason.clone()));
                    known.1 += 1;
                }
            }
        }
        let alone = closed.len() == 1 && !any;
        let words = |(node, count, reason): (&NodeName, usize, WaitingOn)| {
            if !alone && let WaitingOn::Window(denial) = reason {
                return WaitingOn::NodeWindow { node: node.clone(), others: count - 1, denial };
            }
            reason
        };
        Survey { open, any, closed: closed.into_values().map(words).collect() }
    }
}

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

    /// Whether a step with this worst case may start now; with the window in which it may, if one is needed.
    ///
    /// # Errors
    /// The quiet hours forbid it, as far as they are not set aside.
    pub(crate) fn may_start(
        self,
        quiet: &QuietHours,
        now: DateTime<Utc>,
        worst_case: Duration,
    ) -> Result<Option<Window>, Denial> {
        if broken(Rule::Window) {
            return Ok(None);
        }
        if self.now {
            return match quiet.freeze_at(now) {
                Some(denial) if !self.freeze => Err(denial),
                Some(_) | None => Ok(None),
            };
        }
        let without = self.freeze || broken(Rule::Freeze);
        let quiet = if without { Cow::Owned(quiet.without_freezes()) } else { Cow::Borrowed(quiet) };
        quiet.may_start(now, worst_case).map(Some)
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
    /// The quiet hours that hold for its steps now: those in force, not those of its planning. What goes back is exempt.
    pub(super) fn windows<'a>(&'a self, canary: bool, context: &'a Context<'a>) -> Windows<'a> {
        let in_force = context.catalog.app(self.app()).map_or(&self.spec, |app| &app.spec);
        let exempt = self.purpose == Purpose::Rollback || self.is_retreat();
        Windows {
            quiet: in_force.quiet_hours.as_ref().filter(|_| !exempt),
            without: if exempt || self.overrides.now { Ok(None) } else { Err(WaitingOn::NoQuietHours) },
            overrides: self.overrides,
            worst_case: if broken(Rule::Cutoff) { Duration::ZERO } else { self.spec.worst_case(canary) },
            context,
            answers: BTreeMap::new(),
        }
    }

    /// Since when the coordinator was there for it and nothing but the window kept it from starting.
    fn attended_since(&self, app: &App) -> DateTime<Utc> {
        app.enabled_at.into_iter().chain([app.applied_at]).fold(self.looked_at, DateTime::max)
    }

    /// Windows that went by without anybody looking: the coordinator was down, or its clock was moved. They are told, and
    /// nothing is made up for outside a window.
    pub(super) fn note_missed_windows(&self, context: &Context<'_>, decision: &mut Decision) {
        let Some(app) = context.catalog.app(self.app()).filter(|app| app.enabled) else { return };
        let Some(quiet) = app.spec.quiet_hours.as_ref() else { return };
        if self.overrides.now || self.purpose == Purpose::Rollback || self.is_retreat() {
            return;
        }
        let quiet = if self.overrides.freeze { Cow::Owned(quiet.without_freezes()) } else { Cow::Borrowed(quiet) };
        let mut nodes =
            self.current_steps().filter(|step| step.is_pending()).filter_map(|step| context.catalog.node(&step.node));
        let entries = if quiet.names_nodes() {
            nodes.map(|node| quiet.entries_for(&node.labels)).reduce(Entries::or)
        } else {
            nodes.next().map(|_| Entries::ALL)
        };
        let Some(entries) = entries else { return };
        if let Some(passed) = quiet.only(entries).passed(self.attended_since(app), context.now) {
            let Passed { starts, ends, windows } = passed;
            let event = Event::WindowMissed { rollout: self.id.clone(), starts, ends, windows };
            decision.events.push(record(context, event));
        }
    }

    /// A window that opened, and in which nothing could start at once: in the morning people want to know why.
    pub(super) fn note_unused_window(&self, open: Option<Window>, context: &Context<'_>, decision: &mut Decision) {
        let Some(app) = context.catalog.app(self.app()).filter(|app| app.enabled) else { return };
        let new = open.filter(|window| window.starts > self.attended_since(app));
        let Some(window) = new.filter(|_| context.now >= context.settled_at && !decision.waiting_on.is_empty()) else {
            return;
        };
        let mut words: Vec<_> = decision.waiting_on.iter().take(REASON_LIMIT).map(ToString::to_string).collect();
        if decision.waiting_on.len() > REASON_LIMIT {
            words.push(format!("and {} more", decision.waiting_on.len() - REASON_LIMIT));
        }
        let event = Event::WindowNotUsed { rollout: self.id.clone(), until: window.ends, reason: words.join("; ") };
        decision.events.push(record(context, event));
    }

    /// Whether no allow window names this node, though others are named: it would wait for ever.
    pub(super) fn has_no_window(&self, app: &App, node: &Node) -> bool {
        let bound = self.purpose == Purpose::Update && !self.is_retreat() && !self.overrides.now;
        bound && app.has_no_window(node)
    }

    /// Pauses a rollout whose steps in flight do not end. Time in which it was not allowed to work does not count: before the
    /// window opened, while the coordinator was away, while the app was disabled or another went first. Nor does a rollout
    /// that only waits for others stop: it goes on by itself as soon as they are back.
    pub(super) fn check_progress(&self, windows: &mut Windows<'_>, context: &Context<'_>, decision: &mut Decision) {
        let Some(begun) = self.in_flight().filter_map(|step| step.started_at).max() else { return };
        let open: Result<Vec<_>, ()> =
            self.in_flight().map(|step| windows.of(&step.node).as_ref().map(|open| *open).map_err(|_| ())).collect();
        let Ok(open) = open else { return };
        let opened = open.into_iter().flatten().map(|window| window.starts).max();
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
