//! Who is calling, and what they may do.

use chrono::{DateTime, Utc};
use nightshift_core::ids::AppName;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::{ConnectInfo, NodeIdentity, Role, Trust};

/// What a caller with a wrong token hears, whatever is wrong with it.
const NOT_ACCEPTED: &str = "the token is not accepted\nhint: it may be mistyped, expired or revoked; `nightshift token create` makes a new one";

/// A caller that showed a good token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Which token.
    pub token_id: String,
    /// What people call it: the `by` of what the caller does.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The apps it is bound to; only for role `ci`.
    pub apps: Vec<AppName>,
}

/// What a call needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Look.
    View,
    /// Change apps, releases and rollouts.
    Operate,
    /// Change tokens and nodes.
    Administer,
    /// Report a test of this app.
    Report(AppName),
}

/// A good token that is not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The role may not do such things.
    #[error("the token `{name}` of role `{role}` may not do this\nhint: it needs role {needed}")]
    Role {
        /// The token's name.
        name: String,
        /// Its role.
        role: Role,
        /// The roles that may.
        needed: &'static str,
    },
    /// The token is bound to other apps.
    #[error("the token `{name}` is not bound to app `{app}`")]
    App {
        /// The token's name.
        name: String,
        /// The app in question.
        app: AppName,
    },
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        Self::permission_denied(denied.to_string())
    }
}

impl Principal {
    /// Whether the caller may do this.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, permission: &Permission) -> Result<(), Denied> {
        let (allowed, needed) = match permission {
            Permission::View => {
                (matches!(self.role, Role::Viewer | Role::Operator | Role::Admin), "`viewer`, `operator` or `admin`")
            }
            Permission::Operate => (matches!(self.role, Role::Operator | Role::Admin), "`operator` or `admin`"),
            Permission::Administer => (self.role == Role::Admin, "`admin`"),
            Permission::Report(app) => {
                if self.role == Role::Ci && !self.apps.contains(app) {
                    return Err(Denied::App { name: self.name.clone(), app: app.clone() });
                }
                (matches!(self.role, Role::Ci | Role::Operator | Role::Admin), "`ci`, `operator` or `admin`")
            }
        };
        if allowed { Ok(()) } else { Err(Denied::Role { name: self.name.clone(), role: self.role, needed }) }
    }
}

impl Trust {
    /// The caller that the `authorization: Bearer TOKEN` of a request proves.
    ///
    /// # Errors
    /// `Unauthenticated`, with one text for every cause; `Unavailable` when the store failed.
    pub async fn principal(&self, metadata: &MetadataMap, now: DateTime<Utc>) -> Result<Principal, Status> {
        let text = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let (scheme, text) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
        let text = if scheme.eq_ignore_ascii_case("bearer") { text.trim() } else { "" };
        let token = self.verify(text, now).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot check a token");
            Status::unavailable("the token cannot be checked now")
        })?;
        match token.filter(|token| token.role != Role::Node) {
            Some(token) => Ok(Principal { token_id: token.id, name: token.name, role: token.role, apps: token.apps }),
            None => Err(Status::unauthenticated(NOT_ACCEPTED)),
        }
    }

    /// The node at the other end, by its certificate; checked again here, since it may have been barred meanwhile.
    ///
    /// # Errors
    /// `Unauthenticated` for a connection without client certificate or with one that was barred.
    pub fn node(&self, connection: Option<&ConnectInfo>) -> Result<NodeIdentity, Status> {
        let node = connection.and_then(|info| info.node.clone());
        node.filter(|node| !self.is_revoked(&node.serial)).ok_or_else(|| {
            Status::unauthenticated("this call needs the certificate of a node\nhint: the agent must enrol first")
        })
    }
}
