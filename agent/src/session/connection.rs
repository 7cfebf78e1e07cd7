//! One connection: Hello and Welcome, then messages both ways until it ends.

use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt as _;
use nightshift_core::ids::Epoch;
use nightshift_core::instance::{Findings, Prepull, Survey};
use nightshift_core::job::JobOrder;
use nightshift_core::mutation::{Rule, broken};
use nightshift_core::step::{StepKey, StepOrder};
use nightshift_proto::{convert, pb};
use pb::agent_message::Body as Ours;
use pb::coordinator_message::Body as Theirs;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::outbox::Next;
use super::{Incoming, Lost, Session};
use crate::dial::Server;
use crate::inventory::Found;

/// How long the coordinator may take to say Welcome: at its start it loads every rollout first.
const WELCOME_DEADLINE: Duration = Duration::from_secs(15);
/// How long a message may wait for the connection to take it.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// How long a goodbye may take: shutdown must not hang on a dead line.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(2);
/// Messages between us and the connection: a few, so that a slow line is felt here and not in memory.
const QUEUE: usize = 8;
/// What a heartbeat interval may be: shorter is noise, longer is no sign of life.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// A heartbeat that is not answered within so many intervals means that nobody is there.
const SILENT_AFTER_INTERVALS: u32 = 3;
/// How long a survey may take: a person waits for it, and the stream with it.
const SURVEY_DEADLINE: Duration = Duration::from_secs(3);
/// Clocks further apart than this make freshness and certificates unreliable.
const SKEW_LIMIT: TimeDelta = TimeDelta::seconds(5);

/// A stream on which Hello and Welcome were said.
pub(super) struct Connection {
    server: Server,
    to_wire: mpsc::Sender<pb::AgentMessage>,
    from_wire: Incoming,
    epoch: Epoch,
    heartbeat: Duration,
    /// When the heartbeat that is not yet answered was sent.
    unanswered: Option<Instant>,
    skewed: bool,
}

impl Connection {
    /// Dials and says Hello; ends with the Welcome obeyed.
    pub(super) async fn open(session: &Session) -> Result<Self, Lost> {
        let server = session.line.server().clone();
        let (to_wire, outgoing) = mpsc::channel(QUEUE);
        let hello = Ours::Hello(hello(session).await);
        to_wire.try_send(pb::AgentMessage { body: Some(hello) }).expect("the queue is empty");
        let mut from_wire = session.line.open(outgoing).await?;
        let first = timeout(WELCOME_DEADLINE, from_wire.next()).await.map_err(|_| Lost::Silent(server.clone()))?;
        let welcome = match first.transpose()?.and_then(|message| message.body) {
            Some(Theirs::Welcome(welcome)) => welcome,
            Some(Theirs::Goodbye(goodbye)) => return Err(Lost::Goodbye { server, reason: goodbye.reason }),
            Some(
                Theirs::Watch(_)
                | Theirs::Prepull(_)
                | Theirs::Step(_)
                | Theirs::Acknowledge(_)
                | Theirs::Heartbeat(_)
                | Theirs::Survey(_)
                | Theirs::Job(_),
            )
            | None => {
                let reason = "its first message is no Welcome".to_owned();
                return Err(Lost::Malformed { server, reason });
            }
        };
        Self::welcomed(session, welcome, to_wire, from_wire).await
    }

    async fn welcomed(
        session: &Session,
        welcome: pb::Welcome,
        to_wire: mpsc::Sender<pb::AgentMessage>,
        from_wire: Incoming,
    ) -> Result<Self, Lost> {
        let server = session.line.server().clone();
        let malformed = |error: convert::Error| Lost::Malformed { server: server.clone(), reason: error.to_string() };
        let heartbeat =
            convert::duration("welcome.heartbeat_interval", welcome.heartbeat_interval).map_err(malformed)?;
        let now = convert::timestamp("welcome.now", welcome.now).map_err(malformed)?;
        let epoch = Epoch(welcome.epoch);
        session.epochs.obey(epoch).await.map_err(|source| Lost::Epoch { server: server.clone(), source })?;
        session.outbox.rewind();
        info!(%server, %epoch, "session with the coordinator is up");
        let heartbeat = heartbeat.clamp(HEARTBEAT.0, HEARTBEAT.1);
        let mut connection = Self { server, to_wire, from_wire, epoch, heartbeat, unanswered: None, skewed: false };
        connection.judge_clock(session.surroundings.now() - now);
        Ok(connection)
    }

