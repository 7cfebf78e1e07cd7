//! What the log holds: events in streams, numbered within their stream and over all.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The name of one sequence of events that belong together and that one writer decides on: `app/web`, `rollout/01…`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(pub String);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for StreamId {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

/// How many events a stream has: 0 for one that is not there, 1 for its first event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An event's number over all streams, from 1 without a gap: who has seen `n` has seen everything up to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something that happened, not yet stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// When; kept to the microsecond.
    pub at: DateTime<Utc>,
    /// Who or what caused it: a token's name, a node, `coordinator`.
    pub by: String,
    /// A word for what it is, for people and filters.
    pub kind: String,
    /// The app that it is about.
    pub app: Option<String>,
    /// The node that it is about.
    pub node: Option<String>,
    /// The rollout that it is about.
    pub rollout: Option<String>,
    /// The whole fact, as its reader wrote it.
    pub body: serde_json::Value,
}

/// Events for the end of one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Which stream.
    pub stream: StreamId,
    /// Where the writer believes it to be.
    pub after: Revision,
    /// What happened, in order.
    pub events: Vec<NewEvent>,
}

/// An event in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its number over all streams.
    pub sequence: Sequence,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in its stream.
    pub revision: Revision,
    /// When.
    pub at: DateTime<Utc>,
    /// Who or what caused it.
    pub by: String,
    /// A word for what it is.
    pub kind: String,
    /// The app that it is about.
    pub app: Option<String>,
    /// The node that it is about.
    pub node: Option<String>,
    /// The rollout that it is about.
    pub rollout: Option<String>,
    /// The whole fact.
    pub body: serde_json::Value,
}

/// Which events; the default asks for all of them from the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those after this one.
    pub after: Sequence,
    /// Only those about this app.
    pub app: Option<String>,
    /// Only those about this rollout.
    pub rollout: Option<String>,
    /// Only so many of the newest; `None` starts with the oldest instead.
    pub newest: Option<u32>,
}
