//! The largest epoch that this node has obeyed. It outlives the process: a coordinator that was replaced stays refused.

use std::sync::{Arc, Mutex, PoisonError};

use nightshift_core::ids::Epoch;

use crate::storage::{self, Storage};

/// The file in the storage.
const FILE: &str = "epoch";

/// Why an epoch is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be stored, so it must not be acted on.
    #[error(transparent)]
    Storage(#[from] storage::Error),
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

/// The epoch in force, and where it is kept.
#[derive(Debug)]
pub struct Epochs {
    storage: Arc<dyn Storage>,
    seen: Mutex<Epoch>,
}

impl Epochs {
    /// Reads what earlier processes have obeyed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let seen = match storage.read(FILE)? {
            None => Epoch(0),
            Some(text) => {
                let number = str::from_utf8(&text).ok().and_then(|text| text.trim().parse().ok());
                Epoch(number.ok_or_else(|| Error::Unreadable(FILE.to_owned()))?)
            }
        };
        Ok(Self { storage, seen: Mutex::new(seen) })
    }

    /// The largest epoch so far; 0 when there was none.
    #[must_use]
    pub fn seen(&self) -> Epoch {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Obeys this epoch from now on. It is stored when this returns.
    ///
    /// # Errors
    /// It is smaller than one before, or cannot be stored.
    pub async fn obey(&self, offered: Epoch) -> Result<(), Error> {
        let seen = self.seen();
        if offered < seen {
            return Err(Error::Outdated { offered, seen });
        }
        if offered > seen {
            self.storage.write(FILE, format!("{offered}\n").into_bytes()).await?;
            // One session obeys at a time; a larger one stays in force whoever comes last.
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = offered.max(*seen);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStorage;

    fn open(directory: &std::path::Path) -> Result<Epochs, Error> {
        Epochs::open(Arc::new(FileStorage::new(directory)))
    }

    #[tokio::test]
    async fn a_smaller_epoch_is_refused_also_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let epochs = open(directory.path()).unwrap();
        assert_eq!(epochs.seen(), Epoch(0));
        epochs.obey(Epoch(5)).await.unwrap();
        epochs.obey(Epoch(5)).await.unwrap();
        let next = open(directory.path()).unwrap();
        assert_eq!(next.seen(), Epoch(5));
        let error = next.obey(Epoch(4)).await.expect_err("outdated").to_string();
        assert!(error.starts_with("this coordinator is outdated: its epoch is 4, and epoch 5 was obeyed"), "{error}");
        next.obey(Epoch(6)).await.unwrap();
    }

    #[test]
    fn a_damaged_file_is_named_and_not_taken_for_zero() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "5x").unwrap();
        let error = open(directory.path()).expect_err("no number").to_string();
        assert!(error.starts_with("`epoch` holds no epoch"), "{error}");
    }
}
