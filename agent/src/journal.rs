//! The step journal: what an agent must know after a crash, stored before it acts.
//!
//! One file for each step, replaced whole by the [`Storage`]. Should a disk tear one all the same, it is set aside and
//! reported, so that one bad file is no crash loop. Ended steps stay until the coordinator has acknowledged them.
//! `fence.json` beside them holds the largest epoch and generations seen: a smaller one never acts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nightshift_core::fence::Fence;
pub use nightshift_core::fence::Stale;
use nightshift_core::ids::Epoch;
use nightshift_core::replace::Record;
use nightshift_core::step::{StepKey, StepOrder};
use serde::{Deserialize, Serialize};

use crate::storage::Storage;

pub use crate::storage::Error;

/// Most steps kept. They leave when the coordinator has acknowledged them; so many mean that it never does.
pub const STEP_LIMIT: usize = 1_000;
/// Directory of the steps' files.
const STEPS: &str = "steps";
/// File of the fence.
const FENCE: &str = "fence.json";

/// A file that could not be read and was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Contents {
    records: BTreeMap<StepKey, Record>,
    fence: Fence,
}

/// The journal of one agent.
#[derive(Debug)]
pub struct Journal {
    storage: Arc<dyn Storage>,
    contents: Mutex<Contents>,
    /// One write at a time: the contents follow the storage in the same order.
    writing: tokio::sync::Mutex<()>,
}

impl Journal {
    /// Reads the journal that is kept in this storage.
    ///
    /// # Errors
    /// The storage cannot be used. A file in it that makes no sense is no error: it is set aside.
    pub fn open(storage: Arc<dyn Storage>) -> Result<(Self, Vec<SetAside>), Error> {
        let mut contents = Contents::default();
        let mut set_aside = Vec::new();
        for file in storage.list(STEPS)?.iter().filter(|file| file.ends_with(".json")) {
            let name = format!("{STEPS}/{file}");
            if let Some(record) = read_json::<Record>(&*storage, &name, &mut set_aside)? {
                contents.records.insert(record.order.key.clone(), record);
            }
        }
        contents.fence = read_json(&*storage, FENCE, &mut set_aside)?.unwrap_or_default();
        // What the steps themselves say counts too, should the fence be the file that was torn.
        let orders: Vec<StepOrder> = contents.records.values().map(|record| record.order.clone()).collect();
        for order in &orders {
            contents.fence.raise(order);
        }
        Ok((Self { storage, contents: Mutex::new(contents), writing: tokio::sync::Mutex::default() }, set_aside))
    }

    /// Every step, by its key.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.values().cloned().collect()
    }

    /// One step.
    #[must_use]
    pub fn record(&self, key: &StepKey) -> Option<Record> {
        self.lock().records.get(key).cloned()
    }

    /// Whether it holds as many steps as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lock().records.len() >= STEP_LIMIT
    }

    /// The largest epoch seen.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.lock().fence.epoch()
    }

    /// Whether an order is too old.
    ///
    /// # Errors
    /// A larger epoch, or a larger generation of its rollout, was seen before, or the very order.
    pub fn check_fence(&self, epoch: Epoch, key: Option<&StepKey>) -> Result<(), Stale> {
        self.lock().fence.check(epoch, key)
    }

    /// Remembers an order with its epoch and generation, stored before it returns.
    ///
    /// # Errors
    /// It cannot be stored; then the order must not be acted on.
    pub async fn raise_fence(&self, order: &StepOrder) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        let mut fence = self.lock().fence.clone();
        fence.raise(order);
        self.storage.write(FENCE, json(&fence)).await?;
        self.lock().fence = fence;
        Ok(())
    }

    /// Writes a step, stored before it returns.
    ///
    /// # Errors
    /// It cannot be stored; then nothing must be done that the record does not know.
    pub async fn save(&self, record: &Record) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        self.storage.write(&file_of(&record.order.key), json(record)).await?;
        self.lock().records.insert(record.order.key.clone(), record.clone());
        Ok(())
    }

    /// Forgets an ended step. One that has not ended, or is not known, is left alone.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn forget(&self, key: &StepKey) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        if !self.lock().records.get(key).is_some_and(|record| record.phase.is_end()) {
            return Ok(());
        }
        self.storage.remove(&file_of(key)).await?;
        self.lock().records.remove(key);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // The contents change in one assignment after they are stored: a panic elsewhere leaves nothing half done.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_of(key: &StepKey) -> String {
    format!("{STEPS}/{}.{}.{}.json", key.rollout, key.step, key.generation)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records and fences are plain data with text keys")
}

