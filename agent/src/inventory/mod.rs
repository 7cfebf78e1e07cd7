//! The inventory: which containers on this node are instances of the apps in the coordinator's Watch, and how they are.
//!
//! It is looked at when a Watch arrives, shortly after the engine tells of a change, and every 30 seconds in case an event
//! was missed. The session [asks and hears](Link) of it; an answer that equals the one before is not repeated.

mod look;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use nightshift_core::instance::{Findings, InstanceView, Survey, WatchedApp};
use nightshift_core::recreate::{ApiVersion, Product};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::backoff::Backoff;
use crate::engine::{Engine, EventKind};
use crate::surroundings::Surroundings;
use look::Look;

/// How often everything is looked at without a reason: an engine forgets events, and a missed one must not stay so.
const PERIOD: Duration = Duration::from_secs(30);
/// How long to wait after an event before looking: a container's stop and start come as a handful of events.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Pauses between attempts to follow the engine's events.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    /// Tells this question from every other one that was asked since the agent started.
    ticket: u64,
    revision: u64,
    apps: Vec<WatchedApp>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    ticket: u64,
    /// The Watch that it answers.
    pub revision: u64,
    /// The instances by app and name, or why the engine did not answer.
    pub instances: Result<Vec<InstanceView>, String>,
}

/// The session's end of an inventory.
#[derive(Debug)]
pub struct Link {
    question: watch::Sender<Option<Question>>,
    answer: watch::Receiver<Option<Found>>,
    last_ticket: u64,
}

impl Link {
    /// A ticket that no answer belongs to: for as long as nothing was asked on a connection.
    #[must_use]
    pub const fn silent(&self) -> u64 {
        0
    }

    /// Asks for these apps. What follows for the ticket begins with an answer of its own, changed or not.
    pub fn ask(&mut self, apps: Vec<WatchedApp>, revision: u64) -> u64 {
        self.last_ticket += 1;
        self.question.send_replace(Some(Question { ticket: self.last_ticket, revision, apps }));
        self.last_ticket
    }

    /// Waits for the next answer to this ticket that differs from the one before.
    pub async fn found(&mut self, ticket: u64) -> Found {
        loop {
            if self.answer.changed().await.is_err() {
                // The inventory has ended: at shutdown, which the session hears of by itself.
                std::future::pending::<()>().await;
            }
            let found = self.answer.borrow_and_update().clone();
            if let Some(found) = found.filter(|found| found.ticket == ticket) {
                return found;
            }
        }
    }
}

/// The inventory's end of a [`Link`].
#[derive(Debug)]
pub struct Questions {
    question: watch::Receiver<Option<Question>>,
    answer: watch::Sender<Option<Found>>,
}

/// A session's and an inventory's ends of their connection.
#[must_use]
pub fn link() -> (Link, Questions) {
    let (ask, question) = watch::channel(None);
    let (answer, hear) = watch::channel(None);
    (Link { question: ask, answer: hear, last_ticket: 0 }, Questions { question, answer })
}

/// Looks once at this engine: which containers an app has, or which there are.
///
/// # Errors
/// The engine does not answer.
pub async fn survey(engine: Arc<dyn Engine>, survey: Survey) -> Result<Findings, crate::engine::Error> {
    let about = engine.info().await?;
    let mut look = Look::new(engine, about.api_version, about.product);
    match survey {
        Survey::OfApp(app) => Ok(Findings::Instances(look.at(&[app]).await?)),
        Survey::Everything => Ok(Findings::Containers(look.at_everything().await?)),
    }
}

/// Looks after the inventory of one engine.
#[derive(Debug)]
pub struct Inventory {
    look: Look,
    questions: Questions,
    surroundings: Surroundings,
}

impl Inventory {
    /// Answers these questions about this engine of this product, whose API is spoken in this version.
    #[must_use]
    pub const fn new(
        engine: Arc<dyn Engine>,
        api_version: ApiVersion,
        product: Product,
        questions: Questions,
        surroundings: Surroundings,
    ) -> Self {
        Self { look: Look::new(engine, api_version, product), questions, surroundings }
    }

    /// Keeps it up to date until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let changed = Notify::new();
        let engine = Arc::clone(&self.look.engine);
        let surroundings = self.surroundings.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = follow_events(engine, surroundings, &changed) => {}
            () = self.keep(&changed) => {}
        }
    }

    async fn keep(mut self, changed: &Notify) {
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                asked = self.questions.question.changed() => {
                    if asked.is_err() {
                        return;
                    }
                    self.look.forget();
                }
                () = changed.notified() => sleep(DEBOUNCE).await,
                _ = period.tick() => self.look.forget(),
            }
            self.answer().await;
        }
    }

    async fn answer(&mut self) {
        let Some(Question { ticket, revision, apps }) = self.questions.question.borrow_and_update().clone() else {
            return;
        };
        let instances = self.look.at(&apps).await.map_err(|error| error.to_string());
        let found = Some(Found { ticket, revision, instances });
        self.questions.answer.send_if_modified(|last| {
            let differs = *last != found;
            *last = found;
            differs
        });
    }
}

/// Tells of every event that may change the inventory, for ever. A stream that ends counts as one: what happened until the
/// next one begins is not known.
async fn follow_events(engine: Arc<dyn Engine>, surroundings: Surroundings, changed: &Notify) {
    let mut backoff = Backoff::new(RETRY, surroundings);
    loop {
        match engine.events(None).await {
            Ok(mut events) => {
                changed.notify_one();
                while let Some(event) = events.next().await {
                    match event {
                        Ok(event) => {
                            backoff.reset();
                            if matters(&event.kind) {
                                changed.notify_one();
                            }
                        }
                        Err(error) => debug!(%error, "the engine's events ended"),
                    }
                }
            }
            Err(error) => debug!(%error, "cannot follow the engine's events"),
        }
        changed.notify_one();
        sleep(backoff.pause()).await;
    }
}

/// Whether an event of this kind can change what an inventory says.
const fn matters(kind: &EventKind) -> bool {
    match kind {
        EventKind::Create
        | EventKind::Start
        | EventKind::Die { .. }
        | EventKind::Stop
        | EventKind::Destroy
        | EventKind::Rename { .. }
        | EventKind::HealthStatus(_)
        | EventKind::Update
        | EventKind::Pause
        | EventKind::Unpause => true,
        EventKind::Kill | EventKind::OutOfMemory => false,
    }
}
