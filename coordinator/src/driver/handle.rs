//! What everybody else holds of the driver: requests that change something, questions that do not, and what nodes say.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_core::control::{Control, Request};
use nightshift_core::event::{Actor, Recorded};
use nightshift_core::fleet::{Fleet, NodeFacts};
use nightshift_core::ids::{AppName, JobId, NodeName, RolloutId};
use nightshift_core::image::ImageRef;
use nightshift_core::instance::{Findings, FoundContainer, ImageReport, InstanceView, Survey, Surveyed, WatchedApp};
use nightshift_core::job::JobReport;
use nightshift_core::labels::{Labels, Selector};
use nightshift_core::rollout::Rejection;
use nightshift_core::step::StepReport;
use nightshift_proto::pb;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

use super::survey::Answers;
use crate::store::Sequence;
use crate::watcher::Followed;

/// The driver answers within microseconds; when it does not within this time something is badly wrong.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// What the driver knows, lent for the time of one question.
pub struct View<'a> {
    /// Everything that is remembered.
    pub control: &'a Control,
    /// Everything that agents report.
    pub fleet: &'a Fleet,
    /// The coordinator's clock.
    pub now: DateTime<Utc>,
    /// The last stored event.
    pub sequence: Sequence,
}

/// The watcher's last failure with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryFailure {
    /// What happened.
    pub error: String,
    /// When it is tried again.
    pub retry_at: DateTime<Utc>,
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A rule, or what was asked, stands against it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The driver is gone or does not answer: the coordinator is about to end.
    #[error("the coordinator is ending\nhint: its log says why; try again in a moment")]
    Gone,
}

pub(super) type Question = Box<dyn FnOnce(&View<'_>) + Send>;
type StartRequest = Box<dyn FnOnce(RolloutId) -> Request + Send>;

/// What arrives at the driver.
pub(super) enum Message {
    Request { request: Request, by: Actor, reply: oneshot::Sender<Result<Vec<Recorded>, Rejection>> },
    Start { app: AppName, start: StartRequest, by: Actor, reply: oneshot::Sender<Result<RolloutId, Rejection>> },
    Question(Question),
    Registry { image: ImageRef, failure: Option<RegistryFailure> },
    Node { node: NodeName, said: NodeSaid },
    Survey { survey: Survey, asked: Asked, answers: Answers },
}

/// What a node's session passes on.
pub enum NodeSaid {
    /// Its agent is there.
    Connected {
        /// Tells this session from an earlier one of the same node.
        session: u64,
        /// What it says of itself.
        facts: NodeFacts,
        /// Its labels.
        labels: Labels,
        /// The steps in its journal.
        steps: Vec<StepReport>,
        /// The jobs that it has, in work or ended.
        jobs: Vec<JobId>,
        /// Where its messages go.
        outbox: mpsc::Sender<Result<pb::CoordinatorMessage, Status>>,
    },
    /// The session is over.
    Gone {
        /// Which session.
        session: u64,
    },
    /// A sign of life.
    Alive {
        /// The agent's clock minus the coordinator's.
        skew: TimeDelta,
    },
    /// A complete inventory, or the engine's error.
    Inventory {
        /// The Watch that it answers.
        revision: u64,
        /// What was found.
        instances: Result<Vec<InstanceView>, String>,
    },
    /// How far a step is.
    Report {
        /// The agent's number of this report.
        sequence: u64,
        /// What it says.
        report: Box<StepReport>,
    },
    /// How a job ended.
    Job(Box<JobReport>),
    /// How far an image is.
    Image(ImageReport),
    /// The answer to a survey.
    Surveyed {
        /// Which survey.
        id: u64,
        /// What was found, or the engine's error.
        found: Result<Findings, String>,
    },
}

/// Who is asked, of those that are connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nodes with these labels.
    Labelled(Selector),
    /// This one.
    Node(NodeName),
}

/// A cheap way to the driver.
#[derive(Clone)]
pub struct Handle {
    outbox: mpsc::Sender<Message>,
    changed: watch::Receiver<u64>,
    following: watch::Receiver<Followed>,
}

impl Handle {
    pub(super) const fn new(
        outbox: mpsc::Sender<Message>,
        changed: watch::Receiver<u64>,
        following: watch::Receiver<Followed>,
    ) -> Self {
        Self { outbox, changed, following }
    }

