//! The coordinator's side of TLS: its own certificate, replaced while it runs, and the check of client certificates.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::authority::{Authority, SERVER_CERTIFICATE_LIFETIME};
use super::peer::identity_of;
use super::{Error, Revoked};

/// Names that the certificate holds besides those that were asked for.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// What may be spoken on a connection, the first that the client offers: those of gRPC offer HTTP/2 alone, all others get
/// HTTP/1.1 and with it a server that has deadlines for whoever is slow.
const PROTOCOLS: [&[u8]; 2] = [HTTP1, b"h2"];
/// HTTP/1.1 as TLS names it.
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// The certificate that the coordinator shows.
#[derive(Debug)]
pub(super) struct ServerIdentity {
    names: Vec<String>,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    issued: DateTime<Utc>,
    key: Arc<CertifiedKey>,
}

impl ServerIdentity {
    pub(super) fn new(authority: &Authority, names: &[String], now: DateTime<Utc>) -> Result<Self, Error> {
        let mut all = names.to_vec();
        all.extend(OWN_NAMES.map(String::from));
        all.sort();
        all.dedup();
        let current = RwLock::new(issue(authority, &all, now)?);
        Ok(Self { names: all, current })
    }

    pub(super) fn renew_if_due(&self, authority: &Authority, now: DateTime<Utc>) -> Result<bool, Error> {
        let issued = self.current.read().unwrap_or_else(PoisonError::into_inner).issued;
        // A clock that was set back counts as well: a certificate from the future is good for nobody.
        if (issued..issued + SERVER_CERTIFICATE_LIFETIME / 2).contains(&now) {
            return Ok(false);
        }
        let fresh = issue(authority, &self.names, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

fn issue(authority: &Authority, names: &[String], now: DateTime<Utc>) -> Result<Current, Error> {
    let (certificate, key) = authority.sign_server(names, now)?;
    // With the authority in the chain, an agent can compare it with the hash in its join token.
    let chain = vec![certificate, authority.ca().clone()];
    let key = CertifiedKey::from_der(chain, PrivateKeyDer::Pkcs8(key), &rustls::crypto::ring::default_provider())?;
    Ok(Current { issued: now, key: Arc::new(key) })
}

/// The TLS set-up of the one port: client certificates are optional, since enrolment and people come without.
pub(super) fn tls_config(
    authority: &Authority,
    identity: Arc<ServerIdentity>,
    revoked: Revoked,
) -> Result<Arc<rustls::ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.ca().clone())?;
    let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(NodeVerifier { chain, revoked }))
        .with_cert_resolver(identity);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    // A resumed session is not verified again: a barred node could come back by it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Accepts a certificate of the own authority that names a node and is not barred.
#[derive(Debug)]
struct NodeVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    revoked: Revoked,
}

impl ClientCertVerifier for NodeVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let node = identity_of(end_entity).ok_or(CertificateError::ApplicationVerificationFailure)?;
        if self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&node.serial) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
