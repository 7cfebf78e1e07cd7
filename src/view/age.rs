//! How old images are, in words and colours.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::duration;
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, word};
use crate::output::table::{Tone, paint};
use crate::output::time::NOTHING;

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 86_400;

/// How old an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Age {
    seconds: u64,
    since: Option<DateTime<Utc>>,
    /// `built`, or `first_seen` by this fleet where the build has no real date.
    counted_from: String,
    /// `fresh`, `aging`, `stale`; nothing where the app says nothing.
    state: Option<String>,
    #[serde(skip)]
    judged: pb::AgeState,
}

/// How old an app's images are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Freshness {
    max_age_seconds: Option<u64>,
    /// Of the oldest image that runs.
    oldest: Option<Age>,
    /// Of the newest digest that has passed its tests.
    last_tested: Option<Age>,
    /// Instances over the limit.
    stale: u32,
}

impl From<pb::Age> for Age {
    fn from(age: pb::Age) -> Self {
        let judged = age.state();
        Self {
            seconds: age.age.map_or(0, |age| u64::try_from(age.seconds).unwrap_or(0)),
            since: instant(age.since),
            counted_from: word(age.counted_from().as_str_name(), "AGE_ORIGIN_"),
            state: (judged != pb::AgeState::Unspecified).then(|| word(judged.as_str_name(), "AGE_STATE_")),
            judged,
        }
    }
}

impl From<pb::Freshness> for Freshness {
    fn from(freshness: pb::Freshness) -> Self {
        Self {
            max_age_seconds: freshness.max_age.map(|limit| u64::try_from(limit.seconds).unwrap_or(0)),
            oldest: freshness.oldest.map(Age::from),
            last_tested: freshness.last_tested.map(Age::from),
            stale: freshness.stale,
        }
    }
}

impl Freshness {
    /// The oldest image that runs, in words and colour.
    pub(crate) fn oldest(&self) -> String {
        self.words(self.oldest.as_ref())
    }

    /// The newest tested digest. It is no alarm by itself, so it has no colour.
    pub(crate) fn last_tested(&self) -> String {
        let Some(age) = &self.last_tested else { return NOTHING.to_owned() };
        let origin = if age.origin().is_empty() { " old" } else { age.origin() };
        format!("{}{origin}", brief(age.seconds))
    }

    /// An age with what the app says of it: `fresh, 3 d`, `5 d of 7 d`, `stale: 9 d, at most 7 d`.
    pub(crate) fn words(&self, age: Option<&Age>) -> String {
        let Some(age) = age else { return NOTHING.to_owned() };
        let limit = self.max_age_seconds.map(exact).unwrap_or_default();
        let origin = age.origin();
        match age.judged {
            pb::AgeState::Unspecified => format!("{}{origin}", brief(age.seconds)),
            pb::AgeState::Fresh => paint(Tone::Good, &format!("fresh, {}{origin}", brief(age.seconds))),
            pb::AgeState::Aging => paint(Tone::Near, &format!("{} of {limit}{origin}", precise(age.seconds))),
            pb::AgeState::Stale => {
                paint(Tone::Bad, &format!("stale: {}, at most {limit}{origin}", precise(age.seconds)))
            }
        }
    }
}

impl Age {
    /// Said where it is not the build that counts.
    const fn origin(&self) -> &'static str {
        if matches!(self.counted_from.as_bytes(), b"first_seen") { " since first seen" } else { "" }
    }
}

/// The largest unit alone.
fn brief(seconds: u64) -> String {
    match seconds {
        ..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        DAY.. => format!("{} d", seconds / DAY),
    }
}

/// The two largest units, where the second one is there: near a limit it matters.
fn precise(seconds: u64) -> String {
    let unit = match seconds {
        ..MINUTE => 1,
        MINUTE..HOUR => MINUTE,
        HOUR..DAY => HOUR,
        DAY.. => DAY,
    };
    let (first, rest) = (brief(seconds), seconds % unit);
    let next = if unit == DAY { HOUR } else { unit / 60 };
    if next == 0 || rest < next { first } else { format!("{first} {}", brief(rest - rest % next)) }
}

/// A limit as it was written, with a space before the unit where it has only one.
fn exact(seconds: u64) -> String {
    let whole = [DAY, HOUR, MINUTE].into_iter().find(|unit| seconds.is_multiple_of(*unit) && seconds >= *unit);
    match whole {
        Some(DAY) => format!("{} d", seconds / DAY),
        Some(HOUR) if seconds < DAY => brief(seconds),
        Some(MINUTE) if seconds < HOUR => brief(seconds),
        Some(_) | None => duration::format(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(seconds: u64, limit: u64, state: pb::AgeState, origin: pb::AgeOrigin) -> String {
        let duration = |seconds: u64| prost_types::Duration { seconds: seconds.cast_signed(), nanos: 0 };
        let age =
            pb::Age { since: None, age: Some(duration(seconds)), counted_from: origin.into(), state: state.into() };
        let max_age = (limit > 0).then(|| duration(limit));
        Freshness::from(pb::Freshness { max_age, oldest: Some(age), last_tested: None, stale: 0 }).oldest()
    }

    #[test]
    fn an_age_is_told_with_its_limit_when_that_comes_near() {
        use pb::AgeOrigin::{Built, FirstSeen};
        use pb::AgeState::{Aging, Fresh, Stale, Unspecified};
        for (seconds, limit, state, origin, expect) in [
            (3 * DAY + 5, 0, Unspecified, Built, "3 d"),
            (40, 0, Unspecified, FirstSeen, "40 s since first seen"),
            (3 * DAY + HOUR, 7 * DAY, Fresh, Built, "fresh, 3 d"),
            (5 * DAY, 7 * DAY, Aging, Built, "5 d of 7 d"),
            (6 * DAY + 23 * HOUR + 59 * MINUTE, 7 * DAY, Aging, Built, "6 d 23 h of 7 d"),
            (9 * DAY, 7 * DAY, Stale, Built, "stale: 9 d, at most 7 d"),
            (7 * DAY + HOUR, 7 * DAY, Stale, FirstSeen, "stale: 7 d 1 h, at most 7 d since first seen"),
            (2 * HOUR + 61, 2 * HOUR, Stale, Built, "stale: 2 h 1 min, at most 2 h"),
            (36 * HOUR + 1, 36 * HOUR, Stale, Built, "stale: 1 d 12 h, at most 1d12h"),
            (90, 60, Stale, Built, "stale: 1 min 30 s, at most 1 min"),
        ] {
            assert_eq!(
                console::strip_ansi_codes(&crate::output::table::painted(&words(seconds, limit, state, origin))),
                expect
            );
        }
    }
}
