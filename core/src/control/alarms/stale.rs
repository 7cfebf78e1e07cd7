//! Instances whose image is older than their app's `freshness` allows.

use chrono::TimeDelta;

use crate::alarm::{Alarm, AlarmKey, AlarmKind};
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::rollout::Context;

/// Just behind an instant at which something is still within a limit.
const BEHIND: TimeDelta = TimeDelta::milliseconds(1);

/// One alarm for the whole app: what helps is the same for all its instances.
pub(super) fn judge(app: &App, context: &Context<'_>, judged: &mut Judged) {
    let Some(freshness) = &app.spec.freshness else { return };
    let name = &app.spec.name;
    let max_age = TimeDelta::from_std(freshness.max_age).unwrap_or(TimeDelta::MAX);
    let mut old = Vec::new();
    for (node, instance) in context.fleet.instances(name) {
        let Some(built) = instance.image_created else { continue };
        if freshness.is_over(built, context.now) {
            old.push((built, node, &instance.container));
        } else if let Some(end) = built.checked_add_signed(max_age).and_then(|end| end.checked_add_signed(BEHIND)) {
            judged.look_again(end);
        }
    }
    if let Some((built, node, container)) = old.iter().min() {
        judged.holds(Alarm::Stale {
            app: name.clone(),
            stale: old.len(),
            instances: context.fleet.instances(name).count(),
            max_age: freshness.max_age,
            node: (*node).clone(),
            container: (*container).clone(),
            built: *built,
        });
    } else if app.adopted.keys().any(|(node, _)| !context.fleet.is_inventoried(node)) {
        // The old one may be there: nobody can see it.
        judged.unclear(AlarmKey::of_app(AlarmKind::Stale, name));
    }
}
