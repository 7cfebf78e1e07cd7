//! Looks over the driver's shoulder: what the coordinator could know when it stored each fact, in terms of the invariants.
//!
//! It shares no code with the planner: the windows are its own arithmetic, availability is read from the plain facts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_coordinator::driver::{View, Witness};
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::AppName;
use nightshift_core::invariants::{Place, Seen};

/// When steps of an app may start, as the scenario made it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hours {
    /// From, up to not including.
    pub(crate) windows: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    pub(crate) freezes: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// Less than this before its end, no step may start: what a step takes at the very least when it goes wrong.
    pub(crate) least_cutoff: Duration,
}

impl Hours {
    fn contains(list: &[(DateTime<Utc>, DateTime<Utc>)], at: DateTime<Utc>) -> bool {
        list.iter().any(|(from, to)| *from <= at && at < *to)
    }

    fn allow(&self, at: DateTime<Utc>) -> bool {
        let cutoff = TimeDelta::from_std(self.least_cutoff).unwrap_or_default();
        self.windows.iter().any(|(from, to)| *from <= at && at + cutoff <= *to)
    }
}

/// What there is to watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) places: Vec<Place>,
    pub(crate) hours: Vec<(AppName, Hours)>,
}

/// What was seen. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<Seen>>>);

impl Memory {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A witness that remembers here.
    pub(crate) fn witness(&self, watched: Watched) -> Witness {
        let memory = self.clone();
        Arc::new(move |view: &View<'_>, _events: &[_]| {
            let seen = look(view, &watched);
            memory.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        })
    }
}

fn look(view: &View<'_>, watched: &Watched) -> Seen {
    let after = usize::try_from(view.sequence.0).unwrap_or(usize::MAX);
    let mut seen = Seen { after, ..Seen::default() };
    for (app, hours) in &watched.hours {
        if hours.allow(view.now) {
            seen.allowed.insert(app.clone());
        }
        if Hours::contains(&hours.freezes, view.now) {
            seen.frozen.insert(app.clone());
        }
    }
    for place in &watched.places {
        let (app, node, container) = place;
        let answers = view.fleet.node(node).filter(|connected| connected.engine_error.is_none());
        let Some(told) = answers.and_then(|connected| connected.instances.as_ref()) else {
            seen.away.insert(place.clone());
            continue;
        };
        let found = told.iter().find(|instance| instance.app == *app && instance.container == *container);
        let Some(instance) = found else { continue };
        let serves = instance.state == RunState::Created
            || instance.state == RunState::Running && matches!(instance.health, Health::None | Health::Healthy);
        if !serves {
            seen.away.insert(place.clone());
        }
        let sick = instance.state == RunState::Running && instance.health == Health::Unhealthy;
        if sick || matches!(instance.state, RunState::Restarting | RunState::Dead) {
            seen.failing.insert(place.clone());
        }
    }
    seen
}
