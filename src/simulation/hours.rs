//! When steps may start, worked out by hand: what the checks go by. It shares no code with the quiet hours of the product.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use nightshift_core::labels::Labels;

/// From, up to not including.
pub(crate) type Span = (DateTime<Utc>, DateTime<Utc>);

/// A time in which steps may start, on nodes of one role or on all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) span: Span,
    pub(crate) role: Option<&'static str>,
}

/// When steps of an app may start, as the scenario made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hours {
    pub(crate) windows: Vec<Allowed>,
    pub(crate) freezes: Vec<Span>,
    /// How long before the end of a window a step must start; not set: as long as it takes at worst.
    pub(crate) cutoff: Option<Duration>,
}

impl Hours {
    /// Whether a freeze is on.
    pub(crate) fn frozen(&self, at: DateTime<Utc>) -> bool {
        self.freezes.iter().any(|(from, to)| *from <= at && at < *to)
    }

    /// How long before the end a step with this worst case must start.
    pub(crate) fn needed(&self, worst_case: Duration) -> TimeDelta {
        TimeDelta::from_std(self.cutoff.unwrap_or(worst_case)).unwrap_or(TimeDelta::MAX)
    }

    /// Whether a step with this worst case may start on a node. Who sets the freeze aside is not stopped by one.
    pub(crate) fn allow(&self, at: DateTime<Utc>, node: &Labels, worst_case: Duration, thaw: bool) -> bool {
        let end = self.closes(at, node, thaw);
        end.is_some_and(|end| at + self.needed(worst_case) <= end) && (thaw || !self.frozen(at))
    }

    /// When the open time ends: windows that touch are one, and a freeze ends one before its time.
    pub(crate) fn closes(&self, at: DateTime<Utc>, node: &Labels, thaw: bool) -> Option<DateTime<Utc>> {
        let role = node.get("role").map(String::as_str);
        let named = |window: &&Allowed| window.role.is_none() || window.role == role;
        let mine: Vec<Span> = self.windows.iter().filter(named).map(|window| window.span).collect();
        let mut end = mine.iter().find(|(from, to)| *from <= at && at < *to)?.1;
        while let Some((_, later)) = mine.iter().find(|(from, to)| *from <= end && *to > end) {
            end = *later;
        }
        let freeze = self.freezes.iter().map(|(from, _)| *from).filter(|from| *from > at && !thaw).min();
        Some(freeze.map_or(end, |freeze| end.min(freeze)))
    }
}

/// A time zone: minutes from UTC, and where they change in the days of a run, the instant and those after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Zone {
    pub(crate) name: &'static str,
    before: i64,
    change: Option<(&'static str, i64)>,
}

/// Zones with whole and half hours, ahead and behind, and with a clock change in March or April 2026; that of Lord Howe is one of
/// half an hour.
pub(crate) const ZONES: [Zone; 5] = [
    Zone { name: "UTC", before: 0, change: None },
    Zone { name: "America/Moncton", before: -240, change: Some(("2026-03-08T06:00:00Z", -180)) },
    Zone { name: "Europe/Berlin", before: 60, change: Some(("2026-03-29T01:00:00Z", 120)) },
    Zone { name: "Australia/Lord_Howe", before: 660, change: Some(("2026-04-04T15:00:00Z", 630)) },
    Zone { name: "Asia/Kolkata", before: 330, change: None },
];

impl Zone {
    fn offset(self, at: DateTime<Utc>) -> TimeDelta {
        let changed = self.change.filter(|(instant, _)| instant.parse::<DateTime<Utc>>().is_ok_and(|then| then <= at));
        TimeDelta::minutes(changed.map_or(self.before, |(_, after)| after))
    }

    /// What clocks on the wall show.
    pub(crate) fn wall(self, at: DateTime<Utc>) -> NaiveTime {
        (at + self.offset(at)).time()
    }

    /// The windows of this length that start on so many days, from the day before an instant on, when the clock on the wall shows
    /// what it shows at that instant. No start may fall into a clock change: none of the scenarios' does.
    pub(crate) fn daily(self, first: DateTime<Utc>, length: TimeDelta, days: i64) -> Vec<Span> {
        let local = (first + self.offset(first)).naive_utc();
        let starts = (-1..days).map(|day| {
            let wall = local + TimeDelta::days(day);
            let mut at = wall.and_utc() - self.offset(wall.and_utc());
            // The offset is that of the start itself, which is known only now.
            at = wall.and_utc() - self.offset(at);
            at
        });
        starts.map(|at| (at, at + length)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_daily_window_keeps_to_the_clock_on_the_wall() {
        let berlin = ZONES[2];
        let spans = berlin.daily(at("2026-03-28T21:40:00Z"), TimeDelta::minutes(40), 3);
        let starts: Vec<String> = spans.iter().map(|(from, _)| from.to_rfc3339()).collect();
        assert_eq!(
            starts,
            [
                "2026-03-27T21:40:00+00:00",
                "2026-03-28T21:40:00+00:00",
                "2026-03-29T20:40:00+00:00",
                "2026-03-30T20:40:00+00:00"
            ]
        );
        assert_eq!(berlin.wall(at("2026-03-28T21:40:00Z")).to_string(), "22:40:00");
    }

    #[test]
    fn a_step_ends_with_the_window_and_before_a_freeze() {
        let span = |from, to| (at(from), at(to));
        let window = |from, to, role| Allowed { span: span(from, to), role };
        let hours = Hours {
            windows: vec![
                window("2026-03-02T21:00:00Z", "2026-03-02T22:00:00Z", None),
                window("2026-03-02T22:00:00Z", "2026-03-02T23:00:00Z", Some("web")),
            ],
            freezes: vec![span("2026-03-02T22:30:00Z", "2026-03-02T22:40:00Z")],
            cutoff: None,
        };
        let node = |role: &str| -> Labels { [("role".to_owned(), role.to_owned())].into() };
        let minutes = |count: u64| Duration::from_secs(count * 60);
        for (now, role, worst, thaw, expect) in [
            ("2026-03-02T20:59:59Z", "web", 1, false, false),
            ("2026-03-02T21:00:00Z", "db", 60, false, true),
            ("2026-03-02T21:00:01Z", "db", 60, false, false),
            ("2026-03-02T21:00:01Z", "web", 60, false, true),
            ("2026-03-02T22:00:00Z", "db", 0, false, false),
            ("2026-03-02T22:25:00Z", "web", 5, false, true),
            ("2026-03-02T22:26:00Z", "web", 5, false, false),
            ("2026-03-02T22:26:00Z", "web", 5, true, true),
            ("2026-03-02T22:35:00Z", "web", 0, false, false),
        ] {
            assert_eq!(hours.allow(at(now), &node(role), minutes(worst), thaw), expect, "{now} {role} {worst}");
        }
    }
}
