//! How a node gets its certificate: the first one for a join token, each later one for the one it has.

use chrono::{DateTime, Utc};
use nightshift_core::ids::{InvalidName, NodeName};
use tonic::Status;

use super::{NodeIdentity, Role, SignedNode, Trust, authority};
use crate::store::{self, Enrolment};

/// A node that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Its name.
    pub node: NodeName,
    /// Name of the token that it came with, for the audit log.
    pub token_name: String,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The authority's certificate in PEM.
    pub authority: String,
}

/// Why a node gets no certificate. The join token is not used up by a failed attempt.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The token is wrong, used, revoked, too old, or another coordinator's.
    #[error(
        "the join token is not accepted\nhint: it works once and for a limited time; `nightshift token create node` makes a new one"
    )]
    Token,
    /// The name cannot be a node's.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Another node has this name and a good certificate.
    #[error("a node `{0}` is enrolled already\nhint: choose another name, or `nightshift node remove {0}` first")]
    NameTaken(NodeName),
    /// The node was removed.
    #[error("node `{0}` was removed from this fleet\nhint: enrol it again with a new join token")]
    Removed(NodeName),
    /// The request for a certificate cannot be used.
    #[error(transparent)]
    Authority(#[from] authority::Error),
    /// The store failed.
    #[error("store")]
    Store(#[from] store::Error),
}

impl From<EnrollError> for Status {
    fn from(error: EnrollError) -> Self {
        use EnrollError::{Authority, Name, NameTaken, Removed, Store, Token};
        match error {
            Token => Self::unauthenticated(error.to_string()),
            Removed(_) => Self::permission_denied(error.to_string()),
            Name(_) | Authority(authority::Error::Request(_)) => Self::invalid_argument(error.to_string()),
            NameTaken(_) => Self::already_exists(error.to_string()),
            Authority(_) | Store(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot enrol a node");
                Self::unavailable("the coordinator cannot enrol nodes now\nhint: its log says why")
            }
        }
    }
}

impl Trust {
    /// Lets a node in: its join token is used up, its name is reserved and its certificate is remembered in one step.
    ///
    /// # Errors
    /// See [`EnrollError`]; nothing happened then.
    pub async fn enroll(
        &self,
        join_token: &str,
        node: &str,
        request: &str,
        now: DateTime<Utc>,
    ) -> Result<Enrolled, EnrollError> {
        // The token first: who has none learns nothing about names.
        let token = self.verify(join_token, now).await?.filter(|token| token.role == Role::Node);
        let token = token.ok_or(EnrollError::Token)?;
        let node: NodeName = node.parse()?;
        let SignedNode { pem, certificate } = self.authority.sign_node(request, &node, now)?;
        match self.store.enroll_node(&token.id, &certificate).await? {
            Enrolment::Done => {
                Ok(Enrolled { node, token_name: token.name, certificate: pem, authority: self.ca_pem().to_owned() })
            }
            Enrolment::TokenSpent => Err(EnrollError::Token),
            Enrolment::NameTaken => Err(EnrollError::NameTaken(node)),
        }
    }

    /// A new certificate (PEM) for the node that asks, with its present one.
    ///
    /// # Errors
    /// The node was removed meanwhile, the request cannot be used, or the store failed.
    pub async fn renew(&self, node: &NodeIdentity, request: &str, now: DateTime<Utc>) -> Result<String, EnrollError> {
        if self.is_revoked(&node.serial) {
            return Err(EnrollError::Removed(node.name.clone()));
        }
        let SignedNode { pem, certificate } = self.authority.sign_node(request, &node.name, now)?;
        self.store.insert_certificate(&certificate).await?;
        Ok(pem)
    }
}
