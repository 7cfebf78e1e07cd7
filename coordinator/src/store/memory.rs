//! The store in memory: what is in it lives as long as the last of its clones. For simulations, which decide themselves
//! what a crash leaves behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_core::ids::{Epoch, NodeName};

use super::{
    Batch, Certificate, Enrolment, Error, EventFilter, JOB_LOGS_KEPT, KeptLog, PAGE_LIMIT, Recorded, Revision, Role,
    Sequence, Store, StreamId, Token, check_size, record, whole_micros,
};

#[derive(Debug, Default)]
struct Tables {
    epoch: u64,
    /// In the order of their sequence, which begins with 1 and has no gap.
    events: Vec<Recorded>,
    streams: BTreeMap<StreamId, Revision>,
    /// The newest first.
    job_logs: Vec<KeptLog>,
    tokens: BTreeMap<String, Token>,
    certificates: BTreeMap<String, (Certificate, Option<DateTime<Utc>>)>,
}

/// A store in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

impl MemoryStore {
    /// Every event, in order.
    #[must_use]
    pub fn all(&self) -> Vec<Recorded> {
        self.lock().events.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        // Each change is made after everything that could refuse it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, wanted: impl Fn(&Recorded) -> bool, after: Sequence, limit: u32) -> Vec<Recorded> {
        let tables = self.lock();
        let first = usize::try_from(after.0).unwrap_or(usize::MAX).min(tables.events.len());
        let limit = usize::try_from(limit.min(PAGE_LIMIT)).unwrap_or(usize::MAX);
        tables.events[first..].iter().filter(|event| wanted(event)).take(limit).cloned().collect()
    }
}

/// As precise as columns of other stores are.
fn stored(token: &Token) -> Token {
    Token {
        created: whole_micros(token.created),
        expires: token.expires.map(whole_micros),
        used_at: token.used_at.map(whole_micros),
        revoked_at: token.revoked_at.map(whole_micros),
        ..token.clone()
    }
}

impl Tables {
    fn insert_certificate(&mut self, certificate: &Certificate) -> Result<(), Error> {
        let Certificate { serial, node, issued, expires } = certificate.clone();
        if self.certificates.contains_key(&serial) {
            return Err(Error::Taken(format!("certificate `{serial}`")));
        }
        let kept = Certificate { serial, node, issued: whole_micros(issued), expires: whole_micros(expires) };
        self.certificates.insert(kept.serial.clone(), (kept, None));
        Ok(())
    }

