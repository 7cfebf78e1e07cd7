//! Jobs: order, self-test, report.

use std::collections::BTreeMap;

use nightshift_core::ids::JobId;
use nightshift_core::job::{JOB_LOG_LIMIT_BYTES, JobLog, JobOrder, JobOutcome, JobReport, JobWork};
use nightshift_core::spec::{Memory, SelfTest, TestLimits, TestRun};

use super::field::{Error, Within as _, bounded, end_of, list, parsed, reason, required, text};
use super::signature;
use super::step::{REASON_LIMIT_BYTES, command, epoch};
use super::time::{duration, from_duration};
use crate::pb;

/// Most variables of a test: what app files may have.
const ENV_LIMIT: usize = 100;
/// Longest of them, in bytes.
const VARIABLE_LIMIT_BYTES: usize = 8 * 1024;
/// Most jobs that an agent holds: it does one at a time and forgets what was acknowledged.
const HELD_LIMIT: usize = 1_000;

impl From<&JobOrder> for pb::JobOrder {
    fn from(order: &JobOrder) -> Self {
        let JobWork::SelfTest { digest, test, health } = &order.work;
        let work = pb::SelfTestJob {
            digest: digest.as_str().to_owned(),
            test: Some(test.into()),
            health: Some(health.into()),
        };
        Self {
            id: order.id.as_str().to_owned(),
            epoch: order.epoch.0,
            node: order.node.as_str().to_owned(),
            app: order.app.as_str().to_owned(),
            image: order.image.to_string(),
            work: Some(pb::job_order::Work::SelfTest(work)),
            signatures: signature::to_wire(&order.signatures),
        }
    }
}

impl TryFrom<pb::JobOrder> for JobOrder {
    type Error = Error;
    fn try_from(order: pb::JobOrder) -> Result<Self, Error> {
        let pb::job_order::Work::SelfTest(work) = required("work", order.work)?;
        Ok(Self {
            id: parsed("id", &order.id)?,
            epoch: epoch("epoch", order.epoch)?,
            node: parsed("node", &order.node)?,
            app: parsed("app", &order.app)?,
            image: parsed("image", &order.image)?,
            work: work.try_into().within("self_test")?,
            signatures: signature::from_wire(order.signatures)?,
        })
    }
}

impl TryFrom<pb::SelfTestJob> for JobWork {
    type Error = Error;
    fn try_from(work: pb::SelfTestJob) -> Result<Self, Error> {
        Ok(Self::SelfTest {
            digest: parsed("digest", &work.digest)?,
            test: required("test", work.test)?.try_into().within("test")?,
            health: required("health", work.health)?.try_into().within("health")?,
        })
    }
}

impl From<&SelfTest> for pb::SelfTest {
    fn from(test: &SelfTest) -> Self {
        use pb::self_test::{Command, Run};
        let words = |words: &Vec<String>| Command { words: words.clone() };
        let run = match &test.run {
            TestRun::Image => None,
            TestRun::Command(command) => Some(Run::Command(words(command))),
            TestRun::Entrypoint(entrypoint) => Some(Run::Entrypoint(words(entrypoint))),
        };
        Self {
            test_nodes: test.test_nodes.to_string(),
            env: test.env.clone().into_iter().collect(),
            run,
            timeout: Some(from_duration(test.timeout)),
            memory_bytes: test.limits.memory.0,
            cpus_milli: test.limits.cpus_milli,
            pids: test.limits.pids,
            internet: test.internet,
        }
    }
}

impl TryFrom<pb::SelfTest> for SelfTest {
    type Error = Error;
    fn try_from(test: pb::SelfTest) -> Result<Self, Error> {
        use pb::self_test::Run;
        let run = match test.run {
            None => TestRun::Image,
            Some(Run::Command(words)) => TestRun::Command(command("command", words.words)?),
            Some(Run::Entrypoint(words)) => TestRun::Entrypoint(command("entrypoint", words.words)?),
        };
        // Without a limit a test could take the whole node: none of them may be missing.
        let limit = |field: &str, value: u64| if value == 0 { Err(Error::missing(field)) } else { Ok(value) };
        let small = |field: &str, value: u32| limit(field, value.into()).map(|_| value);
        let limits = TestLimits {
            memory: Memory(limit("memory_bytes", test.memory_bytes)?),
            cpus_milli: small("cpus_milli", test.cpus_milli)?,
            pids: small("pids", test.pids)?,
        };
        Ok(Self {
            test_nodes: parsed("test_nodes", &test.test_nodes)?,
            env: env(test.env.into_iter().collect())?,
            run,
            timeout: duration("timeout", test.timeout)?,
            limits,
            internet: test.internet,
        })
    }
}

fn env(entries: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Error> {
    let entries = list("env", entries, ENV_LIMIT)?;
    let checked = entries.into_iter().map(|(name, value)| {
        let name = text("env", name, VARIABLE_LIMIT_BYTES)?;
        Ok((name, bounded("env", value, VARIABLE_LIMIT_BYTES)?))
    });
    checked.collect()
}

impl From<&JobReport> for pb::JobReport {
    fn from(report: &JobReport) -> Self {
        let result = match &report.outcome {
            JobOutcome::Passed => pb::JobResult::Passed,
            JobOutcome::Failed { .. } => pb::JobResult::Failed,
            JobOutcome::NotDone { .. } => pb::JobResult::NotDone,
        };
        let log = end_of(&report.log.text, JOB_LOG_LIMIT_BYTES);
        Self {
            job: report.job.as_str().to_owned(),
            result: result.into(),
            reason: report.outcome.reason().map(|text| reason(text, REASON_LIMIT_BYTES)).unwrap_or_default(),
            log_cut: report.log.cut || log.len() < report.log.text.len(),
            log,
        }
    }
}

impl TryFrom<pb::JobReport> for JobReport {
    type Error = Error;
    fn try_from(report: pb::JobReport) -> Result<Self, Error> {
        let reason = |given: String| text("reason", given, REASON_LIMIT_BYTES);
        let result = pb::JobResult::try_from(report.result);
        let outcome = match result.map_err(|unknown| Error::malformed("result", unknown))? {
            pb::JobResult::Unspecified => return Err(Error::missing("result")),
            pb::JobResult::Passed => JobOutcome::Passed,
            pb::JobResult::Failed => JobOutcome::Failed { reason: reason(report.reason)? },
            pb::JobResult::NotDone => JobOutcome::NotDone { reason: reason(report.reason)? },
        };
        let log = JobLog { text: bounded("log", report.log, JOB_LOG_LIMIT_BYTES)?, cut: report.log_cut };
        Ok(Self { job: parsed("job", &report.job)?, outcome, log })
    }
}

/// The jobs that a message names.
///
/// # Errors
/// One of them is no id, or there are too many.
pub fn job_ids(field: &str, ids: Vec<String>) -> Result<Vec<JobId>, Error> {
    list(field, ids, HELD_LIMIT)?.iter().map(|id| parsed(field, id)).collect()
}

#[cfg(test)]
mod tests;
