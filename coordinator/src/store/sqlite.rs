//! The store in one SQLite file in the data directory.
//!
//! One connection writes, so that a transaction never meets another; four read, and see what is committed. Every commit is
//! on the disk when it returns (`synchronous=FULL`). The SQL keeps to what PostgreSQL understands as well.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_core::ids::{Epoch, NodeName};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row, SqlSafeStr, Sqlite};

use super::{
    Batch, Certificate, Enrolment, Error, EventFilter, KeptLog, PAGE_LIMIT, Recorded, Revision, Sequence, Store,
    StreamId, Token, check_size, record, sqlite_access as access, sqlite_jobs as jobs,
};
use crate::data_dir::{DataDir, SECRET_FILE_MODE};

/// Name of the database in the data directory.
const DATABASE_FILE: &str = "nightshift.db";
/// Longest wait for a connection: a write takes milliseconds, so whoever waits this long waits for a disk that hangs.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(10);
/// Readers at the same time: more than a few gain nothing on one file.
const READERS: u32 = 4;
/// A transaction that takes its write lock at once, instead of failing half way when it must.
const BEGIN_WRITE: &str = "BEGIN IMMEDIATE";

/// The store in a file; clones share it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pub(super) write: SqlitePool,
    pub(super) read: SqlitePool,
    // The lock on the directory lives as long as anyone can write.
    _data_dir: DataDir,
}

