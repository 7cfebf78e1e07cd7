//! The coordinator's data directory: made on first use, readable by its owner alone, held by one process at a time.
//!
//! Everything durable lives below it (event log, certificate authority), so its lock is what keeps two coordinators from
//! acting on one state.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file whose lock stands for the whole directory.
const LOCK_FILE: &str = "lock";
/// The owner alone: the directory holds private keys.
const DIRECTORY_MODE: u32 = 0o700;
/// The owner alone, for every file with a secret.
pub(crate) const SECRET_FILE_MODE: u32 = 0o600;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds it.
    #[error(
        "data directory `{}` is in use by another coordinator\nhint: stop that one first, or choose another directory with `--data-dir`",
        .0.display()
    )]
    Locked(PathBuf),
    /// The file system said no.
    #[error("cannot use data directory `{}`", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A data directory that this process holds until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
    _lock: Arc<File>,
}

impl DataDir {
    /// Makes the directory if it is not there and takes its lock; never waits for it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process (or another [`DataDir`] of this one) holds it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let io = |source| Error::Io { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&path).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(SECRET_FILE_MODE)
            .open(path.join(LOCK_FILE))
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: Arc::new(lock), path }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked(path)),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_directory_has_one_holder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let clone = first.clone();
        drop(first);
        let error = DataDir::open(&path).expect_err("the clone still holds it").to_string();
        assert_eq!(
            error,
            format!(
                "data directory `{}` is in use by another coordinator\nhint: stop that one first, or choose another \
                 directory with `--data-dir`",
                path.display()
            )
        );
        drop(clone);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn only_the_owner_can_look_inside() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let held = DataDir::open(parent.path().join("a/b")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(held.path()), mode(&held.file(LOCK_FILE))), (0o700, 0o600));
    }
}
