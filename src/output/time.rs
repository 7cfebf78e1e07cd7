//! Times and durations as people read them; `now` is an argument.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};

/// What stands for something that is not there.
pub(crate) const NOTHING: &str = "-";

/// An instant: how long ago or ahead within a day, else the local date and time.
pub(crate) fn when(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    let Some(at) = at else { return NOTHING.to_owned() };
    let seconds = (now - at).num_seconds();
    match (span(seconds.unsigned_abs()), seconds < 0) {
        (Some(span), false) => format!("{span} ago"),
        (Some(span), true) => format!("in {span}"),
        (None, _) => local(at),
    }
}

/// A span below a day in its largest unit.
fn span(seconds: u64) -> Option<String> {
    match seconds {
        0..60 => Some(format!("{seconds} s")),
        60..3_600 => Some(format!("{} min", seconds / 60)),
        3_600..86_400 => Some(format!("{} h", seconds / 3_600)),
        _ => None,
    }
}

/// An instant on the wall clock of this machine.
pub(crate) fn local(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M").to_string()
}

/// The time of day on the wall clock of this machine, for lines that follow each other.
pub(crate) fn clock(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%H:%M:%S").to_string()
}

/// A short duration: `850 ms`, `1.2 s`, `4m10s`.
pub(crate) fn elapsed(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => nightshift_core::duration::format(Duration::from_secs(millis / 1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_within_a_day_are_relative() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("in range");
        for (seconds, expect) in [
            (0, "0 s ago"),
            (59, "59 s ago"),
            (60, "1 min ago"),
            (3_599, "59 min ago"),
            (3_600, "1 h ago"),
            (-90, "in 1 min"),
        ] {
            assert_eq!(when(Some(now - chrono::TimeDelta::seconds(seconds)), now), expect);
        }
        assert_eq!(when(None, now), "-");
        let old = now - chrono::TimeDelta::days(1);
        assert_eq!(when(Some(old), now), local(old));
    }

    #[test]
    fn durations_keep_what_matters() {
        for (millis, expect) in [(0, "0 ms"), (999, "999 ms"), (1_250, "1.2 s"), (59_999, "59.9 s"), (250_900, "4m10s")]
        {
            assert_eq!(elapsed(millis), expect);
        }
    }
}