impl SqliteStore {
    /// Opens the database in the directory, made on first use, and brings its schema up to date.
    ///
    /// # Errors
    /// The file cannot be used, is no database, or was written by a newer Nightshift.
    pub async fn open(data_dir: &DataDir) -> Result<Self, Error> {
        let path = data_dir.file(DATABASE_FILE);
        // Made here because SQLite would make it readable for all; its side files take over this mode.
        let made = OpenOptions::new().create(true).append(true).mode(SECRET_FILE_MODE).open(&path);
        made.map_err(|source| Error::File { path: path.clone(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_DEADLINE).idle_timeout(None).max_lifetime(None);
        let write = pool.clone().max_connections(1).connect_with(options.clone()).await?;
        migrations().run(&write).await.map_err(|source| Error::Schema { path, source })?;
        let read = pool.max_connections(READERS).connect_with(options.read_only(true)).await?;
        Ok(Self { write, read, _data_dir: data_dir.clone() })
    }

    /// Ends all connections, after what they are doing now. Dropping the store does the same without waiting.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

fn migrations() -> Migrator {
    let scripts =
        [("log", include_str!("migrations/0001_log.sql")), ("job logs", include_str!("migrations/0002_job_logs.sql"))];
    let migration = |(version, (name, sql)): (i64, (&'static str, &'static str))| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(scripts).map(migration).collect())
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin_epoch(&self) -> Result<Epoch, Error> {
        let row = sqlx::query("UPDATE counters SET epoch = epoch + 1 WHERE only_row = 1 RETURNING epoch")
            .fetch_one(&self.write)
            .await?;
        Ok(Epoch(number(&row, "epoch")?))
    }

    async fn append(&self, batches: &[Batch]) -> Result<Vec<Recorded>, Error> {
        check_size(batches)?;
        let mut transaction = self.write.begin_with(BEGIN_WRITE).await?;
        let row = sqlx::query("SELECT sequence FROM counters WHERE only_row = 1").fetch_one(&mut *transaction).await?;
        let mut sequence = number(&row, "sequence")?;
        let mut recorded = Vec::new();
        for batch in batches {
            let found = revision(&mut transaction, &batch.stream).await?;
            if found != batch.after {
                return Err(Error::Conflict { stream: batch.stream.clone(), expected: batch.after, found });
            }
            if batch.events.is_empty() {
                continue;
            }
            move_stream(&mut transaction, batch).await?;
            for (revision, event) in (found.0 + 1..).zip(&batch.events) {
                sequence += 1;
                let event = record(Sequence(sequence), &batch.stream, Revision(revision), event);
                insert(&mut transaction, &event).await?;
                recorded.push(event);
            }
        }
        sqlx::query("UPDATE counters SET sequence = $1 WHERE only_row = 1")
            .bind(signed(sequence)?)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(recorded)
    }

    async fn load(&self, stream: &StreamId) -> Result<Vec<Recorded>, Error> {
        let rows = sqlx::query("SELECT * FROM events WHERE stream = $1 ORDER BY revision")
            .bind(&stream.0)
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(event).collect()
    }

    async fn load_all(&self, after: Sequence, limit: u32) -> Result<Vec<Recorded>, Error> {
        let rows = sqlx::query("SELECT * FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2")
            .bind(signed(after.0)?)
            .bind(i64::from(limit.min(PAGE_LIMIT)))
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(event).collect()
    }

    async fn events(&self, filter: &EventFilter) -> Result<Vec<Recorded>, Error> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM events WHERE sequence > ");
        query.push_bind(signed(filter.after.0)?);
        if let Some(app) = &filter.app {
            query.push(" AND app = ").push_bind(app);
        }
        if let Some(rollout) = &filter.rollout {
            query.push(" AND rollout = ").push_bind(rollout);
        }
        query.push(if filter.newest.is_some() {
            " ORDER BY sequence DESC LIMIT "
        } else {
            " ORDER BY sequence LIMIT "
        });
        query.push_bind(i64::from(filter.newest.unwrap_or(PAGE_LIMIT).min(PAGE_LIMIT)));
        let rows = query.build().fetch_all(&self.read).await?;
        let mut events = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        if filter.newest.is_some() {
            events.reverse();
        }
        Ok(events)
    }

    async fn streams_with_prefix(&self, prefix: &str) -> Result<Vec<(StreamId, Revision)>, Error> {
        let sql = "SELECT stream, revision FROM streams WHERE substr(stream, 1, length($1)) = $1 ORDER BY stream";
        let rows = sqlx::query(sql).bind(prefix).fetch_all(&self.read).await?;
        rows.iter().map(|row| Ok((StreamId(row.try_get("stream")?), Revision(number(row, "revision")?)))).collect()
    }

    async fn keep_job_log(&self, log: &KeptLog) -> Result<(), Error> {
        let mut transaction = self.write.begin_with(BEGIN_WRITE).await?;
        jobs::keep(&mut transaction, log).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn job_logs(&self, app: &str, digest: Option<&str>, limit: u32) -> Result<Vec<KeptLog>, Error> {
        jobs::newest(&self.read, app, digest, limit).await
    }

    async fn insert_token(&self, token: &Token) -> Result<(), Error> {
        access::insert_token(&self.write, token).await
    }

    async fn token(&self, id: &str) -> Result<Option<Token>, Error> {
        access::token(&self.read, id).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        access::tokens(&self.read).await
    }

    async fn enroll_node(&self, token_id: &str, certificate: &Certificate) -> Result<Enrolment, Error> {
        let mut transaction = self.write.begin_with(BEGIN_WRITE).await?;
        let outcome = access::enroll_node(&mut transaction, token_id, certificate).await?;
        match outcome {
            Enrolment::Done => transaction.commit().await?,
            Enrolment::TokenSpent | Enrolment::NameTaken => transaction.rollback().await?,
        }
        Ok(outcome)
    }

    async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, Error> {
        access::revoke_token(&self.write, id, now).await
    }

    async fn insert_certificate(&self, certificate: &Certificate) -> Result<(), Error> {
        access::insert_certificate(&self.write, certificate).await
    }

    async fn revoke_certificates(&self, node: &NodeName, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        access::revoke_certificates(&self.write, node, now).await
    }

    async fn revoked_certificates(&self, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        access::revoked_certificates(&self.read, now).await
    }
}

async fn revision(connection: &mut SqliteConnection, stream: &StreamId) -> Result<Revision, Error> {
    let row = sqlx::query("SELECT revision FROM streams WHERE stream = $1")
        .bind(&stream.0)
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(Revision(0)), |row| number(&row, "revision").map(Revision))
}

async fn move_stream(connection: &mut SqliteConnection, batch: &Batch) -> Result<(), Error> {
    let sql = "INSERT INTO streams (stream, revision) VALUES ($1, $2) \
               ON CONFLICT (stream) DO UPDATE SET revision = excluded.revision";
    let end = batch.after.0 + batch.events.len() as u64;
    sqlx::query(sql).bind(&batch.stream.0).bind(signed(end)?).execute(connection).await?;
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, event: &Recorded) -> Result<(), Error> {
    let sql = "INSERT INTO events (sequence, stream, revision, at, by, kind, app, node, rollout, body) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    sqlx::query(sql)
        .bind(signed(event.sequence.0)?)
        .bind(&event.stream.0)
        .bind(signed(event.revision.0)?)
        .bind(event.at.timestamp_micros())
        .bind(&event.by)
        .bind(&event.kind)
        .bind(&event.app)
        .bind(&event.node)
        .bind(&event.rollout)
        .bind(event.body.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

fn event(row: &SqliteRow) -> Result<Recorded, Error> {
    let body: String = row.try_get("body")?;
    let sequence = Sequence(number(row, "sequence")?);
    let damaged = |error| Error::Damaged(format!("body of event {sequence}: {error}"));
    Ok(Recorded {
        sequence,
        stream: StreamId(row.try_get("stream")?),
        revision: Revision(number(row, "revision")?),
        at: time(row.try_get("at")?)?,
        by: row.try_get("by")?,
        kind: row.try_get("kind")?,
        app: row.try_get("app")?,
        node: row.try_get("node")?,
        rollout: row.try_get("rollout")?,
        body: serde_json::from_str(&body).map_err(damaged)?,
    })
}

pub(super) fn time(micros: i64) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_micros(micros).ok_or_else(|| Error::Damaged(format!("`{micros}` is no time")))
}

fn number(row: &SqliteRow, column: &'static str) -> Result<u64, Error> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| Error::Damaged(format!("`{value}` in column `{column}`")))
}

fn signed(value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::Refused(format!("the number {value}")))
}
