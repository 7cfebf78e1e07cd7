//! A directory that stays the same one whatever becomes of its path: everything below is opened from it, name by name, and
//! no link is followed. So nothing outside can be reached, even if somebody puts links in while it is read.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, CWD, Mode, OFlags, Stat};

/// For every open: links are not followed, and no child process gets it.
const NEVER_FOLLOW: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory(OwnedFd);

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
    /// A socket, a pipe or a device.
    Special,
}

/// What is known of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) kind: Kind,
    pub(super) size_bytes: u64,
    /// The permission bits.
    pub(super) mode: u32,
    /// Seconds since 1970; nothing is older.
    pub(super) modified: u64,
}

impl Directory {
    /// Opens a path after its links are resolved, and gives it back in that form. A link that is put in meanwhile is an error.
    pub(super) fn open(path: &Path) -> io::Result<(Self, PathBuf)> {
        let real = path.canonicalize()?;
        // Those on the way need not be readable.
        let mut directory = sys::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | NEVER_FOLLOW, Mode::empty())?;
        for part in real.components() {
            if let Component::Normal(name) = part {
                directory =
                    sys::openat(&directory, name, OFlags::PATH | OFlags::DIRECTORY | NEVER_FOLLOW, Mode::empty())?;
            }
        }
        let readable = sys::openat(&directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | NEVER_FOLLOW, Mode::empty())?;
        Ok((Self(readable), real))
    }

    pub(super) fn enter(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self(sys::openat(&self.0, name, OFlags::RDONLY | OFlags::DIRECTORY | NEVER_FOLLOW, Mode::empty())?))
    }

    /// The names in it, sorted; not more than `limit`, whichever those are.
    pub(super) fn names(&self, limit: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if matches!(name.as_slice(), b"." | b"..") {
                continue;
            }
            if names.len() == limit {
                break;
            }
            names.push(OsString::from_vec(name));
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn facts(&self, name: &OsStr) -> io::Result<Facts> {
        Ok(facts(&sys::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Opens a regular file. Whatever else is there by now is an error, and nothing waits for the other end of a pipe.
    pub(super) fn file(&self, name: &OsStr) -> io::Result<(File, Facts)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | NEVER_FOLLOW;
        let file = sys::openat(&self.0, name, flags, Mode::empty())?;
        let facts = facts(&sys::fstat(file.as_fd())?);
        if facts.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok((File::from(file), facts))
    }

    /// Where a link points to, as it is written in it.
    pub(super) fn target(&self, name: &OsStr) -> io::Result<PathBuf> {
        let target = sys::readlinkat(&self.0, name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.to_bytes())))
    }

    /// The directory of an entry that lies deeper, and its name in there. No part of the way may be a link.
    pub(super) fn find<'p>(&self, path: &'p Path) -> io::Result<(Self, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut directory = Self(self.0.try_clone()?);
        for part in path.parent().unwrap_or(Path::new("")) {
            directory = directory.enter(part)?;
        }
        Ok((directory, name))
    }
}

#[expect(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the fields' types differ between architectures"
)]
fn facts(stat: &Stat) -> Facts {
    let kind = match sys::FileType::from_raw_mode(stat.st_mode) {
        sys::FileType::Directory => Kind::Directory,
        sys::FileType::RegularFile => Kind::File,
        sys::FileType::Symlink => Kind::Link,
        sys::FileType::Fifo
        | sys::FileType::Socket
        | sys::FileType::CharacterDevice
        | sys::FileType::BlockDevice
        | sys::FileType::Unknown => Kind::Special,
    };
    let modified = i64::from(stat.st_mtime);
    Facts {
        kind,
        size_bytes: u64::try_from(stat.st_size).unwrap_or_default(),
        mode: stat.st_mode as u32 & 0o7777,
        modified: u64::try_from(modified).unwrap_or_default(),
    }
}
