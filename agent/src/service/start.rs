//! What an agent waits for at its start: an engine that answers, and a place in the fleet.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{EngineSource, Error, Options, TokenSource};
use crate::backoff::Backoff;
use crate::engine::{self, DockerEngine, Engine, EngineInfo};
use crate::identity::{Identity, Membership, enrol};
use crate::surroundings::Surroundings;

/// Pauses between attempts at engine and coordinator: both come up within seconds when a host boots.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Says a reason once, not once for each attempt.
#[derive(Default)]
struct Said(String);

impl Said {
    fn warn(&mut self, message: &'static str, error: &str) {
        if self.0 == error {
            debug!(%error, "{message}");
        } else {
            warn!(%error, "{message}");
            error.clone_into(&mut self.0);
        }
    }
}

/// Waits for the engine; `None` at shutdown.
pub(super) async fn engine(
    options: &Options,
    shutdown: &CancellationToken,
) -> Result<Option<(Arc<dyn Engine>, EngineInfo)>, Error> {
    let (mut backoff, mut said) = (Backoff::new(RETRY, Surroundings::default()), Said::default());
    loop {
        let attempt = async {
            let engine = connect(&options.engine).await?;
            let info = engine.info().await?;
            Ok((engine, info))
        };
        let Some(outcome) = shutdown.run_until_cancelled(attempt).await else { return Ok(None) };
        match outcome {
            Ok(ready) => return Ok(Some(ready)),
            Err(error @ engine::Error::InvalidUrl { .. }) => return Err(error.into()),
            Err(error) => said.warn("the engine cannot be used yet; trying again", &error.to_string()),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(backoff.pause())).await.is_none() {
            return Ok(None);
        }
    }
}

async fn connect(source: &EngineSource) -> engine::Result<Arc<dyn Engine>> {
    match source {
        EngineSource::Url(url) => Ok(Arc::new(DockerEngine::connect(url).await?)),
        EngineSource::Ready(engine) => Ok(Arc::clone(engine)),
    }
}

/// Loads the identity, or joins with the token; `None` at shutdown. A coordinator that is away is waited for.
pub(super) async fn membership(options: &Options, shutdown: &CancellationToken) -> Result<Option<Membership>, Error> {
    let stored = Identity::load(&options.data_dir, &options.node)?;
    let token = options.join_token.as_ref().map(TokenSource::token).transpose();
    let (stored, token) = match (stored, token) {
        // A token that is not needed is not looked at closely.
        (Some(stored), _) if stored.not_after() > Utc::now() => (Some(stored), None),
        (stored, token) => (stored, token?.flatten()),
    };
    let Some(token) = token else {
        // An ended one is kept: the session says what to do, and the operator may only have to set the clock.
        let identity = stored.ok_or_else(|| Error::NoToken(options.node.clone()))?;
        return Ok(Some(Membership::new(&options.data_dir, identity)));
    };
    let (mut backoff, mut said) = (Backoff::new(RETRY, Surroundings::default()), Said::default());
    loop {
        let attempt = enrol(&options.data_dir, &options.node, &options.coordinator, &token);
        let Some(outcome) = shutdown.run_until_cancelled(attempt).await else { return Ok(None) };
        match outcome {
            Ok(identity) => {
                info!(not_after = %identity.not_after(), "joined the fleet");
                return Ok(Some(Membership::new(&options.data_dir, identity)));
            }
            Err(error) if error.is_final() => return Err(error.into()),
            Err(error) => said.warn("cannot join the fleet yet; trying again", &error.to_string()),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(backoff.pause())).await.is_none() {
            return Ok(None);
        }
    }
}
