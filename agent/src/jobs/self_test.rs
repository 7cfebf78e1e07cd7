//! The self-test of a candidate: fetch, launch alone, wait until it is ready, let it test itself, read the log.
//!
//! A test that fails, crashes or takes too long is the image's fault. What the engine, the registry or a person did is not:
//! then nothing is known of the image.

use std::time::Duration;

use nightshift_core::container::{ContainerView, Health};
use nightshift_core::duration;
use nightshift_core::ids::ContainerId;
use nightshift_core::image::Digest;
use nightshift_core::job::{
    JOB_LOG_LIMIT_BYTES, JobLog, JobOrder, JobOutcome, PREPARE_LIMIT, TestPlan, Verdict, container_body, job_name,
    network_body, test_plan,
};
use nightshift_core::spec::{HealthCheck, SelfTest};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Shared;
use super::shelf::Record;
use super::watch::{End, Watch};
use crate::engine::{CommandRun, Engine, Error, deadline};
use crate::prober::probe;

/// Pause between two looks whether a container is ready.
const READY_PAUSE: Duration = Duration::from_millis(500);
/// How long after a failed command the container's own end, if that was the reason, is heard of.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// Most lines of a log that are asked for: lines of a few bytes fill the limit with fewer.
const LOG_LINES: u32 = 50_000;
/// What a log's heading may take of the whole.
const HEADING_BYTES: usize = 100;

/// How a candidate is tested.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) test: &'a SelfTest,
    pub(super) health: &'a HealthCheck,
}

/// What ends a test early.
pub(super) enum Stop {
    /// The image's fault.
    Bad(String),
    /// Nobody knows.
    Unknown(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Unknown(error.to_string())
    }
}

impl From<Stop> for JobOutcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Bad(reason) => Self::Failed { reason },
            Stop::Unknown(reason) => Self::NotDone { reason },
        }
    }
}

/// Fetches a candidate and tests it. What it makes is left for whoever called.
pub(super) async fn run(
    shared: &Shared,
    record: &mut Record,
    digest: &Digest,
    candidate: Candidate<'_>,
) -> (JobOutcome, JobLog) {
    let order = record.order.clone();
    let reference = order.image.repository.at(digest);
    let prepare = async {
        fetch(shared, record, &reference).await?;
        launch(shared, &order, &reference, candidate).await
    };
    test(shared, timeout(PREPARE_LIMIT, prepare).await, candidate).await
}

/// Tests an image that the engine has. What it makes is left for whoever called.
pub(super) async fn of_image(
    shared: &Shared,
    order: &JobOrder,
    image: &str,
    candidate: Candidate<'_>,
) -> (JobOutcome, JobLog) {
    test(shared, timeout(PREPARE_LIMIT, launch(shared, order, image, candidate)).await, candidate).await
}

async fn test(
    shared: &Shared,
    prepared: Result<Result<Launched, Stop>, Elapsed>,
    candidate: Candidate<'_>,
) -> (JobOutcome, JobLog) {
    let late = |_| {
        let within = duration::format(PREPARE_LIMIT);
        Err(Stop::Unknown(format!("its image could not be fetched and launched within {within}")))
    };
    match prepared.unwrap_or_else(late) {
        Ok(launched) => launched.judge(&*shared.parts.engine, candidate).await,
        Err(stop) => (stop.into(), JobLog::default()),
    }
}

/// A container that is about to start.
struct Launched {
    container: ContainerId,
    watch: Watch,
    plan: TestPlan,
}

