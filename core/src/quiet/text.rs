//! Quiet hours as text: how times, bounds and cutoffs are read and written, and the stored form, checked when it is read.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, SubsecRound, Timelike};
use serde::{Deserialize, Serialize};

use super::{AllowWindow, Bound, Cutoff, DayRule, Freeze, InvalidQuietHours, QuietHours, WallTime, Zone};
use crate::labels::Selector;

/// What was found, cut to what fits into one line of an error.
pub(super) fn shortened(text: &str) -> String {
    text.trim().chars().take(60).collect()
}

fn two_digits(text: &str) -> Option<u32> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

impl FromStr for WallTime {
    type Err = InvalidQuietHours;
    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        let parts: Option<Vec<u32>> = text.trim().split(':').map(two_digits).collect();
        let time = match parts.as_deref() {
            Some(&[hour, minute]) => NaiveTime::from_hms_opt(hour, minute, 0),
            Some(&[hour, minute, second]) => NaiveTime::from_hms_opt(hour, minute, second),
            Some(_) | None => None,
        };
        time.map(Self).ok_or_else(|| InvalidQuietHours::Time(shortened(text)))
    }
}

impl FromStr for Bound {
    type Err = InvalidQuietHours;
    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        let text = text.trim();
        let day = (text.len() == "2026-12-05".len()).then(|| text.parse().ok()).flatten().map(Self::Day);
        let instant = || DateTime::parse_from_rfc3339(text).ok().map(|at| Self::Instant(at.to_utc().trunc_subsecs(0)));
        day.or_else(instant).ok_or_else(|| InvalidQuietHours::Bound(shortened(text)))
    }
}

impl FromStr for Cutoff {
    type Err = InvalidQuietHours;
    fn from_str(text: &str) -> Result<Self, InvalidQuietHours> {
        if text.trim() == "auto" {
            return Ok(Self::Auto);
        }
        let duration = crate::duration::parse(text).map_err(|_| InvalidQuietHours::Cutoff(shortened(text)))?;
        Ok(Self::Fixed(duration))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = if self.0.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
        write!(f, "{}", self.0.format(format))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(date) => write!(f, "{date}"),
            Self::Instant(at) => write!(f, "{}", at.format("%Y-%m-%dT%H:%M:%SZ")),
        }
    }
}

impl fmt::Display for Cutoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(duration) => f.write_str(&crate::duration::format(*duration)),
        }
    }
}

impl fmt::Display for AllowWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} for {}", self.rule, self.start, crate::duration::format(self.duration))?;
        if let Some(zone) = self.timezone {
            write!(f, " in {zone}")?;
        }
        if self.nodes == Selector::default() { Ok(()) } else { write!(f, " on nodes {}", self.nodes) }
    }
}

/// Text in, text out: serde by way of `FromStr` and `Display`.
macro_rules! stored_as_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidQuietHours;
            fn try_from(text: String) -> Result<Self, InvalidQuietHours> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
stored_as_text!(WallTime, Bound, Cutoff);

/// The stored form of [`AllowWindow`], not checked yet.
#[derive(Serialize, Deserialize)]
pub(super) struct AllowText {
    rule: DayRule,
    start: WallTime,
    #[serde(with = "crate::duration::text")]
    duration: Duration,
    #[serde(default, skip_serializing_if = "is_for_all")]
    nodes: Selector,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timezone: Option<Zone>,
}

fn is_for_all(nodes: &Selector) -> bool {
    *nodes == Selector::default()
}

/// The stored form of [`Freeze`], not checked yet.
#[derive(Serialize, Deserialize)]
pub(super) struct FreezeText {
    name: String,
    from: Bound,
    to: Bound,
}

/// The stored form of [`QuietHours`], not checked yet.
#[derive(Serialize, Deserialize)]
pub(super) struct QuietText {
    timezone: Zone,
    cutoff: Cutoff,
    allow: Vec<AllowWindow>,
    freeze: Vec<Freeze>,
}

impl TryFrom<AllowText> for AllowWindow {
    type Error = InvalidQuietHours;
    fn try_from(text: AllowText) -> Result<Self, InvalidQuietHours> {
        Ok(Self::new(text.rule, text.start, text.duration)?.for_nodes(text.nodes).in_zone(text.timezone))
    }
}

impl From<AllowWindow> for AllowText {
    fn from(AllowWindow { rule, start, duration, nodes, timezone }: AllowWindow) -> Self {
        Self { rule, start, duration, nodes, timezone }
    }
}

impl TryFrom<FreezeText> for Freeze {
    type Error = InvalidQuietHours;
    fn try_from(text: FreezeText) -> Result<Self, InvalidQuietHours> {
        Self::new(&text.name, text.from, text.to)
    }
}

impl From<Freeze> for FreezeText {
    fn from(Freeze { name, from, to }: Freeze) -> Self {
        Self { name, from, to }
    }
}

impl TryFrom<QuietText> for QuietHours {
    type Error = InvalidQuietHours;
    fn try_from(text: QuietText) -> Result<Self, InvalidQuietHours> {
        Self::new(text.timezone, text.cutoff, text.allow, text.freeze)
    }
}

impl From<QuietHours> for QuietText {
    fn from(QuietHours { timezone, cutoff, allow, freeze }: QuietHours) -> Self {
        Self { timezone, cutoff, allow, freeze }
    }
}
