//! A new key with its certificate request, and what becomes of it when the answer arrives.

use nightshift_core::ids::NodeName;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::Identity;

/// A key that waits for its certificate. It has no `Debug`, since it is the key.
pub(super) struct KeyRequest {
    key: KeyPair,
    csr: String,
}

impl KeyRequest {
    /// Makes a key and asks for a certificate for `node`. The coordinator decides alone what stands in it.
    pub(super) fn new(node: &NodeName) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(Self { key, csr })
    }

    /// The request, PEM.
    pub(super) fn csr(&self) -> &str {
        &self.csr
    }

    /// Puts key, certificate and authority together, and checks that they fit. Also gives the text of the file.
    pub(super) fn complete(
        &self,
        certificate: &str,
        authority: &str,
        node: &NodeName,
    ) -> Result<(Identity, String), String> {
        let text = format!("{}{}\n{}\n", self.key.serialize_pem(), certificate.trim(), authority.trim());
        Identity::from_pem(&text, node).map(|identity| (identity, text))
    }
}
