//! Fetches one branch of a git repository, without anything that came with it being run.
//!
//! git gets an environment of its own, and the configuration that the agent's file names or none. It may use the one protocol
//! that was allowed, runs no hooks, fetches no submodules and follows no redirects: a server that was allowed must not send it
//! to one that was not. It ends with all that it started at its deadline, or when nobody waits for it.
//!
//! Bounded: the time, the log, and what lies on the disk, looked at each second, so that a fast line can go beyond the limit
//! by as much as it carries in one. Not bounded: the memory that git itself takes.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nightshift_core::duration;
use nightshift_core::spec::Memory;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::process::{self, Ended};
use super::{Context, Error, blocking};
use crate::engine::tail::Tail;
use crate::limits::{AllowedGit, BuildLimits};

/// Most of git's words that are kept: it says what is wrong at the end.
const LOG_LIMIT_BYTES: usize = 16 * 1024;
/// Most of an error's words: one line of git.
const WORDS_LIMIT_CHARS: usize = 300;
/// How often the size on the disk is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Where programs are when the agent's own environment does not say.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What git gets of the agent's environment: the way out, and whom to trust on it.
const PASSED_ON: [&str; 10] = [
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Over what git_config says: nothing that is fetched is run, nothing else is fetched, nothing goes on behind our back.
const FIXED: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "http.followRedirects=false",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
];

/// What is fetched from an allowed repository, and to where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloneOptions<'o> {
    /// The repository and its branch.
    pub(crate) git: &'o AllowedGit,
    /// The context's path in the repository; empty: all of it.
    pub(crate) directory: &'o str,
    /// The Dockerfile's path in the context.
    pub(crate) dockerfile: &'o str,
    /// An empty directory for this clone alone. The caller removes it, whatever comes of it.
    pub(crate) work: &'o Path,
    /// How long all of it may take.
    pub(crate) timeout: Duration,
}

/// A branch that was fetched.
#[derive(Debug)]
pub(crate) struct Checkout {
    /// The id of its last commit, in hexadecimal digits.
    pub(crate) commit: String,
    /// The context in it. Its files are in the work directory.
    pub(crate) context: Context,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// No program of that name.
    #[error("git is not installed on this node; hint: install it, or build from a directory")]
    NotInstalled,
    /// The agent's own files.
    #[error("cannot use `{}`: {source}", path.display())]
    File {
        /// The work directory, or `git_config`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server knows neither repository nor branch, or does not show them.
    #[error("the repository or its branch is not there: {words}")]
    NotThere {
        /// git's own words.
        words: String,
    },
    /// The server wants other credentials.
    #[error(
        "the server does not let this node read the repository: {words}; hint: see `limits.build.git_config` in its agent's configuration"
    )]
    Denied {
        /// git's own words.
        words: String,
    },
    /// The server sends to another address.
    #[error(
        "the repository has another address: {words}; hint: redirects are not followed, write the address that it has now"
    )]
    Moved {
        /// git's own words.
        words: String,
    },
    /// There is no way to the server.
    #[error("the server cannot be reached: {words}")]
    Unreachable {
        /// git's own words.
        words: String,
    },
    /// It takes too long.
    #[error("git has not ended within {}", duration::format(*within))]
    Deadline {
        /// The time that it had.
        within: Duration,
    },
    /// It is too large.
    #[error("the clone is larger than {limit}, twice `limits.build.context_size` of the agent's configuration")]
    TooLarge {
        /// What the disk may hold of it.
        limit: Memory,
    },
    /// Anything else.
    #[error("git failed: {words}")]
    Failed {
        /// git's own words.
        words: String,
    },
    /// It is fetched, and there is no context in it.
    #[error(transparent)]
    Context(#[from] Error),
}

/// Fetches a branch and opens the context in it. What git says is added to `log`, whatever comes of it.
///
/// # Errors
/// Why there is no context. All that ran has been killed then, which may take a moment: the work directory is removed by trying again.
pub(crate) async fn clone(
    limits: &BuildLimits,
    options: CloneOptions<'_>,
    log: &mut String,
) -> Result<Checkout, GitError> {
    clone_in(limits, options, log, |name| std::env::var_os(name)).await
}

