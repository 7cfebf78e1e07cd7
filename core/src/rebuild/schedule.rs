//! When rebuilds are due: five fields of cron in a time zone.
//!
//! The fields are matched against local wall time; the instant of a wall time follows the one rule of the product
//! ([`crate::quiet`]): in a gap it moves forward by the gap, in a fold it is the first of the two. So a clock change neither
//! drops a night nor doubles it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Serialize};

use crate::quiet::Zone;

/// Longest text of the fields, in bytes: five lists of some numbers.
const TEXT_LIMIT_BYTES: usize = 200;
/// Shortest time between two rebuilds: a build that is due before the last one can have ended is a mistake.
const SHORTEST_INTERVAL: TimeDelta = TimeDelta::minutes(15);
/// How many times in a row are compared with it: two for each hour of some days.
const INTERVALS_LOOKED_AT: usize = 200;
/// From where on: what is due is looked for from an ordinary day.
const ORDINARY_SECOND: i64 = 1_800_000_000;
/// No clock change of our days moves a wall time by more than this.
const LARGEST_SHIFT: TimeDelta = TimeDelta::hours(3);
/// Wall times that are looked at for one instant: more than a shift can hold at the shortest interval, and some dates that a
/// zone left out.
const LOOK_LIMIT: usize = 1_000;

/// What cannot be a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// Not five fields.
    #[error(
        "{0} fields, allowed are five: minute, hour, day of the month, month, day of the week, such as `30 2 * * *`"
    )]
    Fields(usize),
    /// A field cannot be read.
    #[error("no cron fields: {0}; allowed are such as `30 2 * * *` for every night at 02:30")]
    Unreadable(String),
    /// It is never due.
    #[error("never due: no day has these fields")]
    Never,
    /// Too often.
    #[error("due {} apart, allowed are 15m or more", crate::duration::format(*.0))]
    TooOften(Duration),
}

/// Five fields of cron.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronFields(String);

/// When rebuilds are due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The fields.
    pub cron: CronFields,
    /// Whose wall time they mean.
    pub timezone: Zone,
}

impl CronFields {
    fn parsed(&self) -> Option<Cron> {
        parse(&self.0).ok()
    }
}

fn parse(text: &str) -> Result<Cron, InvalidCron> {
    let fields = text.split_whitespace().count();
    if fields != 5 {
        return Err(InvalidCron::Fields(fields));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| InvalidCron::Unreadable(error.to_string().to_lowercase()))
}

impl FromStr for CronFields {
    type Err = InvalidCron;
    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        if text.len() > TEXT_LIMIT_BYTES {
            return Err(InvalidCron::Unreadable(format!("more than {TEXT_LIMIT_BYTES} bytes")));
        }
        let cron = parse(text)?;
        let mut last = DateTime::from_timestamp(ORDINARY_SECOND, 0).unwrap_or_default();
        for place in 0..INTERVALS_LOOKED_AT {
            let next = cron.find_next_occurrence(&last, false).map_err(|_| InvalidCron::Never)?;
            if place > 0 && next - last < SHORTEST_INTERVAL {
                return Err(InvalidCron::TooOften((next - last).to_std().unwrap_or_default()));
            }
            last = next;
        }
        Ok(Self(text.split_whitespace().collect::<Vec<_>>().join(" ")))
    }
}

impl TryFrom<String> for CronFields {
    type Error = InvalidCron;
    fn try_from(text: String) -> Result<Self, InvalidCron> {
        text.parse()
    }
}

impl From<CronFields> for String {
    fn from(fields: CronFields) -> Self {
        fields.0
    }
}

