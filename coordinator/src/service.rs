//! The coordinator as one service: opens what is stored, listens, watches, decides, until it is told to end.
//!
//! [`Coordinator::open`] does everything that can fail at a start, so that a start that succeeds is really up; the address
//! and the authority are known then. [`Coordinator::run`] works until the token is cancelled: first it says goodbye to the
//! agents, then it gives calls a moment to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;

use nightshift_core::ids::NodeName;
use nightshift_proto::pb::agent_service_server::AgentServiceServer;
use nightshift_proto::pb::operator_service_server::OperatorServiceServer;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::data_dir::{self, DataDir};
use crate::driver::{self, Clock, Driver, Handle};
use crate::http;
use crate::operator::Operator;
use crate::registry::{self, ImageSource, Registry};
use crate::secret::Secret;
use crate::sessions::Sessions;
use crate::store::{self, SqliteStore, Store};
use crate::triggers::{self, Fire, Secrets, Triggers};
use crate::trust::{self, Connections, Role, TokenError, TokenRequest, Trust};
use crate::watcher;

/// Calls may take this long to end after the agents were told goodbye.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);
/// Keep-alive of HTTP/2: a lost agent is noticed within the sum, well below the 30 s that the design asks for.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// Largest message that is taken, in bytes: an inventory of a few thousand containers, or a hundred app files.
const MESSAGE_LIMIT_BYTES: usize = 8 * 1024 * 1024;

/// What a coordinator needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it keeps events, tokens and its authority.
    pub data_dir: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names and addresses in its certificate, besides those of this machine itself.
    pub names: Vec<String>,
    /// After this long without an answer a step in flight is an alarm.
    pub unknown_after: Duration,
    /// How often agents say that they live.
    pub heartbeat_interval: Duration,
    /// How often a tag is looked at.
    pub watch_interval: Duration,
    /// How registries are reached.
    pub registry: registry::Options,
    /// How much patience there is with those who call by HTTP.
    pub http: http::Limits,
    /// Registries that may tell of pushes.
    pub webhooks: Vec<http::Webhook>,
    /// What triggers of rebuilds may send.
    pub secrets: Secrets,
    /// Authorities that are trusted for CI systems besides the system's.
    pub trigger_ca: Option<PathBuf>,
}

