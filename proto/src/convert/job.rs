//! Jobs: order, self-test, build, report.

use std::collections::BTreeMap;

use nightshift_core::ids::JobId;
use nightshift_core::job::{JOB_LOG_LIMIT_BYTES, JobLog, JobOrder, JobOutcome, JobReport, JobWork};
use nightshift_core::rebuild::RebuildNumber;
use nightshift_core::rebuild::builder::{BuildContext, Builder};
use nightshift_core::spec::{Memory, SelfTest, TestLimits, TestRun};

use super::field::{Error, Within as _, bounded, end_of, list, parsed, reason, required, text};
use super::signature;
use super::step::{REASON_LIMIT_BYTES, command, epoch};
use super::time::{duration, from_duration};
use crate::pb;

/// Most variables of a test, and arguments of a build: what app files may have.
const ENV_LIMIT: usize = 100;
/// Longest of them, in bytes.
const VARIABLE_LIMIT_BYTES: usize = 8 * 1024;
/// Longest path, URL, branch or stage of a build, in bytes: what app files may have.
const TEXT_LIMIT_BYTES: usize = 1_024;
/// Most jobs that an agent holds: it does one at a time and forgets what was acknowledged.
const HELD_LIMIT: usize = 1_000;

impl From<&JobOrder> for pb::JobOrder {
    fn from(order: &JobOrder) -> Self {
        Self {
            id: order.id.as_str().to_owned(),
            epoch: order.epoch.0,
            node: order.node.as_str().to_owned(),
            app: order.app.as_str().to_owned(),
            image: order.image.to_string(),
            work: Some((&order.work).into()),
            signatures: signature::to_wire(&order.signatures),
        }
    }
}

impl TryFrom<pb::JobOrder> for JobOrder {
    type Error = Error;
    fn try_from(order: pb::JobOrder) -> Result<Self, Error> {
        let work = match required("work", order.work)? {
            pb::job_order::Work::SelfTest(work) => work.try_into().within("self_test")?,
            pb::job_order::Work::Build(work) => work.try_into().within("build")?,
        };
        Ok(Self {
            id: parsed("id", &order.id)?,
            epoch: epoch("epoch", order.epoch)?,
            node: parsed("node", &order.node)?,
            app: parsed("app", &order.app)?,
            image: parsed("image", &order.image)?,
            work,
            signatures: signature::from_wire(order.signatures)?,
        })
    }
}

impl From<&JobWork> for pb::job_order::Work {
    fn from(work: &JobWork) -> Self {
        match work {
            JobWork::SelfTest { digest, test, health } => Self::SelfTest(pb::SelfTestJob {
                digest: digest.as_str().to_owned(),
                test: Some(test.into()),
                health: Some(health.into()),
            }),
            JobWork::Build { rebuild, builder, test, health } => Self::Build(pb::BuildJob {
                rebuild: rebuild.0,
                build_nodes: builder.build_nodes.to_string(),
                context: Some((&builder.context).into()),
                dockerfile: builder.dockerfile.clone(),
                target: builder.target.clone().unwrap_or_default(),
                args: builder.args.clone().into_iter().collect(),
                timeout: Some(from_duration(builder.timeout)),
                test: Some(test.into()),
                health: Some(health.into()),
            }),
        }
    }
}

impl From<&BuildContext> for pb::build_job::Context {
    fn from(context: &BuildContext) -> Self {
        match context {
            BuildContext::Directory { path } => Self::Directory(pb::build_job::Directory { path: path.clone() }),
            BuildContext::Git { url, branch, directory } => Self::Git(pb::build_job::Git {
                url: url.clone(),
                branch: branch.clone(),
                directory: directory.clone().unwrap_or_default(),
            }),
        }
    }
}

impl TryFrom<pb::BuildJob> for JobWork {
    type Error = Error;
    fn try_from(work: pb::BuildJob) -> Result<Self, Error> {
        let rebuild = if work.rebuild == 0 { Err(Error::missing("rebuild")) } else { Ok(RebuildNumber(work.rebuild)) };
        let builder = Builder {
            build_nodes: parsed("build_nodes", &work.build_nodes)?,
            context: context(required("context", work.context)?)?,
            dockerfile: text("dockerfile", work.dockerfile, TEXT_LIMIT_BYTES)?,
            target: maybe("target", work.target)?,
            args: variables("args", work.args.into_iter().collect())?,
            timeout: duration("timeout", work.timeout)?,
        };
        Ok(Self::Build {
            rebuild: rebuild?,
            builder,
            test: required("test", work.test)?.try_into().within("test")?,
            health: required("health", work.health)?.try_into().within("health")?,
        })
    }
}

fn context(context: pb::build_job::Context) -> Result<BuildContext, Error> {
    Ok(match context {
        pb::build_job::Context::Directory(directory) => {
            BuildContext::Directory { path: text("directory.path", directory.path, TEXT_LIMIT_BYTES)? }
        }
        pb::build_job::Context::Git(git) => BuildContext::Git {
            url: text("git.url", git.url, TEXT_LIMIT_BYTES)?,
            branch: text("git.branch", git.branch, TEXT_LIMIT_BYTES)?,
            directory: maybe("git.directory", git.directory)?,
        },
    })
}

/// A text that may be left out.
fn maybe(field: &str, value: String) -> Result<Option<String>, Error> {
    Some(value).filter(|value| !value.is_empty()).map(|value| text(field, value, TEXT_LIMIT_BYTES)).transpose()
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
            env: variables("env", test.env.into_iter().collect())?,
            run,
            timeout: duration("timeout", test.timeout)?,
            limits,
            internet: test.internet,
        })
    }
}

/// Variables of a test, or arguments of a build.
fn variables(field: &str, entries: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Error> {
    let entries = list(field, entries, ENV_LIMIT)?;
    let checked = entries.into_iter().map(|(name, value)| {
        let name = text(field, name, VARIABLE_LIMIT_BYTES)?;
        Ok((name, bounded(field, value, VARIABLE_LIMIT_BYTES)?))
    });
    checked.collect()
}

impl From<&JobReport> for pb::JobReport {
    fn from(report: &JobReport) -> Self {
        let result = match &report.outcome {
            JobOutcome::Passed | JobOutcome::Built { .. } => pb::JobResult::Passed,
            JobOutcome::Failed { .. } => pb::JobResult::Failed,
            JobOutcome::NotDone { .. } => pb::JobResult::NotDone,
        };
        let log = end_of(&report.log.text, JOB_LOG_LIMIT_BYTES);
        Self {
            job: report.job.as_str().to_owned(),
            result: result.into(),
            reason: report.outcome.reason().map(|text| reason(text, REASON_LIMIT_BYTES)).unwrap_or_default(),
            built: report.outcome.built().map(ToString::to_string).unwrap_or_default(),
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
        let result = result.map_err(|unknown| Error::malformed("result", unknown))?;
        let built = Some(report.built).filter(|built| !built.is_empty());
        if built.is_some() && result != pb::JobResult::Passed {
            return Err(Error::malformed("built", "it did not pass"));
        }
        let outcome = match result {
            pb::JobResult::Unspecified => return Err(Error::missing("result")),
            pb::JobResult::Passed => match built {
                Some(built) => JobOutcome::Built { digest: parsed("built", &built)? },
                None => JobOutcome::Passed,
            },
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
