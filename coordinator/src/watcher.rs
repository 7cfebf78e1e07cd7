//! Watches the images that apps follow: one check for each reference, however many nodes run it.
//!
//! A reference is checked at once when it is new or someone asks, then at a jittered interval, and with growing pauses while
//! its registry fails. What is seen goes out as [`Observation`]s; what to make of it is the driver's to decide. Watching never
//! pauses for quiet hours.

mod follow;
mod schedule;
mod target;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::release::Description;
use nightshift_core::signature::Signature;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::driver::Clock;
use crate::registry::{Error, ImageSource};
pub use follow::follow;
use schedule::{Schedule, Ticket};
pub use target::{Followed, Target, Unsigned};

/// How often a reference is checked when nobody says.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest interval: beyond it a registry on the same machine would do nothing else.
const INTERVAL_FLOOR: Duration = Duration::from_millis(100);
/// Checks at the same time: a start with hundreds of apps must not look like an attack.
const CHECK_LIMIT: usize = 8;
/// Observations that nobody has taken yet; the watcher waits when there are more.
const OBSERVATION_LIMIT: usize = 256;
/// Requests to check now that are not handled yet.
const COMMAND_LIMIT: usize = 64;

/// What the watcher saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The first successful check of a reference, each one that found another digest than the last, and the one that found
    /// out what a digest is if that failed at first.
    Seen {
        /// The reference.
        image: ImageRef,
        /// What it points to.
        digest: Digest,
        /// What that says of itself.
        about: Description,
    },
    /// What signatures a digest has; said after each look, for as long as an app misses one.
    Signatures {
        /// Where the image is.
        repository: Repository,
        /// The image.
        digest: Digest,
        /// All of them, the newest last. Nothing about them is believed yet.
        signatures: Vec<Signature>,
    },
    /// What tags a repository has; said after each look.
    Tags {
        /// The repository.
        repository: Repository,
        /// All of them.
        tags: Arc<[String]>,
    },
    /// A check failed; says so each time.
    Failed {
        /// What was to be looked at.
        target: Target,
        /// Why, for people; holds no secret.
        error: String,
        /// When it is tried again.
        retry_at: DateTime<Utc>,
    },
    /// The first successful check after failed ones; comes before what was seen.
    Recovered {
        /// What was looked at.
        target: Target,
    },
}

/// A source of numbers from 0 up to 1: simulations bring their own.
pub type Chance = Arc<dyn Fn() -> f64 + Send + Sync>;

/// How to watch.
#[derive(Clone)]
pub struct Options {
    /// How often a reference is checked.
    pub interval: Duration,
    /// Where the time comes from.
    pub clock: Clock,
    /// By how much pauses differ.
    pub chance: Chance,
}

impl Options {
    /// By the system's clock and chance.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self { interval, clock: Arc::new(Utc::now), chance: Arc::new(rand::random) }
    }
}

/// A way to have references checked at once; cheap to clone.
#[derive(Debug, Clone)]
pub struct Checks(mpsc::Sender<Target>);

/// The other end, for [`Watcher::start`].
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<Target>);

/// Both ends of a way to have references checked at once.
#[must_use]
pub fn checks() -> (Checks, Asked) {
    let (sender, asked) = mpsc::channel(COMMAND_LIMIT);
    (Checks(sender), Asked(asked))
}

impl Checks {
    /// Looks at something as soon as may be, as for a push that a registry told of. What nobody follows is nothing to look at.
    pub async fn ask(&self, target: Target) {
        // The other end is gone only when the watcher has ended, and then there is nothing left to check.
        let _ = self.0.send(target).await;
    }
}

/// The running watcher; it ends when this is dropped.
#[derive(Debug)]
pub struct Watcher {
    _task: AbortOnDropHandle<()>,
}

impl Watcher {
    /// Starts watching what `followed` says, now and whenever it changes, and what `asked` asks for.
    #[must_use]
    pub fn start(
        source: Arc<dyn ImageSource>,
        followed: watch::Receiver<Followed>,
        options: Options,
        Asked(asked): Asked,
    ) -> (Self, mpsc::Receiver<Observation>) {
        let (observations, seen) = mpsc::channel(OBSERVATION_LIMIT);
        let Options { interval, clock, chance } = options;
        let schedule = Schedule::new(interval.max(INTERVAL_FLOOR), chance);
        let checks = FuturesUnordered::new();
        let running = Running { source, followed, asked, observations, schedule, checks, clock };
        let task = tokio::spawn(running.run());
        (Self { _task: AbortOnDropHandle::new(task) }, seen)
    }
}

