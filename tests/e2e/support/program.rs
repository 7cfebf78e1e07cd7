//! The built program: its roles as processes of their own, its command line as a script calls it.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::engine::GHOST;
use super::{clock, eventually};

/// A role says that it is ready, or ends, within this time. A start makes keys and opens a database; the rest is room for
/// a busy machine.
const READY: Duration = Duration::from_secs(60);
/// A role that is told to end has ended within this time.
const END: Duration = Duration::from_secs(20);

/// The program, knowing nothing of this machine's users and settings.
fn program(home: &Path) -> Command {
    program_in(None, home)
}

fn program_in(network: Option<&Path>, home: &Path) -> Command {
    let program = env!("CARGO_BIN_EXE_nightshift");
    let mut command = Command::new(if network.is_some() { "nsenter" } else { program });
    if let Some(network) = network {
        // It becomes the program: no process stands in between.
        command.arg(format!("--net={}", network.display())).args(["--", program]);
    }
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.envs(clock::environment(home));
    command.stdin(Stdio::null());
    command
}

/// A role that runs. It ends with this value.
#[derive(Debug)]
pub(crate) struct Role {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Role {
    /// Starts `nightshift ARGUMENTS`. Its output goes to the end of `HOME/NAME.log`.
    pub(crate) fn start<A: AsRef<OsStr>>(home: &Path, name: &str, arguments: &[A]) -> Self {
        Self::start_in(None, home, name, arguments)
    }

    /// The same in a network of its own, if there is one.
    pub(crate) fn start_in<A: AsRef<OsStr>>(network: Option<&Path>, home: &Path, name: &str, arguments: &[A]) -> Self {
        let log = home.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("the directory can be written");
        let mut command = program_in(network, home);
        command.args(arguments).env("NIGHTSHIFT_LOG", "info,nightshift_agent=debug,nightshift_coordinator=debug");
        command.stdout(out.try_clone().expect("a second handle")).stderr(out);
        let child = command.spawn().expect("the program can be started");
        Self { child, log, name: name.to_owned() }
    }

    /// Everything that it has written, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Waits until its log has the words.
    ///
    /// # Panics
    /// It ended instead, or does not say so.
    pub(crate) fn says(&mut self, words: &str) {
        let what = format!("{} says `{words}`", self.name);
        eventually(&what, READY, || {
            let log = self.log();
            if log.contains(words) {
                return Ok(());
            }
            let ended = self.child.try_wait().expect("our child");
            assert!(ended.is_none(), "{} ended with {ended:?} instead: {log}", self.name);
            Err(log)
        });
    }

    /// Waits until it ends by itself; its exit code.
    pub(crate) fn ends(&mut self) -> i32 {
        eventually("the program ends", READY, || match self.child.try_wait().expect("our child") {
            Some(status) => Ok(status.code().unwrap_or(-1)),
            None => Err(self.log()),
        })
    }

    /// Takes it away as a crash does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("our child");
    }

    /// The same where others still hold it: it is gone when this returns, and its log is kept.
    pub(crate) fn crash(&self) {
        let id = self.child.id();
        let killed = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        assert!(killed.is_ok_and(|status| status.success()), "{} was running", self.name);
        // What it held, such as the lock of its directory, is free as soon as nothing is left of it but its exit code.
        eventually("the program is gone", READY, || {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("nobody has waited for it");
            if stat.contains(") Z ") { Ok(()) } else { Err(stat) }
        });
    }

    fn tell_to_end(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        told.expect("kill is everywhere");
    }
}

impl Drop for Role {
    /// Ends it. An ERROR in its log means that somebody must act: no scenario here asks for that.
    fn drop(&mut self) {
        self.end();
        let log = self.log();
        let alarm = log.lines().find(|line| line.contains(" ERROR ") && !self.is_excused(line));
        assert!(alarm.is_none() || std::thread::panicking(), "{} calls for help: {alarm:?}", self.name);
    }
}

impl Role {
    /// Whether a line of the log is no fault of ours. It is about the containers of another scenario: the engines are shared, so
    /// an agent sees replacements that are not its own, and rightly says so. Or an engine that was killed holds a ghost.
    fn is_excused(&self, line: &str) -> bool {
        let home = self.log.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
        let scenario = home.split('.').next().unwrap_or_default();
        let of_others = line.contains(" container=") && !line.contains(&format!(" container={scenario}-"));
        of_others || (line.contains("could not start the old container again") && line.contains(GHOST))
    }

    fn end(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        self.tell_to_end();
        let end = std::time::Instant::now() + END;
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if std::time::Instant::now() > end {
                drop(self.child.kill());
                drop(self.child.wait());
                assert!(std::thread::panicking(), "{} does not end when it is told to: {}", self.name, self.log());
                return;
            }
            std::thread::sleep(super::LOOK_EVERY);
        }
    }
}

/// How a call of the command line ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Outcome {
    /// Standard output as JSON, after the call succeeded.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.value()
    }

    /// Standard output as JSON, whatever the exit code.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }
}

/// The command line, connected to a coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Cli {
    home: PathBuf,
    context: Option<PathBuf>,
}

impl Cli {
    /// Connects as the context file says; without one the arguments must say it.
    pub(crate) fn new(home: &Path, context: Option<PathBuf>) -> Self {
        Self { home: home.to_owned(), context }
    }

    /// Runs a verb.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Outcome {
        let output = self.command(arguments).output().expect("the program can be started");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Outcome { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a verb with `-o json` that must succeed.
    pub(crate) fn json<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Value {
        self.try_json(arguments).json()
    }

    /// Runs a verb with `-o json`.
    pub(crate) fn try_json<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Outcome {
        let mut all: Vec<&OsStr> = vec![OsStr::new("-o"), OsStr::new("json")];
        all.extend(arguments.iter().map(AsRef::as_ref));
        self.run(&all)
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = program(&self.home);
        command.args(arguments).current_dir(&self.home);
        if let Some(context) = &self.context {
            command.env("NIGHTSHIFT_CONTEXT", context);
        }
        command
    }
}
