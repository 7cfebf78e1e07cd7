//! Steps: key, order, health check, report, failure.

use nightshift_core::ids::{ContainerId, Epoch, Generation, StepIndex};
use nightshift_core::spec::HealthCheck;
use nightshift_core::step::{Failure, LOG_LIMIT_BYTES, StepKey, StepOrder, StepReport};

use super::field::{Error, Within as _, bounded, end_of, list, parsed, port, reason, required, text};
use super::signature;
use super::time::{duration, from_duration};
use super::words::Word;
use crate::pb;

/// Longest id or name of a container, in bytes. A real id has 64 characters; names get no limit from the engine, but
/// must fit a DNS name to be of use.
pub(super) const CONTAINER_LIMIT_BYTES: usize = 255;
/// Longest reason of a failure, in bytes: a sentence with the engine's own words.
pub(super) const REASON_LIMIT_BYTES: usize = 2 * 1024;
/// Longest path of an HTTP health check, in bytes: what servers accept at least.
const PATH_LIMIT_BYTES: usize = 2 * 1024;
/// Most words in a health check's command.
const COMMAND_LIMIT: usize = 64;
/// Longest word of it, in bytes: room for a small shell script.
const COMMAND_WORD_LIMIT_BYTES: usize = 8 * 1024;

impl From<&StepKey> for pb::StepKey {
    fn from(key: &StepKey) -> Self {
        Self { rollout: key.rollout.as_str().to_owned(), step: key.step.0, generation: key.generation.0 }
    }
}

impl TryFrom<pb::StepKey> for StepKey {
    type Error = Error;
    fn try_from(key: pb::StepKey) -> Result<Self, Error> {
        Ok(Self {
            rollout: parsed("rollout", &key.rollout)?,
            step: StepIndex(key.step),
            generation: Generation(key.generation),
        })
    }
}

impl From<&StepOrder> for pb::StepOrder {
    fn from(order: &StepOrder) -> Self {
        Self {
            key: Some((&order.key).into()),
            epoch: order.epoch.0,
            purpose: pb::Purpose::from(order.purpose).into(),
            app: order.app.as_str().to_owned(),
            container: order.container.clone(),
            container_id: order.container_id.0.clone(),
            image: order.image.to_string(),
            digest: order.digest.as_str().to_owned(),
            order: pb::UpdateOrder::from(order.order).into(),
            health: Some((&order.health).into()),
            healthy_deadline: Some(from_duration(order.healthy_deadline)),
            monitor: Some(from_duration(order.monitor)),
            keep_images: order.keep_images,
            start_within: Some(from_duration(order.start_within)),
            hooks: (!order.hooks.is_empty()).then(|| (&order.hooks).into()),
            node: order.node.as_str().to_owned(),
            signatures: signature::to_wire(&order.signatures),
        }
    }
}

impl TryFrom<pb::StepOrder> for StepOrder {
    type Error = Error;
    fn try_from(order: pb::StepOrder) -> Result<Self, Error> {
        Ok(Self {
            key: required("key", order.key)?.try_into().within("key")?,
            epoch: epoch("epoch", order.epoch)?,
            purpose: Word::from_wire("purpose", order.purpose)?,
            node: parsed("node", &order.node)?,
            app: parsed("app", &order.app)?,
            container: text("container", order.container, CONTAINER_LIMIT_BYTES)?,
            container_id: container_id("container_id", order.container_id)?,
            image: parsed("image", &order.image)?,
            digest: parsed("digest", &order.digest)?,
            order: Word::from_wire("order", order.order)?,
            health: required("health", order.health)?.try_into().within("health")?,
            hooks: order.hooks.map(TryInto::try_into).transpose().within("hooks")?.unwrap_or_default(),
            healthy_deadline: duration("healthy_deadline", order.healthy_deadline)?,
            monitor: duration("monitor", order.monitor)?,
            keep_images: order.keep_images,
            start_within: duration("start_within", order.start_within)?,
            signatures: signature::from_wire(order.signatures)?,
        })
    }
}

/// An epoch of an instruction; they count from 1, so zero means that none was said.
pub(super) fn epoch(field: &str, number: u64) -> Result<Epoch, Error> {
    if number == 0 { Err(Error::missing(field)) } else { Ok(Epoch(number)) }
}

