//! Why the quiet hours are what they are at an instant: for `nightshift quiet explain`.

use std::fmt;

use chrono::{DateTime, Days, Utc};
use serde::{Deserialize, Serialize};

use super::windows::LOOK_BACK;
use super::{AllowWindow, Closed, Freeze, QuietHours, SEARCH_DAYS, WINDOW_LIMIT, Window, WindowState, Zone};
use crate::labels::Selector;

/// An allow entry with a window that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveEntry {
    /// Its position among the configured entries, from 0.
    pub position: usize,
    /// The entry.
    pub entry: AllowWindow,
    /// Its own window, before merging and freezes.
    pub window: Window,
}

/// A freeze that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFreeze {
    /// Its position among the configured freezes, from 0.
    pub position: usize,
    /// The freeze.
    pub freeze: Freeze,
    /// From when until when it is on.
    pub span: Window,
}

/// All that decides about an instant. Its `Display` is the text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The instant.
    pub now: DateTime<Utc>,
    /// The zone of the quiet hours.
    pub zone: Zone,
    /// The outcome.
    pub state: WindowState,
    /// The allow entries that are open by themselves.
    pub entries: Vec<ActiveEntry>,
    /// The freezes that are on.
    pub freezes: Vec<ActiveFreeze>,
    /// When the outcome changes next; `None` if not within [`SEARCH_DAYS`].
    pub next_change: Option<DateTime<Utc>>,
    /// The outcome for the nodes of each selector, where entries name nodes: then the one above is that of any node.
    pub groups: Vec<(Selector, WindowState)>,
}

impl QuietHours {
    /// Which entries and freezes decide about this instant, and when that changes.
    #[must_use]
    pub fn explain(&self, now: DateTime<Utc>) -> Explanation {
        let state = self.at(now);
        let next_change = match state {
            WindowState::Open { until, .. } => Some(until).filter(|&until| until < now + Days::new(SEARCH_DAYS)),
            WindowState::Closed { opens, .. } => opens,
        };
        let entries = self.allow.iter().enumerate().filter_map(|(position, entry)| {
            let window = self.open_window_of(entry, now)?;
            Some(ActiveEntry { position, entry: entry.clone(), window })
        });
        let freezes = self.freeze.iter().enumerate().filter_map(|(position, freeze)| {
            let span = self.frozen(freeze).filter(|span| span.contains(now))?;
            Some(ActiveFreeze { position, freeze: freeze.clone(), span })
        });
        Explanation {
            now,
            zone: self.timezone,
            entries: entries.collect(),
            freezes: freezes.collect(),
            state,
            next_change,
            groups: if self.names_nodes() { self.states_of_groups(now) } else { Vec::new() },
        }
    }

    fn states_of_groups(&self, now: DateTime<Utc>) -> Vec<(Selector, WindowState)> {
        self.groups().into_iter().map(|group| (group.nodes, group.quiet.at(now))).collect()
    }

    /// The entry's own window that is open at the instant; of several, the one that started last.
    fn open_window_of(&self, entry: &AllowWindow, now: DateTime<Utc>) -> Option<Window> {
        let zone = self.zone_of(entry);
        let today = zone.date(now);
        // One day more than a window can last: a clock change can move a start past midnight.
        let dates =
            (0..=WINDOW_LIMIT.as_secs() / 86_400 + 1).filter_map(|days| today.checked_sub_days(Days::new(days)));
        dates
            .filter(|&date| entry.rule.matches(date))
            .filter_map(|date| zone.resolve(date, entry.start.time()))
            .map(|resolved| Window { starts: resolved.at, ends: resolved.at + entry.duration })
            .find(|window| window.contains(now))
    }
}

/// What holds for the nodes of one selector.
fn group_line(nodes: &Selector, state: &WindowState, zone: Zone) -> String {
    let who = if *nodes == Selector::default() { "other nodes".to_owned() } else { format!("nodes {nodes}") };
    let opens = |opens: &Option<DateTime<Utc>>| match opens {
        Some(opens) => format!("opens at {}", zone.local(*opens)),
        None => format!("does not open within {SEARCH_DAYS} days"),
    };
    let what = match state {
        WindowState::Open { until, .. } => format!("open, closes at {}", zone.local(*until)),
        WindowState::Closed { because: Closed::NoAllowWindow, .. } => {
            "closed: no entry names them, nothing starts automatically".to_owned()
        }
        WindowState::Closed { because: Closed::OutsideWindow, opens: at } => format!("closed, {}", opens(at)),
        WindowState::Closed { because: Closed::Frozen { name, .. }, opens: at } => {
            format!("closed: frozen by `{name}`, {}", opens(at))
        }
    };
    format!("{who}: {what}")
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = |instant| self.zone.local(instant);
        writeln!(f, "at {} ({})", local(self.now), self.now.format("%Y-%m-%d %H:%M:%S UTC"))?;
        for ActiveEntry { entry, window, .. } in &self.entries {
            writeln!(f, "allow: {entry}: open from {} until {}", local(window.starts), local(window.ends))?;
        }
        if self.entries.is_empty() {
            writeln!(f, "allow: no entry is open")?;
        }
        for ActiveFreeze { freeze, span, .. } in &self.freezes {
            writeln!(f, "freeze: {}: from {} until {}", freeze.name(), local(span.starts), local(span.ends))?;
        }
        if !self.groups.is_empty() {
            let lines: Vec<String> =
                self.groups.iter().map(|(nodes, state)| group_line(nodes, state, self.zone)).collect();
            return f.write_str(&lines.join("\n"));
        }
        match &self.state {
            WindowState::Open { since, .. } if self.now - *since > LOOK_BACK => {
                writeln!(f, "open for more than {} days", LOOK_BACK.num_days())?;
            }
            WindowState::Open { since, .. } => writeln!(f, "open since {}", local(*since))?,
            WindowState::Closed { because: Closed::NoAllowWindow, .. } => {
                writeln!(f, "closed: no allow window is configured, nothing starts automatically")?;
            }
            WindowState::Closed { because: Closed::OutsideWindow, .. } => writeln!(f, "closed: outside every window")?,
            WindowState::Closed { because: Closed::Frozen { name, .. }, .. } => {
                writeln!(f, "closed: frozen by `{name}`")?
            }
        }
        match (&self.state, self.next_change) {
            (WindowState::Open { .. }, Some(change)) => write!(f, "closes at {}", local(change)),
            (WindowState::Closed { .. }, Some(change)) => write!(f, "opens at {}", local(change)),
            (WindowState::Open { .. }, None) => write!(f, "does not close within {SEARCH_DAYS} days"),
            (WindowState::Closed { .. }, None) => write!(f, "does not open within {SEARCH_DAYS} days"),
        }
    }
}
