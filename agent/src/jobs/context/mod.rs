//! Build contexts: a directory of this node, or a clone of a git repository, as the archive that an engine's build takes.
//!
//! [`Context::of_directory`] opens a directory that the limits allowed; [`clone`] fetches a branch that they allowed and opens
//! a directory in it. [`Context::into_tar`] is the archive, made while it is read. What is wrong with the place is an
//! [`Error`] before anything is sent; what goes wrong later is an error of the stream, never its end.

mod archive;
mod git;
mod ignore;
mod pipe;
mod process;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use nightshift_core::spec::Memory;

#[expect(unused_imports, reason = "the job that uses it comes next")]
pub(crate) use git::{Checkout, CloneOptions, GitError, clone};
use ignore::{Ignore, InvalidIgnore};
pub(crate) use pipe::Stream;
use tree::{Directory, Kind};

use crate::limits::{AllowedDirectory, BuildLimits, Refusal};

/// Largest `.dockerignore`: its patterns are few, and another file of this name must not fill the memory.
const IGNORE_LIMIT_BYTES: u64 = 256 * 1024;
/// How much of a Dockerfile is looked at: the engine takes more.
const DOCKERFILE_LIMIT_BYTES: u64 = 1024 * 1024;
/// The file with what is not sent.
const IGNORE_FILE: &str = ".dockerignore";

/// A context that is there and has its Dockerfile.
#[derive(Debug)]
pub(crate) struct Context {
    root: Directory,
    /// The Dockerfile's path from the root.
    dockerfile: String,
    ignore: Ignore,
    /// Names in the root that are never sent.
    left_out: &'static [&'static str],
    size_limit: Memory,
}

