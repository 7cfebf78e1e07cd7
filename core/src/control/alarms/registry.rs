//! Apps whose tag nobody can look at: a new version would not be noticed.

use std::time::Duration;

use crate::alarm::{Alarm, AlarmKey, AlarmKind};
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::rollout::Context;

/// A registry may be gone for this long before somebody must know: they are restarted, limit rates, and have bad minutes.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

pub(super) fn judge(app: &App, context: &Context<'_>, judged: &mut Judged) {
    // Nobody looks at the tag of an app that is not followed.
    if !app.enabled {
        return;
    }
    let (name, image) = (&app.spec.name, app.lookup());
    match context.fleet.lookup(&image) {
        Some(lookup) => {
            let Some(failure) = &lookup.failure else { return };
            let (error, since) = (failure.error.clone(), failure.since);
            let alarm = Alarm::RegistrySilent { app: name.clone(), image, error, since };
            judged.holds_after(PATIENCE, since, context.now, alarm);
        }
        None => judged.unclear(AlarmKey::of_app(AlarmKind::RegistrySilent, name)),
    }
}
