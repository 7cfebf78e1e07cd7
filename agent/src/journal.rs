//! The step journal: what an agent must know after a crash, on disk before it acts.
//!
//! One file for each step, written whole to a temporary file, flushed, renamed, and the directory flushed: a file is
//! there in its old or its new form, never a part of one. Should a disk tear one all the same, it is set aside and
//! reported, so that one bad file is no crash loop. Ended steps stay until the coordinator has acknowledged them.
//! `fence.json` beside them holds the largest epoch and generations seen: a smaller one never acts.
//!
//! The files hold containers' environments and are readable by their owner alone. All calls block on the disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nightshift_core::ids::{Epoch, Generation, RolloutId};
use nightshift_core::replace::Record;
use nightshift_core::step::{StepKey, StepOrder};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// Largest file that is read. A record is a container's configuration and little more: kilobytes, seldom some hundred.
const RECORD_LIMIT_BYTES: u64 = 4 * 1024 * 1024;
/// Most steps kept. They leave when the coordinator has acknowledged them; so many mean that it never does.
pub const STEP_LIMIT: usize = 1_000;
/// Most rollouts whose generation is remembered: their ids sort by birth, the oldest leave first.
const ROLLOUT_LIMIT: usize = 1_000;
/// Directory of the steps' files.
const STEPS: &str = "steps";
/// Directory of files that could not be read.
const SET_ASIDE: &str = "unreadable";
/// File of the fence.
const FENCE: &str = "fence.json";

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{}`: {source}; hint: the agent needs room and the right to write there", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Why an order is too old to act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// Its coordinator was replaced.
    #[error("its epoch {found} is older than {seen}, which was seen here: another coordinator has taken over")]
    Epoch {
        /// The order's.
        found: Epoch,
        /// The largest seen.
        seen: Epoch,
    },
    /// Its rollout has changed direction since.
    #[error("its generation {found} is older than {seen}, which was seen here: the rollout has changed direction")]
    Generation {
        /// The order's.
        found: Generation,
        /// The largest seen of its rollout.
        seen: Generation,
    },
}

/// A file that could not be read and was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fence {
    epoch: Epoch,
    generations: BTreeMap<RolloutId, Generation>,
}

#[derive(Debug, Default)]
struct Contents {
    records: BTreeMap<StepKey, Record>,
    fence: Fence,
}

/// The journal of one agent.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    contents: Mutex<Contents>,
}

impl Journal {
    /// Opens the journal below the agent's data directory, which is made where it is missing.
    ///
    /// # Errors
    /// The directory cannot be made, read or written. A file in it that makes no sense is no error: it is set aside.
    pub fn open(data_dir: &Path) -> Result<(Self, Vec<SetAside>), Error> {
        let directory = data_dir.join(STEPS);
        make_directory(&directory)?;
        let mut contents = Contents::default();
        let mut set_aside = Vec::new();
        let entries = fs::read_dir(&directory).map_err(failed("read", &directory))?;
        for entry in entries {
            let path = entry.map_err(failed("read", &directory))?.path();
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            if !is_json {
                continue;
            }
            match read_record(&path) {
                Ok(record) => {
                    contents.records.insert(record.order.key.clone(), record);
                }
                Err(reason) => set_aside.push(move_aside(&directory, &path, reason)?),
            }
        }
        let fence_path = data_dir.join(FENCE);
        if fence_path.exists() {
            match read_json::<Fence>(&fence_path) {
                Ok(fence) => contents.fence = fence,
                Err(reason) => set_aside.push(move_aside(&directory, &fence_path, reason)?),
            }
        }
        // What the steps themselves say counts too, should the fence be the file that was torn.
        let orders: Vec<StepOrder> = contents.records.values().map(|record| record.order.clone()).collect();
        for order in &orders {
            contents.fence.raise(order);
        }
        Ok((Self { directory, contents: Mutex::new(contents) }, set_aside))
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
        self.lock().fence.epoch
    }

    /// Whether an order is too old.
    ///
    /// # Errors
    /// A larger epoch, or a larger generation of its rollout, was seen before.
    pub fn check_fence(&self, epoch: Epoch, key: Option<&StepKey>) -> Result<(), Stale> {
        let fence = &self.lock().fence;
        if epoch < fence.epoch {
            return Err(Stale::Epoch { found: epoch, seen: fence.epoch });
        }
        let Some(key) = key else { return Ok(()) };
        match fence.generations.get(&key.rollout) {
            Some(&seen) if key.generation < seen => Err(Stale::Generation { found: key.generation, seen }),
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers an order's epoch and generation, on disk before it returns.
    ///
    /// # Errors
    /// The disk does not take it; then the order must not be acted on.
    pub fn raise_fence(&self, order: &StepOrder) -> Result<(), Error> {
        let mut contents = self.lock();
        let mut fence = contents.fence.clone();
        if !fence.raise(order) {
            return Ok(());
        }
        let data_dir = self.directory.parent().unwrap_or(&self.directory);
        write_json(data_dir, &data_dir.join(FENCE), &fence)?;
        contents.fence = fence;
        Ok(())
    }

    /// Writes a step, on disk before it returns.
    ///
    /// # Errors
    /// The disk does not take it; then nothing must be done that the record does not know.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let mut contents = self.lock();
        write_json(&self.directory, &self.path_of(&record.order.key), record)?;
        contents.records.insert(record.order.key.clone(), record.clone());
        Ok(())
    }

    /// Forgets an ended step. One that has not ended, or is not known, is left alone.
    ///
    /// # Errors
    /// The disk does not do it.
    pub fn forget(&self, key: &StepKey) -> Result<(), Error> {
        let mut contents = self.lock();
        if !contents.records.get(key).is_some_and(|record| record.phase.is_end()) {
            return Ok(());
        }
        let path = self.path_of(key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path)(error)),
        }
        contents.records.remove(key);
        Ok(())
    }

    fn path_of(&self, key: &StepKey) -> PathBuf {
        self.directory.join(format!("{}.{}.{}.json", key.rollout, key.step, key.generation))
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // The contents change in one assignment after the disk has them: a panic elsewhere leaves nothing half done.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fence {
    /// Takes over what is larger, and says whether anything was.
    fn raise(&mut self, order: &StepOrder) -> bool {
        let epoch_grows = order.epoch > self.epoch;
        self.epoch = self.epoch.max(order.epoch);
        let known = self.generations.get(&order.key.rollout).copied();
        let generation_grows = known.is_none_or(|known| order.key.generation > known);
        if generation_grows {
            self.generations.insert(order.key.rollout.clone(), order.key.generation);
            while self.generations.len() > ROLLOUT_LIMIT {
                self.generations.pop_first();
            }
        }
        epoch_grows || generation_grows
    }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error { what, path: path.to_owned(), source }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

fn read_record(path: &Path) -> Result<Record, String> {
    read_json(path)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(RECORD_LIMIT_BYTES + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > RECORD_LIMIT_BYTES {
        return Err(format!("larger than {RECORD_LIMIT_BYTES} bytes"));
    }
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

fn move_aside(directory: &Path, path: &Path, reason: String) -> Result<SetAside, Error> {
    let aside = directory.join(SET_ASIDE);
    make_directory(&aside)?;
    let target = aside.join(path.file_name().unwrap_or_default());
    fs::rename(path, &target).map_err(failed("set aside", path))?;
    Ok(SetAside { path: target, reason })
}

fn write_json(directory: &Path, path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec(value).map_err(|error| failed("write", path)(io::Error::other(error)))?;
    let write = || -> io::Result<()> {
        let mut file = NamedTempFile::new_in(directory)?;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&text)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nightshift_core::ids::{ContainerId, StepIndex};
    use nightshift_core::spec::{HealthCheck, UpdateOrder};
    use nightshift_core::step::{Purpose, StepPhase};

    use super::*;

    fn order(rollout: &str, step: u32, generation: u64, epoch: u64) -> StepOrder {
        let key =
            StepKey { rollout: rollout.parse().unwrap(), step: StepIndex(step), generation: Generation(generation) };
        StepOrder {
            key,
            epoch: Epoch(epoch),
            purpose: Purpose::Update,
            app: "web".parse().unwrap(),
            container: "web".into(),
            container_id: ContainerId("old".into()),
            image: "r.example/web:stable".parse().unwrap(),
            digest: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            order: UpdateOrder::StopFirst,
            health: HealthCheck::Auto,
            healthy_deadline: Duration::from_secs(60),
            monitor: Duration::from_secs(30),
            keep_images: 2,
            start_within: Duration::from_secs(60),
        }
    }

    fn open(directory: &Path) -> Journal {
        let (journal, set_aside) = Journal::open(directory).unwrap();
        assert_eq!(set_aside, []);
        journal
    }

    #[test]
    fn what_was_saved_is_there_after_a_crash_and_only_ended_steps_are_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::new(order("r-1", 2, 3, 4));
        let other = Record::new(order("r-1", 3, 3, 4));
        let journal = open(directory.path());
        journal.save(&other).unwrap();
        journal.save(&record).unwrap();
        record.phase = StepPhase::Created;
        journal.save(&record).unwrap();
        let journal = open(directory.path());
        assert_eq!(journal.records(), [record.clone(), other]);
        journal.forget(&record.order.key).unwrap();
        assert_eq!(journal.record(&record.order.key), Some(record.clone()));
        record.phase = StepPhase::Committed;
        journal.save(&record).unwrap();
        journal.forget(&record.order.key).unwrap();
        journal.forget(&record.order.key).unwrap();
        assert_eq!(open(directory.path()).record(&record.order.key), None);
    }

    #[test]
    fn a_torn_file_is_set_aside_and_the_others_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let good = Record::new(order("r-1", 0, 1, 1));
        let journal = open(directory.path());
        journal.save(&good).unwrap();
        let steps = directory.path().join(STEPS);
        let text = fs::read(steps.join("r-1.0.1.json")).unwrap();
        fs::write(steps.join("r-2.0.1.json"), &text[..text.len() / 2]).unwrap();
        fs::write(steps.join("r-3.0.1.json"), []).unwrap();
        let large = File::create(steps.join("r-4.0.1.json")).unwrap();
        large.set_len(RECORD_LIMIT_BYTES + 1).unwrap();
        fs::write(directory.path().join(FENCE), "{").unwrap();
        let (journal, mut set_aside) = Journal::open(directory.path()).unwrap();
        assert_eq!(journal.records(), [good]);
        assert_eq!(journal.epoch(), Epoch(1), "the steps say what the torn fence cannot");
        set_aside.sort_by(|a, b| a.path.cmp(&b.path));
        let names: Vec<_> = set_aside.iter().map(|file| file.path.strip_prefix(&steps).unwrap().to_owned()).collect();
        assert_eq!(
            names,
            [FENCE, "r-2.0.1.json", "r-3.0.1.json", "r-4.0.1.json"].map(|name| Path::new(SET_ASIDE).join(name))
        );
        assert!(set_aside.iter().all(|file| file.path.exists() && !file.reason.is_empty()));
        open(directory.path());
    }

    #[test]
    fn a_smaller_epoch_or_generation_is_stale_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let journal = open(directory.path());
        journal.raise_fence(&order("r-1", 0, 3, 5)).unwrap();
        for journal in [journal, open(directory.path())] {
            let check = |rollout, generation, epoch| {
                let order = order(rollout, 0, generation, epoch);
                journal.check_fence(order.epoch, Some(&order.key))
            };
            assert_eq!(check("r-1", 3, 5), Ok(()));
            assert_eq!(check("r-1", 4, 6), Ok(()));
            assert_eq!(check("r-2", 1, 5), Ok(()));
            assert_eq!(check("r-1", 9, 4), Err(Stale::Epoch { found: Epoch(4), seen: Epoch(5) }));
            let stale = Stale::Generation { found: Generation(2), seen: Generation(3) };
            assert_eq!(check("r-1", 2, 9), Err(stale));
            assert!(journal.check_fence(Epoch(4), None).is_err());
        }
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).save(&Record::new(order("r-1", 0, 1, 1))).unwrap();
        let steps = directory.path().join(STEPS);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&steps), mode(&steps.join("r-1.0.1.json"))), (0o700, 0o600));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Journal::open(&file).expect_err("a file is no directory").to_string();
        assert!(error.contains("cannot make `") && error.contains("hint: "), "{error}");
    }
}