async fn clone_in(
    limits: &BuildLimits,
    options: CloneOptions<'_>,
    log: &mut String,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Checkout, GitError> {
    let mut tail = Tail::new(LOG_LIMIT_BYTES);
    let fetched = timeout(options.timeout, fetch(limits, options, &mut tail, environment)).await;
    log.push_str(&tail.into_text());
    let commit = fetched.unwrap_or(Err(GitError::Deadline { within: options.timeout }))?;
    let (directory, dockerfile) = (options.directory.to_owned(), options.dockerfile.to_owned());
    let (place, size_limit) = (clone_directory(options.work), limits.context_size);
    let context = blocking(move || Context::of_clone(&place, &directory, &dockerfile, size_limit)).await?;
    Ok(Checkout { commit, context })
}

fn clone_directory(work: &Path) -> PathBuf {
    work.join("clone")
}

/// The commit that was fetched.
async fn fetch(
    limits: &BuildLimits,
    options: CloneOptions<'_>,
    log: &mut Tail,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<String, GitError> {
    write_config(options.work, limits.git_config.as_deref())?;
    let git = || git(options, &environment);
    let place = clone_directory(options.work);
    // The pack, and what is unpacked from it.
    let limit = Memory(limits.context_size.0.saturating_mul(2));
    let mut command = git();
    command.args([
        "clone",
        "--no-progress",
        "--depth=1",
        "--single-branch",
        "--no-tags",
        "--no-recurse-submodules",
        "--template=",
    ]);
    command.arg(format!("--branch={}", options.git.branch())).arg("--").arg(options.git.url().to_string()).arg(&place);
    let cloned = tokio::select! {
        ended = process::run(command, log) => ended,
        () = too_large(&place, limit) => return Err(GitError::TooLarge { limit }),
    };
    succeeded(cloned, log)?;
    if size_on_disk(&place, limit).await > limit.0 {
        return Err(GitError::TooLarge { limit });
    }
    let mut command = git();
    command.arg("-C").arg(&place).args(["rev-parse", "--verify", "HEAD"]);
    let answer = succeeded(process::run(command, log).await, log)?;
    Ok(String::from_utf8_lossy(&answer).trim().to_owned())
}

/// git's configuration: ours, then that of the agent's file, which may say otherwise.
fn write_config(work: &Path, git_config: Option<&Path>) -> Result<(), GitError> {
    let mut text = "[core]\n\tsshCommand = ssh -o BatchMode=yes\n".to_owned();
    if let Some(path) = git_config {
        let failed = |source| GitError::File { path: path.to_owned(), source };
        // git itself says nothing when it is not there.
        std::fs::File::open(path).map_err(failed)?;
        let name = path
            .to_str()
            .filter(|name| !name.contains('\n'))
            .ok_or(io::ErrorKind::InvalidFilename.into())
            .map_err(failed)?;
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("[include]\n\tpath = \"{quoted}\"\n"));
    }
    let path = work.join(".gitconfig");
    std::fs::write(&path, text).map_err(|source| GitError::File { path, source })
}

fn git(options: CloneOptions<'_>, environment: impl Fn(&str) -> Option<OsString>) -> Command {
    let mut command = Command::new("git");
    command.current_dir(options.work).env_clear().env("PATH", USUAL_PATH);
    command.envs(PASSED_ON.iter().filter_map(|name| Some((name, environment(name)?))));
    // git looks for this one; the other is that of most programs.
    command.envs(environment("SSL_CERT_FILE").map(|file| ("GIT_SSL_CAINFO", file)));
    command.env("HOME", options.work).env("LC_ALL", "C").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "never");
    command.env("GIT_ALLOW_PROTOCOL", options.git.url().scheme().name());
    FIXED.iter().for_each(|setting| _ = command.args(["-c", setting]));
    command
}

fn succeeded(ended: io::Result<Ended>, log: &Tail) -> Result<Vec<u8>, GitError> {
    match ended {
        Ok(Ended { status, answer }) if status.success() => Ok(answer),
        Ok(Ended { status, .. }) => Err(sorted(&log.text(), &status.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(GitError::NotInstalled),
        Err(error) => Err(GitError::Failed { words: error.to_string() }),
    }
}

/// What git's words mean. They are those of git 2 in English; others are shown as they are.
fn sorted(output: &str, status: &str) -> GitError {
    let words = words(output).unwrap_or_else(|| status.to_owned());
    let lower = output.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|part| lower.contains(part));
    if says(&["error: 30", "unable to update url base from redirection"]) {
        GitError::Moved { words }
    } else if says(&[
        "could not read username",
        "could not read password",
        "authentication failed",
        "permission denied",
        "error: 401",
        "error: 403",
    ]) {
        GitError::Denied { words }
    } else if says(&["not found", "does not appear to be a git repository", "error: 404"])
        && !says(&["could not resolve"])
    {
        GitError::NotThere { words }
    } else if says(&[
        "could not resolve",
        "failed to connect",
        "couldn't connect",
        "connection refused",
        "timed out",
        "unable to access",
        "could not read from remote",
    ]) {
        GitError::Unreachable { words }
    } else {
        GitError::Failed { words }
    }
}

/// The line that says most.
fn words(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let fatal = lines.iter().position(|line| line.starts_with("fatal: "));
    let line = match fatal {
        // What SSH or the server said before it is the reason.
        Some(at) if at > 0 && lines[at].contains("ould not read from remote") => lines.get(at - 1),
        Some(at) => lines.get(at),
        None => lines.last(),
    };
    line.map(|line| line.trim_start_matches("fatal: ").chars().take(WORDS_LIMIT_CHARS).collect())
}

async fn too_large(place: &Path, limit: Memory) {
    loop {
        sleep(LOOK_AGAIN).await;
        if size_on_disk(place, limit).await > limit.0 {
            return;
        }
    }
}

/// What a directory takes on the disk, in bytes; not looked at any further when it is more than `limit`.
async fn size_on_disk(place: &Path, limit: Memory) -> u64 {
    let place = place.to_owned();
    blocking(move || {
        let (mut bytes, mut directories) = (0_u64, vec![place]);
        while let Some(directory) = directories.pop() {
            // What is gone again takes no room.
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            for (entry, facts) in entries.filter_map(|entry| entry.metadata().ok().map(|facts| (entry, facts))) {
                // Blocks may be given to a file later than its length.
                bytes += facts.len().max(std::os::unix::fs::MetadataExt::blocks(&facts) * 512);
                if facts.is_dir() {
                    directories.push(entry.path());
                }
            }
            if bytes > limit.0 {
                break;
            }
        }
        bytes
    })
    .await
}

#[cfg(test)]
mod tests;
