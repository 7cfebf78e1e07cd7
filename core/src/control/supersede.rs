//! When a newer tested digest takes over from a rollout that is on its way to an older one.
//!
//! Only rollouts that Nightshift began itself give way by themselves: what a person started, or let go with `--now`, goes on
//! until a person wants something else. The new rollout starts like any other, through gate, window and canary.

use crate::control::Control;
use crate::event::Actor;
use crate::image::Digest;
use crate::rollout::{Context, Rollout};
use crate::step::Purpose;

impl Control {
    /// The same context with the digest that would take over from this rollout, if there is one.
    pub(super) fn with_next<'a>(&'a self, rollout: &Rollout, context: &Context<'a>) -> Context<'a> {
        Context { next: self.next(rollout, context), ..*context }
    }

    /// A newer digest that would be rolled out now if this rollout were not there.
    fn next<'a>(&'a self, rollout: &Rollout, context: &Context<'a>) -> Option<&'a Digest> {
        let own = rollout.by == Actor::nightshift() && !rollout.overrides.any();
        if rollout.state.is_end() || rollout.purpose == Purpose::Rollback || rollout.is_retreat() || !own {
            return None;
        }
        let app = self.catalog.app(rollout.app())?;
        let next = &app.target(context.now)?.digest;
        // First what costs nothing: hardly ever is there a newer one.
        let newer = app.age_rank(next) > app.age_rank(&rollout.to);
        (newer && self.wanted(app, context).is_ok_and(|steps| !steps.is_empty())).then_some(next)
    }
}