/// Has the image on the node, and remembers if it was not there before.
async fn fetch(shared: &Shared, record: &mut Record, reference: &str) -> Result<(), Stop> {
    let engine = &*shared.parts.engine;
    super::make_ready(shared, &record.order).await.map_err(Stop::Unknown)?;
    match engine.inspect_image(reference).await {
        Ok(_) => Ok(()),
        Err(Error::NotFound { .. }) => {
            record.fetched = true;
            shared.shelf.save(record).await.map_err(|error| Stop::Unknown(error.to_string()))?;
            let login = shared.parts.credentials.find(&record.order.image.repository).await.map_err(Stop::Unknown)?;
            Ok(engine.pull(reference, login.as_ref(), &mut |_| ()).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Everything up to the start.
async fn launch(
    shared: &Shared,
    order: &JobOrder,
    reference: &str,
    candidate: Candidate<'_>,
) -> Result<Launched, Stop> {
    let engine = &*shared.parts.engine;
    let image = engine.inspect_image(reference).await?;
    let plan = test_plan(candidate.test, &image).map_err(|malformed| Stop::Bad(malformed.to_string()))?;
    engine.create_network(&network_body(order, &shared.agent)).await?;
    let body = container_body(order, &shared.agent, reference);
    let container = engine.create(&job_name(&order.id, &shared.agent), &body).await.map_err(refused_for_the_image)?;
    let watch = Watch::new(engine, &container).await?;
    Ok(Launched { container, watch, plan })
}

/// What an engine calls a wrong request here is wrong with the image: no command, or a program that is not there.
fn refused_for_the_image(error: Error) -> Stop {
    let of_the_image = matches!(error, Error::Refused { status: 400, .. });
    if of_the_image { Stop::Bad(error.to_string()) } else { error.into() }
}

impl Launched {
    async fn judge(mut self, engine: &dyn Engine, candidate: Candidate<'_>) -> (JobOutcome, JobLog) {
        let deadline = Instant::now() + candidate.test.timeout;
        let mut command = None;
        let outcome = match engine.start(&self.container).await {
            Err(error) => Err(refused_for_the_image(error)),
            Ok(()) => self.test(engine, candidate, deadline, &mut command).await,
        };
        let outcome = match outcome {
            Ok(()) => JobOutcome::Passed,
            Err(Stop::Bad(reason)) if self.watch.out_of_memory() => {
                let limit = candidate.test.limits.memory;
                JobOutcome::Failed { reason: format!("{reason}; it ran out of its {limit} of memory") }
            }
            Err(stop) => stop.into(),
        };
        (outcome, log(engine, &self.container, command).await)
    }

    /// Whether it passes, within the deadline.
    async fn test(
        &mut self,
        engine: &dyn Engine,
        candidate: Candidate<'_>,
        deadline: Instant,
        ran: &mut Option<CommandRun>,
    ) -> Result<(), Stop> {
        let too_long = || Stop::Bad(format!("it did not end within {}", duration::format(candidate.test.timeout)));
        let Verdict::Command(words) = self.plan.verdict.clone() else {
            return match timeout_at(deadline, self.watch.end()).await {
                Err(_) => Err(too_long()),
                Ok(End::Exited(0)) => Ok(()),
                Ok(end) => Err(ended(end, "")),
            };
        };
        self.ready(engine, candidate, deadline).await?;
        let time = deadline.saturating_duration_since(Instant::now());
        let half = JOB_LOG_LIMIT_BYTES / 2 - HEADING_BYTES;
        let command = tokio::select! {
            biased;
            command = engine.run_command(&self.container, &words, time, half) => command,
            end = self.watch.end() => return Err(ended(end, " during its test")),
        };
        let exit_code = match command {
            Ok(command) => ran.insert(command).exit_code,
            // It ended before the command could begin; how is in the events.
            Err(Error::Conflict { message }) => {
                let end = self.watch.end_within(LAST_EVENTS).await;
                return Err(end.map_or(Stop::Unknown(message), |end| ended(end, " before its test")));
            }
            // So late that the command was not even begun: it would not have ended in time either.
            Err(Error::Timeout { .. }) if time < deadline::READ => return Err(too_long()),
            Err(error) => return Err(error.into()),
        };
        match exit_code {
            Some(0) => Ok(()),
            None => Err(too_long()),
            Some(code) => match self.watch.end_within(LAST_EVENTS).await {
                Some(end) => Err(ended(end, " during its test")),
                None => Err(Stop::Bad(format!("the test command ended with exit code {code}"))),
            },
        }
    }

    /// Waits until the container can be tested.
    async fn ready(&mut self, engine: &dyn Engine, candidate: Candidate<'_>, deadline: Instant) -> Result<(), Stop> {
        let mut last = String::new();
        let waiting = until_ready(engine, &self.container, candidate.health, self.plan.has_health_check, &mut last);
        let outcome = tokio::select! {
            biased;
            end = self.watch.end() => return Err(ended(end, " before it was ready")),
            outcome = timeout_at(deadline, waiting) => outcome,
        };
        outcome.unwrap_or_else(|_| {
            let (time, why) = (duration::format(candidate.test.timeout), if last.is_empty() { "" } else { ": " });
            Err(Stop::Bad(format!("it was not ready within {time}{why}{last}")))
        })
    }
}

/// Looks until the container is ready, or never will be. `last` says why it was not, the last time.
async fn until_ready(
    engine: &dyn Engine,
    container: &ContainerId,
    check: &HealthCheck,
    has_health_check: bool,
    last: &mut String,
) -> Result<(), Stop> {
    let engines_own = match check {
        HealthCheck::Docker if !has_health_check => {
            return Err(Stop::Bad("`health.docker` is asked for, and its image has no health check".to_owned()));
        }
        HealthCheck::Auto if !has_health_check => return Ok(()),
        HealthCheck::Auto | HealthCheck::Docker => true,
        HealthCheck::Http { .. } | HealthCheck::Tcp { .. } | HealthCheck::Exec { .. } => false,
    };
    loop {
        let looked = if engines_own { health(engine, container).await } else { Ok(None) };
        let looked = match looked {
            Ok(None) => probe(engine, container, check).await,
            Ok(Some(Health::Healthy)) => Ok(()),
            Ok(Some(Health::Unhealthy)) => return Err(Stop::Bad("its health check says `unhealthy`".to_owned())),
            Ok(Some(Health::Starting | Health::None)) => Err("its health check has not passed".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        match looked {
            Ok(()) => return Ok(()),
            Err(reason) => *last = reason,
        }
        sleep(READY_PAUSE).await;
    }
}

async fn health(engine: &dyn Engine, container: &ContainerId) -> Result<Option<Health>, Error> {
    let inspect = engine.inspect(&container.0).await?;
    let malformed = |error: nightshift_core::container::Malformed| Error::Malformed {
        call: "GET /containers/{id}/json",
        reason: error.to_string(),
    };
    Ok(Some(ContainerView::from_inspect(&inspect).map_err(malformed)?.health))
}

fn ended(end: End, when: &str) -> Stop {
    match end {
        End::Exited(code) => Stop::Bad(format!("its container ended with exit code {code}{when}")),
        End::Disturbed(reason) => Stop::Unknown(reason),
    }
}

/// What the container wrote, and the command inside it.
async fn log(engine: &dyn Engine, container: &ContainerId, command: Option<CommandRun>) -> JobLog {
    let limit = if command.is_some() { JOB_LOG_LIMIT_BYTES / 2 - HEADING_BYTES } else { JOB_LOG_LIMIT_BYTES };
    // Twice as much is read, so that it is known whether there was more.
    let (text, cut) = match engine.logs_tail(container, LOG_LINES, limit * 2).await {
        Ok(text) => end_of(text, limit),
        Err(error) => (format!("(the container's log cannot be read: {error})\n"), false),
    };
    let Some(command) = command else { return JobLog { text, cut } };
    let text = format!("--- container ---\n{text}--- command ---\n{}", command.output);
    JobLog { text, cut: cut || command.cut }
}

/// The last whole lines within a limit, and whether something was cut off.
pub(super) fn end_of(text: String, limit: usize) -> (String, bool) {
    if text.len() <= limit {
        return (text, false);
    }
    let start = text.ceil_char_boundary(text.len() - limit);
    let rest = &text[start..];
    let whole = rest.find('\n').map_or(rest, |end| &rest[end + 1..]);
    (if whole.is_empty() { rest } else { whole }.to_owned(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_to_whole_lines_at_its_end() {
        for (text, limit, expect, cut) in [
            ("one\ntwo\n", 100, "one\ntwo\n", false),
            ("one\ntwo\n", 8, "one\ntwo\n", false),
            ("one\ntwo\n", 6, "two\n", true),
            ("abcdefgh", 3, "fgh", true),
            ("abcdefgh\n", 3, "gh\n", true),
            ("aüü", 3, "ü", true),
        ] {
            assert_eq!(end_of(text.to_owned(), limit), (expect.to_owned(), cut), "{text:?} {limit}");
        }
    }
}
