//! How a verb ends: the exit codes that scripts rely on, and errors that say what happened and what to do.

use std::io;
use std::process::ExitCode;

use crate::output;

/// The exit codes of the program. Scripts use them: they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done as asked.
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// Asked wrongly, or a file that cannot be used.
    Usage = 2,
    /// The rollout ended, or stopped, without its target everywhere.
    OffTarget = 3,
    /// `--wait` ran out.
    WaitOver = 4,
    /// A rule forbids it: untested, quarantined, window, freeze.
    Refused = 5,
    /// A defect of Nightshift: the code of `EX_SOFTWARE`.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    /// Empty: there is nobody left to tell.
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// It ends with this exit code because of this: lower case, no final period.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// It did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Asked wrongly, or a file that cannot be used.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A defect: the panic has said already what happened.
    pub(crate) fn internal() -> Self {
        Self::new(Exit::Internal, "this is a defect of nightshift")
            .hint("please report it with the message above and the command that you ran")
    }

    /// The same failure with what the reader can do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What happened.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What the reader can do, if that is known.
    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Tells it on standard error.
    pub(crate) fn report(&self) {
        if self.message.is_empty() {
            return;
        }
        output::error_line("error", &self.message);
        if let Some(hint) = &self.hint {
            output::error_line("hint", hint);
        }
    }
}

/// Standard output failed. A closed pipe (`nightshift … | head`) is the reader's right and no error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Done, "");
        }
        Self::failed(format!("standard output cannot be written: {error}"))
    }
}
