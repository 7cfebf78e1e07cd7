//! Apps whose last rebuild brought no new tested digest: what runs gets older, and nobody would notice.

use crate::alarm::Alarm;
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::control::rebuilds::tested_since;
use crate::rollout::Context;

/// It ends with the next rebuild that does better, or when the digest comes after all.
pub(super) fn judge(app: &App, context: &Context<'_>, judged: &mut Judged) {
    if !app.enabled || app.spec.rebuild.is_none() {
        return;
    }
    let Some(last) = app.rebuilds.last.as_ref().filter(|last| last.outcome.is_failure()) else { return };
    if tested_since(app, last.started_at, context.now).is_none() {
        judged.holds(Alarm::Rebuild {
            app: app.spec.name.clone(),
            number: last.number,
            started_at: last.started_at,
            outcome: last.outcome.clone(),
        });
    }
}
