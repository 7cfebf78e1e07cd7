//! The invariants of the design, checked on what the engines themselves say happened: an audit log may look right while the
//! containers are not.
//!
//! [`check_engines`] holds the engines' event streams, and what they hold before and after, against the audit log: nothing
//! was made that no step asked for, nothing was taken away beyond `parallelism`, nothing is left over, nothing is lost. It
//! shares no code with the planner or with the replacement machine.

mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::event::Recorded;
use crate::ids::{AppName, ContainerId, NodeName};
use crate::image::Digest;
use crate::invariants::{Place, Violation};
use crate::spec::UpdateOrder;
use crate::step::Purpose;
use orders::Orders;

/// What an engine says of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It was created from this digest, if the engine names one.
    Created(Option<Digest>),
    /// It was started.
    Started,
    /// Somebody told it to stop.
    Stopping,
    /// Its process ended.
    Ended,
    /// It serves: its health check says so, or it has none and was started.
    Serving,
    /// Its health check fails.
    Failing,
    /// It was removed.
    Removed,
}

/// One thing that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When, by the coordinator's clock.
    pub at: DateTime<Utc>,
    /// The instance that the container is, was, or may become.
    pub place: Place,
    /// The container.
    pub container: ContainerId,
    /// What happened.
    pub act: Act,
}

/// An engine was down, or its containers were ended by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which one.
    pub node: NodeName,
    /// From when to when.
    pub time: Range<DateTime<Utc>>,
}

/// A container as an engine shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The instance that it belongs to.
    pub place: Place,
    /// The container.
    pub container: ContainerId,
    /// Whether it bears the instance's own name.
    pub own_name: bool,
    /// Whether it runs.
    pub running: bool,
    /// Its volumes: where they are mounted, and which they are.
    pub volumes: BTreeSet<(String, String)>,
}

/// Everything that engines told of one fleet.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What they hold in the beginning, everything serving.
    pub before: Vec<Found>,
    /// What happened, in the order of time.
    pub happened: Vec<Happened>,
    /// When an engine was taken down. What ends then was not our doing.
    pub outages: Vec<Outage>,
    /// When each app may be installed.
    pub allowed: BTreeMap<AppName, Vec<Range<DateTime<Utc>>>>,
    /// Within this time the coordinator learns that an instance is away.
    pub noticed_within: Duration,
    /// What they hold in the end.
    pub after: Vec<Found>,
}

/// Every place in the history at which an invariant is broken. Violations of the end have the history's length as position.
#[must_use]
pub fn check_engines(log: &[Recorded], history: &History) -> Vec<Violation> {
    let mut judge =
        Judge { orders: Orders::read(log), history, places: BTreeMap::new(), position: 0, found: Vec::new() };
    for found in &history.before {
        let container = Container { running: true, serving: true };
        judge.places.entry(found.place.clone()).or_default().containers.insert(found.container.clone(), container);
    }
    let mut outages: Vec<_> = history.outages.iter().collect();
    outages.sort_by_key(|outage| outage.time.start);
    let mut outages = outages.into_iter().peekable();
    for (position, happened) in history.happened.iter().enumerate() {
        while let Some(outage) = outages.next_if(|outage| outage.time.start <= happened.at) {
            judge.outage(outage);
        }
        judge.position = position;
        judge.event(happened);
    }
    judge.position = history.happened.len();
    judge.the_end();
    judge.found
}

#[derive(Debug, Clone, Copy)]
struct Container {
    running: bool,
    serving: bool,
}

#[derive(Debug, Default)]
struct Instance {
    containers: BTreeMap<ContainerId, Container>,
    /// Taken away by us, and not back yet.
    by_us: bool,
    away_since: Option<DateTime<Utc>>,
}

impl Instance {
    fn look(&mut self, at: DateTime<Utc>) {
        let serves = self.containers.values().any(|container| container.serving);
        if serves {
            (self.by_us, self.away_since) = (false, None);
        } else if self.away_since.is_none() {
            self.away_since = Some(at);
        }
    }
}

struct Judge<'a> {
    orders: Orders<'a>,
    history: &'a History,
    places: BTreeMap<Place, Instance>,
    position: usize,
    found: Vec<Violation>,
}

