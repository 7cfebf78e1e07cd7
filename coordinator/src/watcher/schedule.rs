//! When each reference is checked next: bookkeeping without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nightshift_core::image::Digest;
use tokio::time::Instant;

use super::{Chance, Target};
use crate::registry::Error;

/// Longest pause between attempts while a registry fails.
const BACK_OFF_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Shortest pause between two checks of a reference that somebody asks for: a push is known well within a second, and who floods us
/// with notifications does not flood the registry.
const ASKED_PAUSE: Duration = Duration::from_millis(200);
/// After a check that somebody asked for it is checked again after these pauses: Distribution tells of a push before it moves the tag,
/// and registries with many servers need a moment until all of them know.
const LOOK_AGAIN: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(750), Duration::from_secs(4)];
/// How far a pause is moved by chance, so that coordinators and apps do not come all at once.
const JITTER: f64 = 0.1;

/// What was found last.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) digest: Digest,
    /// Whether it is settled what it says of itself.
    pub(super) described: bool,
}

/// A check that is under way.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) target: Target,
    pub(super) last: Option<Last>,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    /// Its place, from 0 up to 1, among those that come back when their registry may be asked again.
    spread: f64,
    /// When the last check began.
    began: Option<Instant>,
    /// Number of the check under way.
    running: Option<u64>,
    /// Someone asked while a check was under way: it may have looked too early.
    again: bool,
    /// How many of the pauses after a check that was asked for are over; all of them when none was.
    looked_again: usize,
    failures: u32,
    /// How often a signature was looked for and is missed still.
    in_vain: u32,
    last: Option<Last>,
}

impl Entry {
    const fn new(due: Instant, spread: f64) -> Self {
        let looked_again = LOOK_AGAIN.len();
        Self {
            due,
            spread,
            began: None,
            running: None,
            again: false,
            looked_again,
            failures: 0,
            in_vain: 0,
            last: None,
        }
    }

    /// Whether one more check comes sooner than by the interval.
    const fn is_hurried(&self) -> bool {
        self.again || self.looked_again < LOOK_AGAIN.len()
    }
}

/// A registry that wants to be left alone.
#[derive(Debug, Clone, Copy)]
struct Bar {
    until: Instant,
    /// How long that was when it said so.
    pause: Duration,
}

pub(super) struct Schedule {
    interval: Duration,
    entries: BTreeMap<Target, Entry>,
    /// Until when a registry wants to be left alone.
    barred: BTreeMap<String, Bar>,
    /// Registries that fail, each with the references that failed; they are logged once.
    failing: BTreeMap<String, BTreeSet<Target>>,
    tickets: u64,
    chance: Chance,
}

impl Schedule {
    pub(super) fn new(interval: Duration, chance: Chance) -> Self {
        let (entries, barred, failing) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { interval, entries, barred, failing, tickets: 0, chance }
    }

    pub(super) fn follow(&mut self, targets: &BTreeSet<Target>, now: Instant) {
        self.entries.retain(|target, _| targets.contains(target));
        self.failing.retain(|_, failed| {
            failed.retain(|target| targets.contains(target));
            !failed.is_empty()
        });
        self.barred.retain(|_, bar| now < bar.until + bar.pause.mul_f64(JITTER));
        for target in targets {
            self.entries.entry(target.clone()).or_insert_with(|| Entry::new(now, (self.chance)()));
        }
    }

    /// As soon as may be, but not before its registry wants to be asked again.
    pub(super) fn check_now(&mut self, target: &Target, now: Instant) {
        if let Some(entry) = self.entries.get_mut(target) {
            entry.in_vain = 0;
            entry.again = entry.running.is_some();
            entry.looked_again = 0;
            entry.due = soonest(entry, now);
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.running.is_none());
        waiting.map(|(target, entry)| self.due(target, entry)).min()
    }

