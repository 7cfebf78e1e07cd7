//! Releases and the gate: what is known of a digest, and whether it may be a rollout's target.

use std::fmt;
use std::net::IpAddr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::image::Digest;
use crate::mutation::{Rule, broken};
use crate::platform::{PLATFORM_LIMIT, Platform};
use crate::signature::{Signature, Unverified};
use crate::spec::{Gate, TestKind};

/// Suite that a report belongs to when its sender names none.
pub const DEFAULT_SUITE: &str = "default";

/// Most suites of one release, and reports kept of it, though of each suite at least the first and the newest: a CI that reports
/// in a loop must not fill the memory.
pub const REPORT_LIMIT: usize = 100;

/// Whether a suite passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestResult {
    /// Every test passed.
    Passed,
    /// At least one did not: the digest is barred.
    Failed,
}

/// Who says that this very digest passed or failed. Immutable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// Where it comes from.
    pub kind: TestKind,
    /// Name of the suite; of a signature the name of the key that made it.
    pub suite: String,
    /// What came out.
    pub result: TestResult,
    /// Who reported it: the token's name.
    pub by: String,
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// Where to read more.
    pub url: Option<String>,
    /// The network address from which it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// What an image says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// When it was built; `None` when its configuration does not say.
    pub created: Option<DateTime<Utc>>,
    /// What it was built for; empty when that cannot be told.
    pub platforms: Vec<Platform>,
}

/// A digest that is never started again automatically.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// When it was barred.
    pub since: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// The person or rollout that barred it.
    pub by: String,
}

/// How a digest came to be a legal rollback target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownGoodBy {
    /// It was found running when the app was adopted.
    Adoption,
    /// It was committed and survived its monitor period.
    Rollout,
}

/// An app's digest with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The content address.
    pub digest: Digest,
    /// When this fleet first heard of it.
    pub first_seen: DateTime<Utc>,
    /// When the image was built, from its configuration; `None` until the registry was asked.
    pub created: Option<DateTime<Utc>>,
    /// What it was built for; empty where nobody knows.
    pub platforms: Vec<Platform>,
    /// The tag that pointed to it when it was last seen.
    pub tag: Option<String>,
    /// Set while an app that chooses its tags by a rule has not seen it at one that fits: a report alone makes it known, and
    /// reports come for other versions of the same repository, too.
    pub awaits_tag: bool,
    /// What tests said, oldest first.
    pub reports: Vec<TestReport>,
    /// Set while it is barred.
    pub quarantine: Option<Quarantine>,
    /// Set once it was seen to work on this fleet.
    pub known_good: Option<(DateTime<Utc>, KnownGoodBy)>,
    /// The signatures among which a good one was found: agents judge them by keys of their own.
    pub signatures: Vec<Signature>,
    /// Why it did not count as signed when that was last judged; `None` while nobody looked, and when it does.
    pub unsigned: Option<Unverified>,
}

impl Release {
    /// A release of which nothing more is known than that it exists.
    #[must_use]
    pub const fn new(digest: Digest, first_seen: DateTime<Utc>) -> Self {
        Self {
            digest,
            first_seen,
            created: None,
            platforms: Vec::new(),
            tag: None,
            awaits_tag: false,
            reports: Vec::new(),
            quarantine: None,
            known_good: None,
            signatures: Vec::new(),
            unsigned: None,
        }
    }

    /// Remembers what it was built for, unless that is known: it is content and does not change.
    pub(crate) fn is_for(&mut self, platforms: &[Platform]) {
        if self.platforms.is_empty() {
            self.platforms = platforms.iter().take(PLATFORM_LIMIT).cloned().collect();
        }
    }

    /// Whether a node of this platform runs it, as far as both are known.
    #[must_use]
    pub fn fits(&self, node: Option<&Platform>) -> bool {
        node.is_none_or(|node| self.platforms.is_empty() || self.platforms.iter().any(|image| node.runs(image)))
    }

    /// Keeps one more report. Tests are repeated as they grow too old, and a build that comes out the same is reported each
    /// night: of too many, one goes that passed between the first of its suite, which says since when it passes, and the newest.
    pub(crate) fn remember(&mut self, report: TestReport) {
        if self.reports.len() >= REPORT_LIMIT
            && let Some(place) = self.said_before_and_after(&report)
        {
            self.reports.remove(place);
        }
        self.reports.push(report);
    }

