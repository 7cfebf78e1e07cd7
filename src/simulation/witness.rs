//! Looks over the driver's shoulder: what the coordinator could know when it stored each fact, in terms of the invariants.
//!
//! It shares no code with the planner: the windows are its own arithmetic, availability is read from the plain facts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nightshift_coordinator::driver::{View, Witness};
use nightshift_core::container::{Health, RunState};
use nightshift_core::event::{Event, Recorded};
use nightshift_core::ids::{AppName, NodeName};
use nightshift_core::invariants::{Place, Seen};
use nightshift_core::labels::Labels;
use nightshift_core::quiet::QuietHours;
use nightshift_core::rollout::Rollout;
use nightshift_core::spec::AppSpec;

use super::hours::Hours;

/// Quiet hours that an app may have, with what they mean.
pub(crate) type Night = (Option<QuietHours>, Hours);

/// What there is to watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) places: Vec<Place>,
    pub(crate) nights: BTreeMap<AppName, Vec<Night>>,
    pub(crate) nodes: BTreeMap<NodeName, Labels>,
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
        Arc::new(move |view: &View<'_>, events: &[Recorded]| {
            let seen = look(view, events, &watched);
            memory.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        })
    }
}

/// Time that a step may take at worst: to become healthy, to be watched, twice half a minute for stop and start, and the hooks,
/// of which `after` may be called twice.
pub(crate) fn worst_case(spec: &AppSpec, canary: bool) -> Duration {
    let update = &spec.update;
    let monitor = if canary { update.canary_monitor } else { update.monitor };
    let hooks = [&spec.hooks.before, &spec.hooks.drain, &spec.hooks.after, &spec.hooks.after];
    let hooks: Duration = hooks.into_iter().flatten().map(|hook| hook.timeout).sum();
    update.healthy_deadline + monitor + Duration::from_secs(60) + hooks
}

/// The hours that are in force for an app.
pub(crate) fn in_force<'a>(nights: &'a [Night], spec: &AppSpec) -> Option<&'a Hours> {
    nights.iter().find(|(quiet, _)| *quiet == spec.quiet_hours).map(|(_, hours)| hours)
}

fn look(view: &View<'_>, events: &[Recorded], watched: &Watched) -> Seen {
    let after = usize::try_from(view.sequence.0).unwrap_or(usize::MAX);
    let mut seen = Seen { after, ..Seen::default() };
    for recorded in events {
        let Event::StepOrdered { rollout, step, canary, .. } = &recorded.event else { continue };
        let Some(rollout) = view.control.rollout(rollout) else { continue };
        let Some(node) = rollout.step(*step).and_then(|step| watched.nodes.get(&step.node)) else { continue };
        order(view, rollout, node, *canary, watched, &mut seen);
    }
    for place in &watched.places {
        availability(view, place, &mut seen);
    }
    seen
}

/// Whether this order is given at a good time.
fn order(view: &View<'_>, rollout: &Rollout, node: &Labels, canary: bool, watched: &Watched, seen: &mut Seen) {
    let name = rollout.app();
    let in_force = |app: &nightshift_core::catalog::App| in_force(watched.nights.get(name)?, &app.spec);
    let Some(hours) = view.control.catalog().app(name).and_then(in_force) else { return };
    if hours.allow(view.now, node, worst_case(&rollout.spec, canary), rollout.overrides.freeze) {
        seen.allowed.insert(name.clone());
    }
    if hours.frozen(view.now) {
        seen.frozen.insert(name.clone());
    }
}

/// Whether an instance serves, as far as the coordinator could know.
fn availability(view: &View<'_>, place: &Place, seen: &mut Seen) {
    let (app, node, container) = place;
    let answers = view.fleet.node(node).filter(|connected| connected.engine_error.is_none());
    let Some(told) = answers.and_then(|connected| connected.instances.as_ref()) else {
        seen.away.insert(place.clone());
        return;
    };
    let found = told.iter().find(|instance| instance.app == *app && instance.container == *container);
    let Some(instance) = found else { return };
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
