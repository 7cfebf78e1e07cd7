//! Is the configuration any good? A look at the year ahead: for `nightshift quiet check` and for `apply`.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::windows::Windows;
use super::{AllowWindow, Cutoff, Group, QuietHours, Shift, Window, Zone};
use crate::duration;
use crate::labels::Selector;

/// How many days a check looks ahead: a year and a day, so that each yearly date is in it.
pub const CHECK_DAYS: u64 = 366;

/// A start that a clock change moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedStart {
    /// The entry whose window it is.
    pub entry: AllowWindow,
    /// The wall time as configured.
    pub wall: NaiveDateTime,
    /// How the clock change moves it.
    pub shift: Shift,
    /// The instant at which it starts.
    pub starts: DateTime<Utc>,
}

/// Something that was probably not meant so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// Nothing is ever allowed in the year ahead.
    NeverOpen,
    /// No window of the year ahead is long enough for one step.
    NeverFits {
        /// How long before a window's end a start must be.
        #[serde(with = "duration::text")]
        needed: Duration,
        /// How long the longest window is.
        #[serde(with = "duration::text")]
        longest: Duration,
    },
    /// Some windows are too short for one step and are of no use.
    TooShort {
        /// How many.
        windows: usize,
        /// How long before a window's end a start must be.
        #[serde(with = "duration::text")]
        needed: Duration,
    },
    /// A step may start that ends after the window.
    CutoffBelowWorstCase {
        /// The fixed cutoff.
        #[serde(with = "duration::text")]
        cutoff: Duration,
        /// What a step needs, rollback included.
        #[serde(with = "duration::text")]
        worst_case: Duration,
    },
    /// An allow entry has no start in the year ahead.
    EntryNeverStarts(AllowWindow),
    /// A freeze is over.
    FreezeOver(String),
    /// What holds for the nodes of one selector only.
    OfNodes {
        /// The selector.
        nodes: Selector,
        /// What it is.
        warning: Box<Warning>,
    },
    /// Every entry names its nodes: those that none of them names are never updated by themselves.
    OtherNodesNever,
}

/// What the year ahead looks like. Its `Display` is the text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Where the year begins.
    pub from: DateTime<Utc>,
    /// The zone of the quiet hours.
    pub zone: Zone,
    /// How many windows there are, merged and with freezes cut out.
    pub windows: usize,
    /// How long they are open in all.
    #[serde(with = "duration::text")]
    pub open: Duration,
    /// The longest time between two windows, or between a window and an end of the year.
    pub longest_gap: Option<Window>,
    /// Starts that a clock change moves, in order.
    pub moved: Vec<MovedStart>,
    /// What was probably not meant so.
    pub warnings: Vec<Warning>,
}

impl QuietHours {
    /// Looks at the [`CHECK_DAYS`] from an instant on, with steps of this worst case.
    #[must_use]
    pub fn check(&self, from: DateTime<Utc>, worst_case: Duration) -> Check {
        let until = from + Days::new(CHECK_DAYS);
        let windows = self.windows_between(from, until);
        let edges = windows.iter().map(|window| window.starts).chain([until]);
        let closings = [from].into_iter().chain(windows.iter().map(|window| window.ends));
        let gaps = closings.zip(edges).map(|(starts, ends)| Window { starts, ends });
        let mut moved = Vec::new();
        let mut warnings = self.node_warnings(&windows, from, worst_case);
        for entry in &self.allow {
            match self.moved_starts(entry, from, until) {
                Some(starts) => moved.extend(starts),
                None => warnings.push(Warning::EntryNeverStarts(entry.clone())),
            }
        }
        moved.sort_by_key(|start| start.starts);
        let over = self.freeze.iter().filter(|freeze| self.frozen(freeze).is_none_or(|span| span.ends <= from));
        warnings.extend(over.map(|freeze| Warning::FreezeOver(freeze.name().to_owned())));
        Check {
            from,
            zone: self.timezone,
            windows: windows.len(),
            open: windows.iter().map(Window::length).sum(),
            longest_gap: gaps.filter(|gap| gap.starts < gap.ends).max_by_key(Window::length),
            moved,
            warnings,
        }
    }

