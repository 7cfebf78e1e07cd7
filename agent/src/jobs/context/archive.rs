//! Writes a directory as an uncompressed archive, in the order of its names: the same directory gives the same bytes.
//!
//! As `docker build` does it: everything belongs to 0:0, permissions and times are kept, links are sent as links, and what is
//! neither file, directory nor link is left out. Two names of one file are two files here, and extended attributes are not sent.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};
use tracing::info;

use super::ignore::{Ignore, Verdict};
use super::pipe::Sink;
use super::tree::{Directory, Facts, Kind};

/// Most entries that are looked at: more than any source tree, and an engine unpacks them in a minute.
pub(super) const ENTRY_LIMIT: usize = 200_000;
/// Deepest directory: one is held open for each level, and an agent may have 1,024 files open.
const DEPTH_LIMIT: usize = 128;
/// Longest path below the root: what Linux opens.
const PATH_LIMIT_BYTES: usize = 4_096;

/// Writes what is below `root` and not ignored. `left_out` are names in the root itself that are never sent.
pub(super) fn write(root: &Directory, ignore: &Ignore, left_out: &[&str], sink: &mut Sink) -> io::Result<()> {
    let mut walk = Walk { tar: Builder::new(sink), ignore, left_out, entries: 0, pending: Vec::new() };
    let walked = walk.directory(root, Path::new(""), &ignore.root(), 0);
    if walked.is_err() {
        // The builder ends the archive when it is dropped.
        walk.tar.get_mut().fail();
    }
    walked.and_then(|()| walk.tar.finish())
}

struct Walk<'w> {
    tar: Builder<&'w mut Sink>,
    ignore: &'w Ignore,
    left_out: &'w [&'w str],
    entries: usize,
    /// Ignored directories on the way: they are sent only if something below them is.
    pending: Vec<(PathBuf, Facts)>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Directory, path: &Path, verdict: &Verdict, depth: usize) -> io::Result<()> {
        if depth > DEPTH_LIMIT {
            return Err(io::Error::other(format!("`{}` is more than {DEPTH_LIMIT} directories deep", path.display())));
        }
        // One more than may be left tells that there are too many, without a list of all of them.
        let names = directory.names(ENTRY_LIMIT + 1 - self.entries).map_err(|error| failed("list", path, &error))?;
        self.entries += names.len();
        if self.entries > ENTRY_LIMIT {
            return Err(io::Error::other(format!(
                "the context has more than {ENTRY_LIMIT} entries; hint: a `.dockerignore` leaves out what is not needed"
            )));
        }
        for name in &names {
            if depth == 0 && self.left_out.iter().any(|left_out| OsStr::new(left_out) == name) {
                continue;
            }
            self.entry(directory, name, &path.join(name), verdict, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        path: &Path,
        above: &Verdict,
        depth: usize,
    ) -> io::Result<()> {
        if path.as_os_str().len() > PATH_LIMIT_BYTES {
            return Err(io::Error::other(format!("a path of the context is longer than {PATH_LIMIT_BYTES} bytes")));
        }
        let verdict = self.ignore.judge(path, above);
        if verdict.ignored && !self.ignore.may_take_back_below(path) {
            return Ok(());
        }
        let facts = parent.facts(name).map_err(|error| failed("look at", path, &error))?;
        match facts.kind {
            Kind::Directory => {
                let directory = parent.enter(name).map_err(|error| failed("open", path, &error))?;
                let before = self.pending.len();
                self.pending.push((path.to_owned(), facts));
                if !verdict.ignored {
                    self.write_pending()?;
                }
                self.directory(&directory, path, &verdict, depth + 1)?;
                self.pending.truncate(before);
                Ok(())
            }
            _ if verdict.ignored => Ok(()),
            Kind::File => self.file(parent, name, path),
            Kind::Link => {
                let target = parent.target(name).map_err(|error| failed("read the link", path, &error))?;
                self.write_pending()?;
                self.tar.append_link(&mut header(EntryType::Symlink, facts), path, target)
            }
            Kind::Special => {
                info!(path = %path.display(), "left out of a context: neither file, directory nor link");
                Ok(())
            }
        }
    }

    fn file(&mut self, parent: &Directory, name: &OsStr, path: &Path) -> io::Result<()> {
        let (file, facts) = parent.file(name).map_err(|error| failed("open", path, &error))?;
        self.tar.get_mut().has_room(facts.size_bytes)?;
        self.write_pending()?;
        let content = Exact { file, path, left_bytes: facts.size_bytes };
        self.tar.append_data(&mut header(EntryType::Regular, facts), path, content)
    }

    fn write_pending(&mut self) -> io::Result<()> {
        for (path, facts) in self.pending.drain(..) {
            self.tar.append_data(&mut header(EntryType::Directory, facts), path, io::empty())?;
        }
        Ok(())
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> io::Error {
    let path = if path.as_os_str().as_bytes().is_empty() { Path::new(".") } else { path };
    io::Error::new(error.kind(), format!("cannot {what} `{}` of the context: {error}", path.display()))
}

fn header(kind: EntryType, facts: Facts) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(if kind == EntryType::Regular { facts.size_bytes } else { 0 });
    header.set_mode(facts.mode);
    header.set_mtime(facts.modified);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A file of a size that was written down already: any other content would shift all that follows.
struct Exact<'p, R> {
    file: R,
    path: &'p Path,
    left_bytes: u64,
}

impl<R: Read> Read for Exact<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let changed =
            |how| io::Error::other(format!("`{}` of the context {how} while it was read", self.path.display()));
        let most = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        if self.left_bytes == 0 {
            let more = self.file.read(&mut [0]).map_err(|error| failed("read", self.path, &error))?;
            return if more == 0 { Ok(0) } else { Err(changed("grew")) };
        }
        match self.file.read(&mut buffer[..most]).map_err(|error| failed("read", self.path, &error))? {
            0 if most > 0 => Err(changed("shrank")),
            read => {
                self.left_bytes -= read as u64;
                Ok(read)
            }
        }
    }
}
