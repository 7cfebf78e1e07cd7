//! Who may talk to the coordinator: tokens of people and machines, certificates of nodes. Secrets are kept as hashes only.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use nightshift_core::ids::{AppName, NodeName};
use serde::{Deserialize, Serialize};

/// What a token's bearer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Enrol one node, once.
    Node,
    /// Look at everything, change nothing.
    Viewer,
    /// Run rollouts, apply apps.
    Operator,
    /// Everything, tokens and nodes included.
    Admin,
    /// Report tests of the apps that the token names.
    Ci,
}

impl Role {
    /// Every role, in the order in which people read them.
    pub const ALL: [Self; 5] = [Self::Node, Self::Viewer, Self::Operator, Self::Admin, Self::Ci];

    /// The role's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Ci => "ci",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: allowed are `node`, `viewer`, `operator`, `admin`, `ci`")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| UnknownRole(text.chars().take(40).collect()))
    }
}

/// A token as the store knows it: everything but its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Public part of the token, unique.
    pub id: String,
    /// What its bearer may do.
    pub role: Role,
    /// What people call it; stands in the audit log as the one who acted.
    pub name: String,
    /// SHA-256 of the secret, in lower-case hexadecimal.
    pub secret_hash: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// From when on it is not accepted.
    pub expires: Option<DateTime<Utc>>,
    /// The apps it is bound to; empty: all.
    pub apps: Vec<AppName>,
    /// When a join token was used up.
    pub used_at: Option<DateTime<Utc>>,
    /// When it was barred.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Token {
    /// Whether it is accepted at this moment.
    #[must_use]
    pub fn is_good(&self, now: DateTime<Utc>) -> bool {
        self.used_at.is_none() && self.revoked_at.is_none() && self.expires.is_none_or(|end| now < end)
    }
}

/// A certificate that was handed to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number in lower-case hexadecimal, unique.
    pub serial: String,
    /// Whose it is.
    pub node: NodeName,
    /// When it was signed.
    pub issued: DateTime<Utc>,
    /// When it ends by itself.
    pub expires: DateTime<Utc>,
}

/// What became of a node's request to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// The node is in; the token is used up.
    Done,
    /// The token was used, revoked or too old, or is no join token.
    TokenSpent,
    /// A node of this name has a certificate that is still good; the token was not used up.
    NameTaken,
}
