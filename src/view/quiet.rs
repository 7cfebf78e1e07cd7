//! Quiet hours: the next windows, why now is open or closed, and whether the configuration is any good.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{all, instant, millis, text};
use crate::output::table::{facts, table};
use crate::output::time::{elapsed, local, when};
use crate::output::{Human, Page};

/// A time in which installing is allowed.
#[derive(Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) starts: Option<DateTime<Utc>>,
    pub(crate) ends: Option<DateTime<Utc>>,
    /// In the time zone of the quiet hours.
    pub(crate) local: Option<String>,
    /// The nodes for which it holds, where windows name nodes; none: all that no other window names.
    pub(crate) nodes: Option<String>,
}

impl From<pb::quiet_response::Window> for Window {
    fn from(window: pb::quiet_response::Window) -> Self {
        Self {
            starts: instant(window.starts),
            ends: instant(window.ends),
            local: text(window.local),
            nodes: text(window.nodes),
        }
    }
}

impl Human for Vec<Window> {
    fn human(&self, page: &Page) -> String {
        let row = |window: &Window| {
            let length = window.starts.zip(window.ends).and_then(|(starts, ends)| (ends - starts).to_std().ok());
            let here = |at: Option<DateTime<Utc>>| at.map_or_else(String::new, local);
            let nodes = window.nodes.as_ref().map_or_else(String::new, |nodes| format!(" on nodes {nodes}"));
            [
                window.local.clone().unwrap_or_else(|| format!("{} to {}", here(window.starts), here(window.ends)))
                    + &nodes,
                length.map_or_else(String::new, nightshift_core::duration::format),
                when(window.starts, page.now),
            ]
        };
        table(
            page,
            ["WINDOW", "LENGTH", "OPENS"],
            self.iter().map(row),
            "no window ahead: nothing starts automatically",
        )
    }
}

/// Why it is open or closed.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    pub(crate) open: bool,
    /// One line each.
    pub(crate) explanation: Vec<String>,
}

impl Human for Explanation {
    fn human(&self, _: &Page) -> String {
        self.explanation.join("\n")
    }
}

/// The year ahead.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) timezone: Option<String>,
    pub(crate) windows_in_a_year: u64,
    pub(crate) hours_in_a_year: f64,
    pub(crate) longest_gap_ms: Option<u64>,
    /// Starts that a clock change moves.
    pub(crate) clock_changes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// Each line below the first where the first one stands.
fn lines(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join("\n                   ") }
}

impl Human for Check {
    fn human(&self, _: &Page) -> String {
        facts([
            ("time zone", self.timezone.clone().unwrap_or_default()),
            ("windows in a year", self.windows_in_a_year.to_string()),
            ("open in a year", format!("{:.1} h", self.hours_in_a_year)),
            ("longest wait", self.longest_gap_ms.map_or_else(String::new, elapsed)),
            ("clock changes", lines(&self.clock_changes)),
            ("warnings", lines(&self.warnings)),
        ])
    }
}

/// Everything that the coordinator says about the quiet hours of an app.
pub(crate) struct Quiet {
    pub(crate) windows: Vec<Window>,
    pub(crate) explanation: Explanation,
    pub(crate) check: Check,
}

impl From<pb::QuietResponse> for Quiet {
    fn from(quiet: pb::QuietResponse) -> Self {
        Self {
            windows: all(quiet.windows),
            explanation: Explanation { open: quiet.open, explanation: quiet.explanation },
            check: Check {
                timezone: text(quiet.timezone),
                windows_in_a_year: quiet.windows_in_a_year.into(),
                hours_in_a_year: quiet.hours_in_a_year,
                longest_gap_ms: millis(quiet.longest_gap),
                clock_changes: quiet.clock_changes,
                warnings: quiet.warnings,
            },
        }
    }
}
