//! Quiet hours: when Nightshift may install by itself. Exact to the second, and pure: `now` is an argument.
//!
//! [`QuietHours`] holds allow windows and freezes, in one time zone unless a window names its own. A window belongs to the
//! local date on which it starts; its start is resolved once (`resolve`), its end is start + elapsed duration, half open.
//! Allow windows are OR'ed and merged, also those that only touch; then freezes are cut out. What is left are the [`Window`]s, and every question is one about
//! them: is one open ([`QuietHours::at`]), may a start of this length begin ([`QuietHours::may_start`]), which come next
//! ([`QuietHours::windows`]), why ([`QuietHours::explain`]), is the configuration any good ([`QuietHours::check`]).
//!
//! Windows may hold for some nodes only: [`QuietHours::for_node`] gives what holds for one, and every question is asked of
//! that.
//!
//! All answers depend on the configuration and `now` alone, so they are right after a restart, a reload or a clock change.
//! Reading `[quiet_hours]` from a file is left to the reader of app files, which calls the text parsers here.

mod check;
mod denial;
mod explain;
mod nodes;
mod resolve;
mod rules;
mod text;
mod windows;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod text_tests;

use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use crate::labels::Selector;
pub use check::{CHECK_DAYS, Check, MovedStart, Warning};
pub use denial::Denial;
pub use explain::{ActiveEntry, ActiveFreeze, Explanation};
pub use nodes::{Entries, Group};
pub use resolve::{InvalidZone, Shift, Zone};
pub use rules::{DayRule, InvalidRule, MonthDay, Nth, OFFSET_LIMIT_DAYS};
pub use windows::{Closed, Passed, SEARCH_DAYS, Window, WindowState};

/// Most allow windows of one app: a week of different days and a few monthly ones need a dozen, and the cost of every
/// question grows with it.
pub const ALLOW_LIMIT: usize = 64;

/// Most freezes of one app: some years of holidays and exams.
pub const FREEZE_LIMIT: usize = 64;

/// Longest window: a week. Anything longer is `daily`, and the search for windows that are still open looks back this far.
pub const WINDOW_LIMIT: Duration = Duration::from_secs(7 * 86_400);

/// Longest name of a freeze in characters: it stands in one line of a table.
pub const FREEZE_NAME_LIMIT: usize = 100;

/// Years in which a freeze may lie: others are typing mistakes, and arithmetic on dates stays far from overflow.
pub const FREEZE_YEARS: std::ops::RangeInclusive<i32> = 2000..=2199;

/// Quiet hours that break a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuietHours {
    /// The start is no wall time.
    #[error("`{0}` is no time of day: allowed are `00:00` to `23:59`, with seconds if needed (`22:30:15`)")]
    Time(String),
    /// The day rule cannot hold.
    #[error(transparent)]
    Rule(#[from] InvalidRule),
    /// The window has no length.
    #[error("`duration` is zero: allowed are 1ms to 7d")]
    EmptyWindow,
    /// The window is longer than [`WINDOW_LIMIT`].
    #[error("`duration` is {}: allowed are 1ms to 7d", crate::duration::format(*.0))]
    LongWindow(Duration),
    /// The bound is neither date nor instant.
    #[error("`{0}` is no date and no instant: allowed are whole days `2026-12-05` and RFC 3339 `2026-12-05T18:00:00Z`")]
    Bound(String),
    /// The bound is in a year outside [`FREEZE_YEARS`].
    #[error("`{0}` is too far away: allowed are the years 2000 to 2199")]
    Year(Bound),
    /// The freeze has no name, or a very long one.
    #[error("`{0}` is no name for a freeze: allowed are 1 to {FREEZE_NAME_LIMIT} characters")]
    FreezeName(String),
    /// The freeze ends before it begins.
    #[error("freeze `{name}` ends before it begins: `to` is {to}, allowed is {from} or later")]
    Reversed {
        /// Its name.
        name: String,
        /// Where it begins.
        from: Bound,
        /// Where it ends.
        to: Bound,
    },
    /// More than [`ALLOW_LIMIT`] allow windows.
    #[error("{0} allow windows are too many: allowed are up to {ALLOW_LIMIT}")]
    TooManyWindows(usize),
    /// More than [`FREEZE_LIMIT`] freezes.
    #[error("{0} freezes are too many: allowed are up to {FREEZE_LIMIT}")]
    TooManyFreezes(usize),
    /// The cutoff is neither `auto` nor a duration.
    #[error("`{0}` is no cutoff: allowed are `auto` and durations such as `20m`")]
    Cutoff(String),
}

/// How late in a window a step may still start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Cutoff {
    /// So that the step's worst case, rollback included, ends inside the window.
    #[default]
    Auto,
    /// So long before the window's end, whatever the step needs.
    Fixed(Duration),
}

/// A time of day on the wall clock, exact to the second: `22:00` or `22:00:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallTime(NaiveTime);

/// A recurring time in which installing is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "text::AllowText", into = "text::AllowText")]
pub struct AllowWindow {
    rule: DayRule,
    start: WallTime,
    duration: Duration,
    nodes: Selector,
    timezone: Option<Zone>,
}

