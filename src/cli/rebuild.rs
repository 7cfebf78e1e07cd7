//! `nightshift release rebuild`: have an app built again, and wait for what comes of it, across restarts of the coordinator.

use std::time::Duration;

use nightshift_core::duration;
use nightshift_core::ids::AppName;
use nightshift_proto::pb;
use tokio::time::{Instant, sleep};

use super::Session;
use crate::client::{CallError, Client};
use crate::failure::{Exit, Failure};
use crate::follow::Retry;
use crate::output::note;
use crate::view::rebuild::Rebuild;

/// How often the coordinator is asked: builds take minutes.
const ASK_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(
    app: AppName,
    reason: String,
    wait: Option<Option<Duration>>,
    session: &Session,
) -> Result<Exit, Failure> {
    let mut client = session.client().await?;
    let request = pb::RebuildAppRequest { app: app.into(), reason };
    let begun = Rebuild::from(client.ask(async |api| api.rebuild_app(request).await).await?);
    let Some(limit) = wait else {
        session.output.show(&begun)?;
        return Ok(Exit::Done);
    };
    let until = limit.map(|limit| Instant::now() + limit);
    let seen = follow(&mut client, begun, until).await?;
    session.output.show(&seen)?;
    if !seen.ended {
        let limit = limit.map(duration::format).unwrap_or_default();
        let message = format!("rebuild {} of app `{}` has not ended within {limit}", seen.number, seen.app);
        return Err(Failure::new(Exit::WaitOver, message)
            .hint(format!("it goes on; `nightshift app show {}` shows it", seen.app)));
    }
    Ok(if seen.digest.is_some() { Exit::Done } else { Exit::Failed })
}

/// Asks until it has ended, or the time is over; says what changes on standard error.
async fn follow(client: &mut Client, begun: Rebuild, until: Option<Instant>) -> Result<Rebuild, Failure> {
    let mut seen = begun;
    let mut retry = Retry::new();
    note(&seen.line());
    loop {
        let pause = if seen.ended { return Ok(seen) } else { ASK_EVERY };
        let left = until.map_or(pause, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(seen);
        }
        sleep(pause.min(left)).await;
        let request = pb::GetRebuildRequest { app: seen.app.clone(), number: seen.number };
        match client.call(async |api| api.get_rebuild(request).await).await {
            Ok(found) => {
                retry.reset();
                let found = Rebuild::from(found);
                if found.line() != seen.line() {
                    note(&found.line());
                }
                seen = found;
            }
            Err(CallError::Answered(failure)) => return Err(failure),
            Err(CallError::Lost(failure)) => {
                let pause = retry.pause().ok_or_else(|| failure.clone())?;
                if retry.is_first() {
                    note(&format!("{}; trying again", failure.message()));
                }
                sleep(pause).await;
            }
        }
    }
}
