//! How engine calls fail. Each error carries the engine's own message, and none of them a secret.

use std::time::Duration;

use nightshift_core::recreate::ApiVersion;

use super::NoCommonVersion;

/// Result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PullFailure {
    /// The registry has no such repository or digest.
    NotFound,
    /// The registry wants other credentials.
    Denied,
    /// The registry cannot be reached or does not answer properly.
    Unreachable,
    /// The registry wants fewer requests.
    RateLimited,
    /// The node's disk is full.
    DiskFull,
    /// Anything else: the message says more.
    Other,
}

impl PullFailure {
    /// What a person can do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotFound => "check that the digest still exists in the registry",
            Self::Denied => "check the node's registry credentials",
            Self::Unreachable => "check that the registry runs and can be reached from this node",
            Self::RateLimited => "wait, or log in to the registry for a higher limit",
            Self::DiskFull => "free space on the node's disk",
            Self::Other => "see the engine's message and its log",
        }
    }
}

impl PullFailure {
    /// What a person can do when the image went the other way.
    #[must_use]
    pub const fn push_hint(self) -> &'static str {
        match self {
            Self::NotFound => "check that the registry has such a repository: some make none at a push",
            Self::Denied => "check that the node's registry credentials may push there",
            Self::Unreachable | Self::RateLimited | Self::Other => self.hint(),
            Self::DiskFull => "free space on the registry's disk or the node's",
        }
    }
}

/// Whose fault it is that a build failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuildFailure {
    /// The source's: a command ended badly, a file is missing, the Dockerfile is wrong. It would fail elsewhere, too.
    Source,
    /// Nothing that says something about the source: a base image could not be fetched, or the node's disk is full.
    Surroundings(PullFailure),
    /// The files could not be read.
    Context,
}

impl BuildFailure {
    /// What a person can do.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Source => "see the build's log",
            Self::Surroundings(PullFailure::NotFound) => "check that the base image exists in its registry",
            Self::Surroundings(failure) => failure.hint(),
            Self::Context => "check that the source's files can be read whole",
        }
    }
}

/// A failed engine call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the call names does not exist.
    #[error("not found: {message}")]
    NotFound {
        /// The engine's own words.
        message: String,
    },
    /// The call does not fit the present state: a name is taken, a container runs, an image is used.
    #[error("conflict: {message}")]
    Conflict {
        /// The engine's own words.
        message: String,
    },
    /// The engine does not do it.
    #[error("`{call}` refused with status {status}: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
    /// There is no engine behind the URL, or the connection broke.
    #[error("engine `{url}` cannot be reached: {reason}; hint: {hint}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What happened.
        reason: String,
        /// What a person can do.
        hint: &'static str,
        /// Whether the request had been sent before: then the engine may have done it.
        sent: bool,
    },
    /// The engine did not answer in time. **It may still have done what was asked, or do it later.**
    #[error("engine did not answer `{call}` within {after:?}")]
    Timeout {
        /// The call.
        call: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The engine's answer cannot be understood.
    #[error("engine's answer to `{call}` cannot be understood: {reason}")]
    Malformed {
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An image could not be pulled.
    #[error("cannot pull `{reference}`: {message}; hint: {}", failure.hint())]
    Pull {
        /// What was asked for.
        reference: String,
        /// The kind of reason.
        failure: PullFailure,
        /// The engine's own words.
        message: String,
    },
    /// An image could not be pushed.
    #[error("cannot push `{reference}`: {message}; hint: {}", failure.push_hint())]
    Push {
        /// The name under which it was to be pushed.
        reference: String,
        /// The kind of reason.
        failure: PullFailure,
        /// The engine's own words.
        message: String,
    },
    /// An image could not be built.
    #[error("cannot build `{name}`: {message}; hint: {}", failure.hint())]
    Build {
        /// The name that it was to get.
        name: String,
        /// Whose fault it is.
        failure: BuildFailure,
        /// The engine's own words, or those of who reads the context.
        message: String,
    },
    /// The engine's URL is none that can be used.
    #[error("`{url}` is no engine URL: allowed are `unix:///path/to.sock`, `/path/to.sock` and `tcp://host:port`")]
    InvalidUrl {
        /// What was written.
        url: String,
    },
    /// The argument of a call is not what it must be.
    #[error("`{found}` is no {expected}")]
    InvalidArgument {
        /// What it should be.
        expected: &'static str,
        /// What it was.
        found: String,
    },
    /// The engine is too old or too new.
    #[error("engine `{url}` cannot be used: {reason}; hint: Engine 20.10 and newer are supported")]
    Unsupported {
        /// The engine.
        url: String,
        /// Its versions of the API and ours.
        reason: NoCommonVersion,
        /// The newest version that it speaks.
        newest: ApiVersion,
    },
}

impl Error {
    /// Whether the engine may have done what was asked all the same: look before you try again.
    #[must_use]
    pub const fn may_have_been_done(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Malformed { .. } => true,
            Self::Unreachable { sent, .. } => *sent,
            Self::NotFound { .. }
            | Self::Conflict { .. }
            | Self::Refused { .. }
            | Self::Pull { .. }
            | Self::Push { .. }
            | Self::Build { .. }
            | Self::InvalidUrl { .. }
            | Self::InvalidArgument { .. }
            | Self::Unsupported { .. } => false,
        }
    }

    /// Whether the thing that the call named does not exist: for a removal that is success.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the engine itself is away or silent, so that trying again later makes sense.
    #[must_use]
    pub const fn is_engine_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }
}
