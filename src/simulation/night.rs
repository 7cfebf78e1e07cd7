//! The quiet hours of an app, drawn from a seed: as its file says them, and as the checks know them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::chance::Chance;
use super::hours::{Allowed, Hours, Span, ZONES, Zone};
use super::notes::Notes;
use super::witness::Night;
use super::world::app_of;

/// Days for which the windows are known to the checks: further than any run goes.
const DAYS: i64 = 60;

/// One kind of allow windows.
#[derive(Debug, Clone, Copy)]
struct Windows {
    /// How long after the beginning of the run one opens for the first time, how long it lasts, and for which nodes; minutes.
    each: &'static [(i64, i64, Option<&'static str>)],
    about: &'static str,
}

/// One without an end, short and long ones, and such as are those of some nodes alone.
const KINDS: [Windows; 7] = [
    Windows { each: &[(-30, 1440, None)], about: "windows that touch" },
    Windows { each: &[(-30, 1440, None)], about: "windows that touch" },
    Windows { each: &[(10, 40, None)], about: "a short window" },
    Windows { each: &[(-30, 60, None)], about: "a window that is open at first" },
    Windows { each: &[(30, 240, None)], about: "a long window" },
    Windows { each: &[(5, 30, Some("web")), (25, 60, Some("db"))], about: "windows of single nodes" },
    Windows { each: &[(5, 90, Some("web"))], about: "nodes without a window" },
];

/// Draws quiet hours.
pub(crate) fn draw(chance: &Chance, start: DateTime<Utc>, notes: &Notes) -> Night {
    let zone = chance.pick(&ZONES);
    let kind = chance.pick(&KINDS);
    notes.reached(format!("quiet hours: {}", kind.about));
    notes.reached(format!("quiet hours in {}", zone.name));
    let mut file = format!("[quiet_hours]\ntimezone = \"{}\"\n", zone.name);
    let cutoff: Option<u64> = chance.pick(&[None, None, None, Some(0), Some(300)]);
    if let Some(seconds) = cutoff {
        notes.reached("quiet hours: a fixed cutoff");
        file.push_str(&format!("cutoff = \"{seconds}s\"\n"));
    }
    let mut windows = Vec::new();
    for (after, minutes, role) in kind.each {
        let length = TimeDelta::minutes(*minutes);
        let first = start + TimeDelta::minutes(*after);
        file.push_str(&allow(chance, zone, first, *minutes, *role, notes));
        let spans = zone.daily(first, length, DAYS);
        windows.extend(spans.into_iter().map(|span| Allowed { span, role: *role }));
    }
    let freezes = freezes(chance, start, &mut file, notes);
    let hours = Hours { windows, freezes, cutoff: cutoff.map(Duration::from_secs) };
    let quiet = app_of(&format!("name = \"x\"\nimage = \"registry.example/x:stable\"\n{file}")).quiet_hours;
    (quiet, hours)
}

/// An entry of the file. Now and then it has a time zone of its own, which must make no difference.
fn allow(chance: &Chance, zone: Zone, first: DateTime<Utc>, minutes: i64, role: Option<&str>, notes: &Notes) -> String {
    let start = zone.wall(first).format("%H:%M");
    let nodes = role.map(|role| format!("nodes = \"role={role}\"\n")).unwrap_or_default();
    let own = if chance.permille(300) {
        notes.reached("quiet hours: a window with a time zone of its own");
        format!("timezone = \"{}\"\n", zone.name)
    } else {
        String::new()
    };
    format!("[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"{start}\"\nduration = \"{minutes}m\"\n{nodes}{own}")
}

fn freezes(chance: &Chance, start: DateTime<Utc>, file: &mut String, notes: &Notes) -> Vec<Span> {
    if !chance.permille(200) {
        return Vec::new();
    }
    notes.reached("quiet hours: a freeze");
    let from = start + TimeDelta::minutes(20);
    let to = from + TimeDelta::minutes(15);
    let (a, b) = (from.to_rfc3339(), to.to_rfc3339());
    file.push_str(&format!("[[quiet_hours.freeze]]\nname = \"launch\"\nfrom = \"{a}\"\nto = \"{b}\"\n"));
    vec![(from, to)]
}
