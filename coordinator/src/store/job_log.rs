//! What was written during jobs, kept beside the log of events: it is large, and nothing is decided by it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Logs kept of one app: a month of nights, at most some 2 MB.
pub const JOB_LOGS_KEPT: u32 = 30;

/// The log of a job that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLog {
    /// The job.
    pub job: String,
    /// The app.
    pub app: String,
    /// Where it was done.
    pub node: String,
    /// The word for its kind.
    pub kind: String,
    /// The digest that it was about, where there is one.
    pub digest: Option<String>,
    /// The word for what came of it.
    pub result: String,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// When its report arrived; kept to the microsecond.
    pub at: DateTime<Utc>,
    /// What was written.
    pub text: String,
    /// Whether there was more before it.
    pub cut: bool,
}
