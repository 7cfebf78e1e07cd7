//! Jobs that could not be done again and again: an image stays untested for a reason that is not its own.

use crate::alarm::Alarm;
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::job::{Jobs, TOLD_AFTER};

/// Held until the job is done, or nobody wants it any more.
pub(super) fn judge(app: &App, jobs: &Jobs, judged: &mut Judged) {
    let Some(put_off) = jobs.troubled(&app.spec.name).filter(|put_off| put_off.tries >= TOLD_AFTER) else { return };
    // A digest that a newer one has overtaken is not tried any more.
    let wanted = put_off
        .subject
        .digest()
        .is_none_or(|digest| app.releases.last().is_some_and(|newest| newest.digest == *digest));
    if wanted && app.enabled {
        judged.holds(Alarm::JobNotDone {
            app: app.spec.name.clone(),
            subject: put_off.subject.clone(),
            tries: put_off.tries,
            reason: put_off.reason.clone(),
        });
    }
}