    /// The windows within two instants, cut off there.
    fn windows_between(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Window> {
        let windows = Windows::new(self, from).take_while(|window| window.starts < until);
        windows.map(|window| Window { starts: window.starts.max(from), ends: window.ends.min(until) }).collect()
    }

    /// Whether steps fit into the windows, for each kind of node by itself: what is long enough for one need not be for others.
    fn node_warnings(&self, windows: &[Window], from: DateTime<Utc>, worst_case: Duration) -> Vec<Warning> {
        if !self.names_nodes() {
            return self.length_warnings(windows, worst_case);
        }
        let mut warnings = Vec::new();
        for Group { nodes, quiet } in self.groups() {
            if quiet.allow.is_empty() {
                warnings.push(Warning::OtherNodesNever);
                continue;
            }
            let windows = quiet.windows_between(from, from + Days::new(CHECK_DAYS));
            let own = quiet.length_warnings(&windows, worst_case).into_iter().map(Box::new);
            warnings.extend(own.map(|warning| Warning::OfNodes { nodes: nodes.clone(), warning }));
        }
        warnings
    }

    fn length_warnings(&self, windows: &[Window], worst_case: Duration) -> Vec<Warning> {
        let needed = self.needed(worst_case);
        let mut warnings = Vec::new();
        let short = windows.iter().filter(|window| window.length() < needed).count();
        match windows.iter().map(Window::length).max() {
            None => warnings.push(Warning::NeverOpen),
            Some(longest) if longest < needed => warnings.push(Warning::NeverFits { needed, longest }),
            Some(_) if short > 0 => warnings.push(Warning::TooShort { windows: short, needed }),
            Some(_) => {}
        }
        if let Cutoff::Fixed(cutoff) = self.cutoff
            && cutoff < worst_case
        {
            warnings.push(Warning::CutoffBelowWorstCase { cutoff, worst_case });
        }
        warnings
    }

    /// The starts of an entry that a clock change moves; `None` if the entry has no start at all.
    fn moved_starts(&self, entry: &AllowWindow, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<Vec<MovedStart>> {
        let zone = self.zone_of(entry);
        let dates = zone.date(from).iter_days().take_while(|&date| date <= zone.date(until));
        let mut starts = dates
            .filter(|&date| entry.rule.matches(date))
            .filter_map(|date| Some((date, zone.resolve(date, entry.start.time())?)))
            .peekable();
        starts.peek()?;
        let moved = starts.filter_map(|(date, resolved)| {
            let wall = date.and_time(entry.start.time());
            Some(MovedStart { entry: entry.clone(), wall, shift: resolved.shift?, starts: resolved.at })
        });
        Some(moved.filter(|start| (from..until).contains(&start.starts)).collect())
    }
}

impl Check {
    /// The starts that a clock change moves, one sentence each.
    #[must_use]
    pub fn clock_changes(&self) -> Vec<String> {
        let text = |MovedStart { entry, wall, shift, starts }: &MovedStart| {
            let wall = wall.format("%Y-%m-%d %H:%M:%S");
            let why = match shift {
                Shift::Gap(_) => "does not exist",
                Shift::Fold => "happens twice",
            };
            format!("{wall} {why}: `{entry}` starts at {}", entry.timezone().unwrap_or(self.zone).local(*starts))
        };
        self.moved.iter().map(text).collect()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |length: &Duration| duration::format(*length);
        match self {
            Self::NeverOpen => f.write_str("no window opens in the year ahead: nothing starts automatically"),
            Self::NeverFits { needed, longest } => {
                let (needed, longest) = (text(needed), text(longest));
                write!(f, "no window is long enough: a start needs {needed}, the longest window lasts {longest}")
            }
            Self::TooShort { windows, needed } => {
                write!(
                    f,
                    "{windows} windows are shorter than the {} that a start needs: they are of no use",
                    text(needed)
                )
            }
            Self::CutoffBelowWorstCase { cutoff, worst_case } => {
                let (cutoff, worst) = (text(cutoff), text(worst_case));
                write!(
                    f,
                    "a step may end after its window: the cutoff is {cutoff}, the worst case of a step is {worst}"
                )
            }
            Self::EntryNeverStarts(entry) => write!(f, "`{entry}` never starts in the year ahead"),
            Self::OfNodes { nodes, warning } if *nodes == Selector::default() => write!(f, "other nodes: {warning}"),
            Self::OfNodes { nodes, warning } => write!(f, "nodes {nodes}: {warning}"),
            Self::OtherNodesNever => f.write_str(
                "every entry names its nodes: on those that none of them names, nothing starts automatically",
            ),
            Self::FreezeOver(name) => write!(f, "freeze `{name}` is over"),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = duration::format(self.open);
        write!(
            f,
            "{} windows in {CHECK_DAYS} days from {}, open for {open}",
            self.windows,
            self.zone.local(self.from)
        )?;
        if let Some(gap) = &self.longest_gap {
            let (starts, ends) = (self.zone.local(gap.starts), self.zone.local(gap.ends));
            write!(f, "\nlongest wait: {}, from {starts} to {ends}", duration::format(gap.length()))?;
        }
        for text in self.clock_changes() {
            write!(f, "\nclock change: {text}")?;
        }
        for warning in &self.warnings {
            write!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}