/// Reads a file; one that makes no sense is set aside.
fn read_json<T: for<'de> Deserialize<'de>>(
    storage: &dyn Storage,
    name: &str,
    set_aside: &mut Vec<SetAside>,
) -> Result<Option<T>, Error> {
    let reason = match storage.read(name) {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => match serde_json::from_slice(&text) {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    set_aside.push(SetAside { path: storage.set_aside(name)?, reason });
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    use nightshift_core::ids::{ContainerId, Generation, StepIndex};
    use nightshift_core::spec::{HealthCheck, Hooks, UpdateOrder};
    use nightshift_core::step::{Purpose, StepPhase};

    use super::*;
    use crate::storage::{FileStorage, READ_LIMIT_BYTES};

    fn order(rollout: &str, step: u32, generation: u64, epoch: u64) -> StepOrder {
        let key =
            StepKey { rollout: rollout.parse().unwrap(), step: StepIndex(step), generation: Generation(generation) };
        StepOrder {
            key,
            epoch: Epoch(epoch),
            purpose: Purpose::Update,
            node: "node1".parse().expect("well formed"),
            app: "web".parse().unwrap(),
            container: "web".into(),
            container_id: ContainerId("old".into()),
            image: "r.example/web:stable".parse().unwrap(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            order: UpdateOrder::StopFirst,
            health: HealthCheck::Auto,
            hooks: Hooks::default(),
            healthy_deadline: Duration::from_secs(60),
            monitor: Duration::from_secs(30),
            keep_images: 2,
            start_within: Duration::from_secs(60),
            signatures: Vec::new(),
        }
    }

    fn storage(directory: &Path) -> Arc<dyn Storage> {
        Arc::new(FileStorage::new(directory))
    }

    fn open(directory: &Path) -> Journal {
        let (journal, set_aside) = Journal::open(storage(directory)).unwrap();
        assert_eq!(set_aside, []);
        journal
    }

    #[tokio::test]
    async fn what_was_saved_is_there_after_a_crash_and_only_ended_steps_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::new(order("r-1", 2, 3, 4));
        let other = Record::new(order("r-1", 3, 3, 4));
        let journal = open(directory.path());
        journal.save(&other).await.unwrap();
        journal.save(&record).await.unwrap();
        record.phase = StepPhase::Created;
        journal.save(&record).await.unwrap();
        let journal = open(directory.path());
        assert_eq!(journal.records(), [record.clone(), other]);
        journal.forget(&record.order.key).await.unwrap();
        assert_eq!(journal.record(&record.order.key), Some(record.clone()));
        record.phase = StepPhase::Committed;
        journal.save(&record).await.unwrap();
        journal.forget(&record.order.key).await.unwrap();
        journal.forget(&record.order.key).await.unwrap();
        assert_eq!(open(directory.path()).record(&record.order.key), None);
    }

    #[tokio::test]
    async fn a_torn_file_is_set_aside_and_the_others_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let good = Record::new(order("r-1", 0, 1, 1));
        let journal = open(directory.path());
        journal.save(&good).await.unwrap();
        let steps = directory.path().join(STEPS);
        let text = fs::read(steps.join("r-1.0.1.json")).unwrap();
        fs::write(steps.join("r-2.0.1.json"), &text[..text.len() / 2]).unwrap();
        fs::write(steps.join("r-3.0.1.json"), []).unwrap();
        let large = File::create(steps.join("r-4.0.1.json")).unwrap();
        large.set_len(READ_LIMIT_BYTES + 1).unwrap();
        fs::write(directory.path().join(FENCE), "{").unwrap();
        let (journal, mut set_aside) = Journal::open(storage(directory.path())).unwrap();
        assert_eq!(journal.records(), [good]);
        assert_eq!(journal.epoch(), Epoch(1), "the steps say what the torn fence cannot");
        set_aside.sort_by(|a, b| a.path.cmp(&b.path));
        let names: Vec<_> = set_aside.iter().map(|file| file.path.strip_prefix(&steps).unwrap().to_owned()).collect();
        assert_eq!(
            names,
            [FENCE, "r-2.0.1.json", "r-3.0.1.json", "r-4.0.1.json"].map(|name| Path::new("unreadable").join(name))
        );
        assert!(set_aside.iter().all(|file| file.path.exists() && !file.reason.is_empty()));
        open(directory.path());
    }

    #[tokio::test]
    async fn a_smaller_epoch_or_generation_is_stale_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path());
        journal.raise_fence(&order("r-1", 0, 3, 5)).await.unwrap();
        for journal in [journal, open(directory.path())] {
            let check = |rollout, generation, epoch| {
                let order = order(rollout, 0, generation, epoch);
                journal.check_fence(order.epoch, Some(&order.key))
            };
            assert_eq!(check("r-1", 3, 5), Err(Stale::Again));
            let other = order("r-1", 1, 3, 5);
            assert_eq!(journal.check_fence(other.epoch, Some(&other.key)), Ok(()));
            assert_eq!(check("r-1", 4, 6), Ok(()));
            assert_eq!(check("r-2", 1, 5), Ok(()));
            assert_eq!(check("r-1", 9, 4), Err(Stale::Epoch { found: Epoch(4), seen: Epoch(5) }));
            let stale = Stale::Generation { found: Generation(2), seen: Generation(3) };
            assert_eq!(check("r-1", 2, 9), Err(stale));
            assert!(journal.check_fence(Epoch(4), None).is_err());
        }
    }

    #[tokio::test]
    async fn only_the_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).save(&Record::new(order("r-1", 0, 1, 1))).await.unwrap();
        let steps = directory.path().join(STEPS);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&steps), mode(&steps.join("r-1.0.1.json"))), (0o700, 0o600));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Journal::open(storage(&file)).expect_err("a file is no directory").to_string();
        assert!(error.contains("cannot make `") && error.contains("hint: "), "{error}");
    }
}
