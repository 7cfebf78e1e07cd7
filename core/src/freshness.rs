//! How old what runs is, and what of it is too old.
//!
//! An image's age counts from when it was built, wherever it was pulled later. Reproducible builds write a fixed date instead,
//! which says nothing: then it counts from when this fleet first saw the digest, which is soon after its push.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::catalog::App;
use crate::ids::NodeName;
use crate::instance::InstanceView;
use crate::rollout::running_digest;
use crate::spec::{Freshness, Gate};

/// Builds before this second (2013-01-01, when there was no Docker yet) have a fixed date: 1970-01-01 of `SOURCE_DATE_EPOCH=0`
/// and Nix, 1980-01-01 of what was a zip file, and the like.
const EARLIEST_BUILD: i64 = 1_356_998_400;
/// A build that is said to come later than this after the fleet saw it has a fixed date. Less may be a clock that is wrong.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::days(1);
/// From this share of the largest age on, in percent, people should see that it comes near.
const NEAR_PERCENT: u32 = 70;

/// What an age counts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedFrom {
    /// When the image was built.
    #[default]
    Built,
    /// When this fleet first saw its digest: its build has no date, or one that says nothing.
    FirstSeen,
}

/// How old an image is. The older, the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    /// From when it counts.
    pub since: DateTime<Utc>,
    /// What happened then.
    pub counted_from: CountedFrom,
}

/// What an app's `freshness` says of an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Far from the limit.
    Fresh,
    /// Near the limit.
    Aging,
    /// Over it.
    Stale,
}

impl Age {
    /// The age of an image that says to be built then, and whose digest this fleet first saw then; `None` where neither helps.
    #[must_use]
    pub fn of(built: Option<DateTime<Utc>>, first_seen: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Self> {
        let latest = first_seen.unwrap_or(now).checked_add_signed(CLOCK_TOLERANCE);
        let is_real =
            |built: &DateTime<Utc>| built.timestamp() >= EARLIEST_BUILD && latest.is_none_or(|latest| *built <= latest);
        match (built.filter(is_real), first_seen) {
            (Some(since), _) => Some(Self { since, counted_from: CountedFrom::Built }),
            (None, Some(since)) => Some(Self { since, counted_from: CountedFrom::FirstSeen }),
            (None, None) => None,
        }
    }

    /// How long that is; nothing for what lies ahead.
    #[must_use]
    pub fn at(&self, now: DateTime<Utc>) -> Duration {
        (now - self.since).to_std().unwrap_or_default()
    }
}

impl Freshness {
    /// What it says of an age.
    #[must_use]
    pub fn judge(&self, age: &Age, now: DateTime<Utc>) -> Level {
        let age = age.at(now);
        if age > self.max_age {
            Level::Stale
        } else if age >= self.max_age / 100 * NEAR_PERCENT {
            Level::Aging
        } else {
            Level::Fresh
        }
    }

    /// The first instant at which something of this age is stale.
    #[must_use]
    pub fn stale_at(&self, age: &Age) -> Option<DateTime<Utc>> {
        let end = age.since.checked_add_signed(TimeDelta::from_std(self.max_age).ok()?)?;
        end.checked_add_signed(TimeDelta::milliseconds(1))
    }
}

impl App {
    /// How old the image of an instance is, if anything is known of that.
    #[must_use]
    pub fn age_of(&self, node: &NodeName, instance: &InstanceView, now: DateTime<Utc>) -> Option<Age> {
        let release = running_digest(self, instance).and_then(|digest| self.release(&digest));
        let built = instance.image_created.or_else(|| release?.created);
        // What never came from the registry was first seen with its container.
        let place = (node.clone(), instance.container.clone());
        let adopted = || Some(self.adopted.get(&place)?.at).filter(|_| instance.digests.is_empty());
        Age::of(built, release.map(|release| release.first_seen).or_else(adopted), now)
    }

    /// How old the newest digest is that has passed its tests, whenever that was.
    #[must_use]
    pub fn age_of_last_tested(&self, now: DateTime<Utc>) -> Option<Age> {
        let gate = Gate { max_age: None, cooldown: Duration::ZERO, ..self.spec.gate.clone() };
        let tested = self.releases.iter().rev().find(|release| gate.judge(release, now).is_ok())?;
        Age::of(tested.created, Some(tested.first_seen), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    const DAY: i64 = 86_400;

    fn fixed(second: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(second, 0)
    }

    #[test]
    fn an_age_counts_from_the_build_unless_its_date_says_nothing() {
        use CountedFrom::{Built, FirstSeen};
        let seen = Some(at(0));
        let zip = fixed(315_532_800);
        assert_eq!(zip.map(|zip| zip.to_rfc3339()).as_deref(), Some("1980-01-01T00:00:00+00:00"));
        for (what, built, first_seen, expect) in [
            ("an ordinary build", Some(at(-DAY)), seen, Some((at(-DAY), Built))),
            ("a build that nobody has seen at the registry", Some(at(-DAY)), None, Some((at(-DAY), Built))),
            ("SOURCE_DATE_EPOCH=0", fixed(0), seen, Some((at(0), FirstSeen))),
            ("year 1, as an absent date is written", fixed(-62_135_596_800), seen, Some((at(0), FirstSeen))),
            ("a zip file's first day", zip, seen, Some((at(0), FirstSeen))),
            ("the last second without Docker", fixed(EARLIEST_BUILD - 1), seen, Some((at(0), FirstSeen))),
            ("the first with it", fixed(EARLIEST_BUILD), seen, fixed(EARLIEST_BUILD).map(|at| (at, Built))),
            ("a build machine whose clock is wrong", Some(at(DAY)), seen, Some((at(DAY), Built))),
            ("seen before it was built", Some(at(DAY + 1)), seen, Some((at(0), FirstSeen))),
            ("built in the future, for all that is known", Some(at(12 * DAY)), None, None),
            ("no date", None, seen, Some((at(0), FirstSeen))),
            ("nothing at all", fixed(0), None, None),
        ] {
            let age = Age::of(built, first_seen, at(10 * DAY)).map(|age| (age.since, age.counted_from));
            assert_eq!(age, expect, "{what}");
        }
    }

    #[test]
    fn near_its_limit_an_age_is_told_apart() {
        let freshness = Freshness { max_age: Duration::from_secs(10 * 86_400) };
        let age = Age { since: at(0), counted_from: CountedFrom::Built };
        for (second, expect) in [
            (-5, Level::Fresh),
            (7 * DAY - 1, Level::Fresh),
            (7 * DAY, Level::Aging),
            (10 * DAY, Level::Aging),
            (10 * DAY + 1, Level::Stale),
        ] {
            assert_eq!(freshness.judge(&age, at(second)), expect, "{second}");
        }
        let stale_at = freshness.stale_at(&age).expect("far from the end of time");
        assert_eq!(freshness.judge(&age, stale_at), Level::Stale);
        assert_eq!(freshness.judge(&age, stale_at - TimeDelta::milliseconds(1)), Level::Aging);
    }
}
