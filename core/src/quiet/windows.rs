//! From rules to windows: one lazy, ordered sequence of merged windows with the freezes cut out, and the questions on it.
//!
//! [`Windows`] walks over local dates and makes the windows that start on each. It looks back far enough that every window
//! that is still open, or touches one that is, is found; it looks ahead only as far as it is asked to.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Bound, Freeze, QuietHours};

/// How many days ahead a window is looked for. Every rule comes back within a year (a fifth monday at least four times), so
/// what is not found in 400 days does not come. Inside a freeze the days count from its end.
pub const SEARCH_DAYS: u64 = 400;

/// How far back the beginning of an open window is looked for, at least. It is only shown, never decided on, so a window
/// without a beginning may not cost much; two months say enough.
pub(super) const LOOK_BACK: TimeDelta = TimeDelta::days(60);

/// No clock is further than this from UTC, in either direction; used where dates and instants are compared roughly.
const ROUGHLY: TimeDelta = TimeDelta::days(2);

/// A time in which installing is allowed: from `starts` until just before `ends`.
///
/// Windows that follow each other without a pause are one. One that never ends is followed for [`SEARCH_DAYS`], and two months
/// back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its first instant.
    pub starts: DateTime<Utc>,
    /// The first instant after it.
    pub ends: DateTime<Utc>,
}

/// Windows that opened and closed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The first instant of the first.
    pub starts: DateTime<Utc>,
    /// The first instant after the last.
    pub ends: DateTime<Utc>,
    /// How many.
    pub windows: u32,
}

/// Why it is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closed {
    /// There is no allow window at all: never automatic.
    NoAllowWindow,
    /// No allow window is open.
    OutsideWindow,
    /// A freeze is on; of several, the one that ends last.
    Frozen {
        /// Its name.
        name: String,
        /// The first instant after it.
        until: DateTime<Utc>,
    },
}

/// Whether installing is allowed at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowState {
    /// It is, in this window (its limits are those of [`Window`]).
    Open {
        /// The window's first instant.
        since: DateTime<Utc>,
        /// The first instant after it.
        until: DateTime<Utc>,
    },
    /// It is not.
    Closed {
        /// The next instant at which it is; `None` if not within [`SEARCH_DAYS`].
        opens: Option<DateTime<Utc>>,
        /// Why not.
        because: Closed,
    },
}

impl Window {
    /// How long it is open.
    #[must_use]
    pub fn length(&self) -> Duration {
        (self.ends - self.starts).to_std().unwrap_or_default()
    }

    /// Whether the instant lies in it.
    #[must_use]
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.starts <= instant && instant < self.ends
    }
}

impl QuietHours {
    /// Whether installing is allowed at this instant, and until when, or from when on.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> WindowState {
        match Windows::new(self, now).next() {
            Some(window) if window.contains(now) => WindowState::Open { since: window.starts, until: window.ends },
            next => WindowState::Closed { opens: next.map(|window| window.starts), because: self.closed_because(now) },
        }
    }

    /// The windows that are open at `from` or come later, at most `limit` and within [`SEARCH_DAYS`].
    #[must_use]
    pub fn windows(&self, from: DateTime<Utc>, limit: usize) -> Vec<Window> {
        Windows::new(self, from).take(limit).collect()
    }

    /// The windows that opened and closed between two instants; `None` if there was none.
    #[must_use]
    pub fn passed(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> Option<Passed> {
        let mut whole =
            Windows::new(self, since).take_while(|window| window.ends <= now).filter(|window| window.starts > since);
        let first = whole.next()?;
        let whole = whole.fold((first.ends, 1_u32), |(_, count), window| (window.ends, count.saturating_add(1)));
        Some(Passed { starts: first.starts, ends: whole.0, windows: whole.1 })
    }

    /// Why it is closed at an instant at which it is closed.
    pub(super) fn closed_because(&self, now: DateTime<Utc>) -> Closed {
        if self.allow.is_empty() {
            return Closed::NoAllowWindow;
        }
        let frozen = self.freeze.iter().filter_map(|freeze| Some((freeze, self.frozen(freeze)?)));
        match frozen.filter(|(_, span)| span.contains(now)).max_by_key(|(_, span)| span.ends) {
            Some((freeze, span)) => Closed::Frozen { name: freeze.name.clone(), until: span.ends },
            None => Closed::OutsideWindow,
        }
    }

    /// From when until when a freeze is on; `None` if it is empty (a skipped date).
    pub(super) fn frozen(&self, freeze: &Freeze) -> Option<Window> {
        let starts = match freeze.from {
            Bound::Day(date) => self.timezone.day_starts(date)?,
            Bound::Instant(instant) => instant,
        };
        let ends = match freeze.to {
            Bound::Day(date) => self.timezone.day_ends(date)?,
            Bound::Instant(instant) => instant,
        };
        (starts < ends).then_some(Window { starts, ends })
    }
}

/// Joins windows that overlap or touch.
fn merged(mut windows: Vec<Window>) -> Vec<Window> {
    windows.sort_by_key(|window| window.starts);
    let mut joined: Vec<Window> = Vec::with_capacity(windows.len());
    for window in windows {
        match joined.last_mut() {
            Some(last) if window.starts <= last.ends => last.ends = last.ends.max(window.ends),
            Some(_) | None => joined.push(window),
        }
    }
    joined
}

