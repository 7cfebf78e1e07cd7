//! Alarms: states of the fleet that somebody must act on, each with a key that tells it from others and a sentence.
//!
//! [`crate::control`] judges at each decision which of them hold. One that begins is stored as an event and so is its end: the
//! log says when, a restart neither repeats nor forgets it.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::duration;
use crate::freshness::CountedFrom;
use crate::ids::{AppName, NodeName};
use crate::image::ImageRef;
use crate::job::JobSubject;
use crate::rebuild::{RebuildNumber, RebuildOutcome};

/// What somebody must act on. What it says is what was known when it was judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Alarm {
    /// Instances of an app run an image that is older than the app allows.
    Stale {
        /// The app.
        app: AppName,
        /// How many instances.
        stale: usize,
        /// Of how many that can be seen.
        instances: usize,
        /// The largest age that the app allows.
        #[serde(with = "crate::duration::text")]
        max_age: Duration,
        /// The node of the oldest one.
        node: NodeName,
        /// Its container's name.
        container: String,
        /// From when its age counts.
        since: DateTime<Utc>,
        /// What happened then.
        #[serde(default)]
        counted_from: CountedFrom,
    },
    /// Nobody knows what an app's tag points to.
    RegistrySilent {
        /// The app.
        app: AppName,
        /// The reference that cannot be looked at.
        image: ImageRef,
        /// The last failure.
        error: String,
        /// Since when every look has failed.
        since: DateTime<Utc>,
    },
    /// A job could not be done, again and again.
    JobNotDone {
        /// The app.
        app: AppName,
        /// What it is about.
        subject: JobSubject,
        /// How often it was tried.
        tries: u32,
        /// Why, the last time.
        reason: String,
    },
    /// The last rebuild of an app brought no new tested digest.
    Rebuild {
        /// The app.
        app: AppName,
        /// Which rebuild.
        number: RebuildNumber,
        /// When it began.
        started_at: DateTime<Utc>,
        /// How it ended.
        outcome: RebuildOutcome,
    },
    /// A node that should take part is not connected.
    NodeAway {
        /// The node.
        node: NodeName,
        /// Since when.
        since: DateTime<Utc>,
    },
}

/// What kind of alarm it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// [`Alarm::Stale`].
    Stale,
    /// [`Alarm::RegistrySilent`].
    RegistrySilent,
    /// [`Alarm::JobNotDone`].
    JobNotDone,
    /// [`Alarm::Rebuild`].
    Rebuild,
    /// [`Alarm::NodeAway`].
    NodeAway,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Stale, Self::RegistrySilent, Self::NodeAway];

    /// The word by which scripts know it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::RegistrySilent => "registry_silent",
            Self::JobNotDone => "job_not_done",
            Self::Rebuild => "rebuild",
            Self::NodeAway => "node_away",
        }
    }
}

/// Tells alarms apart: as long as its key stays, it is the same alarm, whatever its sentence says by now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlarmKey {
    /// What kind.
    pub kind: AlarmKind,
    /// The app that it is about.
    pub app: Option<AppName>,
    /// The node that it is about.
    pub node: Option<NodeName>,
}

impl AlarmKey {
    /// The key of an alarm about an app as a whole.
    #[must_use]
    pub fn of_app(kind: AlarmKind, app: &AppName) -> Self {
        Self { kind, app: Some(app.clone()), node: None }
    }

    /// The key of an alarm about a node as a whole.
    #[must_use]
    pub fn of_node(kind: AlarmKind, node: &NodeName) -> Self {
        Self { kind, app: None, node: Some(node.clone()) }
    }
}

impl Alarm {
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> AlarmKind {
        match self {
            Self::Stale { .. } => AlarmKind::Stale,
            Self::RegistrySilent { .. } => AlarmKind::RegistrySilent,
            Self::JobNotDone { .. } => AlarmKind::JobNotDone,
            Self::Rebuild { .. } => AlarmKind::Rebuild,
            Self::NodeAway { .. } => AlarmKind::NodeAway,
        }
    }

    /// The app that it is about. (The node of a stale app's oldest instance is a detail: another one may be the oldest tomorrow.)
    #[must_use]
    pub const fn app(&self) -> Option<&AppName> {
        match self {
            Self::Stale { app, .. }
            | Self::RegistrySilent { app, .. }
            | Self::JobNotDone { app, .. }
            | Self::Rebuild { app, .. } => Some(app),
            Self::NodeAway { .. } => None,
        }
    }

    /// The node that it is about.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::NodeAway { node, .. } => Some(node),
            Self::Stale { .. } | Self::RegistrySilent { .. } | Self::JobNotDone { .. } | Self::Rebuild { .. } => None,
        }
    }

    /// What tells it from others.
    #[must_use]
    pub fn key(&self) -> AlarmKey {
        AlarmKey { kind: self.kind(), app: self.app().cloned(), node: self.node().cloned() }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { app, stale, instances, max_age, node, container, since, counted_from } => write!(
                f,
                "{stale} of {instances} instances of {app} run an image older than {}; the oldest, {container} on {node}, \
                 {} {}",
                duration::format(*max_age),
                match counted_from {
                    CountedFrom::Built => "was built",
                    CountedFrom::FirstSeen => "has no date of its build and was first seen",
                },
                second(since),
            ),
            Self::RegistrySilent { image, error, since, .. } => {
                write!(f, "{} cannot be looked at since {}: {error}", image.familiar(), second(since))
            }
            Self::JobNotDone { app, subject, tries, reason } => {
                write!(f, "the {subject} of {app} could not be done {tries} times: {reason}")
            }
            Self::Rebuild { app, number, started_at, outcome } => {
                write!(
                    f,
                    "rebuild {number} of {app}, begun {}, brought no new tested digest: {outcome}",
                    second(started_at)
                )
            }
            Self::NodeAway { node, since } => write!(f, "node {node} is not connected since {}", second(since)),
        }
    }
}

fn second(at: &DateTime<Utc>) -> impl fmt::Display + use<> {
    at.format("%F %T UTC")
}
