//! What the coordinator knows, as numbers for Prometheus: `GET /metrics` ([`crate::http`]), `docs/metrics.md`.
//!
//! Everything is read from the driver's view at the moment of the question. Nothing is counted beside it, so nothing can disagree with
//! what `status` shows.

mod page;

use std::collections::BTreeMap;

use nightshift_core::alarm::AlarmKind;
use nightshift_core::catalog::App;
use nightshift_core::freshness::Age;
use nightshift_core::rollout::RolloutState;

use crate::driver::View;
use crate::operator::instances_current;
pub(crate) use page::CONTENT_TYPE;
use page::{Kind, Page, number};

/// Instances of which each has a series of its own. A larger fleet has those of its apps, so that neither this page nor the one who
/// reads it grows without bounds; how many are left out is told.
const INSTANCE_LIMIT: usize = 5_000;

/// The whole page.
pub(crate) fn render(view: &View<'_>) -> String {
    let mut page = Page::default();
    page.family("nightshift_build_info", Kind::Gauge, "The coordinator's version.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.family("nightshift_events_total", Kind::Counter, "Events in the audit log.");
    page.sample(&[], number(view.sequence.0));
    nodes(view, &mut page);
    apps(view, &mut page);
    instances(view, &mut page);
    rollouts(view, &mut page);
    alarms(view, &mut page);
    page.into_text()
}

fn nodes(view: &View<'_>, page: &mut Page) {
    page.family("nightshift_nodes", Kind::Gauge, "Nodes of the fleet, by whether their agent is connected.");
    let connected = view.control.catalog().nodes().filter(|(name, _)| view.fleet.node(name).is_some()).count();
    let known = view.control.catalog().nodes().count();
    page.sample(&[("connected", "true")], number(connected));
    page.sample(&[("connected", "false")], number(known - connected));
}

/// One series for each app: what the app says about it, or none where it says nothing.
fn of_apps(view: &View<'_>, page: &mut Page, value: impl Fn(&App) -> Option<f64>) {
    for app in view.control.catalog().apps() {
        if let Some(value) = value(app) {
            page.sample(&[("app", app.spec.name.as_str())], value);
        }
    }
}

fn apps(view: &View<'_>, page: &mut Page) {
    let seconds = |age: Age| age.at(view.now).as_secs_f64();
    page.family("nightshift_app_enabled", Kind::Gauge, "Whether an app is followed.");
    of_apps(view, page, |app| Some(if app.enabled { 1.0 } else { 0.0 }));
    let help = "Instances of an app on connected nodes, by whether they run what they should.";
    page.family("nightshift_app_instances", Kind::Gauge, help);
    for app in view.control.catalog().apps() {
        let (current, all) = instances_current(app, view);
        page.sample(&[("app", app.spec.name.as_str()), ("state", "current")], number(current));
        page.sample(&[("app", app.spec.name.as_str()), ("state", "behind")], number(all - current));
    }
    page.family("nightshift_app_image_age_seconds", Kind::Gauge, "Age of the oldest image that runs of an app.");
    of_apps(view, page, |app| {
        let instances = view.fleet.instances(&app.spec.name);
        instances.filter_map(|(node, one)| app.age_of(node, one, view.now)).min().map(seconds)
    });
    let help = "Largest age of a running image that an app allows (freshness.max_age).";
    page.family("nightshift_app_image_age_limit_seconds", Kind::Gauge, help);
    of_apps(view, page, |app| app.spec.freshness.as_ref().map(|freshness| freshness.max_age.as_secs_f64()));
    let help = "Age of the newest image of an app that has passed its tests.";
    page.family("nightshift_app_tested_image_age_seconds", Kind::Gauge, help);
    of_apps(view, page, |app| app.age_of_last_tested(view.now).map(seconds));
    let help = "Looks at an app's tag that failed, since the coordinator started.";
    page.family("nightshift_registry_check_failures_total", Kind::Counter, help);
    of_apps(view, page, |app| view.fleet.lookup(&app.spec.image).map(|lookup| number(lookup.failures)));
}

fn instances(view: &View<'_>, page: &mut Page) {
    page.family("nightshift_instance_image_age_seconds", Kind::Gauge, "Age of the image that an instance runs.");
    let mut left_out = 0_usize;
    let mut told = 0_usize;
    for app in view.control.catalog().apps() {
        for (node, instance) in view.fleet.instances(&app.spec.name) {
            let Some(age) = app.age_of(node, instance, view.now) else { continue };
            if told >= INSTANCE_LIMIT {
                left_out += 1;
                continue;
            }
            told += 1;
            let place = [("app", app.spec.name.as_str()), ("node", node.as_str()), ("container", &instance.container)];
            page.sample(&place, age.at(view.now).as_secs_f64());
        }
    }
    let help = "Instances without a series of their own, because there are too many.";
    page.family("nightshift_instances_left_out", Kind::Gauge, help);
    page.sample(&[], number(left_out));
}

fn rollouts(view: &View<'_>, page: &mut Page) {
    page.family("nightshift_rollouts_open", Kind::Gauge, "Rollouts that have not ended, by state.");
    let mut counts: BTreeMap<RolloutState, usize> =
        RolloutState::ALL.into_iter().filter(|state| !state.is_end()).map(|state| (state, 0)).collect();
    for rollout in view.control.rollouts() {
        counts.entry(rollout.state).and_modify(|count| *count += 1);
    }
    for (state, count) in counts {
        page.sample(&[("state", state.as_str())], number(count));
    }
}

fn alarms(view: &View<'_>, page: &mut Page) {
    let raised = view.control.alarms(view.fleet, view.now);
    page.family("nightshift_alarms", Kind::Gauge, "Alarms that hold and are facts of the audit log, by kind.");
    for kind in AlarmKind::ALL {
        let count = raised.iter().filter(|(alarm, _)| alarm.kind() == kind).count();
        page.sample(&[("kind", kind.as_str())], number(count));
    }
    page.family("nightshift_alarm_raised_timestamp_seconds", Kind::Gauge, "When an alarm that holds began.");
    for (alarm, since) in &raised {
        let app = alarm.app().map(|app| app.as_str()).unwrap_or_default();
        let node = alarm.node().map(|node| node.as_str()).unwrap_or_default();
        let labels = [("kind", alarm.kind().as_str()), ("app", app), ("node", node)];
        page.sample(&labels, number(since.timestamp().max(0).unsigned_abs()));
    }
}

#[cfg(test)]
mod tests;
