//! What must be known of jobs after a crash: one small file for each, replaced whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nightshift_core::ids::JobId;
use nightshift_core::job::{JobOrder, JobReport};
use serde::{Deserialize, Serialize};
use tracing::error;

use crate::storage::{Error, Storage};
use crate::surroundings::Surroundings;

/// Directory of the jobs' files.
const JOBS: &str = "jobs";
/// File with the agent's name on what its jobs make.
const AGENT: &str = "job-agent";
/// Hexadecimal digits of it: two agents of one engine do not draw the same.
const AGENT_DIGITS: usize = 16;
/// Most jobs kept. They leave when the coordinator has acknowledged them, and it orders one at a time.
const JOB_LIMIT: usize = 100;

/// A job on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) order: JobOrder,
    /// Whether its image was not here before, so that it goes with the job.
    pub(super) fetched: bool,
    /// What a build may have left in the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) build: Option<Traces>,
    /// Set at its end.
    pub(super) report: Option<JobReport>,
}

/// What a build has left in the engine, as far as it came. Stored before it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traces {
    /// The id of what was built.
    pub(super) image: Option<String>,
    /// The app's own tag was moved here for the push; inside: what it stood for before, if anything.
    pub(super) moved: Option<Option<String>>,
    /// Layers without a name, the newest last: of a build that failed, and of the stages that are not the last.
    pub(super) layers: Vec<String>,
}

/// The stored jobs.
#[derive(Debug)]
pub(super) struct Shelf {
    storage: Arc<dyn Storage>,
    records: Mutex<BTreeMap<JobId, Record>>,
    /// One write at a time: the records follow the storage in the same order.
    writing: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// Reads what is stored. A file that makes no sense is set aside: the coordinator then hears that the job is lost.
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let mut records = BTreeMap::new();
        for file in storage.list(JOBS)?.iter().filter(|file| file.ends_with(".json")) {
            let name = format!("{JOBS}/{file}");
            let Some(text) = storage.read(&name)? else { continue };
            match serde_json::from_slice::<Record>(&text) {
                Ok(record) => drop(records.insert(record.order.id.clone(), record)),
                Err(reason) => {
                    let path = storage.set_aside(&name)?;
                    error!(path = %path.display(), %reason, "a file of a job cannot be read and was set aside");
                }
            }
        }
        Ok(Self { storage, records: Mutex::new(records), writing: tokio::sync::Mutex::default() })
    }

    pub(super) fn records(&self) -> Vec<Record> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn record(&self, job: &JobId) -> Option<Record> {
        self.lock().get(job).cloned()
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= JOB_LIMIT
    }

    /// Stores a job; on the disk when this returns.
    pub(super) async fn save(&self, record: &Record) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        let json = serde_json::to_vec(record).expect("a record is plain data with text keys");
        self.storage.write(&file_of(&record.order.id), json).await?;
        self.lock().insert(record.order.id.clone(), record.clone());
        Ok(())
    }

    /// Forgets a job that has ended. One that has not, or is not known, is left alone.
    pub(super) async fn forget(&self, job: &JobId) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        if self.record(job).is_none_or(|record| record.report.is_none()) {
            return Ok(());
        }
        self.storage.remove(&file_of(job)).await?;
        self.lock().remove(job);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<JobId, Record>> {
        // The records change in one call after they are stored: a panic elsewhere leaves nothing half done.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of this agent on what its jobs make: drawn once, and kept.
pub(super) async fn agent_name(storage: &dyn Storage, surroundings: &Surroundings) -> Result<String, Error> {
    let known = storage.read(AGENT)?.and_then(|text| String::from_utf8(text).ok());
    if let Some(known) = known.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
        return Ok(known);
    }
    let digit = || char::from_digit(digit_of(surroundings.chance()), 16).unwrap_or('0');
    let name: String = std::iter::repeat_with(digit).take(AGENT_DIGITS).collect();
    storage.write(AGENT, format!("{name}\n").into_bytes()).await?;
    Ok(name)
}

/// A number from 0 to 15 for one from 0 up to 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "chance is from 0 up to 1")]
fn digit_of(chance: f64) -> u32 {
    ((chance * 16.0) as u32).min(15)
}

fn file_of(job: &JobId) -> String {
    format!("{JOBS}/{job}.json")
}
