//! From local wall time to instants, and back for people: the one place that knows about gaps and folds.
//!
//! The rule is that of RFC 5545. In a gap (clocks go forward) a time moves forward by the length of the gap, 02:30 becomes
//! 03:30; in a fold (clocks go back) it is the first of the two. Two cases the RFC does not mention:
//!
//! - A date that does not exist at all (Pacific/Apia skipped 2011-12-30) has no times: nothing starts on it. Moving its
//!   windows to the next day would open that day's windows twice as far.
//! - A time that a gap moves past midnight (Asia/Pyongyang 2018-05-04, 23:30 to 24:00) still belongs to its own date.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{
    DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};
use serde::{Deserialize, Serialize};

/// A name that is in no time zone table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidZone {
    /// Nothing similar exists.
    #[error("`{0}` is no time zone: allowed are IANA names such as `America/Moncton` or `UTC`")]
    Unknown(String),
    /// A zone of a similar name exists.
    #[error("`{found}` is no time zone: allowed are IANA names such as `{similar}`")]
    Similar {
        /// What was read.
        found: String,
        /// What was probably meant.
        similar: &'static str,
    },
}

/// An IANA time zone, such as `America/Moncton`. Written and stored as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Tz);

/// How a clock change moved a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shift {
    /// The wall time does not exist on that date; it moved forward by this much.
    Gap(#[serde(with = "crate::duration::text")] Duration),
    /// The wall time happens twice on that date; the first one counts.
    Fold,
}

/// A wall time resolved to an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) at: DateTime<Utc>,
    pub(super) shift: Option<Shift>,
}

/// A gap around a wall time: the clock jumps from `before` to `after`, at the instant `at`.
struct Gap {
    at: DateTime<Utc>,
    before: NaiveDateTime,
    after: NaiveDateTime,
}

impl Zone {
    /// The zone's IANA name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The instant for people: `2026-11-24 22:00 America/Moncton`. Seconds are shown when there are any, and the UTC offset
    /// where the wall time alone happens twice.
    #[must_use]
    pub fn local(self, instant: DateTime<Utc>) -> String {
        let local = instant.with_timezone(&self.0);
        let format = if local.second() == 0 { "%Y-%m-%d %H:%M" } else { "%Y-%m-%d %H:%M:%S" };
        let text = format!("{} {}", local.format(format), self.name());
        match self.0.from_local_datetime(&local.naive_local()) {
            MappedLocalTime::Ambiguous(..) => format!("{text} (UTC{})", local.format("%:z")),
            MappedLocalTime::Single(_) | MappedLocalTime::None => text,
        }
    }

    /// The local calendar date of the instant.
    #[must_use]
    pub fn date(self, instant: DateTime<Utc>) -> NaiveDate {
        instant.with_timezone(&self.0).date_naive()
    }

    /// The local wall time of the instant.
    pub(crate) fn wall(self, instant: DateTime<Utc>) -> NaiveDateTime {
        instant.with_timezone(&self.0).naive_local()
    }

    /// The instant of a wall time by the rule above; `None` if its date does not exist in this zone.
    pub(crate) fn instant(self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        self.resolve(wall.date(), wall.time()).map(|resolved| resolved.at)
    }

    /// The instant of a wall time by the rule above; `None` if the date does not exist in this zone.
    pub(super) fn resolve(self, date: NaiveDate, time: NaiveTime) -> Option<Resolved> {
        let local = date.and_time(time);
        match self.0.from_local_datetime(&local) {
            MappedLocalTime::Single(only) => Some(Resolved { at: only.to_utc(), shift: None }),
            MappedLocalTime::Ambiguous(one, other) => {
                Some(Resolved { at: one.to_utc().min(other.to_utc()), shift: Some(Shift::Fold) })
            }
            MappedLocalTime::None => {
                let gap = self.gap(local)?;
                let begins_within = gap.before.date() == date && gap.before.time() != NaiveTime::MIN;
                if !begins_within && gap.after.date() != date {
                    return None;
                }
                let at = gap.at.checked_add_signed(local - gap.before)?;
                Some(Resolved { at, shift: Some(Shift::Gap((gap.after - gap.before).to_std().ok()?)) })
            }
        }
    }

    /// The first instant of a local date; for a date that does not exist, that of the next one that does.
    pub(super) fn day_starts(self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let midnight = date.and_time(NaiveTime::MIN);
        match self.0.from_local_datetime(&midnight) {
            MappedLocalTime::Single(only) => Some(only.to_utc()),
            MappedLocalTime::Ambiguous(one, other) => Some(one.to_utc().min(other.to_utc())),
            MappedLocalTime::None => Some(self.gap(midnight)?.at),
        }
    }

    /// The first instant after a local date: after its last one, where clocks that go back over midnight bring it twice.
    pub(super) fn day_ends(self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let next = date.succ_opt()?;
        let midnight = next.and_time(NaiveTime::MIN);
        if let MappedLocalTime::Ambiguous(one, other) = self.0.from_local_datetime(&midnight) {
            let (first, second) = (one.to_utc().min(other.to_utc()), one.to_utc().max(other.to_utc()));
            let comes_back = self.date(second - TimeDelta::seconds(1)) == date;
            return Some(if comes_back { second } else { first });
        }
        self.day_starts(next)
    }

    fn gap(self, local: NaiveDateTime) -> Option<Gap> {
        let (before, offset) = GapInfo::new(&local, &self.0)?.begin?;
        let seconds = TimeDelta::seconds(offset.fix().local_minus_utc().into());
        let at = before.checked_sub_signed(seconds)?.and_utc();
        Some(Gap { at, before, after: at.with_timezone(&self.0).naive_local() })
    }
}

impl FromStr for Zone {
    type Err = InvalidZone;
    fn from_str(text: &str) -> Result<Self, InvalidZone> {
        let text = text.trim();
        if let Ok(zone) = text.parse() {
            return Ok(Self(zone));
        }
        let found: String = text.chars().take(60).collect();
        let wanted = text.to_ascii_lowercase().replace(' ', "_");
        let named = |same: fn(&str, &str) -> bool| {
            TZ_VARIANTS.iter().map(|zone| zone.name()).find(|name| same(&name.to_ascii_lowercase(), &wanted))
        };
        let similar = named(|name, wanted| name == wanted)
            .or_else(|| named(|name, wanted| name.rsplit('/').next() == Some(wanted)));
        Err(match similar {
            Some(similar) => InvalidZone::Similar { found, similar },
            None => InvalidZone::Unknown(found),
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for Zone {
    type Error = InvalidZone;
    fn try_from(text: String) -> Result<Self, InvalidZone> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name().to_owned()
    }
}
