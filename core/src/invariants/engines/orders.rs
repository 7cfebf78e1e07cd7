//! What the audit log says about orders, quarantine and specs, by time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::event::{Event, Recorded};
use crate::ids::{AppName, RolloutId, StepIndex};
use crate::image::Digest;
use crate::invariants::Place;
use crate::rollout::{Overrides, PlannedStep};
use crate::spec::AppSpec;
use crate::step::Purpose;

/// An order as the audit log has it.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) at: DateTime<Utc>,
    pub(super) to: Digest,
    pub(super) purpose: Purpose,
    /// What a person had set aside by then.
    pub(super) overrides: Overrides,
    place: Place,
}

/// The orders of a log, and what was in force when they were given.
#[derive(Default)]
pub(super) struct Orders<'a> {
    given: Vec<Order>,
    planned: BTreeMap<(&'a RolloutId, StepIndex), Order>,
    apps: BTreeMap<&'a RolloutId, &'a AppName>,
    /// When a digest was barred (or cleared).
    bars: Vec<(DateTime<Utc>, &'a AppName, &'a Digest, bool)>,
    specs: Vec<(DateTime<Utc>, &'a AppSpec)>,
}

impl<'a> Orders<'a> {
    pub(super) fn read(log: &'a [Recorded]) -> Self {
        let mut read = Self::default();
        log.iter().for_each(|recorded| read.add(recorded.at, &recorded.event));
        read
    }

    fn add(&mut self, at: DateTime<Utc>, event: &'a Event) {
        if let Event::RolloutPlanned { rollout, spec, purpose, overrides, steps, .. } = event {
            self.specs.push((at, spec));
            self.apps.insert(rollout, &spec.name);
            self.plan(at, rollout, steps, *purpose, *overrides);
        }
        if let Event::RollbackPlanned { rollout, steps } = event {
            self.plan(at, rollout, steps, Purpose::Rollback, Overrides::default());
        }
        if let Event::RolloutOverridden { rollout, overrides, .. } = event {
            let updates =
                self.planned.iter_mut().filter(|((of, _), order)| *of == rollout && order.purpose == Purpose::Update);
            updates.for_each(|(_, order)| order.overrides = *overrides);
        }
        if let Event::StepOrdered { rollout, step, .. } = event {
            self.given.extend(self.planned.get(&(rollout, *step)).map(|order| Order { at, ..order.clone() }));
        }
        if let Event::ReleaseQuarantined { app, digest, .. } = event {
            self.bars.push((at, app, digest, true));
        }
        if let Event::QuarantineCleared { app, digest, .. } = event {
            self.bars.push((at, app, digest, false));
        }
    }

    fn plan(
        &mut self,
        at: DateTime<Utc>,
        rollout: &'a RolloutId,
        steps: &[PlannedStep],
        purpose: Purpose,
        overrides: Overrides,
    ) {
        let Some(app) = self.apps.get(rollout).copied() else { return };
        for step in steps {
            let known = self.planned.keys().filter(|(of, _)| *of == rollout).count();
            let index = StepIndex(u32::try_from(known).unwrap_or(u32::MAX));
            let place = (app.clone(), step.node.clone(), step.container.clone());
            self.planned.insert((rollout, index), Order { at, to: step.to.clone(), purpose, overrides, place });
        }
    }

    /// The last order for an instance before an instant.
    pub(super) fn last(&self, place: &Place, at: DateTime<Utc>) -> Option<&Order> {
        self.given.iter().rev().find(|order| order.place == *place && order.at <= at)
    }

    /// The same, if it asks for this digest.
    pub(super) fn to(&self, place: &Place, digest: &Digest, at: DateTime<Utc>) -> Option<&Order> {
        self.last(place, at).filter(|order| order.to == *digest)
    }

    /// Whether a digest was barred at an instant.
    pub(super) fn is_barred(&self, app: &AppName, digest: &Digest, at: DateTime<Utc>) -> bool {
        let of = self.bars.iter().rev().find(|(since, of, barred, _)| *since <= at && *of == app && *barred == digest);
        of.is_some_and(|(_, _, _, barred)| *barred)
    }

    /// The spec that the app's newest rollout followed at an instant.
    pub(super) fn spec(&self, app: &AppName, at: DateTime<Utc>) -> Option<&AppSpec> {
        self.specs.iter().rev().find(|(since, spec)| *since <= at && spec.name == *app).map(|(_, spec)| *spec)
    }
}
