//! Where an agent keeps what it must know after a crash: small files, each there in its old or its new form, never a part.
//!
//! [`Storage`] is the port of the step journal and of the epoch; [`FileStorage`] is the data directory. Simulations bring
//! their own, which loses power where they want it to.

mod file;

use std::fmt;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;

pub use file::FileStorage;

/// Largest file that is read. A record is a container's configuration and little more: kilobytes, seldom some hundred.
pub const READ_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// The storage cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{}`: {source}; hint: the agent needs room and the right to write there", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// What was tried, with what, and what the system said.
    #[must_use]
    pub const fn new(what: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self { what, path, source }
    }
}

/// Files of one agent, named as paths below its data directory: `fence.json`, `steps/r-1.0.1.json`.
///
/// # Errors
/// Every call fails when the system says no.
#[async_trait]
pub trait Storage: Send + Sync + fmt::Debug {
    /// The names of the files in a directory, without it, in order; none when there is no such directory.
    fn list(&self, directory: &str) -> Result<Vec<String>, Error>;

    /// A file's content; `None` when there is no such file.
    ///
    /// # Errors
    /// Also when it is larger than [`READ_LIMIT_BYTES`].
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error>;

    /// Replaces a file. After a crash the old content is there or the new one; when this returns, the new one.
    async fn write(&self, name: &str, content: Vec<u8>) -> Result<(), Error>;

    /// Removes a file. After a crash it may be there once more. One that is not there is no error.
    async fn remove(&self, name: &str) -> Result<(), Error>;

    /// Moves a file that makes no sense out of the way, and says where it is now.
    fn set_aside(&self, name: &str) -> Result<PathBuf, Error>;
}
