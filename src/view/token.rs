//! API tokens and join tokens.

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, text};
use crate::output::table::{or_nothing, table};
use crate::output::time::{NOTHING, when};
use crate::output::{Human, Page};

/// A token that was just made: the only time that it is shown.
#[derive(Serialize)]
pub(crate) struct NewToken {
    pub(crate) id: String,
    token: String,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl From<pb::CreateTokenResponse> for NewToken {
    fn from(made: pb::CreateTokenResponse) -> Self {
        Self { id: made.id, token: made.token, expires_at: instant(made.expires_at) }
    }
}

impl Human for NewToken {
    /// The token alone, so that a script can take it as it is.
    fn human(&self, _: &Page) -> String {
        self.token.clone()
    }
}

/// What is known of a token.
#[derive(Debug, Serialize)]
pub(crate) struct Token {
    id: String,
    role: String,
    name: Option<String>,
    created_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    apps: Vec<String>,
    used: bool,
    revoked: bool,
}

impl From<pb::list_tokens_response::Token> for Token {
    fn from(token: pb::list_tokens_response::Token) -> Self {
        Self {
            id: token.id,
            role: token.role,
            name: text(token.name),
            created_at: instant(token.created_at),
            expires_at: instant(token.expires_at),
            apps: token.apps,
            used: token.used,
            revoked: token.revoked,
        }
    }
}

impl Token {
    fn state(&self, now: DateTime<Utc>) -> &'static str {
        if self.revoked {
            "revoked"
        } else if self.expires_at.is_some_and(|at| at <= now) {
            "expired"
        } else if self.used {
            "used"
        } else {
            "valid"
        }
    }
}

impl Human for Vec<Token> {
    fn human(&self, page: &Page) -> String {
        let row = |token: &Token| {
            [
                token.id.clone(),
                token.role.clone(),
                or_nothing(token.name.as_deref()),
                token.state(page.now).to_owned(),
                when(token.created_at, page.now),
                token.expires_at.map_or_else(|| "never".to_owned(), |at| when(Some(at), page.now)),
                if token.apps.is_empty() { NOTHING.to_owned() } else { token.apps.join(" ") },
            ]
        };
        table(page, ["ID", "ROLE", "NAME", "STATE", "CREATED", "EXPIRES", "APPS"], self.iter().map(row), "no tokens")
    }
}

/// A token that is no longer good.
#[derive(Debug, Serialize)]
pub(crate) struct Revoked {
    pub(crate) id: String,
    pub(crate) revoked: bool,
}

impl Human for Revoked {
    fn human(&self, _: &Page) -> String {
        format!("token {}: revoked", self.id)
    }
}
