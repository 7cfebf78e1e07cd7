//! The agents' service: enrolment, renewal, and one stream for each connected agent.
//!
//! A stream is translated here and judged by the driver. The node is who its certificate says, whatever the messages say.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, StreamExt as _};
use nightshift_core::fleet::NodeFacts;
use nightshift_core::ids::NodeName;
use nightshift_core::instance::ImageReport;
use nightshift_core::labels::Labels;
use nightshift_core::step::StepReport;
use nightshift_proto::convert;
use nightshift_proto::pb::agent_message::Body;
use nightshift_proto::pb::agent_service_server::AgentService;
use nightshift_proto::pb::{self, CoordinatorMessage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::driver::{Clock, Handle, NodeSaid};
use crate::trust::{ConnectInfo, Trust};

/// Messages that wait for one agent at most: it reads at once or it is not there.
const OUTBOX_LIMIT: usize = 256;
/// An agent says who it is at once, or it is none.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// A stream without a sign of life for so many heartbeat intervals is lost.
const SILENT_INTERVALS: u32 = 4;
/// Labels of a node at most, and characters of one at most: they travel in every status answer.
const LABEL_LIMIT: usize = 64;
const LABEL_LIMIT_BYTES: usize = 256;
/// Steps in a journal at most: an agent forgets what was acknowledged.
const STEP_LIMIT: usize = 1000;

/// Where streams of agents come in, whatever carries them.
#[derive(Clone)]
pub struct Reception {
    driver: Handle,
    clock: Clock,
    heartbeat_interval: Duration,
    count: Arc<AtomicU64>,
}

impl Reception {
    /// Passes everything on to the driver.
    #[must_use]
    pub fn new(driver: Handle, clock: Clock, heartbeat_interval: Duration) -> Self {
        Self { driver, clock, heartbeat_interval, count: Arc::new(AtomicU64::new(1)) }
    }

    /// Takes a node's stream in; what it is told comes out of the channel. The session ends with either of them.
    ///
    /// # Errors
    /// It does not begin with a good Hello, or the coordinator is ending.
    pub async fn receive<S>(
        &self,
        node: NodeName,
        mut inbound: S,
    ) -> Result<mpsc::Receiver<Result<CoordinatorMessage, Status>>, Status>
    where
        S: Stream<Item = Result<pb::AgentMessage, Status>> + Send + Unpin + 'static,
    {
        let first = tokio::time::timeout(HELLO_DEADLINE, inbound.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no Hello came"))?.transpose()?;
        let Some(Body::Hello(hello)) = first.and_then(|message| message.body) else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        let (outbox, replies) = mpsc::channel(OUTBOX_LIMIT);
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let connected = connected(hello, id, outbox.clone(), (self.clock)())?;
        self.driver.node(node.clone(), connected).await.map_err(|gone| Status::unavailable(gone.to_string()))?;
        let silence = self.heartbeat_interval * SILENT_INTERVALS;
        let listener = Listener { driver: self.driver.clone(), clock: self.clock.clone(), node, id, silence };
        tokio::spawn(listener.run(inbound, outbox));
        Ok(replies)
    }
}

/// The agents' service.
pub struct Sessions {
    driver: Handle,
    trust: Arc<Trust>,
    clock: Clock,
    reception: Reception,
}

impl Sessions {
    /// A service that passes everything on to the driver.
    #[must_use]
    pub fn new(driver: Handle, trust: Arc<Trust>, clock: Clock, heartbeat_interval: Duration) -> Self {
        let reception = Reception::new(driver.clone(), clock.clone(), heartbeat_interval);
        Self { driver, trust, clock, reception }
    }
}

#[tonic::async_trait]
impl AgentService for Sessions {
    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::EnrollResponse>, Status> {
        let remote = request.extensions().get::<ConnectInfo>().map(|info| tracing::field::display(info.remote_addr));
        let asked = request.into_inner();
        let done = self.trust.enroll(&asked.join_token, &asked.node, &asked.certificate_request, (self.clock)()).await;
        let enrolled = done.map_err(|error| {
            tracing::warn!(remote, error = &error as &dyn std::error::Error, "enrolment refused");
            Status::from(error)
        })?;
        let by = nightshift_core::event::Actor(format!("token/{}", enrolled.token_name));
        let request = nightshift_core::control::Request::Enrolled(enrolled.node.clone());
        self.driver.request(request, by).await.map_err(|gone| Status::unavailable(gone.to_string()))?;
        tracing::info!(node = %enrolled.node, remote, "node enrolled");
        let (certificate, authority) = (enrolled.certificate, enrolled.authority);
        Ok(Response::new(pb::EnrollResponse { certificate, authority }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let node = self.trust.node(request.extensions().get())?;
        let certificate = self.trust.renew(&node, &request.get_ref().certificate_request, (self.clock)()).await?;
        Ok(Response::new(pb::RenewResponse { certificate }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = self.trust.node(request.extensions().get())?.name;
        let replies = self.reception.receive(node, request.into_inner()).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }
}

/// One agent's stream, read until it ends.
struct Listener {
    driver: Handle,
    clock: Clock,
    node: NodeName,
    id: u64,
    silence: Duration,
}

impl Listener {
    async fn run<S>(self, inbound: S, outbox: mpsc::Sender<Result<CoordinatorMessage, Status>>)
    where
        S: Stream<Item = Result<pb::AgentMessage, Status>> + Send + Unpin,
    {
        let why = self.listen(inbound, &outbox).await;
        tracing::info!(node = %self.node, reason = %why, "session is over");
        drop(self.driver.node(self.node, NodeSaid::Gone { session: self.id }).await);
    }

    async fn listen<S>(&self, mut inbound: S, outbox: &mpsc::Sender<Result<CoordinatorMessage, Status>>) -> String
    where
        S: Stream<Item = Result<pb::AgentMessage, Status>> + Send + Unpin,
    {
        loop {
            let next = tokio::select! {
                biased;
                next = tokio::time::timeout(self.silence, inbound.next()) => next,
                // The driver gave the session up: the agent connects again.
                () = outbox.closed() => return "closed by the coordinator".to_owned(),
            };
            let message = match next {
                Err(_) => return format!("no sign of life for {:?}", self.silence),
                Ok(Some(Err(status))) => return format!("lost: {}", status.message()),
                // The decoder takes a lost connection for an end; only a Goodbye is one.
                Ok(None) => return "lost".to_owned(),
                Ok(Some(Ok(message))) => message,
            };
            if let Some(Body::Goodbye(goodbye)) = &message.body {
                return format!("goodbye: {}", goodbye.reason);
            }
            match said(message, (self.clock)()) {
                Ok(Some(said)) => {
                    if self.driver.node(self.node.clone(), said).await.is_err() {
                        return "the coordinator ends".to_owned();
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(node = %self.node, %error, "a message of an agent cannot be used");
                    let status = Status::invalid_argument(error.to_string());
                    drop(outbox.try_send(Err(status)));
                    return format!("refused: {error}");
                }
            }
        }
    }
}

fn connected(
    hello: pb::Hello,
    session: u64,
    outbox: mpsc::Sender<Result<CoordinatorMessage, Status>>,
    now: DateTime<Utc>,
) -> Result<NodeSaid, Status> {
    let malformed = |error: convert::Error| Status::invalid_argument(error.to_string());
    let labels: Labels = hello.labels.into_iter().collect();
    let long = labels.iter().any(|(key, value)| key.len().max(value.len()) > LABEL_LIMIT_BYTES);
    if labels.len() > LABEL_LIMIT || long || hello.steps.len() > STEP_LIMIT {
        return Err(Status::invalid_argument("too many or too long labels, or too many steps"));
    }
    let steps: Result<Vec<_>, _> = hello.steps.into_iter().map(StepReport::try_from).collect();
    let skew =
        convert::optional_timestamp("now", hello.now).map_err(malformed)?.map_or(TimeDelta::zero(), |at| at - now);
    let facts = NodeFacts {
        agent_version: hello.agent_version,
        engine_version: hello.engine_version,
        api_version: hello.engine_api_version,
        // A platform that is none is as good as none said: then the engine itself judges, when it pulls.
        platform: format!("{}/{}", hello.os, hello.architecture).parse().ok(),
        clock_skew: skew,
    };
    let jobs = convert::job_ids("jobs", hello.jobs).map_err(malformed)?;
    Ok(NodeSaid::Connected { session, facts, labels, steps: steps.map_err(malformed)?, jobs, outbox })
}

/// What a message means for the driver; `None` for what needs no answer.
fn said(message: pb::AgentMessage, now: DateTime<Utc>) -> Result<Option<NodeSaid>, convert::Error> {
    Ok(match message.body {
        Some(Body::Inventory(inventory)) => {
            let revision = inventory.watch_revision;
            Some(NodeSaid::Inventory { revision, instances: inventory.into_instances()? })
        }
        Some(Body::Report(report)) => {
            let Some(step) = report.step else { return Ok(None) };
            let report_of_step = Box::new(StepReport::try_from(step)?);
            Some(NodeSaid::Report { sequence: report.sequence, report: report_of_step })
        }
        Some(Body::Surveyed(surveyed)) => {
            Some(NodeSaid::Surveyed { id: surveyed.id, found: surveyed.into_findings()? })
        }
        Some(Body::Job(report)) => Some(NodeSaid::Job(Box::new(report.try_into()?))),
        Some(Body::Image(image)) => Some(NodeSaid::Image(ImageReport::try_from(image)?)),
        Some(Body::Heartbeat(heartbeat)) => {
            let said = convert::optional_timestamp("now", heartbeat.now)?;
            Some(NodeSaid::Alive { skew: said.map_or(TimeDelta::zero(), |at| at - now) })
        }
        Some(Body::Hello(_) | Body::Goodbye(_)) | None => None,
    })
}
