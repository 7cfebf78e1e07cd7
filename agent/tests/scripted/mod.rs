//! A coordinator for tests: real TLS, real enrolment, real streams; what is said on them the test decides.
//!
//! It runs in a runtime of its own, so that [`Coordinator::stop`] ends it as a killed process ends: listener and
//! connections at once.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "shared by test programs, each of which uses a part"
)]

pub mod logs;
pub mod pki;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_proto::pb;
use nightshift_proto::pb::agent_service_server::{AgentService, AgentServiceServer};
use pb::agent_message::Body as Ours;
use pb::coordinator_message::Body as Theirs;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use pki::Pki;

/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a coordinator behaves.
pub struct Setup {
    /// Who signs its certificate and those of nodes.
    pub pki: Arc<Pki>,
    /// Who must have signed a client's certificate.
    pub clients: Arc<Pki>,
    /// Secrets of join tokens that are not used up.
    pub tokens: Vec<String>,
    /// Lifetime of the certificates that it gives, counted from an hour ago.
    pub lifetime: Duration,
    /// The authority that it shows, where that is not its own.
    pub shown: Option<String>,
    /// Where it listens; port 0 for any.
    pub address: SocketAddr,
}

impl Setup {
    pub fn new(pki: &Arc<Pki>) -> Self {
        Self {
            pki: Arc::clone(pki),
            clients: Arc::clone(pki),
            tokens: Vec::new(),
            lifetime: Duration::from_secs(24 * 3600),
            shown: None,
            address: "127.0.0.1:0".parse().unwrap(),
        }
    }
}

/// A running coordinator.
pub struct Coordinator {
    pub address: SocketAddr,
    sessions: mpsc::UnboundedReceiver<Session>,
    enrolments: Arc<Mutex<Vec<pb::EnrollRequest>>>,
    runtime: Option<Runtime>,
}

impl Coordinator {
    pub fn start(setup: Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind(setup.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, sessions) = mpsc::unbounded_channel();
        let enrolments = Arc::default();
        let (certificate, key) = setup.pki.server();
        let shown = setup.shown.unwrap_or_else(|| setup.pki.authority().to_owned());
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(format!("{certificate}{shown}"), key))
            .client_ca_root(Certificate::from_pem(setup.clients.authority()))
            .client_auth_optional(true);
        let tokens = setup.tokens.iter().map(|secret| (secret.clone(), false)).collect();
        let service = Service {
            pki: setup.pki,
            lifetime: setup.lifetime,
            tokens: Mutex::new(tokens),
            opened,
            enrolments: Arc::clone(&enrolments),
        };
        runtime.spawn(async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let server = Server::builder().tls_config(tls).unwrap().add_service(AgentServiceServer::new(service));
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, sessions, enrolments, runtime: Some(runtime) }
    }

    /// The next session that an agent opened, its Hello taken.
    pub async fn session(&mut self) -> Session {
        let mut session = timeout(PATIENCE, self.sessions.recv()).await.expect("a session in time").unwrap();
        let Ours::Hello(hello) = session.hears().await else { panic!("the first message is no Hello") };
        session.hello = hello;
        session
    }

    /// What was asked of Enroll so far.
    pub fn enrolments(&self) -> Vec<pb::EnrollRequest> {
        self.enrolments.lock().unwrap().clone()
    }

    /// Ends it as `kill -9` does: when this returns, its sockets are closed and its address is free.
    pub async fn stop(mut self) -> SocketAddr {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
        self.address
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One stream of one agent.
pub struct Session {
    pub node: String,
    pub hello: pb::Hello,
    from_agent: Streaming<pb::AgentMessage>,
    to_agent: mpsc::Sender<Result<pb::CoordinatorMessage, Status>>,
}

impl Session {
    /// Says something to the agent.
    pub async fn say(&self, body: Theirs) {
        self.to_agent.send(Ok(pb::CoordinatorMessage { body: Some(body) })).await.unwrap();
    }

    /// Says Welcome.
    pub async fn welcome(&self, epoch: u64) {
        self.say(Theirs::Welcome(pb::Welcome {
            epoch,
            now: Some(nightshift_proto::convert::from_timestamp(chrono::Utc::now())),
            heartbeat_interval: Some(nightshift_proto::convert::from_duration(Duration::from_secs(1))),
        }))
        .await;
    }

    /// The next message, whatever it is.
    pub async fn hears(&mut self) -> Ours {
        self.hears_or_end().await.expect("the stream ended")
    }

    /// The next message; `None` when the agent ended the stream or it broke.
    pub async fn hears_or_end(&mut self) -> Option<Ours> {
        let message = timeout(PATIENCE, self.from_agent.message()).await.expect("a message in time");
        message.ok().flatten().map(|message| message.body.expect("a body"))
    }

    /// The next message that is no heartbeat; those are answered.
    pub async fn hears_news(&mut self) -> Ours {
        loop {
            let body = self.hears().await;
            if !matches!(body, Ours::Heartbeat(_)) {
                return body;
            }
            let now = Some(nightshift_proto::convert::from_timestamp(chrono::Utc::now()));
            self.say(Theirs::Heartbeat(pb::HeartbeatReply { now })).await;
        }
    }

    /// The next report about a step.
    pub async fn hears_report(&mut self) -> pb::Report {
        let body = self.hears_news().await;
        let Ours::Report(report) = body else { panic!("no report: {body:?}") };
        report
    }
}

struct Service {
    pki: Arc<Pki>,
    lifetime: Duration,
    tokens: Mutex<BTreeMap<String, bool>>,
    opened: mpsc::UnboundedSender<Session>,
    enrolments: Arc<Mutex<Vec<pb::EnrollRequest>>>,
}

fn node_of<T>(request: &Request<T>) -> Result<String, Status> {
    let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("no client certificate"))?;
    Ok(pki::node_of(&certificates[0]))
}

#[tonic::async_trait]
impl AgentService for Service {
    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::EnrollResponse>, Status> {
        let request = request.into_inner();
        self.enrolments.lock().unwrap().push(request.clone());
        let secret = request.join_token.split('.').nth(1).unwrap_or_default().to_owned();
        let mut tokens = self.tokens.lock().unwrap();
        match tokens.get_mut(&secret) {
            None => return Err(Status::unauthenticated(format!("no such token `{}`", request.join_token))),
            Some(used) if *used => return Err(Status::unauthenticated("the token was used already")),
            Some(used) => *used = true,
        }
        let certificate = self.pki.sign(&request.certificate_request, &request.node, self.lifetime);
        Ok(Response::new(pb::EnrollResponse { certificate, authority: self.pki.authority().to_owned() }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let node = node_of(&request)?;
        let lifetime = Duration::from_secs(24 * 3600);
        let certificate = self.pki.sign(&request.into_inner().certificate_request, &node, lifetime);
        Ok(Response::new(pb::RenewResponse { certificate }))
    }

    type SessionStream = ReceiverStream<Result<pb::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let node = node_of(&request)?;
        let (to_agent, outgoing) = mpsc::channel(16);
        let session = Session { node, hello: pb::Hello::default(), from_agent: request.into_inner(), to_agent };
        self.opened.send(session).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}