pub(super) fn container_id(field: &str, id: String) -> Result<ContainerId, Error> {
    text(field, id, CONTAINER_LIMIT_BYTES).map(ContainerId)
}

impl From<&HealthCheck> for pb::HealthCheck {
    fn from(health: &HealthCheck) -> Self {
        use pb::health_check::{Check, Docker, Exec, Http, Tcp};
        let check = match health {
            HealthCheck::Auto => None,
            HealthCheck::Docker => Some(Check::Docker(Docker {})),
            HealthCheck::Http { port, path } => Some(Check::Http(Http { port: (*port).into(), path: path.clone() })),
            HealthCheck::Tcp { port } => Some(Check::Tcp(Tcp { port: (*port).into() })),
            HealthCheck::Exec { command } => Some(Check::Exec(Exec { command: command.clone() })),
        };
        Self { check }
    }
}

impl TryFrom<pb::HealthCheck> for HealthCheck {
    type Error = Error;
    fn try_from(health: pb::HealthCheck) -> Result<Self, Error> {
        use pb::health_check::Check;
        match health.check {
            None => Ok(Self::Auto),
            Some(Check::Docker(_)) => Ok(Self::Docker),
            Some(Check::Http(http)) => {
                let path = text("path", http.path, PATH_LIMIT_BYTES).within("http")?;
                if !path.starts_with('/') {
                    return Err(Error::malformed("http.path", "does not start with `/`"));
                }
                Ok(Self::Http { port: port("port", http.port).within("http")?, path })
            }
            Some(Check::Tcp(tcp)) => Ok(Self::Tcp { port: port("port", tcp.port).within("tcp")? }),
            Some(Check::Exec(exec)) => Ok(Self::Exec { command: command("exec.command", exec.command)? }),
        }
    }
}

/// A program and its arguments.
pub(super) fn command(field: &str, words: Vec<String>) -> Result<Vec<String>, Error> {
    let words = list(field, words, COMMAND_LIMIT)?;
    if words.first().is_none_or(String::is_empty) {
        return Err(Error::missing(field));
    }
    words.into_iter().map(|word| bounded(field, word, COMMAND_WORD_LIMIT_BYTES)).collect()
}

impl From<&Failure> for pb::Failure {
    fn from(failure: &Failure) -> Self {
        Self {
            kind: pb::FailureKind::from(failure.kind).into(),
            reason: reason(&failure.reason, REASON_LIMIT_BYTES),
            log: end_of(&failure.log, LOG_LIMIT_BYTES),
        }
    }
}

impl TryFrom<pb::Failure> for Failure {
    type Error = Error;
    fn try_from(failure: pb::Failure) -> Result<Self, Error> {
        Ok(Self {
            kind: Word::from_wire("kind", failure.kind)?,
            reason: text("reason", failure.reason, REASON_LIMIT_BYTES)?,
            log: bounded("log", failure.log, LOG_LIMIT_BYTES)?,
        })
    }
}

impl From<&StepReport> for pb::StepReport {
    fn from(report: &StepReport) -> Self {
        let id = |id: &Option<ContainerId>| id.as_ref().map(|id| id.0.clone()).unwrap_or_default();
        Self {
            key: Some((&report.key).into()),
            phase: pb::StepPhase::from(report.phase).into(),
            old_container_id: id(&report.old_container_id),
            new_container_id: id(&report.new_container_id),
            downtime_ms: report.downtime_ms,
            failure: report.failure.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::StepReport> for StepReport {
    type Error = Error;
    fn try_from(report: pb::StepReport) -> Result<Self, Error> {
        let id = |field: &str, id: String| match id.is_empty() {
            true => Ok(None),
            false => container_id(field, id).map(Some),
        };
        Ok(Self {
            key: required("key", report.key)?.try_into().within("key")?,
            phase: Word::from_wire("phase", report.phase)?,
            old_container_id: id("old_container_id", report.old_container_id)?,
            new_container_id: id("new_container_id", report.new_container_id)?,
            downtime_ms: report.downtime_ms,
            failure: report.failure.map(Failure::try_from).transpose().within("failure")?,
        })
    }
}

#[cfg(test)]
mod tests;
