//! Signatures of images: whether one of the given keys has signed just this digest.
//!
//! The coordinator's gate and each agent's own limits both judge by [`verify`], each with keys of its own. What is judged is
//! cosign's simple signing: a small JSON text that names the digest, and a signature over the bytes of that text. Fetching
//! both from a registry is the shell's business. `docs/signatures.md` says what is read and what is not.

mod key;
mod payload;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::image::Digest;
pub use key::{InvalidKey, KeyId, PublicKey};

/// Most signatures of one digest that are looked at: one for each team that signs, and some for keys that were replaced.
pub const SIGNATURE_LIMIT: usize = 16;
/// Longest signed text, in bytes: the two names in it are short, the rest is what people add as annotations.
pub const PAYLOAD_LIMIT_BYTES: usize = 8 * 1024;
/// Longest signature in Base64, in bytes: those of the keys that are known here have at most 140.
pub const SIGNATURE_LIMIT_BYTES: usize = 1024;
/// Most keys of one gate or limit: keys are replaced one by one, and each is tried on each signature.
pub const KEY_LIMIT: usize = 16;

/// A signature as a registry keeps it. Nothing about it is believed before [`verify`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The signed text, byte for byte.
    pub payload: String,
    /// The signature over it, in Base64.
    pub signature: String,
}

/// Why a digest does not count as signed. The later ones are the more serious.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Unverified {
    /// There is no signature.
    NotSigned,
    /// There are signatures, and none is of a key that is trusted.
    UnknownKey,
    /// A trusted key signed a text that is none of cosign's.
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
    /// A trusted key signed another digest: the signature was copied to this one.
    OtherDigest {
        /// What it was made for.
        digest: Digest,
    },
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSigned => f.write_str("not signed"),
            Self::UnknownKey => f.write_str("signed by an unknown key"),
            Self::Malformed { problem } => write!(f, "what was signed cannot be used: {problem}"),
            Self::OtherDigest { digest } => write!(f, "the signature is for another digest, {}", digest.short()),
        }
    }
}

/// The key that signed this digest.
///
/// One good signature of one key is enough; others beside it do no harm. Whatever is over the limits does not count.
///
/// # Errors
/// None of the keys did: the most serious reason.
pub fn verify<'k>(
    digest: &Digest,
    keys: &'k [PublicKey],
    signatures: &[Signature],
) -> Result<&'k PublicKey, Unverified> {
    let mut why = Unverified::NotSigned;
    for signature in signatures.iter().take(SIGNATURE_LIMIT) {
        match verify_one(digest, keys, signature) {
            Ok(key) => return Ok(key),
            Err(reason) => why = why.max(reason),
        }
    }
    Err(why)
}

fn verify_one<'k>(digest: &Digest, keys: &'k [PublicKey], one: &Signature) -> Result<&'k PublicKey, Unverified> {
    let fits = one.payload.len() <= PAYLOAD_LIMIT_BYTES && one.signature.len() <= SIGNATURE_LIMIT_BYTES;
    let signature = STANDARD.decode(one.signature.trim()).ok().filter(|_| fits).ok_or(Unverified::UnknownKey)?;
    let made_it = |key: &&PublicKey| key.has_signed(one.payload.as_bytes(), &signature);
    // What nobody signed who is trusted is not even read.
    let key = keys.iter().take(KEY_LIMIT).find(made_it).ok_or(Unverified::UnknownKey)?;
    let signed = payload::digest_in(&one.payload).map_err(|problem| Unverified::Malformed { problem })?;
    if signed == *digest { Ok(key) } else { Err(Unverified::OtherDigest { digest: signed }) }
}

#[cfg(test)]
mod tests;