impl fmt::Display for CronFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Schedule {
    /// The first instant after this one at which a rebuild is due; `None` when there is none in the calendar.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let cron = self.cron.parsed()?;
        // Wall time is written as if it were UTC: the pattern knows nothing of zones.
        let mut wall = self.timezone.wall(after).checked_sub_signed(LARGEST_SHIFT)?.and_utc();
        let mut found: Option<DateTime<Utc>> = None;
        for _ in 0..LOOK_LIMIT {
            wall = cron.find_next_occurrence(&wall, false).ok()?;
            let local: NaiveDateTime = wall.naive_utc();
            // Behind a gap the order of wall times is not that of instants: go on to the wall time of what was found.
            if found.is_some_and(|found| self.timezone.wall(found) < local) {
                return found;
            }
            let at = self.timezone.instant(local).filter(|at| *at > after);
            found = match (found, at) {
                (Some(found), Some(at)) => Some(found.min(at)),
                (found, at) => found.or(at),
            };
        }
        found
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.cron, self.timezone.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, zone: &str) -> Schedule {
        Schedule { cron: cron.parse().expect(cron), timezone: zone.parse().expect(zone) }
    }

    fn instant(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).expect(text).to_utc()
    }

    #[test]
    fn the_next_rebuild_is_due_by_the_wall_clock_of_its_zone() {
        for (cron, zone, after, expect) in [
            ("30 2 * * *", "UTC", "2026-11-26T02:29:59Z", "2026-11-26T02:30:00Z"),
            ("30 2 * * *", "UTC", "2026-11-26T02:30:00Z", "2026-11-27T02:30:00Z"),
            ("30 2 * * *", "America/Moncton", "2026-11-26T00:00:00Z", "2026-11-26T06:30:00Z"),
            ("0 3 * * SUN", "Europe/Zurich", "2026-11-26T00:00:00Z", "2026-11-29T02:00:00Z"),
            ("0 3 1 * *", "UTC", "2026-11-26T00:00:00Z", "2026-12-01T03:00:00Z"),
            // The clock goes forward at 02:00 to 03:00: 02:30 is an hour after the start of what is left out.
            ("30 2 * * *", "America/Moncton", "2027-03-13T12:00:00Z", "2027-03-14T06:30:00Z"),
            ("30 2 * * *", "America/Moncton", "2027-03-14T06:30:00Z", "2027-03-15T05:30:00Z"),
            // A gap puts 02:30 behind 03:00: both come, in the order of time, and 03:00 once.
            ("0,30 2,3 * * *", "America/Moncton", "2027-03-14T05:59:59Z", "2027-03-14T06:00:00Z"),
            ("0,30 2,3 * * *", "America/Moncton", "2027-03-14T06:00:00Z", "2027-03-14T06:30:00Z"),
            ("0,30 2,3 * * *", "America/Moncton", "2027-03-14T06:30:00Z", "2027-03-15T05:00:00Z"),
            // The clock goes back at 02:00 to 01:00: 01:30 is due once, the first time.
            ("30 1 * * *", "America/Moncton", "2026-11-01T00:00:00Z", "2026-11-01T04:30:00Z"),
            ("30 1 * * *", "America/Moncton", "2026-11-01T04:30:00Z", "2026-11-02T05:30:00Z"),
            ("30 1 * * *", "America/Moncton", "2026-11-01T05:45:00Z", "2026-11-02T05:30:00Z"),
            // A zone of half an hour.
            ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T10:00:00Z", "2026-10-03T15:45:00Z"),
            ("0 3 29 2 *", "UTC", "2026-11-26T00:00:00Z", "2028-02-29T03:00:00Z"),
        ] {
            let found = schedule(cron, zone).next_after(instant(after));
            assert_eq!(found, Some(instant(expect)), "{cron} {zone} after {after}");
        }
    }

    #[test]
    fn a_year_of_nights_has_one_rebuild_for_each_date_in_every_kind_of_zone() {
        for zone in ["UTC", "America/Moncton", "Europe/Zurich", "Australia/Lord_Howe", "Africa/Casablanca"] {
            for cron in ["30 1 * * *", "0 2 * * *", "30 2 * * *", "59 23 * * *", "0 0 * * *"] {
                let schedule = schedule(cron, zone);
                let mut at = instant("2026-01-01T12:00:00Z");
                let mut dates = std::collections::BTreeSet::new();
                for _ in 0..365 {
                    let next = schedule.next_after(at).expect("there is always a next night");
                    assert!(next > at && next - at < TimeDelta::hours(26), "{cron} {zone}: {at} {next}");
                    dates.insert(schedule.timezone.date(next));
                    at = next;
                }
                assert_eq!(dates.len(), 365, "{cron} {zone}");
            }
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_what_is_allowed() {
        for (text, expect) in [
            ("30 2 * *", "4 fields, allowed are five"),
            ("0 30 2 * * *", "6 fields, allowed are five"),
            ("@daily", "1 fields, allowed are five"),
            ("61 2 * * *", "no cron fields"),
            ("30 2 * * FOO", "no cron fields"),
            ("0 3 31 2 *", "never due"),
            ("* 2 * * *", "due 1m apart, allowed are 15m or more"),
            ("*/10 * * * *", "due 10m apart"),
        ] {
            let refused = text.parse::<CronFields>().expect_err(text).to_string();
            assert!(refused.starts_with(expect), "{text}: {refused}");
        }
        assert_eq!("  30  2 * * mon-fri ".parse::<CronFields>().expect("good").to_string(), "30 2 * * mon-fri");
    }
}
