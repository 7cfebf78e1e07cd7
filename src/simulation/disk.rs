//! An agent's disk: files in memory that outlive its process. What was not flushed may be lost with the power.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nightshift_agent::storage::{Error, Storage};

use super::chance::Chance;
use super::fuse::Fuse;

#[derive(Debug, Default)]
struct Platter {
    files: BTreeMap<String, Vec<u8>>,
    /// Removed, and the directory not flushed since: may be there once more after a power cut.
    removed: BTreeMap<String, Vec<u8>>,
}

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    /// The disk as one process uses it.
    pub(crate) fn mount(&self, fuse: Fuse) -> Mounted {
        Mounted { disk: self.clone(), fuse }
    }

    /// The power goes: each removal that was not flushed is undone, or not.
    pub(crate) fn lose_power(&self, chance: &Chance) -> bool {
        let mut platter = self.lock();
        let removed = std::mem::take(&mut platter.removed);
        let mut undone = false;
        for (name, content) in removed {
            if chance.permille(500) {
                platter.files.insert(name, content);
                undone = true;
            }
        }
        undone
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk in the hands of a process.
#[derive(Debug, Clone)]
pub(crate) struct Mounted {
    disk: Disk,
    fuse: Fuse,
}

#[async_trait]
impl Storage for Mounted {
    fn list(&self, directory: &str) -> Result<Vec<String>, Error> {
        let platter = self.disk.lock();
        let below = platter.files.keys().filter_map(|name| name.strip_prefix(directory)?.strip_prefix('/'));
        Ok(below.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.disk.lock().files.get(name).cloned())
    }

    async fn write(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        self.fuse.before_write().await;
        {
            let mut platter = self.disk.lock();
            platter.files.insert(name.to_owned(), content);
            // The directory is flushed with it, and so is what was removed there.
            platter.removed.clear();
        }
        self.fuse.after_write().await;
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        self.fuse.before_write().await;
        {
            let mut platter = self.disk.lock();
            if let Some(content) = platter.files.remove(name) {
                platter.removed.insert(name.to_owned(), content);
            }
        }
        self.fuse.after_write().await;
        Ok(())
    }

    fn set_aside(&self, name: &str) -> Result<PathBuf, Error> {
        let error = io::Error::other("this disk tears no file");
        Err(Error::new("set aside", PathBuf::from(name), error))
    }
}
