//! Releases: what is known of a digest of an app.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, text};
use crate::output::table::{facts, or_nothing, parts, short_digest, table, yes_no};
use crate::output::time::{NOTHING, when};
use crate::output::{Human, Page};

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Release {
    pub(crate) app: String,
    pub(crate) digest: String,
    pub(crate) first_seen: Option<DateTime<Utc>>,
    pub(crate) created: Option<DateTime<Utc>>,
    /// Whether the app's gate lets it be a target now.
    pub(crate) eligible: bool,
    /// If not, why not.
    pub(crate) denial: Option<String>,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) known_good_at: Option<DateTime<Utc>>,
    /// Instances that run it.
    pub(crate) running: u32,
    pub(crate) reports: Vec<TestReport>,
}

/// Why a release is never started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Quarantine {
    pub(crate) reason: String,
    pub(crate) by: Option<String>,
    pub(crate) since: Option<DateTime<Utc>>,
}

/// Who says that this digest passed or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TestReport {
    pub(crate) kind: String,
    pub(crate) suite: Option<String>,
    pub(crate) result: &'static str,
    pub(crate) by: Option<String>,
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) url: Option<String>,
    /// The address that it came from.
    pub(crate) from: Option<String>,
}

impl From<pb::Release> for Release {
    fn from(release: pb::Release) -> Self {
        let since = instant(release.quarantined_at);
        let quarantined = since.is_some() || !release.quarantine_reason.is_empty();
        let report = |report: pb::TestReport| TestReport {
            kind: report.kind,
            suite: text(report.suite),
            result: if report.passed { "passed" } else { "failed" },
            by: text(report.by),
            at: instant(report.at),
            url: text(report.url),
            from: text(report.from),
        };
        Self {
            app: release.app,
            digest: release.digest,
            first_seen: instant(release.first_seen),
            created: instant(release.created),
            eligible: release.eligible,
            denial: text(release.denial),
            quarantine: quarantined.then(|| Quarantine {
                reason: release.quarantine_reason,
                by: text(release.quarantine_by),
                since,
            }),
            known_good_at: instant(release.known_good_at),
            running: release.running,
            reports: release.reports.into_iter().map(report).collect(),
        }
    }
}

impl Release {
    /// Its tests in one word.
    fn tests(&self) -> String {
        let failed = self.reports.iter().filter(|report| report.result == "failed").count();
        match (self.reports.len(), failed) {
            (0, _) => "none".to_owned(),
            (all, 0) => format!("{all} passed"),
            (all, failed) => format!("{failed} of {all} failed"),
        }
    }

    fn verdict(&self) -> String {
        if self.eligible { "may be rolled out".to_owned() } else { or_nothing(self.denial.as_deref()) }
    }
}

impl Human for Release {
    fn human(&self, page: &Page) -> String {
        let quarantine = self.quarantine.as_ref().map_or_else(String::new, |quarantine| {
            let by = or_nothing(quarantine.by.as_deref());
            format!("{}, {} by {by}", quarantine.reason, when(quarantine.since, page.now))
        });
        let head = facts([
            ("app", self.app.clone()),
            ("digest", self.digest.clone()),
            ("verdict", self.verdict()),
            ("quarantine", quarantine),
            ("built", when(self.created, page.now)),
            ("first seen", when(self.first_seen, page.now)),
            ("known good", self.known_good_at.map_or_else(|| "no".to_owned(), |at| when(Some(at), page.now))),
            ("instances", format!("{} running", self.running)),
        ]);
        let row = |report: &TestReport| {
            [
                report.kind.clone(),
                or_nothing(report.suite.as_deref()),
                report.result.to_owned(),
                or_nothing(report.by.as_deref()),
                or_nothing(report.from.as_deref()),
                when(report.at, page.now),
                or_nothing(report.url.as_deref()),
            ]
        };
        let header = ["TEST", "SUITE", "RESULT", "BY", "FROM", "WHEN", "LINK"];
        parts([head, table(page, header, self.reports.iter().map(row), "no test reports")])
    }
}

impl Human for Vec<Release> {
    fn human(&self, page: &Page) -> String {
        let row = |release: &Release| {
            [
                short_digest(Some(&release.digest)),
                release.created.map_or_else(|| NOTHING.to_owned(), |at| when(Some(at), page.now)),
                release.tests(),
                yes_no(release.known_good_at.is_some()),
                release.running.to_string(),
                release.verdict(),
            ]
        };
        let header = ["DIGEST", "BUILT", "TESTS", "KNOWN GOOD", "RUNNING", "VERDICT"];
        table(page, header, self.iter().map(row), "no releases: the registry was not seen yet")
    }
}