/// Why a coordinator does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Authority, tokens or the port cannot be set up.
    #[error(transparent)]
    Trust(#[from] trust::Error),
    /// The registry client cannot be set up.
    #[error(transparent)]
    Registry(#[from] registry::SetupError),
    /// Triggers of rebuilds cannot be set up.
    #[error(transparent)]
    Triggers(#[from] triggers::SetupError),
    /// The driver ended.
    #[error(transparent)]
    Driver(#[from] driver::Error),
    /// No token could be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The server ended.
    #[error("the server failed")]
    Server(#[from] tonic::transport::Error),
    /// A part of the coordinator ended by itself or panicked.
    #[error("a part of the coordinator ended: {0}")]
    Part(String),
}

/// A coordinator that is ready to run.
pub struct Coordinator {
    options: Options,
    // Held for its lock: two coordinators never share a directory.
    _data_dir: DataDir,
    store: Arc<dyn Store>,
    trust: Arc<Trust>,
    connections: Connections,
    images: Arc<dyn ImageSource>,
    driver: Driver,
    handle: Handle,
    clock: Clock,
    triggers: Triggers,
    fires: mpsc::Receiver<Fire>,
}

impl Coordinator {
    /// Opens everything and listens; serves nothing yet.
    ///
    /// # Errors
    /// Something cannot be opened, or the address is taken.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let images = Arc::new(Registry::new(options.registry.clone())?);
        let triggers = Triggers::new(options.secrets.clone(), options.trigger_ca.as_deref())?;
        let (outbox, fires) = triggers::queue();
        let data_dir = DataDir::open(&options.data_dir)?;
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&data_dir).await?);
        let clock: Clock = Arc::new(Utc::now);
        let trust = Arc::new(Trust::open(&data_dir, store.clone(), &options.names, clock()).await?);
        let connections = trust.listen(options.listen).await?;
        let (driver, handle) = Driver::open(driver::Options {
            store: store.clone(),
            clock: clock.clone(),
            unknown_after: options.unknown_after,
            heartbeat_interval: options.heartbeat_interval,
            witness: None,
            triggers: Some(outbox),
        })
        .await?;
        Ok(Self {
            options,
            _data_dir: data_dir,
            store,
            trust,
            connections,
            images,
            driver,
            handle,
            clock,
            triggers,
            fires,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.connections.local_addr()
    }

    /// Its authority's certificate in PEM: what agents and command lines trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.trust.ca_pem()
    }

    /// Whether people have a token already.
    ///
    /// # Errors
    /// The store failed.
    pub async fn has_admin_token(&self) -> Result<bool, Error> {
        let now = (self.clock)();
        Ok(self.trust.tokens().await?.iter().any(|token| token.role == Role::Admin && token.is_good(now)))
    }

    /// Makes a token of its own for the first person.
    ///
    /// # Errors
    /// The store failed.
    pub async fn admin_token(&self, name: &str) -> Result<Secret, Error> {
        self.token(Role::Admin, name).await
    }

    /// Makes a join token for a node's agent in this very process.
    ///
    /// # Errors
    /// The store failed.
    pub async fn join_token(&self, node: &NodeName) -> Result<Secret, Error> {
        self.token(Role::Node, node.as_str()).await
    }

    async fn token(&self, role: Role, name: &str) -> Result<Secret, Error> {
        let request = TokenRequest { role, name: name.to_owned(), lifetime: None, apps: Vec::new() };
        Ok(self.trust.create_token(request, (self.clock)()).await?.0)
    }

    /// Works until `shutdown`.
    ///
    /// # Errors
    /// A part that everything depends on failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self { options, _data_dir, store, trust, mut connections, images, driver, handle, clock, triggers, fires } =
            self;
        let sessions = Sessions::new(handle.clone(), trust.clone(), clock.clone(), options.heartbeat_interval);
        let operator = Operator::new(handle.clone(), trust.clone(), store, images.clone(), clock.clone());
        let operator = operator.with_secrets(options.secrets.clone());
        let triggering = tokio::spawn(triggers.run(fires, handle.clone(), clock.clone()));
        let calls_end = CancellationToken::new();
        let limits = options.http;
        let (checks, asked) = watcher::checks();
        let routes = http::Api {
            operator: operator.clone(),
            trust,
            clock,
            limits: limits.clone(),
            webhooks: options.webhooks.into(),
            followed: handle.followed(),
            checks,
        }
        .routes();
        let http1 = connections.http1().expect("nobody else takes them");
        let http1 = AbortOnDropHandle::new(tokio::spawn(http::serve(http1, routes.clone(), limits, calls_end.clone())));
        let server = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_DEADLINE))
            .add_routes(Routes::from(routes))
            .add_service(AgentServiceServer::new(sessions).max_decoding_message_size(MESSAGE_LIMIT_BYTES))
            .add_service(OperatorServiceServer::new(operator).max_decoding_message_size(MESSAGE_LIMIT_BYTES))
            .serve_with_incoming_shutdown(connections, calls_end.clone().cancelled_owned());
        let server = tokio::spawn(server);
        let watching =
            tokio::spawn(watcher::follow(handle, images, watcher::Options::every(options.watch_interval), asked));
        // The driver is the heart: when it ends, for whatever reason, everything ends.
        let judged = driver.run(shutdown.clone()).await;
        shutdown.cancel();
        calls_end.cancel();
        watching.abort();
        triggering.abort();
        // Streams that a client keeps open are cut after the deadline; the agents have heard their goodbye.
        match tokio::time::timeout(DRAIN_DEADLINE, async { tokio::join!(server, http1) }).await {
            Ok((Ok(served), Ok(()))) => served?,
            Ok((Err(panic), _) | (_, Err(panic))) => return Err(Error::Part(panic.to_string())),
            Err(_) => tracing::debug!("calls did not end in time and are cut"),
        }
        Ok(judged?)
    }
}