impl Judge<'_> {
    fn demand(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.found.push(Violation { rule, position: self.position, what: what() });
        }
    }

    /// Nobody hears what an engine's containers do while it is down. What serves afterwards, it will say.
    fn outage(&mut self, outage: &Outage) {
        for (_, instance) in self.places.iter_mut().filter(|((_, node, _), _)| *node == outage.node) {
            for container in instance.containers.values_mut() {
                *container = Container { running: false, serving: false };
            }
            instance.look(outage.time.start);
        }
    }

    fn event(&mut self, happened: &Happened) {
        let (place, id) = (&happened.place, &happened.container);
        match &happened.act {
            Act::Created(digest) => self.created(happened, digest.as_ref()),
            Act::Started => self.started(happened),
            Act::Stopping => self.stopping(happened),
            Act::Removed => {
                let instance = self.places.entry(place.clone()).or_default();
                instance.containers.remove(id);
                let left = !instance.containers.is_empty();
                self.demand(left, "I5", || format!("the last container of {} was removed", words(place)));
            }
            Act::Ended | Act::Serving | Act::Failing => {}
        }
        let instance = self.places.entry(place.clone()).or_default();
        if let Some(container) = instance.containers.get_mut(id) {
            match &happened.act {
                Act::Started => container.running = true,
                Act::Stopping | Act::Failing => container.serving = false,
                Act::Ended => *container = Container { running: false, serving: false },
                Act::Serving => *container = Container { running: true, serving: true },
                Act::Created(_) | Act::Removed => {}
            }
        }
        instance.look(happened.at);
    }

    fn created(&mut self, happened: &Happened, digest: Option<&Digest>) {
        let (place, at) = (&happened.place, happened.at);
        let container = Container { running: false, serving: false };
        self.places.entry(place.clone()).or_default().containers.insert(happened.container.clone(), container);
        let order = digest.and_then(|digest| self.orders.to(place, digest, at)).cloned();
        self.demand(order.is_some(), "I10", || format!("no step asked for a container of {}", words(place)));
        let Some(order) = order else { return };
        let barred = self.orders.is_barred(&place.0, &order.to, order.at) && !order.overrides.quarantine;
        self.demand(!barred, "I3", || {
            format!("a container of {} has the quarantined {}", words(place), order.to.short())
        });
        let windows = self.history.allowed.get(&place.0).map_or(&[][..], Vec::as_slice);
        let allowed = windows.iter().any(|window| window.contains(&at));
        let exempt = order.purpose == Purpose::Rollback || order.overrides.now;
        self.demand(allowed || exempt, "I4", || format!("a container of {} came outside the window", words(place)));
    }

    fn started(&mut self, happened: &Happened) {
        let place = &happened.place;
        let containers = self.places.get(place).into_iter().flat_map(|instance| &instance.containers);
        let doubled = containers.into_iter().any(|(id, other)| *id != happened.container && other.running);
        let stop_first =
            self.orders.spec(&place.0, happened.at).is_none_or(|spec| spec.update.order == UpdateOrder::StopFirst);
        self.demand(!doubled || !stop_first, "I6", || format!("two containers of {} run at once", words(place)));
    }

    fn stopping(&mut self, happened: &Happened) {
        let (place, at) = (&happened.place, happened.at);
        let serves = self.places.get(place).and_then(|instance| instance.containers.get(&happened.container));
        let outage = |outage: &Outage| outage.node == place.1 && outage.time.contains(&at);
        if !serves.is_some_and(|container| container.serving) || self.history.outages.iter().any(outage) {
            return;
        }
        let Some(order) = self.orders.last(place, at).cloned() else {
            self.demand(false, "I10", || format!("no step asked to stop {}", words(place)));
            return;
        };
        let limit = self.orders.spec(&place.0, at).map_or(1, |spec| spec.update.parallelism);
        let known = order.at - TimeDelta::from_std(self.history.noticed_within).unwrap_or_default();
        let others = self.places.iter().filter(|(other, _)| other.0 == place.0 && *other != place);
        let away = others.filter(|(_, one)| one.by_us || one.away_since.is_some_and(|since| since <= known)).count();
        let within = away < usize::try_from(limit).unwrap_or(usize::MAX);
        self.demand(within, "I1", || format!("{} is taken away while {away} others are", words(place)));
        if let Some(instance) = self.places.get_mut(place) {
            instance.by_us = true;
        }
    }

    fn the_end(&mut self) {
        let history = self.history;
        for before in &history.before {
            let here: Vec<_> = history.after.iter().filter(|after| after.place == before.place).collect();
            let name = words(&before.place);
            self.demand(here.len() == 1, "I6", || format!("{name} ends as {} containers: {here:?}", here.len()));
            let Some(after) = here.first() else { continue };
            self.demand(after.running, "I6", || format!("{name} does not run"));
            self.demand(after.own_name, "I6", || format!("{name} does not bear its own name"));
            self.demand(after.volumes == before.volumes, "I6", || {
                format!("{name} had the volumes {:?} and has {:?}", before.volumes, after.volumes)
            });
        }
        for after in &history.after {
            let known = history.before.iter().any(|before| before.place == after.place);
            self.demand(known, "I6", || format!("{} was not there before", words(&after.place)));
        }
    }
}

fn words((app, node, container): &Place) -> String {
    format!("{container} of {app} on {node}")
}

#[cfg(test)]
mod tests;