    /// The place of the oldest passed report with an earlier and a later one of its suite.
    fn said_before_and_after(&self, newest: &TestReport) -> Option<usize> {
        (0..self.reports.len()).find(|place| {
            let one = &self.reports[*place];
            let same = |other: &TestReport| other.kind == one.kind && other.suite == one.suite;
            let later = || self.reports[place + 1..].iter().any(same);
            one.result == TestResult::Passed && self.reports[..*place].iter().any(same) && (same(newest) || later())
        })
    }

    /// When the newest report of a kind arrived.
    fn newest(&self, kind: TestKind) -> Option<DateTime<Utc>> {
        self.reports.iter().filter(|report| report.kind == kind).map(|report| report.at).max()
    }

    /// The first failed report, as the refusal that it is.
    #[must_use]
    pub fn failed_test(&self) -> Option<GateDenial> {
        let failed = self.reports.iter().find(|report| report.result == TestResult::Failed)?;
        Some(GateDenial::TestFailed { test: failed.kind, suite: failed.suite.clone() })
    }
}

/// Why a digest may not be a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum GateDenial {
    /// It failed on this fleet, or a person barred it.
    Quarantined {
        /// Why it was barred.
        reason: String,
    },
    /// A test failed.
    TestFailed {
        /// Kind of the failed report.
        test: TestKind,
        /// Its suite.
        suite: String,
    },
    /// A kind of report is missing.
    NotTested {
        /// The kinds that are missing.
        missing: Vec<TestKind>,
    },
    /// No tag that fits the app's rule has pointed to it.
    NotTagged,
    /// No key that the gate names has signed it, as far as is known.
    NotSigned {
        /// Why not; `None` until the registry was asked.
        reason: Option<Unverified>,
    },
    /// Every passed report of a kind is too old.
    TestsTooOld {
        /// The kind.
        test: TestKind,
        /// When its newest report arrived.
        newest: DateTime<Utc>,
    },
    /// It is known too short.
    CoolingDown {
        /// When that ends.
        until: DateTime<Utc>,
    },
}

impl fmt::Display for GateDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quarantined { reason } => write!(f, "quarantined: {reason}"),
            Self::TestFailed { test, suite } => write!(f, "test report `{test}` (suite `{suite}`) says failed"),
            Self::NotTested { missing } => {
                let words: Vec<_> = missing.iter().map(|kind| format!("`{kind}`")).collect();
                write!(f, "no test report of kind {}", words.join(", "))
            }
            Self::NotTagged => f.write_str("no tag that fits the app's rule points to it"),
            Self::NotSigned { reason: Some(reason) } => reason.fmt(f),
            Self::NotSigned { reason: None } => f.write_str("its signature is looked for"),
            Self::TestsTooOld { test, newest } => {
                write!(f, "its test report `{test}` of {} is older than the gate allows", newest.format("%F %T UTC"))
            }
            Self::CoolingDown { until } => write!(f, "cooling down until {}", until.format("%F %T UTC")),
        }
    }
}

impl Gate {
    /// Whether a release may be a target now.
    ///
    /// # Errors
    /// The first reason why not, the most serious first.
    pub fn judge(&self, release: &Release, now: DateTime<Utc>) -> Result<(), GateDenial> {
        if let Some(quarantine) = release.quarantine.as_ref().filter(|_| !broken(Rule::Quarantine)) {
            return Err(GateDenial::Quarantined { reason: quarantine.reason.clone() });
        }
        self.judge_tests(release, now)
    }

