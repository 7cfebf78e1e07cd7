//! What `doctor` found.

use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Human, Page};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and someone should look at it.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    check: String,
    pub(crate) verdict: Verdict,
    message: String,
    hint: Option<String>,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, message: message.into(), hint: None }
    }

    /// It works, and someone should look at it.
    pub(crate) fn warning(check: &str, message: String, hint: &str) -> Self {
        Self { check: check.to_owned(), verdict: Verdict::Warning, message, hint: Some(hint.to_owned()) }
    }

    /// It does not work.
    pub(crate) fn failed(check: impl Into<String>, failure: &Failure) -> Self {
        let hint = failure.hint_text().map(str::to_owned);
        Self { check: check.into(), verdict: Verdict::Failed, message: failure.message().to_owned(), hint }
    }
}

impl Human for Vec<Finding> {
    fn human(&self, _: &Page) -> String {
        let lines = self.iter().flat_map(|finding| {
            let mark = match finding.verdict {
                Verdict::Ok => "ok     ",
                Verdict::Warning => "warning",
                Verdict::Failed => "failed ",
            };
            let line = format!("{mark}  {}: {}", finding.check, finding.message);
            [line].into_iter().chain(finding.hint.iter().map(|hint| format!("         hint: {hint}")))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
