//! Windows that hold for some nodes only: which entries are a node's, and the quiet hours that they make.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::{AllowWindow, QuietHours, Window, Zone};
use crate::labels::{Labels, Selector};

/// Some of the allow entries, by position: [`ALLOW_LIMIT`](super::ALLOW_LIMIT) fits into the bits. Nodes with the same entries
/// have the same windows, so that a fleet of thousands needs a handful of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entries(u64);

/// Quiet hours as they hold for the nodes of one selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The selector, as an entry has it; the empty one stands for nodes that no other selector chooses.
    pub nodes: Selector,
    /// The entries for those nodes, and those for all.
    pub quiet: QuietHours,
}

impl Entries {
    /// Every entry, however many there are.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in the one or the other.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn contains(self, position: usize) -> bool {
        self.0 >> position & 1 == 1
    }
}

impl AllowWindow {
    /// The same window for the nodes of a selector only.
    #[must_use]
    pub fn for_nodes(self, nodes: Selector) -> Self {
        Self { nodes, ..self }
    }

    /// The same window in a time zone of its own.
    #[must_use]
    pub fn in_zone(self, timezone: Option<Zone>) -> Self {
        Self { timezone, ..self }
    }

    /// The nodes for which it holds; the empty selector: all.
    #[must_use]
    pub const fn nodes(&self) -> &Selector {
        &self.nodes
    }

    /// The zone in which its days and times are meant, if not that of the quiet hours.
    #[must_use]
    pub const fn timezone(&self) -> Option<Zone> {
        self.timezone
    }

    fn is_for_all(&self) -> bool {
        self.nodes == Selector::default()
    }
}

impl QuietHours {
    /// Whether any entry holds for some nodes only.
    #[must_use]
    pub fn names_nodes(&self) -> bool {
        self.allow.iter().any(|entry| !entry.is_for_all())
    }

    /// The entries that hold for a node with these labels.
    #[must_use]
    pub fn entries_for(&self, labels: &Labels) -> Entries {
        let mine = self.allow.iter().enumerate().filter(|(_, entry)| entry.nodes.matches(labels));
        mine.fold(Entries(0), |all, (position, _)| Entries(all.0 | 1 << position))
    }

    /// Quiet hours of these entries alone.
    #[must_use]
    pub fn only(&self, entries: Entries) -> Cow<'_, Self> {
        let all = (0..self.allow.len()).all(|position| entries.contains(position));
        if all {
            return Cow::Borrowed(self);
        }
        let kept = self.allow.iter().enumerate().filter(|(position, _)| entries.contains(*position));
        let allow = kept.map(|(_, entry)| entry.clone()).collect();
        Cow::Owned(Self { allow, ..self.clone() })
    }

    /// The quiet hours as they hold for a node with these labels.
    #[must_use]
    pub fn for_node(&self, labels: &Labels) -> Cow<'_, Self> {
        self.only(self.entries_for(labels))
    }

    /// One group for each selector, in the order of the entries, and one for all other nodes. Without selectors that one alone.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        let mut selectors: Vec<&Selector> = Vec::new();
        for entry in self.allow.iter().filter(|entry| !entry.is_for_all()) {
            if !selectors.contains(&&entry.nodes) {
                selectors.push(&entry.nodes);
            }
        }
        let others = Selector::default();
        selectors.push(&others);
        let group = |nodes: &Selector| {
            let mine = self.allow.iter().filter(|entry| entry.is_for_all() || entry.nodes == *nodes);
            Group { nodes: nodes.clone(), quiet: Self { allow: mine.cloned().collect(), ..self.clone() } }
        };
        selectors.into_iter().map(group).collect()
    }

    /// The windows of every group that are open at `from` or come later, by their start; at most `limit` in all.
    #[must_use]
    pub fn windows_of_groups(&self, from: DateTime<Utc>, limit: usize) -> Vec<(Selector, Window)> {
        let groups = self.groups();
        let of = |group: &Group| {
            let windows = group.quiet.windows(from, limit);
            windows.into_iter().map(|window| (group.nodes.clone(), window)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = groups.iter().flat_map(of).collect();
        all.sort_by_key(|(_, window)| window.starts);
        all.truncate(limit);
        all
    }

    /// The zone in which an entry is meant.
    pub(super) fn zone_of(&self, entry: &AllowWindow) -> Zone {
        entry.timezone.unwrap_or(self.timezone)
    }
}