    /// Passes messages until the connection ends. `None` after a goodbye at shutdown.
    pub(super) async fn talk(&mut self, session: &mut Session, shutdown: &CancellationToken) -> Option<Lost> {
        let mut heartbeat = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        let mut watch = session.inventory.silent();
        loop {
            let wake = match self.flush(session).await {
                Ok(wake) => wake,
                Err(lost) => return Some(lost),
            };
            let outcome = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    self.goodbye(session).await;
                    return None;
                }
                // Before the messages, so that a flood of them is no silence.
                _ = heartbeat.tick() => self.beat(session).await,
                message = self.from_wire.next() => match message {
                    Some(Ok(message)) => self.take(session, message, &mut watch).await,
                    Some(Err(lost)) => Err(lost),
                    None => Err(self.broken("it closed the stream")),
                },
                found = session.inventory.found(watch) => self.send(Ours::Inventory(inventory(&found))).await,
                () = session.outbox.changed() => Ok(()),
                () = until(wake) => Ok(()),
            };
            if let Err(lost) = outcome {
                return Some(lost);
            }
        }
    }

    /// Sends everything that is due, and says when the next thing will be.
    async fn flush(&self, session: &Session) -> Result<Option<Instant>, Lost> {
        loop {
            match session.outbox.next(Instant::now()) {
                Next::Send(body) => self.send(*body).await?,
                Next::At(wake) => return Ok(Some(wake)),
                Next::Nothing => return Ok(None),
            }
        }
    }

    async fn send(&self, body: Ours) -> Result<(), Lost> {
        let message = pb::AgentMessage { body: Some(body) };
        match self.to_wire.send_timeout(message, SEND_DEADLINE).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Lost::Silent(self.server.clone())),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(self.broken("it no longer takes messages")),
        }
    }

    async fn beat(&mut self, session: &Session) -> Result<(), Lost> {
        if let Some(since) = self.unanswered {
            return if since.elapsed() > self.heartbeat * SILENT_AFTER_INTERVALS {
                Err(Lost::Silent(self.server.clone()))
            } else {
                Ok(())
            };
        }
        session.outbox.heartbeat_sent();
        self.unanswered = Some(Instant::now());
        self.send(Ours::Heartbeat(pb::Heartbeat { now: Some(convert::from_timestamp(session.surroundings.now())) }))
            .await
    }

    /// Acts on one message. One that cannot be used is said and left out: the stream goes on.
    async fn take(
        &mut self,
        session: &mut Session,
        message: pb::CoordinatorMessage,
        watch: &mut u64,
    ) -> Result<(), Lost> {
        let outcome = match message.body {
            Some(Theirs::Watch(message)) => {
                let revision = message.revision;
                message.into_apps().map(|apps| *watch = session.inventory.ask(apps, revision))
            }
            Some(Theirs::Prepull(message)) => self.prepull(session, message).await,
            Some(Theirs::Survey(message)) => {
                let id = message.id;
                match surveyed(session, message).await {
                    Ok(found) => return self.send(Ours::Surveyed(pb::Surveyed::of(id, &found))).await,
                    Err(error) => Err(error),
                }
            }
            Some(Theirs::Step(message)) => self.order(session, message).await,
            Some(Theirs::Job(message)) => self.job(session, message).await,
            Some(Theirs::Acknowledge(message)) => acknowledge(session, message).await,
            Some(Theirs::Heartbeat(reply)) => self.answered(session, reply),
            Some(Theirs::Goodbye(goodbye)) => {
                return Err(Lost::Goodbye { server: self.server.clone(), reason: goodbye.reason });
            }
            Some(Theirs::Welcome(_)) => {
                return Err(Lost::Malformed { server: self.server.clone(), reason: "it said Welcome twice".into() });
            }
            None => {
                debug!("the coordinator sent a message of a kind that this version does not know");
                Ok(())
            }
        };
        if let Err(error) = outcome {
            warn!(%error, "a message of the coordinator cannot be used");
        }
        Ok(())
    }

    async fn prepull(&self, session: &Session, message: pb::Prepull) -> Result<(), convert::Error> {
        let prepull = Prepull::try_from(message)?;
        if self.is_current(prepull.epoch) {
            session.work.prepull(prepull).await;
        }
        Ok(())
    }

    async fn order(&self, session: &Session, message: pb::StepOrder) -> Result<(), convert::Error> {
        let order = StepOrder::try_from(message)?;
        if self.is_current(order.epoch) {
            info!(rollout = %order.key.rollout, step = %order.key.step, app = %order.app, "step ordered");
            session.work.order(order).await;
        }
        Ok(())
    }

    async fn job(&self, session: &Session, message: pb::JobOrder) -> Result<(), convert::Error> {
        let order = JobOrder::try_from(message)?;
        if self.is_current(order.epoch) {
            info!(job = %order.id, app = %order.app, "job ordered");
            session.work.job(order).await;
        }
        Ok(())
    }

    /// Whether an instruction comes from the coordinator that said Welcome.
    fn is_current(&self, epoch: Epoch) -> bool {
        if epoch != self.epoch {
            warn!(%epoch, current = %self.epoch, "instruction of another epoch refused");
        }
        epoch == self.epoch || broken(Rule::Epoch)
    }

    fn answered(&mut self, session: &Session, reply: pb::HeartbeatReply) -> Result<(), convert::Error> {
        if let Some(since) = self.unanswered.take() {
            session.outbox.heartbeat_answered();
            let now = convert::timestamp("heartbeat.now", reply.now)?;
            let underway = TimeDelta::from_std(since.elapsed() / 2).unwrap_or_default();
            self.judge_clock(session.surroundings.now() - now - underway);
        }
        Ok(())
    }

    /// Judges how far this node's clock is ahead of the coordinator's.
    fn judge_clock(&mut self, skew: TimeDelta) {
        let skewed = skew.abs() > SKEW_LIMIT;
        let (skew_ms, changed) = (skew.num_milliseconds(), skewed != self.skewed);
        self.skewed = skewed;
        match (changed, skewed) {
            (true, true) => {
                warn!(skew_ms, "this node's clock differs from the coordinator's; check time synchronisation")
            }
            (true, false) => info!(skew_ms, "this node's clock agrees with the coordinator's again"),
            (false, true | false) => {}
        }
    }

    /// Says goodbye and waits until the coordinator has ended the stream: then it has arrived.
    async fn goodbye(&mut self, session: &Session) {
        let reason = "the agent is shutting down".to_owned();
        let last_words = async {
            self.flush(session).await?;
            self.send(Ours::Goodbye(pb::Goodbye { reason })).await
        };
        if last_words.await.is_err() {
            return;
        }
        // With the sender the request stream ends.
        self.to_wire = mpsc::channel(1).0;
        let ended = async { while let Some(Ok(_)) = self.from_wire.next().await {} };
        if timeout(GOODBYE_DEADLINE, ended).await.is_err() {
            debug!("the coordinator did not end the stream after the goodbye");
        }
    }

    fn broken(&self, reason: &str) -> Lost {
        Lost::Broken { server: self.server.clone(), reason: reason.to_owned() }
    }
}

