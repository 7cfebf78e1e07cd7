//! Small files of the agent's data directory: replaced whole or not at all, readable by their owner alone.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The owner alone, for files with a secret and for all others here.
const FILE_MODE: u32 = 0o600;
/// The file whose lock stands for a whole directory.
const LOCK_FILE: &str = "lock";
/// The owner alone.
const DIRECTORY_MODE: u32 = 0o700;
/// Largest file that is read: what stands in these files is a few kilobytes, and a mix-up must not fill the memory.
const READ_LIMIT_BYTES: u64 = 1024 * 1024;

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} `{}`: {source}", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Holds a directory for this process, until the file is dropped: two agents on one journal would undo each other's steps.
///
/// # Errors
/// Another one holds it.
pub fn hold(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK_FILE);
    let failed = |source| Error { what: "lock", path: path.clone(), source };
    let options = File::options().create(true).truncate(false).write(true).mode(FILE_MODE).open(&path);
    let file = options.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(failed(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another agent uses this data directory; hint: stop that one first, or give each its own",
        ))),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes a directory and those above it, if they are not there.
///
/// # Errors
/// The file system said no.
pub fn make_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
    made.map_err(|source| Error { what: "make directory", path: path.to_owned(), source })
}

/// A file's text; `None` when there is no such file.
///
/// # Errors
/// The file system said no, the file is too large, or it is no text.
pub fn read(path: &Path) -> Result<Option<String>, Error> {
    let failed = |source| Error { what: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(READ_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > READ_LIMIT_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    Ok(Some(text))
}

/// Replaces a file: after a crash the old text is there or the new one, never a part. It is on disk when this returns.
///
/// # Errors
/// The file system said no; the old file is untouched.
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let failed = |source| Error { what: "write", path: path.to_owned(), source };
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(FILE_MODE))
        .tempfile_in(parent)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    // The new name is durable only when the directory is.
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/secret");
        assert_eq!(read(&path).unwrap(), None);
        make_directory(path.parent().unwrap()).unwrap();
        for text in ["first", "the second"] {
            write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(text));
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let names: Vec<_> =
            std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
    }

    #[test]
    fn one_directory_has_one_holder() {
        let directory = tempfile::tempdir().unwrap();
        let held = hold(directory.path()).unwrap();
        let error = hold(directory.path()).expect_err("held").to_string();
        assert!(error.contains("another agent uses this data directory; hint: "), "{error}");
        drop(held);
        hold(directory.path()).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/file");
        let error = write(&path, "x").expect_err("no directory").to_string();
        assert!(error.starts_with(&format!("cannot write `{}`: ", path.display())), "{error}");
        let large = directory.path().join("large");
        std::fs::write(&large, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        let error = read(&large).expect_err("too large").to_string();
        assert_eq!(error, format!("cannot read `{}`: larger than 1 MiB", large.display()));
    }
}