    /// The same without regard to quarantine, for an override by a person.
    ///
    /// # Errors
    /// The first reason why not, the most serious first.
    pub fn judge_tests(&self, release: &Release, now: DateTime<Utc>) -> Result<(), GateDenial> {
        if let Some(failed) = release.failed_test() {
            return Err(failed);
        }
        if release.awaits_tag {
            return Err(GateDenial::NotTagged);
        }
        let newest = |kind| release.newest(kind);
        let tests = || self.tests.iter().copied().filter(|kind| *kind != TestKind::Signature);
        let missing: Vec<_> = tests().filter(|kind| newest(*kind).is_none()).collect();
        if !missing.is_empty() && !broken(Rule::Tested) {
            return Err(GateDenial::NotTested { missing });
        }
        if self.asks_for_signature_of(release) && !broken(Rule::Tested) {
            return Err(GateDenial::NotSigned { reason: release.unsigned.clone() });
        }
        if let Some(max_age) = self.max_age.and_then(|age| TimeDelta::from_std(age).ok()) {
            // A signature says who made it, and that does not change with time.
            for test in tests() {
                if let Some(newest) = newest(test).filter(|newest| now - *newest > max_age && !broken(Rule::TestAge)) {
                    return Err(GateDenial::TestsTooOld { test, newest });
                }
            }
        }
        let cooldown = TimeDelta::from_std(self.cooldown).unwrap_or(TimeDelta::MAX);
        match release.first_seen.checked_add_signed(cooldown) {
            Some(until) if until > now => Err(GateDenial::CoolingDown { until }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Gate {
    /// Whether it wants a signature that this release does not have. One by a key that the gate no longer names is none.
    #[must_use]
    pub fn asks_for_signature_of(&self, release: &Release) -> bool {
        let named = |suite: &str| self.signature_keys.iter().any(|key| key.id().as_str() == suite);
        let signed = |report: &TestReport| report.kind == TestKind::Signature && named(&report.suite);
        self.tests.contains(&TestKind::Signature) && !release.reports.iter().any(signed)
    }

    /// Whether a release lacks nothing but a self-test, or a younger one. While it cools down it is tested once, for a bad
    /// one is known early then; again only when it could be installed.
    #[must_use]
    pub fn lacks_only_self_test(&self, release: &Release, now: DateTime<Utc>) -> bool {
        if !self.tests.contains(&TestKind::SelfTest) {
            return false;
        }
        let tests = self.tests.iter().copied().filter(|kind| *kind != TestKind::SelfTest).collect();
        let others = Self { tests, ..self.clone() }.judge(release, now);
        match (release.newest(TestKind::SelfTest), others) {
            (None, Ok(()) | Err(GateDenial::CoolingDown { .. })) => true,
            (Some(_), Ok(())) => matches!(self.judge(release, now), Err(GateDenial::TestsTooOld { .. })),
            (None | Some(_), Err(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).expect("in range")
    }

    fn release(reports: &[(TestKind, TestResult, i64)]) -> Release {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().expect("well formed");
        let mut release = Release::new(digest, at(0));
        release.reports = reports
            .iter()
            .map(|&(kind, result, second)| TestReport {
                kind,
                suite: DEFAULT_SUITE.into(),
                result,
                by: "ci".into(),
                at: at(second),
                url: None,
                from: None,
            })
            .collect();
        release
    }

    #[test]
    fn only_tested_fresh_digests_pass_the_gate() {
        use TestKind::{Ci, SelfTest};
        use TestResult::{Failed, Passed};
        let minute = Duration::from_secs(60);
        let both = Gate { tests: vec![Ci, SelfTest], max_age: Some(minute), ..Gate::default() };
        for (gate, reports, now, expect) in [
            (Gate::default(), vec![], 0, Err(GateDenial::NotTested { missing: vec![Ci] })),
            (Gate::default(), vec![(Ci, Passed, 0)], 0, Ok(())),
            (
                Gate::default(),
                vec![(Ci, Passed, 0), (Ci, Failed, 1)],
                2,
                Err(GateDenial::TestFailed { test: Ci, suite: DEFAULT_SUITE.into() }),
            ),
            (both.clone(), vec![(Ci, Passed, 0)], 0, Err(GateDenial::NotTested { missing: vec![SelfTest] })),
            (both.clone(), vec![(Ci, Passed, 0), (SelfTest, Passed, 30)], 60, Ok(())),
            (
                both,
                vec![(Ci, Passed, 0), (SelfTest, Passed, 30)],
                61,
                Err(GateDenial::TestsTooOld { test: Ci, newest: at(0) }),
            ),
            (
                Gate { cooldown: minute, ..Gate::default() },
                vec![(Ci, Passed, 0)],
                59,
                Err(GateDenial::CoolingDown { until: at(60) }),
            ),
            (Gate { cooldown: minute, ..Gate::default() }, vec![(Ci, Passed, 0)], 60, Ok(())),
            (Gate { tests: vec![], ..Gate::default() }, vec![], 0, Ok(())),
            (
                Gate { tests: vec![], ..Gate::default() },
                vec![(Ci, Failed, 0)],
                0,
                Err(GateDenial::TestFailed { test: Ci, suite: DEFAULT_SUITE.into() }),
            ),
        ] {
            assert_eq!(gate.judge(&release(&reports), at(now)), expect, "{gate:?} {reports:?} at {now}");
        }
    }

    #[test]
    fn a_self_test_is_due_where_nothing_else_bars_a_digest() {
        use TestKind::{Ci, SelfTest};
        use TestResult::{Failed, Passed};
        let minute = Duration::from_secs(60);
        let gate = |tests: &[TestKind], cooldown| Gate {
            tests: tests.to_vec(),
            max_age: Some(minute),
            cooldown,
            ..Gate::default()
        };
        let both = gate(&[Ci, SelfTest], Duration::ZERO);
        let cool = gate(&[SelfTest], minute * 10);
        for (gate, reports, now, expect) in [
            (gate(&[Ci], Duration::ZERO), vec![], 0, false),
            (gate(&[SelfTest], Duration::ZERO), vec![], 0, true),
            (both.clone(), vec![], 0, false),
            (both.clone(), vec![(Ci, Passed, 0)], 0, true),
            (both.clone(), vec![(Ci, Failed, 0)], 0, false),
            (both.clone(), vec![(Ci, Passed, 0), (Ci, Failed, 0)], 0, false),
            (both.clone(), vec![(Ci, Passed, 0), (SelfTest, Failed, 0)], 0, false),
            (both.clone(), vec![(Ci, Passed, 50), (SelfTest, Passed, 0)], 60, false),
            // Too old to be installed: tested again, rather than rolled out.
            (both.clone(), vec![(Ci, Passed, 50), (SelfTest, Passed, 0)], 61, true),
            (both.clone(), vec![(Ci, Passed, 50), (SelfTest, Passed, 0), (SelfTest, Passed, 61)], 61, false),
            // CI's report is too old as well: a self-test alone would not help.
            (both, vec![(Ci, Passed, 0), (SelfTest, Passed, 0)], 61, false),
            (cool.clone(), vec![], 0, true),
            (cool.clone(), vec![(SelfTest, Passed, 0)], 61, false),
            (cool, vec![(SelfTest, Passed, 0)], 601, true),
        ] {
            assert_eq!(gate.lacks_only_self_test(&release(&reports), at(now)), expect, "{gate:?} {reports:?} at {now}");
        }
        let mut barred = release(&[]);
        barred.quarantine = Some(Quarantine { since: at(5), reason: "bad".into(), by: "ann".into() });
        assert!(!gate(&[SelfTest], Duration::ZERO).lacks_only_self_test(&barred, at(6)));
    }

    #[test]
    fn of_too_many_self_tests_the_oldest_leave_and_a_failed_one_stays() {
        let mut release =
            release(&[(TestKind::SelfTest, TestResult::Failed, 0), (TestKind::Ci, TestResult::Passed, 0)]);
        let of = |second| TestReport { at: at(second), ..release.reports[1].clone() };
        let of = |second| TestReport { kind: TestKind::SelfTest, ..of(second) };
        let many: Vec<_> = (1..=200).map(of).collect();
        many.into_iter().for_each(|report| release.remember(report));
        assert_eq!(release.reports.len(), REPORT_LIMIT);
        assert_eq!((release.reports[0].result, release.reports[1].kind), (TestResult::Failed, TestKind::Ci));
        assert_eq!(release.reports.last().map(|report| report.at), Some(at(200)));
    }

    #[test]
    fn of_a_suite_that_is_repeated_for_ever_the_first_and_the_newest_stay() {
        let mut release = release(&[]);
        let of = |suite: usize, second| TestReport {
            kind: TestKind::Ci,
            suite: suite.to_string(),
            result: TestResult::Passed,
            by: "ci".into(),
            at: at(second),
            url: None,
            from: None,
        };
        for night in 0..50 {
            (0..REPORT_LIMIT).for_each(|suite| release.remember(of(suite, night)));
        }
        let kept = |suite: usize| {
            let of_suite = release.reports.iter().filter(move |report| report.suite == suite.to_string());
            of_suite.map(|report| report.at).collect::<Vec<_>>()
        };
        assert!((0..REPORT_LIMIT).all(|suite| kept(suite) == [at(0), at(49)]), "{:?}", release.reports);
    }

    #[test]
    fn quarantine_bars_a_digest_that_passed_every_test() {
        let mut barred = release(&[(TestKind::Ci, TestResult::Passed, 0)]);
        barred.quarantine = Some(Quarantine { since: at(5), reason: "unhealthy on n1".into(), by: "rollout".into() });
        let denial = Gate::default().judge(&barred, at(6)).expect_err("barred");
        assert_eq!(denial.to_string(), "quarantined: unhealthy on n1");
    }
}
