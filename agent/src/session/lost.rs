//! Why there is no session, in words that a person can act on.

use chrono::{DateTime, Utc};
use tonic::{Code, Status};

use super::epoch;
use crate::dial::{self, Ending, Server};
use crate::reason;

/// How a connection ended, or why there was none.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] dial::Error),
    /// Our own certificate is too old: nobody was asked.
    #[error("this node's certificate ended at {0}; hint: join again with a new token, and check the node's clock")]
    Expired(DateTime<Utc>),
    /// The stored authority is none.
    #[error("the stored authority cannot be used: {0}; hint: join again with a new token")]
    Authority(rustls::Error),
    /// The coordinator knows us and says no.
    #[error("coordinator `{server}` refused the session: {reason}")]
    Refused {
        /// Who refused.
        server: Server,
        /// Its words.
        reason: String,
    },
    /// The stream broke.
    #[error("the connection to coordinator `{server}` was lost: {reason}")]
    Broken {
        /// To whom.
        server: Server,
        /// What is known of it.
        reason: String,
    },
    /// The connection stands and nobody answers.
    #[error("coordinator `{0}` is silent")]
    Silent(Server),
    /// It does not do what the protocol asks.
    #[error("coordinator `{server}` cannot be understood: {reason}; hint: check that both run the same version")]
    Malformed {
        /// Who it is.
        server: Server,
        /// What it did.
        reason: String,
    },
    /// Its epoch is not obeyed.
    #[error("session with coordinator `{server}` refused: {source}")]
    Epoch {
        /// Who it is.
        server: Server,
        /// Why.
        source: epoch::Error,
    },
    /// It said goodbye.
    #[error("coordinator `{server}` said goodbye: {reason}")]
    Goodbye {
        /// Who it was.
        server: Server,
        /// Its words.
        reason: String,
    },
}

impl Lost {
    /// What a failed call or stream means.
    pub(super) fn by(server: &Server, status: &Status, ending: &Ending) -> Self {
        if let Some(refusal) = ending.refusal(server) {
            return Self::Dial(refusal);
        }
        let server = server.clone();
        let reason = reason::of_call(status, ending);
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition | Code::Unimplemented => {
                Self::Refused { server, reason }
            }
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Broken { server, reason },
        }
    }
}