    /// Asks for a change; the facts that came of it.
    ///
    /// # Errors
    /// It was rejected, or the coordinator is ending.
    pub async fn request(&self, request: Request, by: Actor) -> Result<Vec<Recorded>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Request { request, by, reply }).await?;
        Ok(within(answer).await??)
    }

    /// Asks for a rollout of an app; its identity, or that of the one that is on its way there already.
    ///
    /// # Errors
    /// It was rejected, or the coordinator is ending.
    pub async fn start(
        &self,
        app: AppName,
        start: impl FnOnce(RolloutId) -> Request + Send + 'static,
        by: Actor,
    ) -> Result<RolloutId, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Start { app, start: Box::new(start), by, reply }).await?;
        Ok(within(answer).await??)
    }

    /// Asks a question.
    ///
    /// # Errors
    /// The coordinator is ending.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&View<'_>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |view| drop(reply.send(question(view))));
        self.send(Message::Question(question)).await?;
        within(answer).await
    }

    /// Passes on what a node's session hears.
    ///
    /// # Errors
    /// The coordinator is ending.
    pub async fn node(&self, node: NodeName, said: NodeSaid) -> Result<(), Refusal> {
        self.send(Message::Node { node, said }).await
    }

    /// Passes on whether an image's registry could be asked.
    ///
    /// # Errors
    /// The coordinator is ending.
    pub async fn registry(&self, image: ImageRef, failure: Option<RegistryFailure>) -> Result<(), Refusal> {
        self.send(Message::Registry { image, failure }).await
    }

    /// Asks the agents which of their containers an app would have. Who does not answer within `deadline` is left out.
    ///
    /// # Errors
    /// The coordinator is ending.
    pub async fn survey(&self, app: WatchedApp, nodes: Selector, deadline: Duration) -> Result<Vec<Surveyed>, Refusal> {
        let answers = self.answers(Survey::OfApp(app), Asked::Labelled(nodes), deadline).await?;
        let instances = |found| match found {
            Findings::Instances(instances) => Ok(instances),
            Findings::Containers(_) => Err("the agent answered another question".to_owned()),
        };
        let read = |Surveyed { node, found }: Surveyed<Findings>| Surveyed { node, found: found.and_then(instances) };
        Ok(answers.into_iter().map(read).collect())
    }

    /// Asks the agents which containers they have. Who does not answer within `deadline` is left out.
    ///
    /// # Errors
    /// The coordinator is ending.
    pub async fn survey_everything(
        &self,
        asked: Asked,
        deadline: Duration,
    ) -> Result<Vec<Surveyed<Vec<FoundContainer>>>, Refusal> {
        let answers = self.answers(Survey::Everything, asked, deadline).await?;
        let containers = |found| match found {
            Findings::Containers(containers) => Ok(containers),
            Findings::Instances(_) => Err("the agent answered another question".to_owned()),
        };
        let read = |Surveyed { node, found }: Surveyed<Findings>| Surveyed { node, found: found.and_then(containers) };
        Ok(answers.into_iter().map(read).collect())
    }

    async fn answers(
        &self,
        survey: Survey,
        asked: Asked,
        deadline: Duration,
    ) -> Result<Vec<Surveyed<Findings>>, Refusal> {
        let (answers, mut answered) = mpsc::unbounded_channel();
        self.send(Message::Survey { survey, asked, answers }).await?;
        let mut found = Vec::new();
        let collect = async {
            while let Some(answer) = answered.recv().await {
                found.push(answer);
            }
        };
        // Late answers change nothing: each step looks for itself before it touches anything.
        drop(tokio::time::timeout(deadline, collect).await);
        found.sort_by(|a, b| a.node.cmp(&b.node));
        Ok(found)
    }

    /// Changes whenever there is something new to see.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// What the watcher follows.
    #[must_use]
    pub fn followed(&self) -> watch::Receiver<Followed> {
        self.following.clone()
    }

    async fn send(&self, message: Message) -> Result<(), Refusal> {
        let sent = tokio::time::timeout(ANSWER_DEADLINE, self.outbox.send(message)).await;
        sent.map_err(|_| Refusal::Gone)?.map_err(|_| Refusal::Gone)
    }
}

async fn within<T>(answer: oneshot::Receiver<T>) -> Result<T, Refusal> {
    let answer = tokio::time::timeout(ANSWER_DEADLINE, answer).await;
    answer.map_err(|_| Refusal::Gone)?.map_err(|_| Refusal::Gone)
}
