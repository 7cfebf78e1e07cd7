//! Which alarms hold, and what of it is news.
//!
//! Each file in here judges one kind and tells [`Judged`]: this holds; this cannot be judged now; look again then. What begins
//! becomes [`Event::AlarmRaised`], what has ended [`Event::AlarmCleared`]. Nothing is said twice: what was raised is folded in
//! the catalog, by its key.
//!
//! Judging is three-valued on purpose: right after a start no agent has told its instances yet, and that is no reason to clear an
//! alarm about them. An alarm that nobody mentions any more, because its app or node is gone or a rule no longer asks for it, ends.

mod instances;
mod job;
mod node;
mod rebuild;
mod registry;
mod stale;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::alarm::{Alarm, AlarmKey};
use crate::control::Control;
use crate::event::{Actor, Event, Recorded};
use crate::fleet::Fleet;
use crate::rollout::{Context, Decision};

/// What the judges found.
#[derive(Debug, Default)]
struct Judged {
    holding: BTreeMap<AlarmKey, Alarm>,
    unclear: BTreeSet<AlarmKey>,
    looks: Vec<DateTime<Utc>>,
}

impl Judged {
    /// It holds now.
    fn holds(&mut self, alarm: Alarm) {
        self.holding.insert(alarm.key(), alarm);
    }

    /// Whether it holds cannot be told now: it stays as it is, raised or not.
    fn unclear(&mut self, key: AlarmKey) {
        self.unclear.insert(key);
    }

    /// Something may begin or end then, though nothing else happens.
    fn look_again(&mut self, at: DateTime<Utc>) {
        self.looks.push(at);
    }

    /// A state that is an alarm only when it has lasted: until then the alarm stays as it is, raised or not. So a state that
    /// comes and goes does not fill the log, which is for ever.
    fn holds_after(&mut self, patience: Duration, since: DateTime<Utc>, now: DateTime<Utc>, alarm: Alarm) {
        let from = since + TimeDelta::from_std(patience).unwrap_or(TimeDelta::MAX);
        if from <= now {
            self.holds(alarm);
        } else {
            self.look_again(from);
            self.unclear(alarm.key());
        }
    }
}

impl Control {
    fn judge_alarms(&self, context: &Context<'_>) -> Judged {
        let mut judged = Judged::default();
        for app in self.catalog.apps() {
            stale::judge(app, context, &mut judged);
            registry::judge(app, context, &mut judged);
            job::judge(app, &self.jobs, &mut judged);
            rebuild::judge(app, context, &mut judged);
        }
        for (name, node) in self.catalog.nodes() {
            node::judge(name, node, context, &mut judged);
        }
        judged
    }

    /// Which alarms begin and end now.
    pub(super) fn note_alarms(&self, context: &Context<'_>, decision: &mut Decision) {
        let judged = self.judge_alarms(context);
        judged.looks.iter().for_each(|at| decision.wake(*at, context.now));
        let raised = self.catalog.alarms();
        let over = raised.filter(|(key, _)| !judged.holding.contains_key(key) && !judged.unclear.contains(key));
        let over = over.map(|(_, raised)| Event::AlarmCleared { alarm: raised.alarm.clone(), since: raised.at });
        let new = judged.holding.iter().filter(|(key, _)| self.catalog.alarm(key).is_none());
        let new = new.map(|(_, alarm)| Event::AlarmRaised { alarm: alarm.clone() });
        let record = |event| Recorded { at: context.now, by: Actor::nightshift(), event };
        decision.events.extend(over.chain(new).map(record));
    }

    /// The raised alarms with the instants at which they began. Each says what is known now, as far as it can be judged now.
    #[must_use]
    pub fn alarms(&self, fleet: &Fleet, now: DateTime<Utc>) -> Vec<(Alarm, DateTime<Utc>)> {
        let mut judged = self.with_context(fleet, now, |context| self.judge_alarms(context));
        let raised = self.catalog.alarms();
        raised.map(|(key, raised)| (judged.holding.remove(key).unwrap_or(raised.alarm.clone()), raised.at)).collect()
    }
}
