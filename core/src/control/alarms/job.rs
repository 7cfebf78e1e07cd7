//! Jobs that could not be done again and again: an image stays untested for a reason that is not its own.

use crate::alarm::Alarm;
use crate::catalog::App;
use crate::control::alarms::Judged;
use crate::job::{Jobs, TOLD_AFTER};

/// Held until the job is done, or nobody wants it any more.
pub(super) fn judge(app: &App, jobs: &Jobs, judged: &mut Judged) {
    let name = &app.spec.name;
    for put_off in jobs.troubled(name).filter(|put_off| app.enabled && put_off.tries >= TOLD_AFTER) {
        // A digest that a newer one has overtaken is not tried any more.
        let newest = app.releases.last().map(|newest| &newest.digest);
        if put_off.subject.digest().is_none_or(|digest| Some(digest) == newest) {
            let (subject, reason) = (put_off.subject.clone(), put_off.reason.clone());
            judged.holds(Alarm::JobNotDone { app: name.clone(), subject, tries: put_off.tries, reason });
        }
    }
}