/// An edge of a freeze. Written and stored as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bound {
    /// A whole local day: a freeze begins with its first instant, or ends with its last.
    Day(NaiveDate),
    /// An exact instant. As the end of a freeze it is the first one after it.
    Instant(DateTime<Utc>),
}

/// A time in which nothing is installed, whatever the windows say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "text::FreezeText", into = "text::FreezeText")]
pub struct Freeze {
    name: String,
    from: Bound,
    to: Bound,
}

/// When installing is allowed: the `[quiet_hours]` of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "text::QuietText", into = "text::QuietText")]
pub struct QuietHours {
    timezone: Zone,
    cutoff: Cutoff,
    allow: Vec<AllowWindow>,
    freeze: Vec<Freeze>,
}

impl AllowWindow {
    /// A window that starts at `start` on the dates of the rule and lasts `duration` of elapsed time, for all nodes and in the zone
    /// of the quiet hours.
    ///
    /// # Errors
    /// The duration is zero or above [`WINDOW_LIMIT`], or the rule can never hold.
    pub fn new(rule: DayRule, start: WallTime, duration: Duration) -> Result<Self, InvalidQuietHours> {
        if duration.as_millis() == 0 {
            return Err(InvalidQuietHours::EmptyWindow);
        }
        if duration > WINDOW_LIMIT {
            return Err(InvalidQuietHours::LongWindow(duration));
        }
        Ok(Self { rule: rule.checked()?, start, duration, nodes: Selector::default(), timezone: None })
    }

    /// On which local dates it starts.
    #[must_use]
    pub fn rule(&self) -> DayRule {
        self.rule
    }

    /// At which wall time it starts.
    #[must_use]
    pub fn start(&self) -> WallTime {
        self.start
    }

    /// How long it lasts, in elapsed time.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }
}

impl Freeze {
    /// A freeze from the first bound to the second; a whole day is included as `to`, an instant is the first one after.
    ///
    /// # Errors
    /// There is no name or a very long one, a bound lies outside [`FREEZE_YEARS`], or `to` lies before `from`. Two bounds of
    /// different kinds are compared by their dates, as far as the zone leaves no doubt.
    pub fn new(name: &str, from: Bound, to: Bound) -> Result<Self, InvalidQuietHours> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > FREEZE_NAME_LIMIT {
            return Err(InvalidQuietHours::FreezeName(name.chars().take(FREEZE_NAME_LIMIT).collect()));
        }
        if let Some(bound) = [from, to].into_iter().find(|bound| !FREEZE_YEARS.contains(&bound.utc_date().year())) {
            return Err(InvalidQuietHours::Year(bound));
        }
        let reversed = match (from, to) {
            (Bound::Day(from), Bound::Day(to)) => to < from,
            (Bound::Instant(from), Bound::Instant(to)) => to < from,
            (Bound::Day(_), Bound::Instant(_)) | (Bound::Instant(_), Bound::Day(_)) => {
                to.utc_date().succ_opt().is_some_and(|after| after < from.utc_date())
            }
        };
        if reversed {
            return Err(InvalidQuietHours::Reversed { name: name.to_owned(), from, to });
        }
        Ok(Self { name: name.to_owned(), from, to })
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it begins.
    #[must_use]
    pub fn from(&self) -> Bound {
        self.from
    }

    /// Where it ends.
    #[must_use]
    pub fn to(&self) -> Bound {
        self.to
    }
}

impl QuietHours {
    /// Quiet hours of these windows and freezes. Without any window nothing is ever installed automatically.
    ///
    /// # Errors
    /// There are more than [`ALLOW_LIMIT`] windows or [`FREEZE_LIMIT`] freezes.
    pub fn new(
        timezone: Zone,
        cutoff: Cutoff,
        allow: Vec<AllowWindow>,
        freeze: Vec<Freeze>,
    ) -> Result<Self, InvalidQuietHours> {
        if allow.len() > ALLOW_LIMIT {
            return Err(InvalidQuietHours::TooManyWindows(allow.len()));
        }
        if freeze.len() > FREEZE_LIMIT {
            return Err(InvalidQuietHours::TooManyFreezes(freeze.len()));
        }
        Ok(Self { timezone, cutoff, allow, freeze })
    }

    /// The zone in which days and wall times are meant.
    #[must_use]
    pub fn timezone(&self) -> Zone {
        self.timezone
    }

    /// How late in a window a step may still start.
    #[must_use]
    pub fn cutoff(&self) -> Cutoff {
        self.cutoff
    }

    /// The allow windows, as configured.
    #[must_use]
    pub fn allow(&self) -> &[AllowWindow] {
        &self.allow
    }

    /// The freezes, as configured.
    #[must_use]
    pub fn freeze(&self) -> &[Freeze] {
        &self.freeze
    }
}

impl Bound {
    fn utc_date(self) -> NaiveDate {
        match self {
            Self::Day(date) => date,
            Self::Instant(instant) => instant.date_naive(),
        }
    }
}

impl WallTime {
    /// The time of day.
    #[must_use]
    pub fn time(self) -> NaiveTime {
        self.0
    }
}
