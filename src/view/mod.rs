//! What the command line shows: one serialisable view for each thing, made from the wire's message at this edge.
//!
//! The JSON of a view is a contract (docs/cli.md): a field may be added, none is renamed or dropped. What is absent is
//! `null`, states are lower snake case words, digests are whole, times are RFC 3339 in UTC.

pub(crate) mod adoption;
pub(crate) mod age;
pub(crate) mod app;
pub(crate) mod change;
pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod job;
pub(crate) mod node;
pub(crate) mod quiet;
pub(crate) mod rebuild;
pub(crate) mod rehearsal;
pub(crate) mod release;
pub(crate) mod rollout;
pub(crate) mod status;
pub(crate) mod token;

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use crate::output::Page;
use crate::output::time::when;

/// Why nothing more happens now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Wait {
    /// A word for scripts: `window`, `tests`, `operator` …
    pub(crate) kind: String,
    pub(crate) message: String,
    /// When it is looked at again by itself.
    pub(crate) until: Option<DateTime<Utc>>,
}

impl From<pb::Wait> for Wait {
    fn from(wait: pb::Wait) -> Self {
        Self { kind: wait.kind, message: wait.message, until: instant(wait.until) }
    }
}

impl Wait {
    /// A reason that this process knows itself.
    pub(crate) fn of(wait: &nightshift_core::rollout::WaitingOn) -> Self {
        Self { kind: wait.kind().as_str().to_owned(), message: wait.to_string(), until: wait.until() }
    }

    /// `window: opens at …, in 3 h`.
    pub(crate) fn line(&self, page: &Page) -> String {
        match self.until {
            Some(until) => format!("{}: {} ({})", self.kind, self.message, when(Some(until), page.now)),
            None => format!("{}: {}", self.kind, self.message),
        }
    }
}

/// Every wait, one a line.
pub(crate) fn wait_lines(waits: &[Wait], page: &Page, indent: &str) -> String {
    let lines: Vec<_> = waits.iter().map(|wait| wait.line(page)).collect();
    lines.join(&format!("\n{indent}"))
}

/// The views of a list.
pub(crate) fn all<A, B: From<A>>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(B::from).collect()
}

/// A text of the wire, on which an empty one means that there is none.
pub(crate) fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// A time of the wire; one that no calendar has is as good as none.
pub(crate) fn instant(at: Option<prost_types::Timestamp>) -> Option<DateTime<Utc>> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?))
}

/// The way back.
pub(crate) fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() }
}

/// A duration of the wire in milliseconds; a negative one is none.
pub(crate) fn millis(duration: Option<prost_types::Duration>) -> Option<u64> {
    let duration = std::time::Duration::try_from(duration?).ok()?;
    u64::try_from(duration.as_millis()).ok()
}

/// A duration for the wire.
pub(crate) fn duration(duration: std::time::Duration) -> prost_types::Duration {
    // Durations are limited to ten years where they are read.
    prost_types::Duration::try_from(duration).expect("ten years fit")
}

/// The word for a value of a wire's enumeration: `ROLLOUT_STATE_ROLLING_BACK` is `rolling_back`.
pub(crate) fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// JSON that the coordinator made; what is none is kept as text rather than lost.
pub(crate) fn json(text: &str) -> serde_json::Value {
    if text.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text))
}

/// JSON as lines `key: value` for people: objects by indentation, lists in one line where they are short.
pub(crate) fn json_outline(value: &serde_json::Value) -> String {
    let mut lines = Vec::new();
    outline(value, "", &mut lines);
    lines.join("\n")
}

fn outline(value: &serde_json::Value, path: &str, lines: &mut Vec<String>) {
    if let serde_json::Value::Object(map) = value
        && !map.is_empty()
    {
        for (key, value) in map {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            outline(value, &path, lines);
        }
        return;
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    lines.push(format!("{path} = {text}"));
}