/// Why there is no context.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It lies where the limits do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The directory is not there, is none, or cannot be opened.
    #[error("cannot open the context `{}`: {source}", path.display())]
    Root {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path that must stay inside of the context does not.
    #[error("`{path}` cannot be used as `{key}`, allowed is a path inside the context without `.` and `..`")]
    Path {
        /// The key of the app file.
        key: &'static str,
        /// What stands there.
        path: String,
    },
    /// A directory of a repository leads out of it.
    #[error("`{path}` of the repository is a link that leads out of it")]
    Escape {
        /// The directory.
        path: String,
    },
    /// The Dockerfile is not there, or cannot be one.
    #[error("cannot use `{dockerfile}` of the context as its Dockerfile: {source}")]
    Dockerfile {
        /// Its path from the root.
        dockerfile: String,
        /// Why.
        source: io::Error,
    },
    /// A `.dockerignore` that cannot be read.
    #[error("cannot read `{file}` of the context: {source}")]
    Ignore {
        /// Its path from the root.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A `.dockerignore` that is not understood.
    #[error("`{file}` of the context is not understood: {source}")]
    IgnoreText {
        /// Its path from the root.
        file: String,
        /// Why.
        source: InvalidIgnore,
    },
}

impl Error {
    /// Whether it is wrong in the source itself, and so on every node.
    pub(crate) const fn is_of_the_source(&self) -> bool {
        match self {
            Self::Path { .. } | Self::Escape { .. } | Self::Dockerfile { .. } | Self::IgnoreText { .. } => true,
            Self::Refused(_) | Self::Root { .. } | Self::Ignore { .. } => false,
        }
    }
}

impl Context {
    /// Opens a directory of this node. `dockerfile` is a path from its root.
    ///
    /// # Errors
    /// It is not there, lies elsewhere than its path says, or has no Dockerfile.
    pub(crate) async fn of_directory(
        limits: &BuildLimits,
        directory: &AllowedDirectory,
        dockerfile: &str,
    ) -> Result<Self, Error> {
        let (directory, dockerfile, size_limit) = (directory.clone(), dockerfile.to_owned(), limits.context_size);
        blocking(move || {
            let opened = Directory::open(directory.path());
            let (root, real) = opened.map_err(|source| Error::Root { path: directory.path().to_owned(), source })?;
            let roots = directory.roots().iter().filter_map(|root| root.path().canonicalize().ok());
            if !roots.into_iter().any(|allowed| real.starts_with(allowed)) {
                let shown = format!("{} (in fact {})", directory.path().display(), real.display());
                return Err(Refusal::Directory { directory: shown, reason: "not allowed" }.into());
            }
            Self::of_opened(root, &dockerfile, &[], size_limit)
        })
        .await
    }

    /// A directory of a clone. Links on the way to it may lead around in the clone, and not out of it.
    fn of_clone(clone: &Path, directory: &str, dockerfile: &str, size_limit: Memory) -> Result<Self, Error> {
        let inside = if directory.is_empty() { Path::new("") } else { inner_path("directory", directory)? };
        let top = clone.canonicalize().map_err(|source| Error::Root { path: clone.to_owned(), source })?;
        let opened = Directory::open(&top.join(inside));
        // The work directory's own path says nothing to anybody.
        let (root, real) = opened.map_err(|source| Error::Root { path: inside.to_owned(), source })?;
        // The repository's own files hold its address and history, which no image needs.
        let history = real.strip_prefix(&top).is_ok_and(|inside| inside.starts_with(GIT_DIRECTORY));
        if !real.starts_with(&top) || history {
            return Err(Error::Escape { path: directory.to_owned() });
        }
        Self::of_opened(root, dockerfile, &[GIT_DIRECTORY], size_limit)
    }

    fn of_opened(
        root: Directory,
        dockerfile: &str,
        left_out: &'static [&'static str],
        size_limit: Memory,
    ) -> Result<Self, Error> {
        let path = inner_path("dockerfile", dockerfile)?;
        let unusable = |source| Error::Dockerfile { dockerfile: dockerfile.to_owned(), source };
        let kind = root.find(path).and_then(|(directory, name)| directory.facts(name)).map_err(unusable)?.kind;
        // A link is resolved by the engine, inside of what it was sent.
        if !matches!(kind, Kind::File | Kind::Link) {
            return Err(unusable(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")));
        }
        let ignore = read_ignore(&root, dockerfile)?;
        Ok(Self { root, dockerfile: dockerfile.to_owned(), ignore, left_out, size_limit })
    }

    /// The beginning of the Dockerfile; nothing when it is a link, which the engine resolves inside of what it was sent.
    pub(crate) fn instructions(&self) -> String {
        let opened = self.root.find(Path::new(&self.dockerfile)).and_then(|(directory, name)| directory.file(name));
        let mut bytes = Vec::new();
        let read = opened.and_then(|(file, _)| file.take(DOCKERFILE_LIMIT_BYTES).read_to_end(&mut bytes));
        read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The context as an uncompressed archive, made while it is read. Dropping the stream ends the work.
    ///
    /// An error of the stream says what happened: a file that changed or went, too large, too many entries.
    pub(crate) fn into_tar(self) -> Stream {
        let Self { root, ignore, left_out, size_limit, dockerfile: _ } = self;
        pipe::stream(size_limit, move |sink| archive::write(&root, &ignore, left_out, sink))
    }
}

/// Where git keeps what belongs to the repository itself.
const GIT_DIRECTORY: &str = ".git";

/// A path that stays below where it starts.
fn inner_path<'p>(key: &'static str, text: &'p str) -> Result<&'p Path, Error> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let dots = text.split('/').any(|part| part == ".");
    if text.is_empty() || !plain || dots || text.starts_with('-') || text.contains('\0') {
        return Err(Error::Path { key, path: text.chars().take(200).flat_map(char::escape_debug).collect() });
    }
    Ok(path)
}

/// The Dockerfile's own file of what is not sent, or that of the whole context: the first that is there.
fn read_ignore(root: &Directory, dockerfile: &str) -> Result<Ignore, Error> {
    for file in [format!("{dockerfile}{IGNORE_FILE}"), IGNORE_FILE.to_owned()] {
        let opened = root.find(Path::new(&file)).and_then(|(directory, name)| directory.file(name));
        let unreadable = |source| Error::Ignore { file: file.clone(), source };
        let (opened, _) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(unreadable)?,
        };
        let mut text = String::new();
        opened.take(IGNORE_LIMIT_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > IGNORE_LIMIT_BYTES {
            let words = format!("it is larger than {}", Memory(IGNORE_LIMIT_BYTES));
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, words)));
        }
        let sent = [dockerfile, file.as_str()];
        return Ignore::read(&text, &sent).map_err(|source| Error::IgnoreText { file, source });
    }
    Ok(Ignore::default())
}

/// Work with files, which may wait for a disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
