//! Who this node is: its private key, its certificate, and the authority that it trusts.
//!
//! A node [enrols](enrol) once with a [`JoinToken`] and gets a short certificate; a [`Membership`] renews it by itself.
//! All of it stands in one file, so that key and certificate change together or not at all.

mod enrol;
mod pin;
mod renew;
mod request;
mod token;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nightshift_core::ids::NodeName;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{dial, files};
pub use enrol::{EnrolError, enrol};
pub use pin::WrongAuthority;
pub use renew::Membership;
pub use token::{AuthorityHash, InvalidToken, JoinToken};

/// The file in the data directory that holds key, certificate and authority.
pub const FILE: &str = "identity.pem";
/// What stands before the node's name in its certificate.
const NODE_URI: &str = "spiffe://nightshift/node/";

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// What stands in it is not a key, its certificate and an authority.
    #[error("`{path}` holds no usable identity: {reason}; hint: remove the file and join again with a new token")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A key with its certificate and the authority behind it. Its `Debug` shows no key.
pub struct Identity {
    node: NodeName,
    certified: Arc<CertifiedKey>,
    authority: CertificateDer<'static>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the identity of `node` from `data_dir`; `None` when it has none yet.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or belongs to a node of another name.
    pub fn load(data_dir: &Path, node: &NodeName) -> Result<Option<Self>, Error> {
        let path = data_dir.join(FILE);
        let Some(text) = files::read(&path)? else { return Ok(None) };
        let unusable = |reason| Error::Unusable { path: path.display().to_string(), reason };
        Self::from_pem(&text, node).map(Some).map_err(unusable)
    }

    /// Reads a key, its certificate and the authority, and checks that they fit each other and `node`.
    fn from_pem(text: &str, node: &NodeName) -> Result<Self, String> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| "it has no private key".to_owned())?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let certificates = certificates.map_err(|error| format!("a certificate cannot be read: {error}"))?;
        let Ok([certificate, authority]) = <[CertificateDer<'static>; 2]>::try_from(certificates) else {
            return Err("it does not hold two certificates, the node's and the authority's".to_owned());
        };
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|error| format!("no certificate: {error}"))?;
        let found = node_of(&parsed).ok_or("the certificate names no node")?;
        if found != node.as_str() {
            return Err(format!("it belongs to node `{found}`, and this node is `{node}`"));
        }
        let instant = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
        let validity = instant(parsed.validity().not_before).zip(instant(parsed.validity().not_after));
        let (not_before, not_after) = validity.ok_or("the certificate has no usable dates")?;
        let certified = CertifiedKey::from_der(vec![certificate.clone()], key, &dial::provider());
        // The reason is left out: it must not quote the key.
        let certified = certified.map_err(|_| "key and certificate do not fit each other".to_owned())?;
        Ok(Self { node: node.clone(), certified: Arc::new(certified), authority, not_before, not_after })
    }

    /// When it should be renewed: at two thirds of its life, which leaves a third for a coordinator that is away.
    #[must_use]
    pub fn renew_at(&self) -> DateTime<Utc> {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// When it ends.
    #[must_use]
    pub const fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// TLS settings that trust the authority alone and show this identity.
    ///
    /// # Errors
    /// The authority's certificate cannot be used as one.
    pub fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        Ok(ClientConfig::builder_with_provider(dial::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))))
    }
}

/// The node that a certificate names.
fn node_of<'a>(certificate: &X509Certificate<'a>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok().flatten()?;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(NODE_URI),
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::DNSName(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::IPAddress(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    })
}
