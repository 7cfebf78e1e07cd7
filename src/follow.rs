//! Following a rollout until nothing more happens by itself, across restarts of the coordinator.

use std::time::Duration;

use chrono::Utc;
use nightshift_proto::pb;
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::{CallError, Client};
use crate::failure::{Exit, Failure};
use crate::output::lines::changes;
use crate::output::live::Live;
use crate::output::time::clock;
use crate::output::{Format, Output, json_line, note, print, printable};
use crate::view::rollout::Rollout;

/// How long a lost coordinator is asked again: a restart takes seconds, a take-over by another one less than a minute.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// First pause before asking again; it doubles up to [`RETRY_LIMIT`].
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest pause before asking again.
const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// Ten years, for one who waits without a limit: a point in time that no timer overflows at.
const NO_LIMIT: Duration = nightshift_core::duration::LIMIT;

/// How what is followed is shown.
pub(crate) enum Progress {
    /// In place, on a terminal.
    Live(Live),
    /// A line of text for each change, on standard output.
    Lines(Option<Rollout>),
    /// The same on standard error, because standard output takes the result.
    Notes(Option<Rollout>),
    /// The whole rollout as a line of JSON for each change.
    Json,
}

impl Progress {
    /// For one who came to watch.
    pub(crate) fn to_watch(output: Output) -> Self {
        match output.format() {
            Format::Json => Self::Json,
            Format::Table if output.is_live() => Self::Live(Live::new()),
            Format::Table => Self::Lines(None),
        }
    }

    /// For one who waits for the result.
    pub(crate) fn to_wait(output: Output) -> Self {
        match output.format() {
            Format::Json => Self::Notes(None),
            Format::Table => Self::to_watch(output),
        }
    }

    fn show(&mut self, rollout: &Rollout) -> Result<(), Failure> {
        let timed = |before: &mut Option<Rollout>| {
            let at = clock(Utc::now());
            let lines: Vec<_> =
                changes(before.as_ref(), rollout).into_iter().map(|line| format!("{at} {line}")).collect();
            *before = Some(rollout.clone());
            printable(&lines.join("\n"))
        };
        match self {
            Self::Live(live) => live.show(rollout),
            Self::Lines(before) => print(&timed(before))?,
            Self::Notes(before) => {
                let text = timed(before);
                if !text.is_empty() {
                    note(&text);
                }
            }
            Self::Json => print(&json_line(rollout))?,
        }
        Ok(())
    }
}

/// How following ended.
pub(crate) struct Followed {
    /// The rollout as it was seen last.
    pub(crate) rollout: Rollout,
    /// The exit code that it means.
    pub(crate) exit: Exit,
}

/// Follows a rollout until it has ended, stands still for a person, or the time is over.
///
/// # Errors
/// The coordinator refuses, or is gone for longer than a restart takes.
pub(crate) async fn follow(
    client: &mut Client,
    rollout: &str,
    wait: Option<Duration>,
    progress: &mut Progress,
) -> Result<Followed, Failure> {
    let until = Instant::now() + wait.unwrap_or(NO_LIMIT);
    let mut last = None;
    // The first answer tells the id: a name may mean another rollout by the time of a reconnection.
    let mut rollout = rollout.to_owned();
    let mut retry = Retry::new();
    loop {
        let lost = match timeout_at(until, watch(client, &rollout, progress, &mut last, &mut retry)).await {
            Ok(Ok(exit)) => return finished(last, exit),
            Err(_) => return finished(last, Exit::WaitOver),
            Ok(Err(CallError::Answered(failure))) => return Err(failure),
            Ok(Err(CallError::Lost(failure))) => failure,
        };
        if let Some(seen) = &last {
            rollout.clone_from(&seen.id);
        }
        let pause = retry.pause().ok_or_else(|| lost.clone())?;
        if retry.is_first() {
            note(&format!("{}; trying again", lost.message()));
        }
        sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
    }
}

fn finished(last: Option<Rollout>, exit: Exit) -> Result<Followed, Failure> {
    let over =
        || Failure::new(Exit::WaitOver, "the coordinator did not tell of the rollout within the time of `--wait`");
    last.map(|rollout| Followed { rollout, exit }).ok_or_else(over)
}

/// One stream of one rollout, to its end.
async fn watch(
    client: &mut Client,
    rollout: &str,
    progress: &mut Progress,
    last: &mut Option<Rollout>,
    retry: &mut Retry,
) -> Result<Exit, CallError> {
    let request = pb::GetRolloutRequest { rollout: rollout.to_owned() };
    let mut stream = client.open(async |api| api.watch_rollout(request).await).await?;
    loop {
        let message = stream.message().await.map_err(|status| client.stream_error(&status))?;
        let Some(message) = message else {
            // Shut down in good order is still gone for us: the rollout goes on.
            return Err(CallError::Lost(Failure::failed(format!(
                "the coordinator at `{}` went away",
                client.server()
            ))));
        };
        retry.reset();
        let seen = Rollout::from(message);
        progress.show(&seen).map_err(CallError::Answered)?;
        let outcome = seen.outcome();
        *last = Some(seen);
        if let Some(exit) = outcome {
            return Ok(exit);
        }
    }
}

/// When to ask a lost coordinator again.
pub(crate) struct Retry {
    lost_at: Option<Instant>,
    next: Duration,
    count: u32,
}

impl Retry {
    /// Nothing is lost yet.
    pub(crate) fn new() -> Self {
        Self { lost_at: None, next: RETRY_FIRST, count: 0 }
    }

    /// It answered.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// How long to pause now; `None` when it is gone for too long.
    pub(crate) fn pause(&mut self) -> Option<Duration> {
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        if lost_at.elapsed() >= RECONNECT_DEADLINE {
            return None;
        }
        let pause = self.next;
        self.next = (self.next * 2).min(RETRY_LIMIT);
        self.count += 1;
        Some(pause)
    }

    /// Whether this is the first attempt since it answered.
    pub(crate) fn is_first(&self) -> bool {
        self.count == 1
    }
}
