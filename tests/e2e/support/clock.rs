//! A clock that a test moves: Debian's `faketime` under every program of a scenario, all by one file.
//!
//! Whatever runs in a directory with such a file runs by it: coordinator, agents, command line, CI's `curl`. They share one clock,
//! as machines with NTP do; monotonic time stays real. Engines and registry stay on real time, for nothing is judged by theirs.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// The file in a scenario's directory: the clock as an offset to the real one.
const FILE: &str = "clock";
/// Where Debian puts the library, for the machines that the tests run on.
const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"];

/// The variables by which a program in this directory takes the directory's clock; none without one.
pub(crate) fn environment(home: &Path) -> Vec<(&'static str, PathBuf)> {
    let file = home.join(FILE);
    if !file.exists() {
        return Vec::new();
    }
    let library = LIBRARIES.map(PathBuf::from).into_iter().find(|library| library.exists());
    let set = |name, value: &str| (name, PathBuf::from(value));
    vec![
        ("LD_PRELOAD", library.expect("the scenario looked for it")),
        ("FAKETIME_TIMESTAMP_FILE", file),
        set("FAKETIME_NO_CACHE", "1"),
        set("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        // The dates of files are real, and nobody asks for them.
        set("NO_FAKE_STAT", "1"),
    ]
}

/// A scenario's clock.
#[derive(Debug)]
pub(crate) struct Clock {
    file: PathBuf,
    offset_seconds: i64,
}

impl Clock {
    /// A clock for everything that starts in this directory from now on; `None`, said aloud, where `faketime` is not installed.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    pub(crate) fn in_directory(home: &Path, begins: DateTime<Utc>) -> Option<Self> {
        if !LIBRARIES.iter().any(|library| Path::new(library).exists()) {
            eprintln!("SKIPPED: no libfaketime; Debian's package `faketime` has it");
            return None;
        }
        let mut clock = Self { file: home.join(FILE), offset_seconds: 0 };
        clock.set(begins);
        Some(clock)
    }

    /// What it shows.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        Utc::now() + chrono::TimeDelta::seconds(self.offset_seconds)
    }

    /// Moves it to an instant, for everybody at once.
    pub(crate) fn set(&mut self, instant: DateTime<Utc>) {
        self.offset_seconds = (instant - Utc::now()).num_seconds();
        // A rename is whole: nobody reads half a number.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{:+}\n", self.offset_seconds)).expect("the directory can be written");
        std::fs::rename(&new, &self.file).expect("the directory can be written");
    }
}
