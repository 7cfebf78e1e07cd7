//! Nodes that should take part and are not connected.

use std::time::Duration;

use crate::alarm::Alarm;
use crate::catalog::{Availability, Node};
use crate::control::alarms::Judged;
use crate::ids::NodeName;
use crate::rollout::Context;

/// A host may be gone for this long before somebody must know: it restarts within it.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A node that a person paused or drained may be away on purpose.
pub(super) fn judge(name: &NodeName, node: &Node, context: &Context<'_>, judged: &mut Judged) {
    match node.availability {
        Availability::Active => {}
        Availability::Pause | Availability::Drain => return,
    }
    if context.fleet.node(name).is_some() {
        return;
    }
    let seen = context.fleet.last_seen(name).unwrap_or(context.settled_at);
    // One that enrolled a moment ago is on its way.
    let since = node.enrolled_at.map_or(seen, |enrolled| enrolled.max(seen));
    judged.holds_after(PATIENCE, since, context.now, Alarm::NodeAway { node: name.clone(), since });
}
