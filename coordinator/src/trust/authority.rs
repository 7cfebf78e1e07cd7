//! The coordinator's own certificate authority: one file in the data directory, made at the first start.
//!
//! It signs what nodes ask for by its own rules: of a request it takes the public key and nothing else.

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_core::ids::NodeName;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::peer::spiffe_uri;
use crate::data_dir::DataDir;
use crate::secret::{hex, sha256_hex};
use crate::store::Certificate;

/// File with the authority's certificate and key: one file, so that a crash leaves both or none.
const AUTHORITY_FILE: &str = "authority.pem";
/// How long the authority itself is good: longer than the hosts it serves.
const AUTHORITY_LIFETIME: TimeDelta = TimeDelta::days(20 * 365);
/// How long a node's certificate is good. Agents renew long before; a node that was off for longer must be let in again.
pub const NODE_CERTIFICATE_LIFETIME: TimeDelta = TimeDelta::days(30);
/// How long the coordinator's own certificate is good; it is replaced at half of that.
pub const SERVER_CERTIFICATE_LIFETIME: TimeDelta = TimeDelta::days(30);
/// Every certificate begins this much early, for nodes whose clock is behind.
const BACK_DATE: TimeDelta = TimeDelta::minutes(5);
/// Longest certificate request, in bytes of PEM: one with an elliptic key has about 500.
const REQUEST_LIMIT_BYTES: usize = 16 * 1024;
/// Length of a serial number: 126 random bits never meet.
const SERIAL_BYTES: usize = 16;

/// Why the authority did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("cannot use `{}`", path.display())]
    File {
        /// The authority's file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not hold a certificate and its key.
    #[error("`{}` is damaged: {problem}\nhint: restore it from a backup; without it every node must enrol again", path.display())]
    Damaged {
        /// The authority's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A name for the server's certificate is neither host name nor address.
    #[error("`{0}` is neither a host name nor an address")]
    Name(String),
    /// A node's request for a certificate cannot be used.
    #[error("certificate request refused: {0}")]
    Request(String),
    /// Signing failed.
    #[error("cannot sign")]
    Sign(#[source] rcgen::Error),
    /// The system has no random numbers.
    #[error("no random numbers from the system")]
    Random,
}

/// The certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: CertificateDer<'static>,
    ca_pem: String,
    ca_hash: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("ca_hash", &self.ca_hash).finish_non_exhaustive()
    }
}

/// A certificate for a node, and what to remember of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNode {
    /// The certificate in PEM.
    pub pem: String,
    /// What the store keeps.
    pub certificate: Certificate,
}

impl Authority {
    /// Reads the authority from the data directory, or makes it there.
    ///
    /// # Errors
    /// The file cannot be used or is damaged.
    pub fn open(data_dir: &DataDir, now: DateTime<Utc>) -> Result<Self, Error> {
        let path = data_dir.file(AUTHORITY_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = make(now)?;
                write_whole(data_dir, &text).map_err(|source| Error::File { path: path.clone(), source })?;
                text
            }
            Err(source) => return Err(Error::File { path, source }),
        };
        Self::read(&text).map_err(|problem| Error::Damaged { path, problem })
    }

    fn read(text: &str) -> Result<Self, String> {
        let ca = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| format!("certificate: {error}"))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|error| format!("key: {error}"))?;
        let key = KeyPair::try_from(&key).map_err(|error| format!("key: {error}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&ca).map_err(|error| format!("certificate: {error}"))?;
        if parsed.public_key().subject_public_key.data != key.der_bytes() {
            return Err("the key is not the certificate's".into());
        }
        let issuer = Issuer::from_ca_cert_der(&ca, key).map_err(|error| format!("certificate: {error}"))?;
        let ca_pem = pem_of(&ca);
        Ok(Self { ca_hash: sha256_hex(&ca), issuer, ca, ca_pem })
    }

    /// The authority's certificate.
    #[must_use]
    pub const fn ca(&self) -> &CertificateDer<'static> {
        &self.ca
    }

    /// The same in PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of the certificate (DER), in lower-case hexadecimal.
    #[must_use]
    pub fn ca_hash(&self) -> &str {
        &self.ca_hash
    }

    /// Signs a node's request (PEM) for this name.
    ///
    /// # Errors
    /// [`Error::Request`] when the request is malformed, not signed by its own key, or its key is of a kind that is not used.
    pub fn sign_node(&self, request: &str, node: &NodeName, now: DateTime<Utc>) -> Result<SignedNode, Error> {
        if request.len() > REQUEST_LIMIT_BYTES {
            return Err(Error::Request(format!("it is longer than {REQUEST_LIMIT_BYTES} bytes")));
        }
        let mut request =
            CertificateSigningRequestParams::from_pem(request).map_err(|error| Error::Request(error.to_string()))?;
        let algorithm = request.public_key.algorithm();
        let usable = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !usable.contains(&algorithm) {
            return Err(Error::Request("its key is none of ECDSA P-256, ECDSA P-384, Ed25519".into()));
        }
        let serial = serial()?;
        // Whatever else the request asks for (a name, to be an authority) is thrown away here.
        request.params = leaf(node.as_str(), &serial, now, NODE_CERTIFICATE_LIFETIME)?;
        let uri = spiffe_uri(node).try_into().map_err(Error::Sign)?;
        request.params.subject_alt_names = vec![SanType::URI(uri)];
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let pem = request.signed_by(&self.issuer).map_err(Error::Sign)?.pem();
        let expires = now + NODE_CERTIFICATE_LIFETIME;
        let certificate = Certificate { serial: hex(&serial), node: node.clone(), issued: now, expires };
        Ok(SignedNode { pem, certificate })
    }

    /// A new key and certificate for the coordinator itself.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that no certificate can hold.
    pub fn sign_server(
        &self,
        names: &[String],
        now: DateTime<Utc>,
    ) -> Result<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>), Error> {
        let key = KeyPair::generate().map_err(Error::Sign)?;
        let mut params = leaf("nightshift coordinator", &serial()?, now, SERVER_CERTIFICATE_LIFETIME)?;
        for name in names {
            let one = CertificateParams::new(vec![name.clone()]).map_err(|_| Error::Name(name.clone()))?;
            params.subject_alt_names.extend(one.subject_alt_names);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::Sign)?;
        Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der())))
    }
}

/// What node and server certificates have in common.
fn leaf(name: &str, serial: &[u8], now: DateTime<Utc>, lifetime: TimeDelta) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = moment(now - BACK_DATE)?;
    params.not_after = moment(now + lifetime)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn make(now: DateTime<Utc>) -> Result<String, Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::Sign)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Nightshift authority");
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.not_before = moment(now - BACK_DATE)?;
    params.not_after = moment(now + AUTHORITY_LIFETIME)?;
    // It signs nodes and servers, never another authority.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(Error::Sign)?;
    Ok(format!("{}{}", pem_of(certificate.der()), key.serialize_pem()))
}

/// Writes the file so that it is there whole or not at all; temporary files are for their owner alone.
fn write_whole(data_dir: &DataDir, text: &str) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(data_dir.path())?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(data_dir.file(AUTHORITY_FILE))?;
    std::fs::File::open(data_dir.path())?.sync_all()
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn serial() -> Result<[u8; SERIAL_BYTES], Error> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; SERIAL_BYTES];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    // Positive and without a leading zero, so that DER keeps every byte as it is.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(bytes)
}

fn moment(at: DateTime<Utc>) -> Result<time::OffsetDateTime, Error> {
    time::OffsetDateTime::from_unix_timestamp(at.timestamp()).map_err(|_| Error::Sign(rcgen::Error::Time))
}
