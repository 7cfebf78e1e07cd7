//! Whom the coordinator trusts: its own certificate authority, nodes by certificate, people and machines by token.
//!
//! [`Trust`] is made once at the start. [`Trust::listen`] gives the connections that tonic serves; the services then ask
//! [`Trust::principal`] or [`Trust::node`] who is calling, and hand `Enroll` and `Renew` to [`Trust::enroll`] and
//! [`Trust::renew`]. What a role may do is [`Principal::check`].

mod auth;
mod authority;
mod enroll;
mod identity;
mod listener;
mod peer;
mod tokens;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use nightshift_core::ids::NodeName;

pub use crate::store::{Role, Token};
pub use auth::{Denied, Permission, Principal};
pub use authority::{
    Authority, Error as AuthorityError, NODE_CERTIFICATE_LIFETIME, SERVER_CERTIFICATE_LIFETIME, SignedNode,
};
pub use enroll::{EnrollError, Enrolled};
pub use listener::{Connection, Connections};
pub use peer::{ConnectInfo, NodeIdentity};
pub(crate) use tokens::comparison_key;
pub use tokens::{JOIN_TOKEN_LIFETIME, TokenError, TokenRequest};

use crate::data_dir::DataDir;
use crate::store::{self, Store};
use identity::ServerIdentity;

/// Why trust cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The authority's file cannot be read or written, or is damaged.
    #[error("certificate authority")]
    Authority(#[from] authority::Error),
    /// TLS refuses the set-up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The store failed.
    #[error("store")]
    Store(#[from] store::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`\nhint: is another program using it?")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Serial numbers of barred certificates: looked at in every handshake, so it is kept in memory.
type Revoked = Arc<RwLock<BTreeSet<String>>>;

/// The coordinator's authority, its own identity, and who is barred.
#[derive(Debug)]
pub struct Trust {
    store: Arc<dyn Store>,
    authority: Authority,
    identity: Arc<ServerIdentity>,
    tls: Arc<rustls::ServerConfig>,
    revoked: Revoked,
    // Fresh in each process: tokens are compared under it, so that no timing tells anything of what is stored.
    comparison: ring::hmac::Key,
}

impl Trust {
    /// Opens the authority in the data directory, made at the first start, and issues the server's certificate for these
    /// names and addresses, `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    /// The authority is damaged, a name is no host name or address, or the store failed.
    pub async fn open(
        data_dir: &DataDir,
        store: Arc<dyn Store>,
        names: &[String],
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let authority = Authority::open(data_dir, now)?;
        let revoked: Revoked = Arc::default();
        let barred = store.revoked_certificates(now).await?;
        revoked.write().unwrap_or_else(PoisonError::into_inner).extend(barred);
        let identity = Arc::new(ServerIdentity::new(&authority, names, now)?);
        let tls = identity::tls_config(&authority, identity.clone(), revoked.clone())?;
        let comparison = comparison_key();
        Ok(Self { store, authority, identity, tls, revoked, comparison })
    }

    /// The authority's certificate: what agents and command lines trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.ca_pem()
    }

    /// SHA-256 of the authority's certificate (DER), in lower-case hexadecimal: what a join token pins.
    #[must_use]
    pub fn ca_hash(&self) -> &str {
        self.authority.ca_hash()
    }

    /// Issues a new server certificate when half of the present one's life is over; `true` when it did. New connections get
    /// it, open ones go on. [`Trust::listen`] does this by itself.
    ///
    /// # Errors
    /// Signing failed.
    pub fn renew_server_certificate(&self, now: DateTime<Utc>) -> Result<bool, Error> {
        self.identity.renew_if_due(&self.authority, now)
    }

    /// Bars every certificate of a node, at once for new connections; the number of certificates that this barred. Sessions
    /// that are open are the caller's to end.
    ///
    /// # Errors
    /// The store failed.
    pub async fn revoke_node(&self, node: &NodeName, now: DateTime<Utc>) -> Result<usize, Error> {
        let serials = self.store.revoke_certificates(node, now).await?;
        let count = serials.len();
        self.revoked.write().unwrap_or_else(PoisonError::into_inner).extend(serials);
        Ok(count)
    }

    fn is_revoked(&self, serial: &str) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(serial)
    }
}
