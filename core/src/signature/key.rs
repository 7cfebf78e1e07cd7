//! Public keys that sign images: read from PEM, known by a short name.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";
/// Longest key in PEM, in bytes: the largest kind that is known here has some 220.
const PEM_LIMIT_BYTES: usize = 2048;
/// Bytes of the hash that names a key: enough that two never meet, short enough to read aloud.
const ID_BYTES: usize = 8;

/// The kinds of keys, with what stands in DER before the key itself (RFC 5480, RFC 8410). Nothing in there is of free choice, so that
/// a comparison is a whole parser.
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const ED: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A public key that signs images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    kind: Kind,
    /// SubjectPublicKeyInfo.
    der: Vec<u8>,
    /// Where in it the key itself begins.
    key_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
}

impl Kind {
    /// Every kind, with its start and the length of the key behind it in bytes.
    const ALL: [(Self, &'static [u8], usize); 3] =
        [(Self::P256, P256, 65), (Self::P384, P384, 97), (Self::Ed25519, ED, 32)];
}

/// The short name of a key: the start of the SHA-256 of its DER form, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl KeyId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no key which could be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a public key in PEM.
    #[error("not a public key, allowed is one in PEM, from `{BEGIN}` to `{END}`, as in `cosign.pub`")]
    NotPem,
    /// A private key: it must not be here at all.
    #[error(
        "a private key, allowed is its public half; whoever can read this file can sign with it, so make a new pair"
    )]
    Private,
    /// Of a kind that is not known.
    #[error("a public key of another kind, allowed are ECDSA on the curves P-256 and P-384, and Ed25519")]
    OtherKind,
}

impl PublicKey {
    /// Its short name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let hash = digest(&SHA256, &self.der);
        KeyId(hash.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether it made this signature of this message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = &self.der[self.key_at..];
        let good = |algorithm: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
        };
        match self.kind {
            Kind::P256 => good(&ECDSA_P256_SHA256_ASN1),
            // cosign hashes by SHA-256 whatever the curve; others take the hash that fits the curve.
            Kind::P384 => good(&ECDSA_P384_SHA256_ASN1) || good(&ECDSA_P384_SHA384_ASN1),
            Kind::Ed25519 => good(&ED25519),
        }
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidKey::Private);
        }
        let inside = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or(InvalidKey::NotPem)?;
        let base64: String = inside.split_ascii_whitespace().collect();
        if text.len() > PEM_LIMIT_BYTES {
            return Err(InvalidKey::NotPem);
        }
        let der = STANDARD.decode(base64).map_err(|_| InvalidKey::NotPem)?;
        let is =
            |(_, start, length): &(Kind, &[u8], usize)| der.starts_with(start) && der.len() == start.len() + length;
        let (kind, start, _) = Kind::ALL.into_iter().find(is).ok_or(InvalidKey::OtherKind)?;
        Ok(Self { kind, der, key_at: start.len() })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&key.der))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id().as_str())
    }
}