    pub(super) fn start_due(&mut self, now: Instant) -> Option<Ticket> {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.running.is_none());
        let (due, target) = waiting.map(|(target, entry)| (self.due(target, entry), target)).min()?;
        if due > now {
            return None;
        }
        let target = target.clone();
        self.tickets += 1;
        let entry = self.entries.get_mut(&target)?;
        entry.running = Some(self.tickets);
        entry.began = Some(now);
        Some(Ticket { last: entry.last.clone(), target, number: self.tickets })
    }

    fn due(&self, target: &Target, entry: &Entry) -> Instant {
        match self.barred.get(target.repository().registry()) {
            // Not all at once when it is over: that is what it wanted to be spared.
            Some(bar) if entry.due < bar.until => bar.until + bar.pause.mul_f64(JITTER * entry.spread),
            Some(_) | None => entry.due,
        }
    }

    /// A check that worked: whether those before it had failed; `None` when nobody wants to know any more.
    pub(super) fn succeeded(&mut self, ticket: &Ticket, now: Instant) -> Option<bool> {
        let interval = self.interval;
        let entry = end(&mut self.entries, ticket)?;
        let recovered = std::mem::take(&mut entry.failures) > 0;
        let pause = match &ticket.target {
            Target::Tag(_) | Target::Tags(_) => interval,
            // It is looked at for as long as it is missed: at first as often as the tag, then ever less.
            Target::Signatures(..) => {
                let pause = back_off(interval, entry.in_vain);
                entry.in_vain += u32::from(!entry.is_hurried());
                pause
            }
        };
        plan(entry, now, jittered(pause, &self.chance));
        if recovered {
            self.works_again(&ticket.target);
        }
        Some(recovered)
    }

    pub(super) fn seen(&mut self, ticket: &Ticket, digest: Digest, described: bool) {
        if let Some(entry) = self.entries.get_mut(&ticket.target) {
            entry.last = Some(Last { digest, described });
        }
    }

    /// A check that failed: how long until the next; `None` when nobody wants to know any more.
    pub(super) fn failed(&mut self, ticket: &Ticket, error: &Error, now: Instant) -> Option<Duration> {
        let interval = self.interval;
        let entry = end(&mut self.entries, ticket)?;
        let pause = jittered(back_off(interval, entry.failures), &self.chance);
        let delay = error.retry_after().unwrap_or_default().max(pause);
        let first = entry.failures == 0;
        // However often it was looked at for one push, that is one failure: the pauses are to grow by time alone.
        entry.failures = if entry.is_hurried() { entry.failures.max(1) } else { entry.failures.saturating_add(1) };
        plan(entry, now, delay);
        let delay = entry.due.duration_since(now).max(error.retry_after().unwrap_or_default());
        let registry = ticket.target.repository().registry();
        if let Some(pause) = error.retry_after() {
            self.barred.insert(registry.to_owned(), Bar { until: now + pause, pause });
        }
        self.note(&ticket.target, error, first);
        Some(delay)
    }

    /// One WARN for a registry that fails, however many references it has; one for a reference that fails alone.
    fn note(&mut self, target: &Target, error: &Error, first: bool) {
        let registry = target.repository().registry();
        let error_text = error.to_string();
        if !error.is_of_registry() {
            if first {
                tracing::warn!(image = %target, error = error_text, "image cannot be checked");
            }
            return;
        }
        let failed = self.failing.entry(registry.to_owned()).or_default();
        if failed.is_empty() {
            tracing::warn!(registry, error = error_text, "registry fails; running containers are not touched");
        }
        failed.insert(target.clone());
    }

    fn works_again(&mut self, target: &Target) {
        let registry = target.repository().registry();
        if self.failing.remove(registry).is_some() {
            tracing::info!(registry, "registry works again");
        }
    }
}

/// The entry of a check that ended, unless its reference was dropped meanwhile (and perhaps followed anew).
fn end<'a>(entries: &'a mut BTreeMap<Target, Entry>, ticket: &Ticket) -> Option<&'a mut Entry> {
    let entry = entries.get_mut(&ticket.target).filter(|entry| entry.running == Some(ticket.number))?;
    entry.running = None;
    Some(entry)
}

fn plan(entry: &mut Entry, now: Instant, delay: Duration) {
    if std::mem::take(&mut entry.again) {
        entry.due = soonest(entry, now);
        return;
    }
    let sooner = LOOK_AGAIN.get(entry.looked_again).copied();
    entry.looked_again += usize::from(sooner.is_some());
    entry.due = now + sooner.map_or(delay, |pause| pause.min(delay));
}

/// When a check that somebody asks for may begin.
fn soonest(entry: &Entry, now: Instant) -> Instant {
    entry.began.map_or(now, |began| now.max(began + ASKED_PAUSE))
}

/// The pause after so many failures before this one: twice as long each time.
fn back_off(interval: Duration, failures: u32) -> Duration {
    interval.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(BACK_OFF_LIMIT.max(interval))
}

fn jittered(pause: Duration, chance: &Chance) -> Duration {
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance())
}
