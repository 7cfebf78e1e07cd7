//! On which dates a window starts, and how people write that: `mon-thu`, `daily`, `2nd tue + 1d`, `last day`, `day 15`.

use std::fmt;
use std::str::FromStr;

use chrono::{Datelike, Days, NaiveDate, Weekday, WeekdaySet};
use serde::{Deserialize, Serialize};

use super::text::shortened;

/// Largest day offset in either direction: further away it is another month's rule, better written as one.
pub const OFFSET_LIMIT_DAYS: i32 = 31;

const EVERY_DAY: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

/// Text that is no day rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// An entry of a `days` list is no weekday and no range of them.
    #[error("`{0}` is no weekday: allowed are `mon` to `sun`, ranges such as `mon-thu` or `fri-mon`, and `daily`")]
    Days(String),
    /// An `on` text is no day of a month.
    #[error(
        "`{0}` is no day of a month: allowed are `1st` to `5th` or `last` with a weekday (`2nd tue`), `day 1` to `day 31` \
         and `last day`, each also with an offset of up to {OFFSET_LIMIT_DAYS} days (`2nd tue + 1d`)"
    )]
    On(String),
    /// No weekday is chosen.
    #[error("no weekday is given: allowed are `mon` to `sun`, ranges such as `mon-thu`, and `daily`")]
    NoDays,
}

/// Which of a month's equal weekdays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nth {
    /// Days 1 to 7.
    First,
    /// Days 8 to 14.
    Second,
    /// Days 15 to 21.
    Third,
    /// Days 22 to 28.
    Fourth,
    /// Days 29 to 31: not in every month.
    Fifth,
    /// The fourth or fifth, whichever is the last.
    Last,
}

/// A day of the month by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MonthDay {
    /// Days 1 to 31; a month without it is left out, not rounded.
    Day(u8),
    /// The last one, 28 to 31.
    Last,
}

/// The local dates on which a window starts. Written and stored as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DayRule {
    /// Every week on these days.
    Weekdays(WeekdaySet),
    /// Every month, so many days after the nth weekday. The offset may lead into another month.
    NthWeekday {
        /// Which one.
        nth: Nth,
        /// Of which weekday.
        weekday: Weekday,
        /// Days after it; negative is before.
        offset_days: i32,
    },
    /// Every month, so many days after a day of the month. The offset may lead into another month.
    MonthDay {
        /// Which one.
        day: MonthDay,
        /// Days after it; negative is before.
        offset_days: i32,
    },
}

impl DayRule {
    /// Reads the entries of a `days` list: `["mon-thu", "sat"]`.
    ///
    /// # Errors
    /// An entry is no weekday, no range and not `daily`, or there is none.
    pub fn days<T: AsRef<str>>(entries: &[T]) -> Result<Self, InvalidRule> {
        let mut set = WeekdaySet::EMPTY;
        for entry in entries {
            let text = entry.as_ref().trim();
            let days = days_of(text).ok_or_else(|| InvalidRule::Days(shortened(text)))?;
            set = set.union(days);
        }
        Self::Weekdays(set).checked()
    }

    /// Reads an `on` text: `2nd tue + 1d`, `last fri`, `last day - 1d`, `day 15`.
    ///
    /// # Errors
    /// The text has another form, or its offset is above [`OFFSET_LIMIT_DAYS`].
    pub fn on(text: &str) -> Result<Self, InvalidRule> {
        rule_of(text).ok_or_else(|| InvalidRule::On(shortened(text)))
    }

    /// The rule itself if it can ever hold, for those that were put together by hand.
    pub(super) fn checked(self) -> Result<Self, InvalidRule> {
        let refused = match self {
            Self::Weekdays(days) if days.is_empty() => return Err(InvalidRule::NoDays),
            Self::Weekdays(_) => false,
            Self::NthWeekday { offset_days, .. } => offset_days.unsigned_abs() > OFFSET_LIMIT_DAYS.unsigned_abs(),
            Self::MonthDay { day, offset_days } => {
                let exists = match day {
                    MonthDay::Day(number) => (1..=31).contains(&number),
                    MonthDay::Last => true,
                };
                !exists || offset_days.unsigned_abs() > OFFSET_LIMIT_DAYS.unsigned_abs()
            }
        };
        if refused { Err(InvalidRule::On(self.to_string())) } else { Ok(self) }
    }

    /// Whether the rule names this date.
    #[must_use]
    pub fn matches(self, date: NaiveDate) -> bool {
        match self {
            Self::Weekdays(days) => days.contains(date.weekday()),
            Self::NthWeekday { nth, weekday, offset_days } => {
                shifted(date, offset_days).is_some_and(|base| base.weekday() == weekday && nth.matches(base))
            }
            Self::MonthDay { day, offset_days } => shifted(date, offset_days).is_some_and(|base| match day {
                MonthDay::Day(number) => base.day() == u32::from(number),
                MonthDay::Last => base.day() == u32::from(base.num_days_in_month()),
            }),
        }
    }
}

