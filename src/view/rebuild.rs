//! Rebuilds: one of them, and how an app is built again.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, text};
use crate::output::table::{facts, or_nothing};
use crate::output::time::{NOTHING, when};
use crate::output::{Human, Page};

/// One rebuild of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rebuild {
    pub(crate) app: String,
    pub(crate) number: u64,
    pub(crate) state: String,
    message: String,
    pub(crate) ended: bool,
    started_at: Option<DateTime<Utc>>,
    deadline_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    /// The new tested digest.
    pub(crate) digest: Option<String>,
}

impl From<pb::Rebuild> for Rebuild {
    fn from(rebuild: pb::Rebuild) -> Self {
        Self {
            app: rebuild.app,
            number: rebuild.number,
            state: rebuild.state,
            message: rebuild.message,
            ended: rebuild.ended,
            started_at: instant(rebuild.started_at),
            deadline_at: instant(rebuild.deadline_at),
            ended_at: instant(rebuild.ended_at),
            digest: text(rebuild.digest),
        }
    }
}

impl Rebuild {
    /// It in one line.
    pub(crate) fn line(&self) -> String {
        let Self { app, number, state, message, .. } = self;
        format!("rebuild {number} of {app} {}: {message}", state.replace('_', " "))
    }
}

impl Human for Rebuild {
    fn human(&self, page: &Page) -> String {
        facts([
            ("rebuild", format!("{} of {}", self.number, self.app)),
            ("state", format!("{}: {}", self.state.replace('_', " "), self.message)),
            ("started", when(self.started_at, page.now)),
            ("deadline", self.deadline_at.map_or_else(String::new, |at| when(Some(at), page.now))),
            ("ended", self.ended_at.map_or_else(String::new, |at| when(Some(at), page.now))),
            ("digest", or_nothing(self.digest.as_deref())),
        ])
    }
}

/// How an app is built again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rebuilds {
    schedule: Option<String>,
    next_due: Option<DateTime<Utc>>,
    open: Option<Rebuild>,
    last: Option<Rebuild>,
}

impl From<pb::Rebuilds> for Rebuilds {
    fn from(rebuilds: pb::Rebuilds) -> Self {
        Self {
            schedule: text(rebuilds.schedule),
            next_due: instant(rebuilds.next_due),
            open: rebuilds.open.map(Rebuild::from),
            last: rebuilds.last.map(Rebuild::from),
        }
    }
}

impl Rebuilds {
    /// When the next one is due.
    pub(crate) fn next(&self, page: &Page) -> String {
        self.next_due.map_or_else(|| "on request".to_owned(), |due| when(Some(due), page.now))
    }

    /// What is under way, and what the last one brought, one a line.
    pub(crate) fn known(&self, page: &Page) -> String {
        let ended = |last: &Rebuild| format!("{} ({})", last.line(), when(last.ended_at, page.now));
        let lines: Vec<_> = self.open.iter().map(Rebuild::line).chain(self.last.iter().map(ended)).collect();
        if lines.is_empty() { NOTHING.to_owned() } else { lines.join("\n") }
    }
}
