//! The event log as the driver uses it: domain events to and from the store, with each stream's revision in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use nightshift_core::control::Control;
use nightshift_core::event::{Actor, Event, Recorded};
use nightshift_core::mutation::{Rule, broken};
use nightshift_core::rollout::{Rollout, RolloutState};

use crate::driver::Error;
use crate::store::{Batch, KeptLog, NewEvent, PAGE_LIMIT, Revision, Sequence, Store, StreamId};

/// The log and where its writer believes each stream to be.
pub(super) struct Log {
    store: Arc<dyn Store>,
    revisions: BTreeMap<StreamId, Revision>,
    sequence: Sequence,
}

impl Log {
    /// Folds everything that is stored.
    pub(super) async fn load(store: Arc<dyn Store>, control: &mut Control) -> Result<Self, Error> {
        let mut log = Self { store, revisions: BTreeMap::new(), sequence: Sequence(0) };
        loop {
            let page = log.store.load_all(log.sequence, PAGE_LIMIT).await?;
            let Some(last) = page.last() else {
                if broken(Rule::Budget) {
                    forget_failures(control);
                }
                return Ok(log);
            };
            log.sequence = last.sequence;
            for stored in page {
                log.revisions.insert(stored.stream, stored.revision);
                let event = serde_json::from_value(stored.body)
                    .map_err(|error| Error::Unreadable { sequence: stored.sequence.0, reason: error.to_string() })?;
                let forgotten = matches!(event, Event::ReleaseQuarantined { .. }) && broken(Rule::QuarantineKept);
                if !forgotten {
                    control.apply(&Recorded { at: stored.at, by: Actor(stored.by), event });
                }
            }
        }
    }

    /// Stores facts, all or none.
    pub(super) async fn append(&mut self, events: &[Recorded], control: &Control) -> Result<(), Error> {
        let mut batches: Vec<Batch> = Vec::new();
        for recorded in events {
            let stream = stream_of(&recorded.event);
            let new = new_event(recorded, control);
            match batches.iter_mut().find(|batch| batch.stream == stream) {
                Some(batch) => batch.events.push(new),
                None => {
                    let after = self.revisions.get(&stream).copied().unwrap_or_default();
                    batches.push(Batch { stream, after, events: vec![new] });
                }
            }
        }
        for stored in self.store.append(&batches).await? {
            self.sequence = self.sequence.max(stored.sequence);
            self.revisions.insert(stored.stream, stored.revision);
        }
        Ok(())
    }

    /// Keeps what was written during a job.
    pub(super) async fn keep_job_log(&self, log: &KeptLog) -> Result<(), Error> {
        Ok(self.store.keep_job_log(log).await?)
    }

    /// The number of the last event.
    pub(super) const fn sequence(&self) -> Sequence {
        self.sequence
    }
}

/// What a coordinator would be like that counts failures in memory: as if a person had accepted each one.
fn forget_failures(control: &mut Control) {
    let failed = |rollout: &&Rollout| !rollout.state.is_end() && rollout.failures() > 0;
    let moves = control.rollouts().into_iter().filter(failed).flat_map(|rollout| {
        [RolloutState::Paused, rollout.state].map(|to| {
            let event = Event::RolloutMoved { rollout: rollout.id.clone(), to, reason: String::new() };
            Recorded { at: rollout.looked_at, by: Actor::nightshift(), event }
        })
    });
    moves.collect::<Vec<_>>().iter().for_each(|moved| control.apply(moved));
}

/// The stream that an event belongs to: a rollout's, an app's or a node's.
fn stream_of(event: &Event) -> StreamId {
    if let Some(rollout) = event.rollout() {
        return StreamId(format!("rollout/{rollout}"));
    }
    if let Some(app) = event.app() {
        return StreamId(format!("app/{app}"));
    }
    StreamId(event.node().map_or_else(|| "fleet".to_owned(), |node| format!("node/{node}")))
}

/// An event as the store keeps it. What it is about is written beside it, so that a reader can filter: an event of a rollout
/// names the app that the rollout moves, and one of a step the node where it is done.
fn new_event(recorded: &Recorded, control: &Control) -> NewEvent {
    let Recorded { at, by, event } = recorded;
    let rollout = event.rollout().and_then(|id| control.rollout(id));
    let step = event.step().and_then(|index| rollout?.step(index));
    let app = event.app().or_else(|| rollout.map(Rollout::app));
    let node = event.node().or_else(|| step.map(|step| &step.node));
    NewEvent {
        at: *at,
        by: by.0.clone(),
        kind: event.kind().to_owned(),
        app: app.map(ToString::to_string),
        node: node.map(ToString::to_string),
        rollout: event.rollout().map(ToString::to_string),
        body: serde_json::to_value(event).expect("events are plain data with text keys"),
    }
}