    /// Certificates that would be good at this moment if they were not barred, barred or not.
    fn unexpired(&mut self, now: DateTime<Utc>) -> impl Iterator<Item = &mut (Certificate, Option<DateTime<Utc>>)> {
        self.certificates.values_mut().filter(move |(certificate, _)| certificate.expires > whole_micros(now))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn begin_epoch(&self) -> Result<Epoch, Error> {
        let mut tables = self.lock();
        tables.epoch += 1;
        Ok(Epoch(tables.epoch))
    }

    async fn append(&self, batches: &[Batch]) -> Result<Vec<Recorded>, Error> {
        check_size(batches)?;
        let mut tables = self.lock();
        for batch in batches {
            let found = tables.streams.get(&batch.stream).copied().unwrap_or_default();
            if found != batch.after {
                return Err(Error::Conflict { stream: batch.stream.clone(), expected: batch.after, found });
            }
        }
        let before = tables.events.len();
        for batch in batches.iter().filter(|batch| !batch.events.is_empty()) {
            for (revision, event) in (batch.after.0 + 1..).zip(&batch.events) {
                let sequence = Sequence(tables.events.len() as u64 + 1);
                tables.events.push(record(sequence, &batch.stream, Revision(revision), event));
            }
            let end = Revision(batch.after.0 + batch.events.len() as u64);
            tables.streams.insert(batch.stream.clone(), end);
        }
        Ok(tables.events[before..].to_vec())
    }

    async fn load(&self, stream: &StreamId) -> Result<Vec<Recorded>, Error> {
        Ok(self.lock().events.iter().filter(|event| event.stream == *stream).cloned().collect())
    }

    async fn load_all(&self, after: Sequence, limit: u32) -> Result<Vec<Recorded>, Error> {
        Ok(self.find(|_| true, after, limit))
    }

    async fn events(&self, filter: &EventFilter) -> Result<Vec<Recorded>, Error> {
        let fits = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let wanted = |event: &Recorded| fits(&filter.app, &event.app) && fits(&filter.rollout, &event.rollout);
        let Some(newest) = filter.newest else { return Ok(self.find(wanted, filter.after, PAGE_LIMIT)) };
        let tables = self.lock();
        let after = tables.events.iter().rev().take_while(|event| event.sequence > filter.after);
        let limit = usize::try_from(newest.min(PAGE_LIMIT)).unwrap_or(usize::MAX);
        let mut events: Vec<_> = after.filter(|event| wanted(event)).take(limit).cloned().collect();
        events.reverse();
        Ok(events)
    }

    async fn streams_with_prefix(&self, prefix: &str) -> Result<Vec<(StreamId, Revision)>, Error> {
        let tables = self.lock();
        let found = tables.streams.iter().filter(|(stream, _)| stream.0.starts_with(prefix));
        Ok(found.map(|(stream, revision)| (stream.clone(), *revision)).collect())
    }

    async fn keep_job_log(&self, log: &KeptLog) -> Result<(), Error> {
        let mut tables = self.lock();
        if !tables.job_logs.iter().any(|known| known.job == log.job) {
            tables.job_logs.push(KeptLog { at: whole_micros(log.at), ..log.clone() });
            tables.job_logs.sort_by(|a, b| (b.at, &b.job).cmp(&(a.at, &a.job)));
        }
        let mut kept = 0;
        tables.job_logs.retain(|known| {
            kept += u32::from(known.app == log.app);
            known.app != log.app || kept <= JOB_LOGS_KEPT
        });
        Ok(())
    }

    async fn job_logs(&self, app: &str, digest: Option<&str>, limit: u32) -> Result<Vec<KeptLog>, Error> {
        let wanted = |log: &&KeptLog| log.app == app && (digest.is_none() || log.digest.as_deref() == digest);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.lock().job_logs.iter().filter(wanted).take(limit).cloned().collect())
    }

    async fn insert_token(&self, token: &Token) -> Result<(), Error> {
        let mut tables = self.lock();
        if tables.tokens.contains_key(&token.id) {
            return Err(Error::Taken(format!("token `{}`", token.id)));
        }
        tables.tokens.insert(token.id.clone(), stored(token));
        Ok(())
    }

    async fn token(&self, id: &str) -> Result<Option<Token>, Error> {
        Ok(self.lock().tokens.get(id).cloned())
    }

    async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let mut tokens: Vec<_> = self.lock().tokens.values().cloned().collect();
        tokens.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(tokens)
    }

    async fn enroll_node(&self, token_id: &str, certificate: &Certificate) -> Result<Enrolment, Error> {
        let now = whole_micros(certificate.issued);
        let mut tables = self.lock();
        if !tables.tokens.get(token_id).is_some_and(|token| token.role == Role::Node && token.is_good(now)) {
            return Ok(Enrolment::TokenSpent);
        }
        if tables.unexpired(now).any(|(other, revoked)| other.node == certificate.node && revoked.is_none()) {
            return Ok(Enrolment::NameTaken);
        }
        tables.insert_certificate(certificate)?;
        if let Some(token) = tables.tokens.get_mut(token_id) {
            token.used_at = Some(now);
        }
        Ok(Enrolment::Done)
    }

    async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, Error> {
        let mut tables = self.lock();
        let token = tables.tokens.get_mut(id).filter(|token| token.revoked_at.is_none());
        Ok(token.map(|token| token.revoked_at = Some(whole_micros(now))).is_some())
    }

    async fn insert_certificate(&self, certificate: &Certificate) -> Result<(), Error> {
        self.lock().insert_certificate(certificate)
    }

    async fn revoke_certificates(&self, node: &NodeName, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        let mut tables = self.lock();
        let good =
            tables.unexpired(now).filter(|(certificate, revoked)| certificate.node == *node && revoked.is_none());
        let barred = good.map(|(certificate, revoked)| {
            *revoked = Some(whole_micros(now));
            certificate.serial.clone()
        });
        Ok(barred.collect())
    }

    async fn revoked_certificates(&self, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
        let mut tables = self.lock();
        let barred = tables.unexpired(now).filter(|(_, revoked)| revoked.is_some());
        Ok(barred.map(|(certificate, _)| certificate.serial.clone()).collect())
    }
}
