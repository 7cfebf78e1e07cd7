//! The session with the coordinator: one stream, dialled from here, for as long as both live.
//!
//! A [`Session`] dials for ever, with pauses that grow, and says once why it has no coordinator. On each connection it
//! says Hello with all that the journal knows, obeys the Welcome, and then passes messages: orders to [`Work`], the Watch
//! to the [inventory](crate::inventory), reports from the [`Outbox`]. Nothing here decides about containers: a node whose
//! coordinator is away ends its step and touches nothing else.

mod connection;
mod epoch;
mod line;
mod lost;
mod outbox;
mod work;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::inventory::Link;
use crate::surroundings::Surroundings;
use connection::Connection;
pub use epoch::{Epochs, Error as EpochError};
pub use line::{Incoming, Line, TlsLine};
pub use lost::Lost;
pub use outbox::Outbox;
pub use work::{Facts, Work};

/// Pauses between attempts: quick enough that a restarted coordinator is back at work within two seconds, slow enough
/// that a fleet of thousands does not bring it down.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// A session that lasted this long was a success: the next pause is the first again.
const STABLE: Duration = Duration::from_secs(30);

/// Everything that a session connects.
#[derive(Debug)]
pub struct Session {
    /// The way to the coordinator.
    pub line: Arc<dyn Line>,
    /// Time and chance.
    pub surroundings: Surroundings,
    /// What the node says of itself.
    pub facts: Facts,
    /// Who carries out the orders.
    pub work: Arc<dyn Work>,
    /// What is to be said.
    pub outbox: Arc<Outbox>,
    /// What was obeyed so far.
    pub epochs: Epochs,
    /// What to look for, and what was found.
    pub inventory: Link,
}

impl Session {
    /// Keeps the session up until `shutdown`, then says goodbye.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(RETRY, self.surroundings.clone());
        let mut said = String::new();
        loop {
            let Some((lost, lasted)) = self.once(&shutdown, &mut said).await else { return };
            if lasted >= STABLE {
                backoff.reset();
            }
            note(&lost, &mut said);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = sleep(backoff.pause()) => {}
            }
        }
    }

    /// One connection, from dialling to its end, and how long it stood. `None` at shutdown.
    async fn once(&mut self, shutdown: &CancellationToken, said: &mut String) -> Option<(Lost, Duration)> {
        let opened = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            opened = Connection::open(self) => opened,
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(lost) => return Some((lost, Duration::ZERO)),
        };
        said.clear();
        let since = Instant::now();
        let lost = connection.talk(self, shutdown).await?;
        Some((lost, since.elapsed()))
    }
}

/// Says why there is no session: once for each reason, not once for each attempt.
fn note(lost: &Lost, said: &mut String) {
    let error = lost.to_string();
    if *said == error {
        debug!(%error, "still no session with the coordinator");
        return;
    }
    if matches!(lost, Lost::Goodbye { .. }) {
        info!(reason = %error, "session ended by the coordinator");
    } else {
        warn!(%error, "no session with the coordinator; trying again");
    }
    *said = error;
}