impl Nth {
    /// Whether a date is the nth of its own weekday in its month.
    fn matches(self, date: NaiveDate) -> bool {
        let week = (date.day() - 1) / 7;
        match self {
            Self::First => week == 0,
            Self::Second => week == 1,
            Self::Third => week == 2,
            Self::Fourth => week == 3,
            Self::Fifth => week == 4,
            Self::Last => date.day() + 7 > u32::from(date.num_days_in_month()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::First => "1st",
            Self::Second => "2nd",
            Self::Third => "3rd",
            Self::Fourth => "4th",
            Self::Fifth => "5th",
            Self::Last => "last",
        }
    }

    fn named(text: &str) -> Option<Self> {
        [Self::First, Self::Second, Self::Third, Self::Fourth, Self::Fifth, Self::Last]
            .into_iter()
            .find(|nth| nth.name() == text)
    }
}

/// The date that the offset leads away from.
fn shifted(date: NaiveDate, offset_days: i32) -> Option<NaiveDate> {
    let days = Days::new(offset_days.unsigned_abs().into());
    if offset_days < 0 { date.checked_add_days(days) } else { date.checked_sub_days(days) }
}

fn days_of(text: &str) -> Option<WeekdaySet> {
    if text == "*" || text.eq_ignore_ascii_case("daily") {
        return Some(WeekdaySet::ALL);
    }
    let Some((first, last)) = text.split_once('-') else {
        return text.parse().ok().map(WeekdaySet::single);
    };
    let (mut day, last): (Weekday, Weekday) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let mut days = WeekdaySet::single(day);
    while day != last {
        day = day.succ();
        days.insert(day);
    }
    Some(days)
}

fn rule_of(text: &str) -> Option<DayRule> {
    let text = text.to_ascii_lowercase().replace('+', " + ").replace('-', " - ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let (which, what, offset_days) = match words[..] {
        [which, what] => (which, what, 0),
        [which, what, "+", days] => (which, what, offset_of(days)?),
        [which, what, "-", days] => (which, what, -offset_of(days)?),
        _ => return None,
    };
    if which == "day" {
        let day = MonthDay::Day(number_of(what)?);
        return DayRule::MonthDay { day, offset_days }.checked().ok();
    }
    let nth = Nth::named(which)?;
    if what == "day" {
        return (nth == Nth::Last).then_some(DayRule::MonthDay { day: MonthDay::Last, offset_days });
    }
    Some(DayRule::NthWeekday { nth, weekday: what.parse().ok()?, offset_days })
}

fn number_of(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn offset_of(text: &str) -> Option<i32> {
    let days = i32::from(number_of(text.strip_suffix('d')?)?);
    (days <= OFFSET_LIMIT_DAYS).then_some(days)
}

fn short_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "mon",
        Weekday::Tue => "tue",
        Weekday::Wed => "wed",
        Weekday::Thu => "thu",
        Weekday::Fri => "fri",
        Weekday::Sat => "sat",
        Weekday::Sun => "sun",
    }
}

/// Writes runs of days as ranges, in the order of the week; a run over the week's end stays one run.
fn days_text(days: WeekdaySet) -> String {
    if days == WeekdaySet::ALL {
        return "daily".to_owned();
    }
    let firsts = EVERY_DAY.into_iter().filter(|&day| days.contains(day) && !days.contains(day.pred()));
    let runs = firsts.map(|first| {
        let mut last = first;
        while days.contains(last.succ()) {
            last = last.succ();
        }
        if first == last { short_name(first).to_owned() } else { format!("{}-{}", short_name(first), short_name(last)) }
    });
    runs.collect::<Vec<_>>().join(",")
}

fn offset_text(offset_days: i32) -> String {
    match offset_days {
        0 => String::new(),
        1.. => format!(" + {offset_days}d"),
        ..0 => format!(" - {}d", offset_days.unsigned_abs()),
    }
}

impl fmt::Display for DayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Weekdays(days) => f.write_str(&days_text(days)),
            Self::NthWeekday { nth, weekday, offset_days } => {
                write!(f, "{} {}{}", nth.name(), short_name(weekday), offset_text(offset_days))
            }
            Self::MonthDay { day: MonthDay::Day(number), offset_days } => {
                write!(f, "day {number}{}", offset_text(offset_days))
            }
            Self::MonthDay { day: MonthDay::Last, offset_days } => write!(f, "last day{}", offset_text(offset_days)),
        }
    }
}

impl FromStr for DayRule {
    type Err = InvalidRule;
    /// Reads both forms: weekdays joined by commas, or an `on` text (which has two words).
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let first = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
        if first == "day" || Nth::named(&first).is_some() {
            return Self::on(text);
        }
        Self::days(&text.split(',').collect::<Vec<_>>())
    }
}

impl TryFrom<String> for DayRule {
    type Error = InvalidRule;
    fn try_from(text: String) -> Result<Self, InvalidRule> {
        text.parse()
    }
}

impl From<DayRule> for String {
    fn from(rule: DayRule) -> Self {
        rule.to_string()
    }
}
