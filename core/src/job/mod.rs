//! Jobs: work on a node that touches no instance: launching a candidate to let it test itself, or building one.
//!
//! The coordinator decides that a job is due and on which node ([`crate::control`]), and remembers it ([`Jobs`]). A
//! [`JobOrder`] says everything that the agent needs; its [`JobReport`] is kept until it is acknowledged. What came of a job
//! is either a verdict on an image or none at all ([`JobOutcome`]): a node that failed says nothing about an image.

mod container;
mod jobs;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AppName, Epoch, JobId, NodeName};
use crate::image::{Digest, ImageRef};
use crate::rebuild::RebuildNumber;
use crate::rebuild::builder::Builder;
use crate::signature::Signature;
use crate::spec::{HealthCheck, SelfTest};
pub use container::{
    BUILD_REPOSITORY, LABEL_JOB, LABEL_JOB_AGENT, MalformedTest, TestPlan, Verdict, build_name, built_by,
    container_body, job_name, network_body, owner, test_plan,
};
pub(crate) use jobs::TOLD_AFTER;
pub use jobs::{Job, Jobs, PutOff};

/// Longest log of a job that is kept, in bytes: the end of a verbose test run with its summary.
pub const JOB_LOG_LIMIT_BYTES: usize = 64 * 1024;
/// How long it may take until the container of a test starts: almost all of it is fetching the image.
pub const PREPARE_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How long it may take to push what was built.
pub const PUSH_LIMIT: Duration = Duration::from_secs(30 * 60);
/// What the coordinator adds to an agent's own limits before it gives a job up: removing what is left, and the report's way.
pub const REPORT_MARGIN: Duration = Duration::from_secs(5 * 60);

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobWork {
    /// Launches a candidate and lets it test itself.
    SelfTest {
        /// The candidate.
        digest: Digest,
        /// How.
        test: SelfTest,
        /// When its container is ready for a command.
        health: HealthCheck,
    },
    /// Builds an image, lets it test itself, and pushes it only when that has passed.
    Build {
        /// The rebuild that it is part of.
        rebuild: RebuildNumber,
        /// How it is built.
        builder: Builder,
        /// How it is tested.
        test: SelfTest,
        /// When the container of its test is ready for a command.
        health: HealthCheck,
    },
}

impl JobWork {
    /// Which kind it is, and what it is about, for an app that follows `image`.
    #[must_use]
    pub fn subject(&self, image: &ImageRef) -> JobSubject {
        match self {
            Self::SelfTest { digest, .. } => JobSubject::SelfTest { digest: digest.clone() },
            Self::Build { rebuild, .. } => JobSubject::Build { rebuild: *rebuild, image: image.clone() },
        }
    }

    /// How the image tests itself.
    #[must_use]
    pub const fn test(&self) -> &SelfTest {
        match self {
            Self::SelfTest { test, .. } | Self::Build { test, .. } => test,
        }
    }

    /// How long an agent may take for all of it at most.
    #[must_use]
    pub fn worst_case(&self) -> Duration {
        match self {
            Self::SelfTest { test, .. } => PREPARE_LIMIT + test.timeout,
            Self::Build { builder, test, .. } => builder.timeout + PREPARE_LIMIT + test.timeout + PUSH_LIMIT,
        }
    }
}

/// Which kind of job it is, and what it is about: what the log of events keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobSubject {
    /// A candidate tests itself.
    SelfTest {
        /// The candidate.
        digest: Digest,
    },
    /// A node builds.
    Build {
        /// The rebuild that it is part of.
        rebuild: RebuildNumber,
        /// What the result is pushed as.
        image: ImageRef,
    },
}

impl JobSubject {
    /// The word for its kind in output.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::SelfTest { .. } => "self-test",
            Self::Build { .. } => "build",
        }
    }

    /// The digest that it is about, where that is known before its end.
    #[must_use]
    pub const fn digest(&self) -> Option<&Digest> {
        match self {
            Self::SelfTest { digest } => Some(digest),
            Self::Build { .. } => None,
        }
    }
}

impl fmt::Display for JobSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfTest { digest } => write!(f, "self-test of {}", digest.short()),
            Self::Build { image, .. } => write!(f, "build of {image}"),
        }
    }
}

/// Everything an agent needs to do a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobOrder {
    /// Which job this is.
    pub id: JobId,
    /// The coordinator's epoch when it was given.
    pub epoch: Epoch,
    /// The node that it is for.
    pub node: NodeName,
    /// The app.
    pub app: AppName,
    /// The reference that the app follows.
    pub image: ImageRef,
    /// What is to be done.
    pub work: JobWork,
    /// The digest's signatures, as far as they are known: the agent judges them by keys of its own.
    #[serde(default)]
    pub signatures: Vec<Signature>,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum JobOutcome {
    /// The image is good.
    Passed,
    /// An image was built, has passed its test, and is pushed.
    Built {
        /// What the registry knows it by.
        digest: Digest,
    },
    /// The image is bad: its test failed, crashed, or took too long; or it cannot be built. Nothing was pushed.
    Failed {
        /// One sentence for people.
        reason: String,
    },
    /// Nothing is known of the image: the job could not be done, and is tried again.
    NotDone {
        /// One sentence for people.
        reason: String,
    },
}

impl JobOutcome {
    /// The word in output.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Built { .. } => "built",
            Self::Failed { .. } => "failed",
            Self::NotDone { .. } => "not-done",
        }
    }

    /// What was built.
    #[must_use]
    pub const fn built(&self) -> Option<&Digest> {
        match self {
            Self::Built { digest } => Some(digest),
            Self::Passed | Self::Failed { .. } | Self::NotDone { .. } => None,
        }
    }

    /// Why it did not pass.
    #[must_use]
    pub const fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed | Self::Built { .. } => None,
            Self::Failed { reason } | Self::NotDone { reason } => Some(reason.as_str()),
        }
    }
}

impl fmt::Display for JobOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "passed"),
            Self::Built { digest } => write!(f, "passed: {} is built, tested and pushed", digest.short()),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::NotDone { reason } => write!(f, "could not be done: {reason}"),
        }
    }
}

/// What was written during a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobLog {
    /// At most [`JOB_LOG_LIMIT_BYTES`]: the end of it.
    pub text: String,
    /// Whether there was more before it.
    pub cut: bool,
}

/// What an agent says of a job that has ended. Kept and repeated until the coordinator acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Which job.
    pub job: JobId,
    /// What came of it.
    pub outcome: JobOutcome,
    /// What was written meanwhile.
    pub log: JobLog,
}
