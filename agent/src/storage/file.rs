//! The storage in the agent's data directory.
//!
//! A file is written whole to a temporary one, flushed, renamed, and its directory flushed. The files hold containers'
//! environments and are readable by their owner alone.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use tempfile::NamedTempFile;

use super::{Error, READ_LIMIT_BYTES, Storage};

/// Directory of files that could not be read.
const SET_ASIDE: &str = "steps/unreadable";

/// Files below a directory, which is made where it is missing.
#[derive(Debug, Clone)]
pub struct FileStorage {
    data_dir: PathBuf,
}

impl FileStorage {
    /// The files of this data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }
}

#[async_trait]
impl Storage for FileStorage {
    fn list(&self, directory: &str) -> Result<Vec<String>, Error> {
        let path = self.data_dir.join(directory);
        make_directory(&path)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed("read", &path))? {
            let entry = entry.map_err(failed("read", &path))?;
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.data_dir.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let mut content = Vec::new();
        file.take(READ_LIMIT_BYTES + 1).read_to_end(&mut content).map_err(failed("read", &path))?;
        if content.len() as u64 > READ_LIMIT_BYTES {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {READ_LIMIT_BYTES} bytes"));
            return Err(failed("read", &path)(error));
        }
        Ok(Some(content))
    }

    async fn write(&self, name: &str, content: Vec<u8>) -> Result<(), Error> {
        let path = self.data_dir.join(name);
        blocking(move || write(&path, &content).map_err(failed("write", &path))).await
    }

    async fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.data_dir.join(name);
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        })
        .await
    }

    fn set_aside(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.data_dir.join(name);
        let aside = self.data_dir.join(SET_ASIDE);
        make_directory(&aside)?;
        let target = aside.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &target).map_err(failed("set aside", &path))?;
        Ok(target)
    }
}

/// Work on the disk, away from the threads that must not wait for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    // The task can end otherwise only by a panic, or when the runtime ends and this task with it.
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::new(what, path.to_owned(), source)
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(directory)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The new name is durable only when the directory is.
    File::open(directory)?.sync_all()
}
