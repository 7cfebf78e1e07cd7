//! The largest epoch that this node has obeyed. It outlives the process: a coordinator that was replaced stays refused.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;

use nightshift_core::ids::Epoch;

use crate::files;

/// The file in the data directory.
const FILE: &str = "epoch";

/// Why an epoch is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be stored, so it must not be acted on.
    #[error(transparent)]
    File(#[from] files::Error),
    /// What is stored is no number.
    #[error("`{0}` holds no epoch; hint: remove the file when only one coordinator runs")]
    Unreadable(String),
    /// A larger one was obeyed before.
    #[error(
        "this coordinator is outdated: its epoch is {offered}, and epoch {seen} was obeyed already; hint: another one has \
         taken over, or this one was restored from an old backup"
    )]
    Outdated {
        /// What the coordinator said.
        offered: Epoch,
        /// What is known.
        seen: Epoch,
    },
}

/// The epoch in force, and its file.
#[derive(Debug)]
pub struct Epochs {
    path: PathBuf,
    seen: Mutex<Epoch>,
}

impl Epochs {
    /// Reads what earlier processes have obeyed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let seen = match files::read(&path)? {
            None => Epoch(0),
            Some(text) => Epoch(text.trim().parse().map_err(|_| Error::Unreadable(path.display().to_string()))?),
        };
        Ok(Self { path, seen: Mutex::new(seen) })
    }

    /// The largest epoch so far; 0 when there was none.
    #[must_use]
    pub fn seen(&self) -> Epoch {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Obeys this epoch from now on. It is on disk when this returns.
    ///
    /// # Errors
    /// It is smaller than one before, or cannot be stored.
    pub fn obey(&self, offered: Epoch) -> Result<(), Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if offered < *seen {
            return Err(Error::Outdated { offered, seen: *seen });
        }
        if offered > *seen {
            files::write(&self.path, &format!("{offered}\n"))?;
            *seen = offered;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_epoch_is_refused_also_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let epochs = Epochs::open(directory.path()).unwrap();
        assert_eq!(epochs.seen(), Epoch(0));
        epochs.obey(Epoch(5)).unwrap();
        epochs.obey(Epoch(5)).unwrap();
        let next = Epochs::open(directory.path()).unwrap();
        assert_eq!(next.seen(), Epoch(5));
        let error = next.obey(Epoch(4)).expect_err("outdated").to_string();
        assert!(error.starts_with("this coordinator is outdated: its epoch is 4, and epoch 5 was obeyed"), "{error}");
        next.obey(Epoch(6)).unwrap();
    }

    #[test]
    fn a_damaged_file_is_named_and_not_taken_for_zero() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "5x").unwrap();
        let error = Epochs::open(directory.path()).expect_err("no number").to_string();
        assert!(error.contains("/epoch` holds no epoch"), "{error}");
    }
}
