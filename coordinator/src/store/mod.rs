//! What the coordinator knows, kept so that no crash loses or reorders it: the event log, the epoch, tokens and
//! certificates.
//!
//! [`Store`] is the port; [`SqliteStore`] is the store that needs nothing installed, [`MemoryStore`] that of simulations. Every
//! store passes one conformance suite (`tests/store_conformance.rs`). The log knows nothing of what its events mean: their bodies are JSON that the driver reads.

mod access;
mod event;
mod job_log;
mod memory;
mod sqlite;
mod sqlite_access;
mod sqlite_jobs;

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_core::ids::{Epoch, NodeName};

pub use access::{Certificate, Enrolment, Role, Token, UnknownRole};
pub use event::{Batch, EventFilter, NewEvent, Recorded, Revision, Sequence, StreamId};
pub use job_log::{JOB_LOGS_KEPT, KeptLog};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// Most events in one [`Store::append`]: one decision about a fleet of 5,000 nodes fits, a runaway loop does not.
pub const APPEND_LIMIT: usize = 20_000;
/// Largest body of one event, in bytes of JSON: the largest that is meant to be there is the plan of a rollout, with some 400
/// bytes for each instance. That of a fleet of 5,000 nodes fits several times over.
pub const BODY_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// Most events in one answer of [`Store::load_all`] and [`Store::events`]; ask again after the last one for more.
pub const PAGE_LIMIT: u32 = 10_000;

/// Why the store did not do what it was asked. After [`Error::Database`] on a write the caller does not know whether it
/// happened: load again before deciding anything.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Someone else wrote to the stream since it was read. Nothing of the append was stored.
    #[error("stream `{stream}` is at revision {found}, not at {expected}: someone else wrote")]
    Conflict {
        /// The first stream that had moved.
        stream: StreamId,
        /// Where the caller believed it to be.
        expected: Revision,
        /// Where it is.
        found: Revision,
    },
    /// An append is larger than any that is meant, or names a stream twice. Nothing of it was stored.
    #[error("append refused: {0}")]
    Refused(String),
    /// A row does not read as what was written.
    #[error("the store is damaged: {0}\nhint: restore the data directory from a backup")]
    Damaged(String),
    /// The database was written by a newer Nightshift, or its set-up failed.
    #[error("cannot bring the schema of `{}` up to date\nhint: was it used by a newer Nightshift?", path.display())]
    Schema {
        /// The database.
        path: PathBuf,
        /// What failed.
        source: sqlx::migrate::MigrateError,
    },
    /// The database's file cannot be used.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name that must be unique is in use.
    #[error("{0} is there already")]
    Taken(String),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// The durable memory of a coordinator.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Grows the epoch by one, durably: before anything else at a start.
    ///
    /// # Errors
    /// The database failed.
    async fn begin_epoch(&self) -> Result<Epoch, Error>;

    /// Stores all events of all batches, or none: durable when this returns. A stream may be named once.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a stream is not at the revision that its batch names.
    async fn append(&self, batches: &[Batch]) -> Result<Vec<Recorded>, Error>;

    /// All events of one stream, oldest first; empty when there is no such stream.
    ///
    /// # Errors
    /// The database failed.
    async fn load(&self, stream: &StreamId) -> Result<Vec<Recorded>, Error>;

    /// The events of all streams after a sequence number, in order: at most `limit`, at most [`PAGE_LIMIT`].
    ///
    /// # Errors
    /// The database failed.
    async fn load_all(&self, after: Sequence, limit: u32) -> Result<Vec<Recorded>, Error>;

    /// The events that a filter asks for, oldest first, at most [`PAGE_LIMIT`].
    ///
    /// # Errors
    /// The database failed.
    async fn events(&self, filter: &EventFilter) -> Result<Vec<Recorded>, Error>;

    /// The streams whose name starts like this, with their revision, by name.
    ///
    /// # Errors
    /// The database failed.
    async fn streams_with_prefix(&self, prefix: &str) -> Result<Vec<(StreamId, Revision)>, Error>;

    /// Keeps the log of a job, once, and removes the oldest of its app beyond [`JOB_LOGS_KEPT`].
    ///
    /// # Errors
    /// The database failed.
    async fn keep_job_log(&self, log: &KeptLog) -> Result<(), Error>;

    /// Logs of an app's jobs, of those about one digest if one is named; the newest first.
    ///
    /// # Errors
    /// The database failed.
    async fn job_logs(&self, app: &str, digest: Option<&str>, limit: u32) -> Result<Vec<KeptLog>, Error>;

    /// Keeps a new token.
    ///
    /// # Errors
    /// The database failed, also because the id is taken.
    async fn insert_token(&self, token: &Token) -> Result<(), Error>;

    /// The token with this id, used, revoked or expired as it may be.
    ///
    /// # Errors
    /// The database failed.
    async fn token(&self, id: &str) -> Result<Option<Token>, Error>;

    /// Every token, oldest first.
    ///
    /// # Errors
    /// The database failed.
    async fn tokens(&self) -> Result<Vec<Token>, Error>;

    /// Uses up a join token for a node's first certificate, which counts as issued now: all of it, or nothing.
    ///
    /// # Errors
    /// The database failed, also because the serial number is taken.
    async fn enroll_node(&self, token_id: &str, certificate: &Certificate) -> Result<Enrolment, Error>;

    /// Bars a token from now on; `false` when there is none with this id or it was revoked before.
    ///
    /// # Errors
    /// The database failed.
    async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, Error>;

    /// Remembers a further certificate of a node before it is handed out.
    ///
    /// # Errors
    /// The database failed, also because the serial number is taken.
    async fn insert_certificate(&self, certificate: &Certificate) -> Result<(), Error>;

    /// Bars every certificate that the node has; the serial numbers that this barred.
    ///
    /// # Errors
    /// The database failed.
    async fn revoke_certificates(&self, node: &NodeName, now: DateTime<Utc>) -> Result<Vec<String>, Error>;

    /// Serial numbers of the certificates that are barred and would otherwise still be good.
    ///
    /// # Errors
    /// The database failed.
    async fn revoked_certificates(&self, now: DateTime<Utc>) -> Result<Vec<String>, Error>;
}

fn check_size(batches: &[Batch]) -> Result<(), Error> {
    let count: usize = batches.iter().map(|batch| batch.events.len()).sum();
    if count > APPEND_LIMIT {
        return Err(Error::Refused(format!("{count} events at once, allowed are {APPEND_LIMIT}")));
    }
    let mut streams = BTreeSet::new();
    if let Some(twice) = batches.iter().find(|batch| !streams.insert(&batch.stream)) {
        return Err(Error::Refused(format!("stream `{}` is named twice", twice.stream)));
    }
    for event in batches.iter().flat_map(|batch| &batch.events) {
        let size = event.body.to_string().len();
        if size > BODY_LIMIT_BYTES {
            let kind = &event.kind;
            let text = format!("an event `{kind}` of {size} bytes, allowed are {BODY_LIMIT_BYTES}");
            return Err(Error::Refused(text));
        }
    }
    Ok(())
}

/// An event as it is kept.
fn record(sequence: Sequence, stream: &StreamId, revision: Revision, event: &NewEvent) -> Recorded {
    let NewEvent { at, by, kind, app, node, rollout, body } = event.clone();
    // What append returns is what load will return: no more precise than the column.
    Recorded { sequence, stream: stream.clone(), revision, at: whole_micros(at), by, kind, app, node, rollout, body }
}

/// As precise as every store is.
fn whole_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}
