//! Who is at the other end of a connection: a node, by the name in its certificate, or somebody without one.

use std::net::SocketAddr;

use nightshift_core::ids::NodeName;
use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use crate::secret::hex;

/// What stands before a node's name in its certificate.
const SPIFFE_PREFIX: &str = "spiffe://nightshift/node/";

/// A node as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// Its name.
    pub name: NodeName,
    /// Serial number of the certificate, in lower-case hexadecimal.
    pub serial: String,
}

/// What is known of a connection; tonic puts it into the extensions of each request that came over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectInfo {
    /// Where it comes from.
    pub remote_addr: SocketAddr,
    /// The node that it belongs to; none without a client certificate.
    pub node: Option<NodeIdentity>,
}

pub(super) fn spiffe_uri(node: &NodeName) -> String {
    format!("{SPIFFE_PREFIX}{node}")
}

/// The node that a certificate is for: it must name exactly one. Whether it may be trusted was decided elsewhere.
pub(super) fn identity_of(certificate: &CertificateDer<'_>) -> Option<NodeIdentity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names[..] else { return None };
    let name = uri.strip_prefix(SPIFFE_PREFIX)?.parse().ok()?;
    Some(NodeIdentity { name, serial: hex(parsed.raw_serial()) })
}
