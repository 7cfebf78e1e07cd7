//! Logs of jobs: what was written while Nightshift tested a digest.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, text};
use crate::output::table::{facts, parts, short_digest};
use crate::output::time::when;
use crate::output::{Human, Page};

/// The log of a job that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct JobLog {
    pub(crate) job: String,
    pub(crate) kind: String,
    pub(crate) node: String,
    pub(crate) digest: Option<String>,
    /// `passed`, `failed`, or `not-done`, which is no verdict.
    pub(crate) result: String,
    /// Why it did not pass.
    pub(crate) reason: Option<String>,
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) log: String,
    /// Whether there was more before it.
    pub(crate) cut: bool,
}

impl From<pb::JobLog> for JobLog {
    fn from(log: pb::JobLog) -> Self {
        Self {
            job: log.job,
            kind: log.kind,
            node: log.node,
            digest: text(log.digest),
            result: log.result,
            reason: text(log.reason),
            at: instant(log.at),
            log: log.text,
            cut: log.cut,
        }
    }
}

impl JobLog {
    fn one(&self, page: &Page) -> String {
        let result = match (self.result.as_str(), &self.reason) {
            ("not-done", Some(reason)) => format!("could not be done: {reason}"),
            (result, Some(reason)) => format!("{result}: {reason}"),
            (result, None) => result.to_owned(),
        };
        let head = facts([
            ("job", self.job.clone()),
            ("kind", self.kind.clone()),
            ("digest", short_digest(self.digest.as_deref())),
            ("node", self.node.clone()),
            ("ended", when(self.at, page.now)),
            ("result", result),
        ]);
        let cut = if self.cut { "(the beginning was cut off)\n" } else { "" };
        let log = self.log.trim_end();
        let log = if log.is_empty() { "(nothing was written)" } else { log };
        parts([head, format!("{cut}{log}")])
    }
}

impl Human for Vec<JobLog> {
    /// The newest last: that is where a terminal ends.
    fn human(&self, page: &Page) -> String {
        if self.is_empty() {
            return "no logs: Nightshift has tested nothing of it, or long ago".to_owned();
        }
        parts(self.iter().rev().map(|log| log.one(page)))
    }
}
