//! An authority for tests.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

/// An authority that signs servers for `127.0.0.1` and nodes.
pub struct Pki {
    issuer: CertifiedIssuer<'static, KeyPair>,
    authority: String,
}

impl Pki {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        valid(&mut params, Duration::from_secs(24 * 3600));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = issuer.pem();
        Self { issuer, authority }
    }

    /// Its certificate, PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// A join token with this secret.
    pub fn token(&self, secret: &str) -> String {
        let hash = nightshift_agent::identity::AuthorityHash::of(self.issuer.der());
        format!("t1.{secret}.{hash}")
    }

    /// Certificate and key of a server, PEM.
    pub fn server(&self) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        valid(&mut params, Duration::from_secs(24 * 3600));
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A node's certificate, valid from an hour ago for `lifetime`.
    pub fn sign(&self, request: &str, node: &str, lifetime: Duration) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params = CertificateParams::default();
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("spiffe://nightshift/node/{node}");
        request.params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        valid(&mut request.params, lifetime);
        request.signed_by(&self.issuer).unwrap().pem()
    }
}

fn valid(params: &mut CertificateParams, lifetime: Duration) {
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    params.not_after = params.not_before + lifetime;
}

/// The node that a certificate names.
pub fn node_of(certificate: &[u8]) -> String {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().expect("a SAN");
    match names.value.general_names.first() {
        Some(GeneralName::URI(uri)) => uri.strip_prefix("spiffe://nightshift/node/").unwrap().to_owned(),
        other => panic!("no node: {other:?}"),
    }
}