async fn hello(session: &Session) -> pb::Hello {
    let facts = session.facts.clone();
    pb::Hello {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        engine_name: facts.engine_name,
        engine_version: facts.engine_version,
        engine_api_version: facts.engine_api_version,
        os: facts.os,
        architecture: facts.architecture,
        labels: facts.labels,
        now: Some(convert::from_timestamp(session.surroundings.now())),
        steps: session.work.steps().await.iter().map(Into::into).collect(),
        epoch: session.epochs.seen().0,
        jobs: session.work.jobs().await.into_iter().map(String::from).collect(),
    }
}

async fn surveyed(session: &Session, message: pb::Survey) -> Result<Result<Findings, String>, convert::Error> {
    let survey = Survey::try_from(message)?;
    let found = timeout(SURVEY_DEADLINE, session.work.survey(survey)).await;
    Ok(found.unwrap_or_else(|_| Err("the engine does not answer".to_owned())))
}

async fn acknowledge(session: &Session, message: pb::Acknowledge) -> Result<(), convert::Error> {
    session.outbox.acknowledge(message.sequence);
    let keys: Result<Vec<StepKey>, _> = message.forget.into_iter().map(StepKey::try_from).collect();
    let keys = keys?;
    if !keys.is_empty() {
        session.work.forget(keys).await;
    }
    let jobs = convert::job_ids("forget_jobs", message.forget_jobs)?;
    if !jobs.is_empty() {
        session.work.forget_jobs(jobs).await;
    }
    Ok(())
}

fn inventory(found: &Found) -> pb::Inventory {
    match &found.instances {
        Ok(instances) => pb::Inventory::of(instances, found.revision),
        Err(error) => pb::Inventory::of_silence(error, found.revision),
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
