//! Events: the audit log.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, json, text};
use crate::output::time::{NOTHING, clock, local};
use crate::output::{Human, Page};

/// Something that happened, and who caused it.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    pub(crate) sequence: u64,
    at: Option<DateTime<Utc>>,
    kind: String,
    app: Option<String>,
    node: Option<String>,
    rollout: Option<String>,
    by: Option<String>,
    message: String,
    detail: serde_json::Value,
}

impl From<pb::Event> for Event {
    fn from(event: pb::Event) -> Self {
        Self {
            sequence: event.sequence,
            at: instant(event.at),
            kind: event.kind,
            app: text(event.app),
            node: text(event.node),
            rollout: text(event.rollout),
            by: text(event.by),
            message: event.message,
            detail: json(&event.detail_json),
        }
    }
}

impl Human for Event {
    /// One line: `15:04:05 web n1 step_committed: … (by scheduler)`. Events of another day carry their date.
    fn human(&self, page: &Page) -> String {
        let at = self.at.map_or_else(
            || NOTHING.to_owned(),
            |at| {
                if local(at).get(..10) == local(page.now).get(..10) {
                    clock(at)
                } else {
                    format!("{} {}", &local(at)[..10], clock(at))
                }
            },
        );
        let about =
            [&self.app, &self.node].into_iter().flatten().fold(String::new(), |all, one| format!("{all} {one}"));
        let by = self.by.as_ref().map_or_else(String::new, |by| format!(" (by {by})"));
        format!("{at}{about} {}: {}{by}", self.kind, self.message)
    }
}

impl Human for Vec<Event> {
    fn human(&self, page: &Page) -> String {
        if self.is_empty() {
            return "no events".to_owned();
        }
        self.iter().map(|event| event.human(page)).collect::<Vec<_>>().join("\n")
    }
}
