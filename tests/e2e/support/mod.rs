//! What scenarios are made of: engines, a registry, the program, and patience with a deadline.

pub(crate) mod chance;
pub(crate) mod ci;
pub(crate) mod clock;
mod engine;
pub(crate) mod events;
pub(crate) mod fleet;
pub(crate) mod haproxy;
pub(crate) mod history;
mod http;
pub(crate) mod listener;
pub(crate) mod load;
pub(crate) mod parts;
mod program;
mod registry;
pub(crate) mod source;
pub(crate) mod wire;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use engine::Engine;
pub(crate) use program::{Cli, Outcome, Role};
pub(crate) use registry::{Image, Login, Registry};

/// How often something is looked at that gives no event to wait for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Engines and registry of one scenario. Its containers are removed in the end, also when it fails.
pub(crate) struct Surroundings {
    /// Three engines, each with a network of its own.
    pub(crate) engines: Vec<Engine>,
    /// A registry at the same address for all of them and for the tests.
    pub(crate) registry: Registry,
    /// A directory for the scenario's files.
    pub(crate) directory: tempfile::TempDir,
    unique: String,
    /// Engines that may be killed belong to one scenario at a time.
    _lock: Option<File>,
}

/// Three engines that everybody shares.
const ENGINES: &str = "NIGHTSHIFT_TEST_ENGINES";
/// Three engines that the scenario that has them may kill.
const FLEET_TO_KILL: &str = "NIGHTSHIFT_TEST_FLEET_TO_KILL";

impl Surroundings {
    /// What the environment names; without it the scenario is skipped, and says so.
    pub(crate) fn of(scenario: &str) -> Option<Self> {
        Self::named_by(ENGINES, scenario)
    }

    /// Engines that the scenario may kill. It has them for itself: another one waits until this one has ended.
    pub(crate) fn to_kill(scenario: &str) -> Option<Self> {
        let mut surroundings = Self::named_by(FLEET_TO_KILL, scenario)?;
        let lock = File::create(surroundings.engines[0].directory().join("fleet.lock")).expect("the directory is ours");
        lock.lock().expect("a lock");
        surroundings._lock = Some(lock);
        Some(surroundings)
    }

    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    fn named_by(variable: &str, scenario: &str) -> Option<Self> {
        let (Ok(engines), Ok(registry)) = (std::env::var(variable), std::env::var("NIGHTSHIFT_TEST_REGISTRY")) else {
            eprintln!("SKIPPED: {scenario}: no engines ({variable}, NIGHTSHIFT_TEST_REGISTRY); run scripts/test");
            return None;
        };
        // The same scenario may run twice on the same engines.
        let unique = format!("{scenario}-{}", std::process::id());
        let engines: Vec<Engine> = engines.split_whitespace().map(|url| Engine::new(url, &unique)).collect();
        assert_eq!(engines.len(), 3, "{variable} names three engines");
        let registry = Registry::new(&engines, registry, &unique);
        let directory = tempfile::Builder::new().prefix(&format!("{unique}.")).tempdir().expect("a directory");
        Some(Self { engines, registry, directory, unique, _lock: None })
    }

    /// The same with a registry of its own, that may go down or ask for a login.
    pub(crate) fn with_own_registry(scenario: &str, login: Option<Login>) -> Option<Self> {
        let mut surroundings = Self::of(scenario)?;
        surroundings.registry = surroundings.registry.of_its_own(login);
        Some(surroundings)
    }

    /// The name of the scenario's app.
    pub(crate) fn app(&self) -> String {
        self.unique.clone()
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        self.engines.iter().for_each(Engine::clean_up);
    }
}

/// Runs `scripts/engines` and returns what it printed.
fn script(arguments: &[&str]) -> String {
    script_of(None, arguments)
}

/// The same for another registry than the first.
fn script_of(registry: Option<&str>, arguments: &[&str]) -> String {
    let mut command = Command::new(repository_file("scripts/engines"));
    command.envs(registry.map(|name| ("REGISTRY", name)));
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the script is there");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// The file of the repository.
pub(crate) fn repository_file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Looks again and again until there is an answer.
///
/// # Panics
/// The deadline is over; `what` says what was waited for, the last look what was there instead.
pub(crate) fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) if Instant::now() >= end => panic!("not within {deadline:?}: {what}\ninstead: {instead}"),
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}