/// What a check found: the digest, and what it says of itself unless that was known already.
struct Found {
    digest: Digest,
    about: Result<Description, Error>,
}

/// What a look has shown.
enum Shown {
    /// Of a tag; nothing where all is as it was.
    Tag(ImageRef, Option<Found>),
    Tags(Repository, Vec<String>),
    Signatures(Repository, Digest, Vec<Signature>),
}

struct Checked {
    ticket: Ticket,
    result: Result<Shown, Error>,
}

struct Running {
    source: Arc<dyn ImageSource>,
    followed: watch::Receiver<Followed>,
    asked: mpsc::Receiver<Target>,
    observations: mpsc::Sender<Observation>,
    schedule: Schedule,
    clock: Clock,
    checks: FuturesUnordered<BoxFuture<'static, Checked>>,
}

impl Running {
    async fn run(mut self) {
        self.follow();
        // Nobody listens any more: the coordinator is stopping.
        while !self.observations.is_closed() {
            while self.checks.len() < CHECK_LIMIT
                && let Some(ticket) = self.schedule.start_due(Instant::now())
            {
                self.checks.push(Box::pin(check(self.source.clone(), ticket)));
            }
            let may_start = self.checks.len() < CHECK_LIMIT;
            let due = self.schedule.next_due().filter(|_| may_start);
            tokio::select! {
                biased;
                Some(checked) = self.checks.next() => self.ended(checked).await,
                changed = self.followed.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                Some(target) = self.asked.recv() => self.schedule.check_now(&target, Instant::now()),
                () = at(due), if due.is_some() => {}
                () = self.observations.closed() => return,
            }
        }
    }

    fn follow(&mut self) {
        let targets = self.followed.borrow_and_update().targets();
        self.schedule.follow(&targets, Instant::now());
    }

    async fn ended(&mut self, Checked { ticket, result }: Checked) {
        let now = Instant::now();
        match result {
            Ok(shown) => {
                let Some(recovered) = self.schedule.succeeded(&ticket, now) else { return };
                if recovered {
                    self.say(Observation::Recovered { target: ticket.target.clone() }).await;
                }
                match shown {
                    Shown::Tag(image, found) => self.tag_shown(image, &ticket, found).await,
                    Shown::Tags(repository, tags) => {
                        self.say(Observation::Tags { repository, tags: tags.into() }).await
                    }
                    Shown::Signatures(repository, digest, signatures) => {
                        self.say(Observation::Signatures { repository, digest, signatures }).await;
                    }
                }
            }
            Err(error) => {
                let Some(delay) = self.schedule.failed(&ticket, &error, now) else { return };
                let retry_at = (self.clock)() + delay;
                self.say(Observation::Failed { target: ticket.target, error: error.to_string(), retry_at }).await;
            }
        }
    }

    async fn tag_shown(&mut self, image: ImageRef, ticket: &Ticket, found: Option<Found>) {
        let Some(Found { digest, about }) = found else { return };
        let known = about.is_ok();
        if let Err(error) = &about {
            tracing::debug!(%image, %digest, error = error as &dyn std::error::Error, "image cannot be described");
        }
        // Said before, and still not known what it is: nothing new.
        let repeated = ticket.last.as_ref().is_some_and(|last| last.digest == digest) && !known;
        self.schedule.seen(ticket, digest.clone(), known);
        if !repeated {
            self.say(Observation::Seen { image, digest, about: about.unwrap_or_default() }).await;
        }
    }

    fn say(&self, observation: Observation) -> impl Future<Output = ()> + Send + use<> {
        let observations = self.observations.clone();
        async move {
            // A closed channel is noticed by `run`.
            let _ = observations.send(observation).await;
        }
    }
}

async fn check(source: Arc<dyn ImageSource>, ticket: Ticket) -> Checked {
    let result = match ticket.target.clone() {
        Target::Tag(image) => check_tag(&*source, &image, &ticket).await.map(|found| Shown::Tag(image, found)),
        Target::Tags(repository) => source.tags(&repository).await.map(|tags| Shown::Tags(repository, tags)),
        Target::Signatures(repository, digest) => {
            let signatures = source.signatures(&repository, &digest).await;
            signatures.map(|signatures| Shown::Signatures(repository, digest, signatures))
        }
    };
    Checked { ticket, result }
}

async fn check_tag(source: &dyn ImageSource, image: &ImageRef, ticket: &Ticket) -> Result<Option<Found>, Error> {
    let digest = source.head(image).await?;
    if ticket.last.as_ref().is_some_and(|last| last.digest == digest && last.described) {
        return Ok(None);
    }
    let about = source.describe(&image.repository, &digest).await;
    Ok(Some(Found { digest, about }))
}

async fn at(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}
