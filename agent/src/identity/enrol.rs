//! Enrolment: a join token becomes a certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightshift_core::ids::NodeName;
use nightshift_proto::pb;
use nightshift_proto::pb::agent_service_client::AgentServiceClient;
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::Code;

use super::pin::PinnedAuthority;
use super::request::KeyRequest;
use super::{AuthorityHash, Error, FILE, Identity, JoinToken};
use crate::dial::{self, Server};
use crate::{files, reason};

/// How long a coordinator may take for a certificate: one signature and one write to disk.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// Why a node could not join. None of them holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No connection, or one that is not to be trusted. The token was not sent.
    #[error(transparent)]
    Dial(#[from] dial::Error),
    /// The coordinator does not accept the token.
    #[error("coordinator `{server}` refused join token `{token}`: {reason}")]
    Refused {
        /// Who refused.
        server: Server,
        /// The token's public part.
        token: String,
        /// The coordinator's words, with its hint or ours.
        reason: String,
    },
    /// The coordinator failed; the token may be used up by now.
    #[error("coordinator `{server}` could not enrol this node: {reason}")]
    Failed {
        /// Who failed.
        server: Server,
        /// What happened.
        reason: String,
    },
    /// The answer is not what was asked for.
    #[error("coordinator `{server}` gave a certificate that cannot be used: {reason}")]
    BadAnswer {
        /// Who answered.
        server: Server,
        /// What is wrong with it.
        reason: String,
    },
    /// No key could be made.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// The identity cannot be stored.
    #[error(transparent)]
    Store(#[from] Error),
}

impl EnrolError {
    /// Whether trying again with the same token can never help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Dial(dial::Error::WrongAuthority { .. } | dial::Error::Untrusted { .. }) => true,
            Self::Dial(
                dial::Error::Unreachable { .. }
                | dial::Error::Timeout(_)
                | dial::Error::NotAccepted { .. }
                | dial::Error::Protocol { .. },
            ) => false,
            Self::Refused { .. } | Self::BadAnswer { .. } | Self::Key(_) | Self::Store(_) => true,
            Self::Failed { .. } => false,
        }
    }
}

/// Joins: makes a key, proves that the coordinator is the one that gave the token, and only then shows the token. The
/// identity is on disk when this returns.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(
    data_dir: &Path,
    node: &NodeName,
    server: &Server,
    token: &JoinToken,
) -> Result<Identity, EnrolError> {
    // First what can fail here: a token must not be used up for a disk that cannot hold its certificate.
    files::make_directory(data_dir).map_err(Error::from)?;
    let key = KeyRequest::new(node)?;
    let (channel, _) = dial::connect(server, pinned(token.authority_hash())).await?;
    let request = pb::EnrollRequest {
        join_token: token.reveal(),
        node: node.as_str().to_owned(),
        certificate_request: key.csr().to_owned(),
    };
    let mut client = AgentServiceClient::new(channel);
    let answer = timeout(CALL_DEADLINE, client.enroll(request)).await;
    let late = |_| EnrolError::Failed { server: server.clone(), reason: "no answer within 30 s".to_owned() };
    let answer = answer.map_err(late)?.map_err(|status| refused(server, token, &status))?.into_inner();

    let bad = |reason| EnrolError::BadAnswer { server: server.clone(), reason };
    let (identity, text) = key.complete(&answer.certificate, &answer.authority, node).map_err(bad)?;
    if AuthorityHash::of(&identity.authority) != token.authority_hash() {
        return Err(bad("it comes with another authority than the join token names".to_owned()));
    }
    files::write(&data_dir.join(FILE), &text).map_err(Error::from)?;
    Ok(identity)
}

fn pinned(hash: AuthorityHash) -> ClientConfig {
    let provider = dial::provider();
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring speaks every TLS version that rustls does")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority::new(hash, provider)))
        .with_no_client_auth()
}

fn refused(server: &Server, token: &JoinToken, status: &tonic::Status) -> EnrolError {
    let server = server.clone();
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::Unimplemented => {
            let reason = token.redact(status.message());
            let reason = match reason.split_once("\nhint: ") {
                Some((what, hint)) => format!("{what}; hint: {hint}"),
                None => format!("{reason}; hint: make a new one with `nightshift token create node`"),
            };
            EnrolError::Refused { server, token: token.id().to_owned(), reason }
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => EnrolError::Failed { server, reason: token.redact(&reason::of_status(status)) },
    }
}
