//! `[quiet_hours]` of an app file. The words themselves are read by [`crate::quiet`].

use std::str::FromStr;
use std::time::Duration;

use chrono_tz::TZ_VARIANTS;

use super::{Table, nearest};
use crate::labels::Selector;
use crate::quiet::{
    ALLOW_LIMIT, AllowWindow, Bound, DayRule, FREEZE_LIMIT, Freeze, InvalidQuietHours, InvalidRule, InvalidZone,
    QuietHours, WINDOW_LIMIT, WallTime, Zone,
};

/// Shortest window and cutoff: durations are exact to the millisecond.
const SHORTEST: Duration = Duration::from_millis(1);

pub(super) fn quiet_hours(table: &mut Table<'_>) -> Option<QuietHours> {
    let timezone = table.required("timezone").map(|KnownZone(zone)| zone);
    let cutoff = table.optional("cutoff").unwrap_or_default();
    let allow = table.tables("allow", allow_window);
    let freeze = table.tables("freeze", freeze);
    let (windows, freezes) = (allow.len(), freeze.len());
    match QuietHours::new(timezone?, cutoff, allow, freeze) {
        Ok(quiet_hours) => Some(quiet_hours),
        Err(error) => {
            let key = if windows > ALLOW_LIMIT || freezes <= FREEZE_LIMIT { "allow" } else { "freeze" };
            table.check(key, Err(error))
        }
    }
}

/// A time zone; one that is unknown names its nearest neighbour.
pub(super) struct KnownZone(pub(super) Zone);

impl FromStr for KnownZone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: InvalidZone| match error {
            InvalidZone::Unknown(_) => match nearest(text, TZ_VARIANTS.iter().map(|zone| zone.name())) {
                Some(near) => format!("{error}; did you mean `{near}`?"),
                None => error.to_string(),
            },
            InvalidZone::Similar { .. } => error.to_string(),
        })
    }
}

fn allow_window(table: &mut Table<'_>) -> Option<AllowWindow> {
    let days: Option<Vec<Days>> = table.list("days");
    let days = days.and_then(|days| {
        let texts: Vec<String> = days.into_iter().map(|Days(text)| text).collect();
        table.check("days", DayRule::days(&texts))
    });
    let on: Option<On> = table.optional("on");
    table.exactly_one(&["days", "on"]);
    table.require("start");
    let start: Option<WallTime> = table.moment("start");
    table.require("duration");
    let duration = table.duration("duration", SHORTEST..=WINDOW_LIMIT);
    let nodes: Selector = table.optional("nodes").unwrap_or_default();
    let timezone = table.optional("timezone").map(|KnownZone(zone)| zone);
    let rule = days.or(on.map(|On(rule)| rule))?;
    let window = AllowWindow::new(rule, start?, duration?).map(|window| window.for_nodes(nodes).in_zone(timezone));
    table.check(if table.has("on") { "on" } else { "days" }, window)
}

/// One entry of a `days` list, checked alone so that its own place is reported.
struct Days(String);

impl FromStr for Days {
    type Err = InvalidRule;
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        DayRule::days(&[text]).map(|_| Self(text.to_owned()))
    }
}

/// An `on` text.
struct On(DayRule);

impl FromStr for On {
    type Err = InvalidRule;
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        DayRule::on(text).map(Self)
    }
}

fn freeze(table: &mut Table<'_>) -> Option<Freeze> {
    let name: Option<String> = table.required("name");
    table.require("from");
    let from: Option<Bound> = table.moment("from");
    table.require("to");
    let to: Option<Bound> = table.moment("to");
    let (name, from, to) = (name?, from?, to?);
    match Freeze::new(&name, from, to) {
        Ok(freeze) => Some(freeze),
        Err(error @ InvalidQuietHours::FreezeName(_)) => table.check("name", Err(error)),
        Err(InvalidQuietHours::Year(bound)) if bound == from => {
            table.check("from", Err(InvalidQuietHours::Year(bound)))
        }
        Err(error) => table.check("to", Err(error)),
    }
}
