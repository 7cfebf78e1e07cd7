//! Tokens: `id.secret` for people and machines, `id.secret.ca-hash` for a node that joins.
//!
//! The secret leaves the coordinator once, when the token is made; the store has its SHA-256. A hash without salt is right
//! here: 256 random bits cannot be guessed from it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_core::ids::AppName;
use ring::hmac;
use ring::rand::SecureRandom as _;

use super::{Role, Token, Trust};
use crate::secret::{Secret, hex, sha256_hex};
use crate::store;

/// How long a join token is good when nobody says: long enough to log in to a host, too short to be found in a wiki.
pub const JOIN_TOKEN_LIFETIME: TimeDelta = TimeDelta::hours(1);
/// Longest lifetime that may be asked for: beyond it, no lifetime is meant.
const LIFETIME_LIMIT: TimeDelta = TimeDelta::days(3660);
/// Longest name of a token, in bytes: as long as an app's or node's, since it stands beside them in the audit log.
const NAME_LIMIT_BYTES: usize = nightshift_core::ids::NAME_LIMIT_BYTES;
/// Longest token text that is looked at, in bytes; a join token has 125.
const TEXT_LIMIT_BYTES: usize = 512;
/// Random bytes of an id: ids need not be secret, only unique.
const ID_BYTES: usize = 8;
/// Random bytes of a secret: twice the 128 bits that cannot be guessed.
const SECRET_BYTES: usize = 32;

/// What a new token shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// What its bearer may do.
    pub role: Role,
    /// What people call it.
    pub name: String,
    /// How long it is good; `None`: [`JOIN_TOKEN_LIFETIME`] for a join token, for ever for others.
    pub lifetime: Option<TimeDelta>,
    /// The apps it is bound to: some for the role `ci`, none for all others.
    pub apps: Vec<AppName>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name cannot stand in an audit log.
    #[error("a token's name has 1 to {NAME_LIMIT_BYTES} bytes without control characters")]
    Name,
    /// The lifetime is not one.
    #[error("a token's lifetime is more than nothing and at most {} days", LIFETIME_LIMIT.num_days())]
    Lifetime,
    /// A `ci` token must say for which apps.
    #[error("a token of role `ci` is bound to apps\nhint: name them with `--app`")]
    AppsMissing,
    /// Only `ci` tokens are bound to apps.
    #[error("a token of role `{0}` cannot be bound to apps\nhint: only role `ci` can")]
    AppsNotAllowed(Role),
    /// The system has no random numbers.
    #[error("no random numbers from the system")]
    Random,
    /// The store failed.
    #[error("store")]
    Store(#[from] store::Error),
}

impl Trust {
    /// Makes a token: its text, to be shown once, and what is kept of it.
    ///
    /// # Errors
    /// The request contradicts itself, or the store failed.
    pub async fn create_token(&self, request: TokenRequest, now: DateTime<Utc>) -> Result<(Secret, Token), TokenError> {
        let TokenRequest { role, name, lifetime, apps } = request;
        if !(1..=NAME_LIMIT_BYTES).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(TokenError::Name);
        }
        match (role, apps.is_empty()) {
            (Role::Ci, true) => return Err(TokenError::AppsMissing),
            (Role::Node | Role::Viewer | Role::Operator | Role::Admin, false) => {
                return Err(TokenError::AppsNotAllowed(role));
            }
            (Role::Ci, false) | (Role::Node | Role::Viewer | Role::Operator | Role::Admin, true) => {}
        }
        if lifetime.is_some_and(|lifetime| lifetime <= TimeDelta::zero() || lifetime > LIFETIME_LIMIT) {
            return Err(TokenError::Lifetime);
        }
        let lifetime = lifetime.or((role == Role::Node).then_some(JOIN_TOKEN_LIFETIME));
        let id = hex(&random::<ID_BYTES>()?);
        let secret = URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?);
        let text = match role {
            Role::Node => format!("{id}.{secret}.{}", self.ca_hash()),
            Role::Viewer | Role::Operator | Role::Admin | Role::Ci => format!("{id}.{secret}"),
        };
        let secret_hash = sha256_hex(secret.as_bytes());
        let expires = lifetime.map(|lifetime| now + lifetime);
        let token = Token { id, role, name, secret_hash, created: now, expires, apps, used_at: None, revoked_at: None };
        self.store.insert_token(&token).await?;
        Ok((Secret::new(text), token))
    }

    /// Every token, oldest first, for people to look at.
    ///
    /// # Errors
    /// The store failed.
    pub async fn tokens(&self) -> Result<Vec<Token>, store::Error> {
        self.store.tokens().await
    }

    /// Bars a token; `false` when there is none or it was barred before.
    ///
    /// # Errors
    /// The store failed.
    pub async fn revoke_token(&self, id: &str, now: DateTime<Utc>) -> Result<bool, store::Error> {
        self.store.revoke_token(id, now).await
    }

    /// The token that a text proves to hold, if it is good now. Whatever is wrong with it, the answer is the same.
    pub(super) async fn verify(&self, text: &str, now: DateTime<Utc>) -> Result<Option<Token>, store::Error> {
        let Some((id, secret, ca_hash)) = split(text) else { return Ok(None) };
        let found = self.store.token(id).await?;
        // An unknown id is compared as well, with what no secret hashes to.
        let stored = found.as_ref().map_or("", |token| token.secret_hash.as_str());
        let tag = hmac::sign(&self.comparison, stored.as_bytes());
        let given = sha256_hex(secret.as_bytes());
        let same = hmac::verify(&self.comparison, given.as_bytes(), tag.as_ref()).is_ok();
        Ok(found.filter(|token| {
            let form = match token.role {
                Role::Node => ca_hash == Some(self.ca_hash()),
                Role::Viewer | Role::Operator | Role::Admin | Role::Ci => ca_hash.is_none(),
            };
            same && form && token.is_good(now)
        }))
    }
}

/// Id, secret, and the authority's hash of a join token.
fn split(text: &str) -> Option<(&str, &str, Option<&str>)> {
    if text.len() > TEXT_LIMIT_BYTES {
        return None;
    }
    let mut parts = text.split('.');
    let (id, secret, ca_hash) = (parts.next()?, parts.next()?, parts.next());
    parts.next().is_none().then_some((id, secret, ca_hash))
}

/// A key that lives as long as the process: comparing two keyed hashes takes the same time whatever they are.
pub(crate) fn comparison_key() -> hmac::Key {
    hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new())
        .expect("a system that has no random numbers cannot make certificates either, which came before")
}

fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Random)?;
    Ok(bytes)
}
