//! May a step start now? The answer is a window, or a [`Denial`] that says to a tired person why not and when.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::windows::Windows;
use super::{Closed, Cutoff, QuietHours, SEARCH_DAYS, Window, Zone};
use crate::duration;
use crate::mutation::{Rule, broken};

/// Why no step may start now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denial {
    /// No window is open.
    Closed {
        /// Why not.
        because: Closed,
        /// When the next window opens that is long enough for this start; `None` if not within [`SEARCH_DAYS`].
        opens: Option<DateTime<Utc>>,
        /// The zone in which people read the times.
        zone: Zone,
    },
    /// A window is open, but ends too soon.
    Cutoff {
        /// The first instant after the open window.
        window_ends: DateTime<Utc>,
        /// How long before the window's end a start must be: the worst case, or the fixed cutoff.
        #[serde(with = "duration::text")]
        needed: Duration,
        /// When the next window opens that is long enough for this start; `None` if not within [`SEARCH_DAYS`].
        next_opens: Option<DateTime<Utc>>,
        /// The zone in which people read the times.
        zone: Zone,
    },
    /// There are windows, but none within [`SEARCH_DAYS`] is long enough.
    NeverFits {
        /// How long before a window's end a start must be: the worst case, or the fixed cutoff.
        #[serde(with = "duration::text")]
        needed: Duration,
        /// How long the longest window is.
        #[serde(with = "duration::text")]
        longest: Duration,
    },
}

impl QuietHours {
    /// How long before the end of a window a step must start whose worst case, rollback included, is this.
    #[must_use]
    pub fn needed(&self, worst_case: Duration) -> Duration {
        match self.cutoff {
            Cutoff::Auto => worst_case,
            Cutoff::Fixed(cutoff) => cutoff,
        }
    }

    /// The open window, if a step with this worst case may start in it now. One that would end exactly with the window may.
    ///
    /// # Errors
    /// No window is open, or it ends too soon, or none is ever long enough.
    pub fn may_start(&self, now: DateTime<Utc>, worst_case: Duration) -> Result<Window, Denial> {
        let now = if broken(Rule::WindowEnd) { now - TimeDelta::seconds(1) } else { now };
        let needed = self.needed(worst_case);
        let mut open = None;
        let mut longest = Duration::ZERO;
        let mut next_fits = None;
        for window in Windows::new(self, now) {
            longest = longest.max(window.length());
            if window.contains(now) {
                if (window.ends - now).to_std().is_ok_and(|left| left >= needed) {
                    return Ok(window);
                }
                open = Some(window);
            } else if window.length() >= needed {
                next_fits = Some(window.starts);
                break;
            }
        }
        let zone = self.timezone;
        if longest > Duration::ZERO && longest < needed {
            return Err(Denial::NeverFits { needed, longest });
        }
        Err(match open {
            Some(window) => Denial::Cutoff { window_ends: window.ends, needed, next_opens: next_fits, zone },
            None => Denial::Closed { because: self.closed_because(now), opens: next_fits, zone },
        })
    }
}

impl QuietHours {
    /// The freeze that is on, as a refusal that ends with it: for a start that does not care for the allow windows.
    #[must_use]
    pub fn freeze_at(&self, now: DateTime<Utc>) -> Option<Denial> {
        let on = self.freeze.iter().filter_map(|freeze| Some((freeze, self.frozen(freeze)?)));
        let (freeze, span) = on.filter(|(_, span)| span.contains(now)).max_by_key(|(_, span)| span.ends)?;
        let because = Closed::Frozen { name: freeze.name().to_owned(), until: span.ends };
        Some(Denial::Closed { because, opens: Some(span.ends), zone: self.timezone })
    }

    /// The same quiet hours for a start to which no freeze applies.
    #[must_use]
    pub fn without_freezes(&self) -> Self {
        Self { freeze: Vec::new(), ..self.clone() }
    }
}

impl Denial {
    /// When to ask again: the next instant at which this start would be allowed, as far as the quiet hours say.
    #[must_use]
    pub fn wake_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Closed { opens, .. } => *opens,
            Self::Cutoff { next_opens, .. } => *next_opens,
            Self::NeverFits { .. } => None,
        }
    }

    /// What an operator can do, where waiting does not help.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Closed { because: Closed::NoAllowWindow, .. } => {
                Some("add an `[[quiet_hours.allow]]` entry, or start it yourself with `--now --reason`")
            }
            Self::NeverFits { .. } => {
                Some("make an allow window longer, shorten the deadlines of `[update]`, or set a fixed `cutoff`")
            }
            Self::Closed { opens: None, .. } | Self::Cutoff { next_opens: None, .. } => {
                Some("run `nightshift quiet check` and look at the allow windows and freezes")
            }
            Self::Closed { .. } | Self::Cutoff { .. } => None,
        }
    }
}

/// The end of a sentence: when it opens.
fn opening(opens: Option<DateTime<Utc>>, zone: Zone) -> String {
    match opens {
        Some(opens) => format!("window opens at {}", zone.local(opens)),
        None => format!("no window opens within {SEARCH_DAYS} days"),
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { because: Closed::NoAllowWindow, .. } => {
                f.write_str("no allow window is configured: nothing starts automatically")
            }
            Self::Closed { because: Closed::OutsideWindow, opens, zone } => f.write_str(&opening(*opens, *zone)),
            Self::Closed { because: Closed::Frozen { name, until }, opens, zone } => {
                write!(f, "frozen by `{name}` until {}: {}", zone.local(*until), opening(*opens, *zone))
            }
            Self::Cutoff { window_ends, needed, next_opens, zone } => {
                let (ends, needed) = (zone.local(*window_ends), duration::format(*needed));
                write!(f, "window ends at {ends}, a start needs {needed} before that: ")?;
                f.write_str(&opening(*next_opens, *zone).replacen("window opens", "next window opens", 1))
            }
            Self::NeverFits { needed, longest } => {
                let (needed, longest) = (duration::format(*needed), duration::format(*longest));
                write!(f, "no window is long enough: a start needs {needed}, the longest window lasts {longest}")
            }
        }
    }
}

impl std::error::Error for Denial {}
