//! The driver: the one writer. It takes in what agents report, what people ask and what the watcher sees, asks
//! [`Control`] for its judgement, stores the events, applies them, and acts — always in this order.
//!
//! [`Driver::open`] folds the whole log; [`Driver::run`] works until it is told to end. Everybody else holds a cheap
//! [`Handle`]. When the store fails the driver ends with its error and so does the coordinator: what is on the disk is right,
//! and a start folds it again. There is no other way to recover.

mod handle;
mod log;
mod nodes;
mod survey;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::catalog::App;
use nightshift_core::control::Control;
use nightshift_core::event::{Actor, Event, Recorded};
use nightshift_core::fleet::Fleet;
use nightshift_core::ids::{AppName, NodeName, RolloutId};
use nightshift_core::instance::Prepull;
use nightshift_core::mutation::{Rule, broken};
use nightshift_core::rebuild::{RebuildBy, RebuildNumber};
use nightshift_core::rollout::Action;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::store::{self, Store};
use crate::triggers::{self, Fire};
use crate::watcher::{Followed, Unsigned};
pub use handle::{Asked, Handle, NodeSaid, Refusal, RegistryFailure, View};
use handle::{Message, Question};
use log::Log;
use nodes::Sessions;
use survey::Surveys;

/// Messages that wait for the driver at most: senders wait behind that, so that a flood slows the flooder.
const QUEUE_LIMIT: usize = 1024;
/// Messages of nodes that are taken in before the next decision: each decision looks at the whole fleet, and when thousands of agents
/// report at once, one for each message would keep the last of them waiting for minutes.
const TAKEN_AT_ONCE: usize = 256;
/// Decisions in a row without coming to rest: far more than any fleet needs, so it is a mistake that someone must see.
const ROUND_LIMIT: usize = 10_000;
/// The longest sleep: clocks are set back and forth, so the level is looked at again at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Where the time comes from: simulations bring their own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Sees what is known at the moment in which facts are about to be stored: simulations judge with it.
pub type Witness = Arc<dyn Fn(&View<'_>, &[Recorded]) + Send + Sync>;

/// What a driver needs.
pub struct Options {
    /// Where events are kept.
    pub store: Arc<dyn Store>,
    /// Where the time comes from.
    pub clock: Clock,
    /// After this long without an answer a step in flight is an alarm.
    pub unknown_after: Duration,
    /// How often agents say that they live.
    pub heartbeat_interval: Duration,
    /// Who looks on, if anybody does.
    pub witness: Option<Witness>,
    /// Who sends the requests that make CI systems build; without it nobody does.
    pub triggers: Option<triggers::Outbox>,
}

/// Why a driver ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed, or someone else wrote to it.
    #[error("the event store failed")]
    Store(#[from] store::Error),
    /// A stored event cannot be read.
    #[error("event {sequence} of the store cannot be read: {reason}\nhint: was it written by a newer version?")]
    Unreadable {
        /// Its number.
        sequence: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Decisions do not come to rest.
    #[error("decisions do not come to rest after {ROUND_LIMIT} rounds; please report this with the event log")]
    Restless,
}

/// The one writer.
pub struct Driver {
    control: Control,
    fleet: Fleet,
    log: Log,
    sessions: Sessions,
    surveys: Surveys,
    clock: Clock,
    inbox: mpsc::Receiver<Message>,
    /// Grows with each change that somebody could see.
    changes: watch::Sender<u64>,
    /// What the watcher follows.
    followed: watch::Sender<Followed>,
    ids: u32,
    witness: Option<Witness>,
    triggers: Option<triggers::Outbox>,
}

impl Driver {
    /// Begins a new epoch, folds the log, and is ready to run.
    ///
    /// # Errors
    /// The store failed or holds what this version cannot read.
    pub async fn open(options: Options) -> Result<(Self, Handle), Error> {
        let epoch = options.store.begin_epoch().await?;
        let now = (options.clock)();
        let mut control = Control::new(epoch, now, options.unknown_after);
        let log = Log::load(options.store, &mut control).await?;
        let (outbox, inbox) = mpsc::channel(QUEUE_LIMIT);
        let (changes, changed) = watch::channel(log.sequence().0);
        let (followed, following) = watch::channel(Followed::default());
        tracing::info!(%epoch, events = log.sequence().0, "event log is folded");
        let driver = Self {
            control,
            fleet: Fleet::default(),
            log,
            sessions: Sessions::new(options.heartbeat_interval),
            surveys: Surveys::default(),
            clock: options.clock,
            inbox,
            changes,
            followed,
            ids: 0,
            witness: options.witness,
            triggers: options.triggers,
        };
        Ok((driver, Handle::new(outbox, changed, following)))
    }

    /// Works until `shutdown`.
    ///
    /// # Errors
    /// The store failed: whoever started it starts again.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        self.publish();
        let mut wake_at = self.settle().await?;
        loop {
            let sleep = tokio::time::sleep(self.sleep_until(wake_at));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                message = self.inbox.recv() => match message {
                    Some(message) => self.take_with_those_waiting(message).await?,
                    None => break,
                },
                () = sleep => {}
            }
            wake_at = self.settle().await?;
        }
        self.sessions.say_goodbye("the coordinator ends");
        Ok(())
    }

    /// Takes in a message and what other nodes have said meanwhile. What follows from all of it is decided then: a decision
    /// depends on what is known, not on what was said last. Whoever asks something is told what has followed by then.
    async fn take_with_those_waiting(&mut self, first: Message) -> Result<(), Error> {
        self.take(first).await?;
        for _ in 1..TAKEN_AT_ONCE {
            let Ok(next) = self.inbox.try_recv() else { break };
            if !matches!(next, Message::Node { .. }) {
                self.settle().await?;
                return self.take(next).await;
            }
            self.take(next).await?;
        }
        Ok(())
    }

    fn sleep_until(&self, wake_at: Option<DateTime<Utc>>) -> Duration {
        let now = (self.clock)();
        let until = wake_at.map_or(LONGEST_SLEEP, |at| (at - now).to_std().unwrap_or_default());
        until.min(LONGEST_SLEEP)
    }

    /// Decides until nothing more follows; when to look again.
    async fn settle(&mut self) -> Result<Option<DateTime<Utc>>, Error> {
        for _ in 0..ROUND_LIMIT {
            let now = (self.clock)();
            let id = self.new_id(now);
            let decision = self.control.tick(&self.fleet, now, &id);
            if decision.events.is_empty() && decision.actions.is_empty() {
                return Ok(decision.wake_at);
            }
            let first = broken(Rule::StoredFirst);
            let (before, after) = if first { (decision.actions, Vec::new()) } else { (Vec::new(), decision.actions) };
            before.into_iter().for_each(|action| self.act(action));
            self.store(decision.events).await?;
            after.into_iter().for_each(|action| self.act(action));
        }
        Err(Error::Restless)
    }

    /// A name for the next rollout: sortable by time, unique, and short enough to type.
    fn new_id(&mut self, now: DateTime<Utc>) -> RolloutId {
        loop {
            let text = format!("{}-{:03}", now.format("%Y%m%d-%H%M%S"), self.ids % 1000);
            let id: RolloutId = text.parse().expect("digits and dashes are a legal name");
            if self.control.find_rollout(id.as_str()).is_ok_and(|known| known.id == id) {
                self.ids += 1;
            } else {
                return id;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Prepull { node, app, digest } => {
                let catalog = self.control.catalog();
                let Some(known) = catalog.app(&app) else { return };
                let (image, signatures) = (known.reference(&digest), catalog.signatures(&app, &digest).to_vec());
                self.fleet.requested(&node, app.clone(), digest.clone(), (self.clock)());
                let epoch = self.control.epoch();
                self.sessions.prepull(&node, &Prepull { app, image, digest, epoch, signatures });
            }
            Action::Order { node, order } => {
                tracing::info!(node = %node, step = %order.key, digest = %order.digest, "step ordered");
                self.sessions.order(&node, &order);
            }
            Action::Job { order } => {
                let subject = order.work.subject(&order.image);
                tracing::info!(node = %order.node, app = %order.app, job = %order.id, %subject, "job ordered");
                self.sessions.job(&order);
            }
            Action::Trigger { app, number, attempt } => self.trigger(app, number, attempt),
        }
    }

    /// Has a request sent. One that finds no room, or whose answer is lost, is asked for again in a while.
    fn trigger(&mut self, app: AppName, number: RebuildNumber, attempt: u32) {
        self.fleet.trigger_requested(app.clone(), number, attempt, (self.clock)());
        let known = self.control.catalog().app(&app);
        let fire = known.and_then(|known| {
            let RebuildBy::Http(trigger) = &known.spec.rebuild.as_ref()?.by else { return None };
            let started_at = known.rebuilds.open.as_ref()?.started_at;
            Some(Fire { app, image: known.spec.image.clone(), number, started_at, attempt, trigger: trigger.clone() })
        });
        if let Some((fire, triggers)) = fire.zip(self.triggers.as_ref())
            && triggers.try_send(fire).is_err()
        {
            tracing::warn!(rebuild = %number, "a trigger has to wait: too many are on their way");
        }
    }

    /// Stores facts, then applies them.
    async fn store(&mut self, events: Vec<Recorded>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        if let Some(witness) = &self.witness {
            witness(&self.view(), &events);
        }
        self.log.append(&events, &self.control).await?;
        for recorded in &events {
            tracing::info!(kind = recorded.event.kind(), by = %recorded.by, "{}", recorded.event);
            self.control.apply(recorded);
            if let Event::NodeRemoved { node, .. } = &recorded.event {
                self.sessions.close(node, "the node was removed from the fleet");
            }
        }
        self.publish();
        self.watch(&events);
        Ok(())
    }

    /// Tells agents what to look for, where these events may have changed it: the apps, or a node's labels. Not all of them at
    /// every report of a step: there are thousands. (A node that connects is told by itself.)
    fn watch(&mut self, events: &[Recorded]) {
        let of_apps = |event: &Event| matches!(event, Event::AppApplied { .. } | Event::AppRemoved { .. });
        if events.iter().any(|recorded| of_apps(&recorded.event)) {
            self.sessions.watch(self.control.catalog());
            return;
        }
        for recorded in events {
            if let Event::NodeLabelled { node, .. } = &recorded.event {
                self.sessions.watch_on(node, self.control.catalog());
            }
        }
    }

    /// Tells everybody who follows that there is something new.
    fn publish(&mut self) {
        let apps = || self.control.catalog().apps().filter(|app| app.enabled);
        self.fleet.follow_only(&apps().map(App::lookup).collect());
        let tags = apps().filter_map(|app| Some((app.spec.name.clone(), app.followed()?))).collect();
        let chooses = |app: &&App| app.spec.tags.is_some();
        let list = |app: &App| (app.spec.name.clone(), (app.spec.image.repository.clone(), app.version));
        let lists = apps().filter(chooses).map(list).collect();
        let followed = Followed { tags, lists, unsigned: apps().flat_map(unsigned).collect() };
        self.followed.send_if_modified(|known| {
            let new = *known != followed;
            *known = followed;
            new
        });
        self.changes.send_modify(|count| *count += 1);
    }

    async fn take(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Request { request, by, reply } => {
                let now = (self.clock)();
                let answer = match self.control.request(request, &by, &self.fleet, now) {
                    Ok(events) => {
                        let answer = events.clone();
                        self.store(events).await?;
                        Ok(answer)
                    }
                    Err(rejection) => Err(rejection),
                };
                // Whoever asked may have gone away; what was asked is done all the same.
                drop(reply.send(answer));
            }
            Message::Start { app, start, by, reply } => {
                let now = (self.clock)();
                let id = self.new_id(now);
                let answer = match self.control.request(start(id.clone()), &by, &self.fleet, now) {
                    Ok(events) => {
                        self.store(events).await?;
                        let new = self.control.rollout(&id).is_some();
                        let joined = self.control.open_rollout(&app).filter(|_| !new);
                        Ok(joined.map_or(id, |open| open.id.clone()))
                    }
                    Err(rejection) => Err(rejection),
                };
                drop(reply.send(answer));
            }
            Message::Question(question) => self.answer(question),
            Message::Registry { image, failure } => {
                let failed = failure.map(|failure| (failure.error, failure.retry_at));
                self.fleet.looked_up(image, failed, (self.clock)());
                self.publish();
            }
            Message::Node { node, said } => self.node_said(node, said).await?,
            Message::Survey { survey, asked, answers } => self.survey(&survey, &asked, answers),
        }
        Ok(())
    }

    fn answer(&self, question: Question) {
        question(&self.view());
    }

    fn view(&self) -> View<'_> {
        View { control: &self.control, fleet: &self.fleet, now: (self.clock)(), sequence: self.log.sequence() }
    }

    async fn node_events(&mut self, node: &NodeName) -> Result<(), Error> {
        let now = (self.clock)();
        let events = self.control.inventoried(node, &self.fleet, now);
        self.store(events).await
    }

    fn enrolled(node: NodeName) -> (nightshift_core::control::Request, Actor) {
        (nightshift_core::control::Request::Enrolled(node.clone()), Actor::node(&node))
    }
}

/// The digests of an app whose signatures are missed.
fn unsigned(app: &App) -> impl Iterator<Item = Unsigned> {
    app.unsigned().map(|release| Unsigned {
        app: app.spec.name.clone(),
        version: app.version,
        repository: app.spec.image.repository.clone(),
        digest: release.digest.clone(),
    })
}

#[cfg(test)]
mod tests;
