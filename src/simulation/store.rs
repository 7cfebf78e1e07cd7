//! The coordinator's store: in memory, outliving its process, with the virtual instant of each event.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_coordinator::store::{
    Batch, Certificate, Enrolment, Error, EventFilter, KeptLog, MemoryStore, NewEvent, Recorded, Revision, Sequence,
    Store, StreamId, Token,
};
use nightshift_core::event::{self, Event};
use nightshift_core::ids::{Epoch, NodeName};
use tokio::time::Instant;

use super::fuse::{Fuse, Side};

/// The events of a fleet. Clones are the same events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events {
    store: MemoryStore,
    times: Arc<Mutex<Vec<Instant>>>,
    snare: Arc<Mutex<Option<Snare>>>,
}

/// A process dies at the next event of a kind that it stores, and on which side of that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snare {
    pub(crate) at: Moment,
    pub(crate) side: Side,
}

/// The events at which it matters most.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment {
    /// A step is ordered.
    Order,
    /// A step has ended badly, and counts.
    Failure,
}

impl Moment {
    fn is_now(self, new: &NewEvent) -> bool {
        match self {
            Self::Order => new.kind == "step_ordered",
            Self::Failure => match serde_json::from_value(new.body.clone()) {
                Ok(Event::StepReported { report, .. }) => report.phase.is_end() && report.failure.is_some(),
                _ => false,
            },
        }
    }
}

impl Events {
    /// The store as one process uses it.
    pub(crate) fn open(&self, fuse: Fuse) -> OpenStore {
        OpenStore { events: self.clone(), fuse }
    }

    /// Lets a process die at a moment that is to come, or no longer.
    pub(crate) fn set_snare(&self, snare: Option<Snare>) {
        *self.snare.lock().unwrap_or_else(PoisonError::into_inner) = snare;
    }

    /// The side on which a process dies now, once.
    fn caught(&self, batches: &[Batch]) -> Option<Side> {
        let mut snare = self.snare.lock().unwrap_or_else(PoisonError::into_inner);
        let is_now = |snare: &mut Snare| batches.iter().flat_map(|batch| &batch.events).any(|new| snare.at.is_now(new));
        snare.take_if(is_now).map(|snare| snare.side)
    }

    /// Every event as it was stored, and when (by virtual time, which no clock step moves).
    pub(crate) fn all(&self) -> Vec<(Instant, Recorded)> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.iter().copied().zip(self.store.all()).collect()
    }

    /// Every event from a number on, read back.
    pub(crate) fn log(&self) -> Vec<event::Recorded> {
        let read = |stored: Recorded| event::Recorded {
            at: stored.at,
            by: event::Actor(stored.by),
            event: serde_json::from_value(stored.body).expect("the driver wrote it"),
        };
        self.store.all().into_iter().map(read).collect()
    }
}

/// A store in the hands of a process.
#[derive(Debug)]
pub(crate) struct OpenStore {
    events: Events,
    fuse: Fuse,
}

#[async_trait]
impl Store for OpenStore {
    async fn begin_epoch(&self) -> Result<Epoch, Error> {
        self.fuse.before_write().await;
        let epoch = self.events.store.begin_epoch().await;
        self.fuse.after_write().await;
        epoch
    }

    async fn append(&self, batches: &[Batch]) -> Result<Vec<Recorded>, Error> {
        if let Some(side) = self.events.caught(batches) {
            self.fuse.arm(self.fuse.writes() + 1, side);
        }
        self.fuse.before_write().await;
        let stored = self.events.store.append(batches).await?;
        let times = stored.iter().map(|_| Instant::now());
        self.events.times.lock().unwrap_or_else(PoisonError::into_inner).extend(times);
        self.fuse.after_write().await;
        Ok(stored)
    }

    async fn load(&self, stream: &StreamId) -> Result<Vec<Recorded>, Error> {
        self.events.store.load(stream).await
    }

    async fn load_all(&self, after: Sequence, limit: u32) -> Result<Vec<Recorded>, Error> {
        self.events.store.load_all(after, limit).await
    }

    async fn events(&self, filter: &EventFilter) -> Result<Vec<Recorded>, Error> {
        self.events.store.events(filter).await
    }

    async fn streams_with_prefix(&self, prefix: &str) -> Result<Vec<(StreamId, Revision)>, Error> {
        self.events.store.streams_with_prefix(prefix).await
    }

    async fn keep_job_log(&self, log: &KeptLog) -> Result<(), Error> {
        self.fuse.before_write().await;
        let kept = self.events.store.keep_job_log(log).await;
        self.fuse.after_write().await;
        kept
    }

    async fn job_logs(&self, app: &str, digest: Option<&str>, limit: u32) -> Result<Vec<KeptLog>, Error> {
        self.events.store.job_logs(app, digest, limit).await
    }

    async fn insert_token(&self, token: &Token) -> Result<(), Error> {
        self.events.store.insert_token(token).await
    }

    async fn token(&self, id: &str) -> Result<Option<Token>, Error> {
        self.events.store.token(id).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.events.store.tokens().await
    }

    async fn enroll_node(&self, token_id: &str, certificate: &Certificate) -> Result<Enrolment, Error> {
        self.events.store.enroll_node(token_id, certificate).await
    }

    async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, Error> {
        self.events.store.revoke_token(id, now).await
    }

    async fn insert_certificate(&self, certificate: &Certificate) -> Result<(), Error> {
        self.events.store.insert_certificate(certificate).await
    }

    async fn revoke_certificates(&self, node: &NodeName, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        self.events.store.revoke_certificates(node, now).await
    }

    async fn revoked_certificates(&self, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        self.events.store.revoked_certificates(now).await
    }
}
