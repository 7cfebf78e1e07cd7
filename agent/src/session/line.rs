//! The way to the coordinator: opens one stream of messages each time that it is asked.
//!
//! [`TlsLine`] is the real one: a TLS connection with the node's certificate. Simulations bring a line that loses messages.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use nightshift_proto::pb;
use nightshift_proto::pb::agent_service_client::AgentServiceClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::Lost;
use crate::dial::{self, Server};
use crate::identity::Membership;
use crate::surroundings::Surroundings;

/// How long the coordinator may take to answer a call: at its start it loads every rollout first.
const ANSWER_DEADLINE: Duration = Duration::from_secs(15);

/// What the coordinator says, until the stream ends.
pub type Incoming = Pin<Box<dyn Stream<Item = Result<pb::CoordinatorMessage, Lost>> + Send + Sync>>;

/// Opens streams to one coordinator.
#[async_trait]
pub trait Line: Send + Sync + fmt::Debug {
    /// Where the coordinator listens.
    fn server(&self) -> &Server;

    /// Dials, and begins a stream with what `outgoing` holds and will hold. It ends with `outgoing`.
    ///
    /// # Errors
    /// There is no connection, or the coordinator does not take it.
    async fn open(&self, outgoing: mpsc::Receiver<pb::AgentMessage>) -> Result<Incoming, Lost>;
}

/// A line over TLS.
#[derive(Debug)]
pub struct TlsLine {
    server: Server,
    membership: Arc<Membership>,
    surroundings: Surroundings,
}

impl TlsLine {
    /// To this server, with the identity that is in force when it dials.
    #[must_use]
    pub const fn new(server: Server, membership: Arc<Membership>, surroundings: Surroundings) -> Self {
        Self { server, membership, surroundings }
    }
}

#[async_trait]
impl Line for TlsLine {
    fn server(&self) -> &Server {
        &self.server
    }

    async fn open(&self, outgoing: mpsc::Receiver<pb::AgentMessage>) -> Result<Incoming, Lost> {
        let identity = self.membership.current();
        if identity.not_after() < self.surroundings.now() {
            return Err(Lost::Expired(identity.not_after()));
        }
        let config = identity.client_config().map_err(Lost::Authority)?;
        let server = self.server.clone();
        let (channel, ending) = dial::connect(&server, config).await?;
        let mut client = AgentServiceClient::new(channel);
        let call = timeout(ANSWER_DEADLINE, client.session(ReceiverStream::new(outgoing))).await;
        let call = call.map_err(|_| Lost::Silent(server.clone()))?;
        let incoming = call.map_err(|status| Lost::by(&server, &status, &ending))?.into_inner();
        Ok(Box::pin(incoming.map(move |message| message.map_err(|status| Lost::by(&server, &status, &ending)))))
    }
}
