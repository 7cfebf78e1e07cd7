//! Rebuilds: a CI system is told to build again, or a node builds, so that fixes of what an image is made of come in, and a
//! new tested digest must be there in time.
//!
//! A rebuild is a chain of facts: started (stored before anything is sent), triggered or not, ended. [`Rebuilds`] is their
//! fold. What comes next is decided in [`crate::control`]; the coordinator's shell sends the request. What a node builds is a
//! job ([`crate::job`]).

pub mod builder;
pub mod schedule;
pub mod template;
pub mod trigger;

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::image::{Digest, ImageRef};
use crate::job::JobOutcome;
use builder::Builder;
use schedule::Schedule;
use trigger::HttpTrigger;

/// When the file says nothing: a build with its tests, and one more try of it.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(2 * 3_600);

/// `[rebuild]` of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildSpec {
    /// When; without it only when a person asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How long after its start a new tested digest must be there.
    #[serde(with = "crate::duration::text")]
    pub deadline: Duration,
    /// Who builds.
    pub by: RebuildBy,
}

/// Who builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildBy {
    /// A CI system that is told to by HTTP.
    Http(HttpTrigger),
    /// A node of the fleet.
    Node(Builder),
}

impl RebuildSpec {
    /// How a node builds, where one does.
    #[must_use]
    pub const fn builder(&self) -> Option<&Builder> {
        match &self.by {
            RebuildBy::Node(builder) => Some(builder),
            RebuildBy::Http(_) => None,
        }
    }
}

/// Counts the rebuilds of an app, from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RebuildNumber(pub u64);

impl fmt::Display for RebuildNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Why a rebuild began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RebuildCause {
    /// It was due.
    Schedule {
        /// Since when.
        due: DateTime<Utc>,
    },
    /// A person asked.
    Asked {
        /// Why.
        reason: String,
    },
}

/// How a rebuild ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RebuildOutcome {
    /// A digest has passed its tests since the rebuild began.
    Tested {
        /// It.
        digest: Digest,
    },
    /// The deadline went by without one.
    Overdue {
        /// What is known of why.
        reason: String,
    },
    /// Nobody could be told to build.
    NotTriggered {
        /// Why.
        reason: String,
    },
    /// A node's build failed, or the test of what it had built. Nothing was pushed.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was no longer wanted.
    GivenUp {
        /// Why.
        reason: String,
    },
}

impl RebuildOutcome {
    /// Whether somebody must act: it should have brought a digest and did not.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::Overdue { .. } | Self::NotTriggered { .. } | Self::Failed { .. } => true,
            Self::Tested { .. } | Self::GivenUp { .. } => false,
        }
    }

    /// Why it ended so, in words that do not repeat how.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Tested { digest } => format!("{} has passed its tests", digest.short()),
            Self::Overdue { reason }
            | Self::NotTriggered { reason }
            | Self::Failed { reason }
            | Self::GivenUp { reason } => reason.clone(),
        }
    }

    /// The word by which scripts know it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Tested { .. } => "tested",
            Self::Overdue { .. } => "overdue",
            Self::NotTriggered { .. } => "not_triggered",
            Self::Failed { .. } => "failed",
            Self::GivenUp { .. } => "given_up",
        }
    }
}

impl fmt::Display for RebuildOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match self {
            Self::Tested { .. } => f.write_str(&reason),
            Self::Overdue { .. } => write!(f, "overdue: {reason}"),
            Self::NotTriggered { .. } => write!(f, "it could not be triggered: {reason}"),
            Self::Failed { .. } => write!(f, "failed: {reason}"),
            Self::GivenUp { .. } => write!(f, "given up: {reason}"),
        }
    }
}

/// How far the trigger of a rebuild is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerState {
    /// To be sent at this instant.
    Due(DateTime<Utc>),
    /// Accepted at this instant: the CI system builds, or a node has built.
    Accepted(DateTime<Utc>),
}

/// A rebuild that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRebuild {
    /// Its number.
    pub number: RebuildNumber,
    /// Why it began.
    pub cause: RebuildCause,
    /// What is to be built.
    pub image: ImageRef,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// By when a new tested digest must be there.
    pub deadline_at: DateTime<Utc>,
    /// How far its trigger is.
    pub trigger: TriggerState,
    /// Triggers that failed.
    pub failures: u32,
    /// Why the last of them failed, or why a node could not build.
    pub last_failure: Option<String>,
    /// What a node has built, tested and pushed.
    pub built: Option<Digest>,
}

/// The last rebuild that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRebuild {
    /// Its number.
    pub number: RebuildNumber,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How.
    pub outcome: RebuildOutcome,
}

/// What is remembered of an app's rebuilds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rebuilds {
    /// How many have begun.
    pub count: u64,
    /// The one that has not ended.
    pub open: Option<OpenRebuild>,
    /// The last one that has.
    pub last: Option<EndedRebuild>,
    /// When the next one is due.
    pub next_due: Option<DateTime<Utc>>,
}

impl Rebuilds {
    /// Which number the next one has.
    #[must_use]
    pub const fn next_number(&self) -> RebuildNumber {
        RebuildNumber(self.count + 1)
    }

    /// A schedule counts from this instant on: what was due before is nobody's concern.
    pub(crate) fn schedule_from(&mut self, spec: Option<&RebuildSpec>, at: DateTime<Utc>) {
        self.next_due = spec.and_then(|spec| spec.schedule.as_ref()).and_then(|schedule| schedule.next_after(at));
    }

    pub(crate) fn started(&mut self, open: OpenRebuild) {
        self.count = self.count.max(open.number.0);
        self.open = Some(open);
    }

    fn open_mut(&mut self, number: RebuildNumber) -> Option<&mut OpenRebuild> {
        self.open.as_mut().filter(|open| open.number == number)
    }

    pub(crate) fn triggered(&mut self, number: RebuildNumber, at: DateTime<Utc>) {
        if let Some(open) = self.open_mut(number) {
            open.trigger = TriggerState::Accepted(at);
        }
    }

    pub(crate) fn trigger_failed(&mut self, number: RebuildNumber, reason: &str, retry_at: Option<DateTime<Utc>>) {
        if let Some(open) = self.open_mut(number) {
            open.failures = open.failures.saturating_add(1);
            open.last_failure = Some(reason.to_owned());
            if let Some(at) = retry_at {
                open.trigger = TriggerState::Due(at);
            }
        }
    }

    /// A node's build has ended. One that could not be done says why; one that failed ends the rebuild by a fact of its own.
    pub(crate) fn build_ended(&mut self, number: RebuildNumber, outcome: &JobOutcome, at: DateTime<Utc>) {
        let Some(open) = self.open_mut(number) else { return };
        match outcome {
            JobOutcome::Built { digest } => {
                open.built = Some(digest.clone());
                open.trigger = TriggerState::Accepted(at);
            }
            JobOutcome::NotDone { reason } => open.last_failure = Some(reason.clone()),
            JobOutcome::Passed | JobOutcome::Failed { .. } => {}
        }
    }

    pub(crate) fn ended(&mut self, number: RebuildNumber, outcome: &RebuildOutcome, at: DateTime<Utc>) {
        if let Some(open) = self.open.take_if(|open| open.number == number) {
            let (started_at, outcome) = (open.started_at, outcome.clone());
            self.last = Some(EndedRebuild { number, started_at, ended_at: at, outcome });
        }
    }
}
