//! Instances whose image is older than their app's `freshness` allows.

use chrono::TimeDelta;

use crate::alarm::{Alarm, AlarmKey, AlarmKind};
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::freshness::Level;
use crate::ids::NodeName;
use crate::rollout::Context;

/// An agent's report and its inventory do not arrive at the same time: so long after a step was taken back, the inventory may
/// still show what was tried.
const LAG: TimeDelta = TimeDelta::seconds(30);

/// One alarm for the whole app: what helps is the same for all its instances.
pub(super) fn judge(app: &App, context: &Context<'_>, judged: &mut Judged) {
    let Some(freshness) = &app.spec.freshness else { return };
    let name = &app.spec.name;
    let mut old = Vec::new();
    for (node, instance) in context.fleet.instances(name) {
        let Some(age) = app.age_of(node, instance, context.now) else { continue };
        match freshness.judge(&age, context.now) {
            Level::Stale => old.push((age, node, &instance.container)),
            Level::Fresh | Level::Aging => freshness.stale_at(&age).into_iter().for_each(|at| judged.look_again(at)),
        }
    }
    if let Some((age, node, container)) = old.iter().min() {
        judged.holds(Alarm::Stale {
            app: name.clone(),
            stale: old.len(),
            instances: context.fleet.instances(name).count(),
            max_age: freshness.max_age,
            node: (*node).clone(),
            container: (*container).clone(),
            since: age.since,
            counted_from: age.counted_from,
        });
    } else if is_unclear(app, context, judged) {
        judged.unclear(AlarmKey::of_app(AlarmKind::Stale, name));
    }
}

/// Whether an old one may be there that nobody sees: its node is silent, or a rollout has put it aside and may bring it back, or has just
/// done so. A rollout ends an alarm when it has ended itself.
fn is_unclear(app: &App, context: &Context<'_>, judged: &mut Judged) -> bool {
    let mut open = context.open.iter().filter(|rollout| *rollout.app() == app.spec.name);
    let seen = |(node, container): &(NodeName, String)| {
        context.fleet.is_inventoried(node) && context.fleet.instance(&app.spec.name, node, container).is_some()
    };
    let taken_back = app.adopted.values().filter_map(|adopted| adopted.left_behind.as_ref()).map(|left| left.at + LAG);
    let lag = taken_back.filter(|end| *end > context.now && *end <= context.now + LAG).max();
    lag.into_iter().for_each(|end| judged.look_again(end));
    open.next().is_some() || lag.is_some() || !app.adopted.keys().all(seen)
}
