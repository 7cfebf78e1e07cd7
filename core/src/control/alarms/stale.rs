//! Instances whose image is older than their app's `freshness` allows.

use crate::alarm::{Alarm, AlarmKey, AlarmKind};
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::freshness::Level;
use crate::rollout::Context;

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
    } else if app.adopted.keys().any(|(node, _)| !context.fleet.is_inventoried(node)) {
        // The old one may be there: nobody can see it.
        judged.unclear(AlarmKey::of_app(AlarmKind::Stale, name));
    }
}