/// The windows that end after an instant, in order.
pub(super) struct Windows<'a> {
    quiet: &'a QuietHours,
    from: DateTime<Utc>,
    /// Nothing that starts after this is looked at.
    horizon: DateTime<Utc>,
    /// Joined, in order.
    freezes: Vec<Window>,
    /// The next date whose windows are not in `found` yet.
    date: NaiveDate,
    /// Single windows by their start, (starts, ends). A clock change can put a later date's start before an earlier one's.
    found: BinaryHeap<Reverse<(DateTime<Utc>, DateTime<Utc>)>>,
    /// The first single window that does not touch the last joined one.
    after: Option<Window>,
    /// What freezes left of the last joined one.
    left: VecDeque<Window>,
}

impl<'a> Windows<'a> {
    /// The windows that end after `from`.
    pub(super) fn new(quiet: &'a QuietHours, from: DateTime<Utc>) -> Self {
        let freezes = merged(quiet.freeze.iter().filter_map(|freeze| quiet.frozen(freeze)).collect());
        // Nothing opens inside a freeze, however long it is: what matters begins with its end.
        let from = freezes.iter().find(|freeze| freeze.contains(from)).map_or(from, |freeze| freeze.ends);
        let date = Self::first_date(quiet, from);
        Windows { freezes, ..Self::between(quiet, date, from, from + Days::new(SEARCH_DAYS)) }
    }

    fn between(quiet: &'a QuietHours, date: NaiveDate, from: DateTime<Utc>, horizon: DateTime<Utc>) -> Self {
        let (found, left) = (BinaryHeap::new(), VecDeque::new());
        Windows { quiet, from, horizon, freezes: Vec::new(), date, found, after: None, left }
    }

    /// A date early enough to see the true start of the window that is open at `from`.
    fn first_date(quiet: &QuietHours, from: DateTime<Utc>) -> NaiveDate {
        let longest = quiet.allow.iter().map(|allow| allow.duration).max().unwrap_or_default();
        let longest = TimeDelta::from_std(longest).unwrap_or(TimeDelta::zero());
        let mut look_back = longest * 2 + ROUGHLY * 2;
        loop {
            let date = (from - look_back).date_naive();
            // A window from before `date` may reach into what starts before this: then its true start lies further back.
            let complete = date.and_time(NaiveTime::MIN).and_utc() + ROUGHLY + longest;
            let mut windows = Windows::between(quiet, date, from, from);
            let open = std::iter::from_fn(|| windows.joined()).find(|window| window.ends > from);
            if look_back >= LOOK_BACK + ROUGHLY * 2 + longest || open.is_none_or(|window| window.starts >= complete) {
                return date;
            }
            look_back = look_back * 2;
        }
    }

    /// The next joined window, freezes not cut out yet.
    fn joined(&mut self) -> Option<Window> {
        let mut window = self.after.take().or_else(|| self.single())?;
        while let Some(next) = self.single() {
            if next.starts > window.ends {
                self.after = Some(next);
                break;
            }
            window.ends = window.ends.max(next.ends);
        }
        Some(window)
    }

    /// The next single window by its start.
    fn single(&mut self) -> Option<Window> {
        loop {
            let settled = self.date.and_time(NaiveTime::MIN).and_utc() - ROUGHLY;
            let exhausted = settled > self.horizon;
            if let Some(&Reverse((starts, ends))) = self.found.peek()
                && (exhausted || starts < settled)
            {
                self.found.pop();
                return Some(Window { starts, ends });
            }
            if exhausted {
                return None;
            }
            self.find_on_date();
        }
    }

    /// Adds the windows that start on the next date.
    fn find_on_date(&mut self) {
        let date = self.date;
        for allow in self.quiet.allow.iter().filter(|allow| allow.rule.matches(date)) {
            let resolved = self.quiet.zone_of(allow).resolve(date, allow.start.time());
            if let Some(starts) = resolved.map(|resolved| resolved.at).filter(|&starts| starts <= self.horizon) {
                self.found.push(Reverse((starts, starts + allow.duration)));
            }
        }
        self.date = date + Days::new(1);
    }

    /// Keeps what the freezes leave of a window and what of that ends after `from`.
    fn cut(&mut self, window: Window) {
        let mut starts = window.starts;
        let mut left = Vec::new();
        for freeze in self.freezes.iter().filter(|freeze| freeze.starts < window.ends && freeze.ends > window.starts) {
            left.push(Window { starts, ends: freeze.starts });
            starts = freeze.ends;
        }
        left.push(Window { starts, ends: window.ends });
        self.left.extend(left.into_iter().filter(|part| part.starts < part.ends && part.ends > self.from));
    }
}

impl Iterator for Windows<'_> {
    type Item = Window;
    fn next(&mut self) -> Option<Window> {
        loop {
            if let Some(window) = self.left.pop_front() {
                return Some(window);
            }
            let window = self.joined()?;
            self.cut(window);
        }
    }
}
