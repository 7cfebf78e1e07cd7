//! Join tokens: `id.secret.ca-hash`, made by `nightshift token create node`.
//!
//! The hash says which authority the coordinator must prove before it is told the secret, so that nobody who sits in
//! between can collect tokens.

use std::fmt;
use std::str::FromStr;

/// Longest token, in bytes: far above what a coordinator makes, far below what a wrong file would be.
const LIMIT_BYTES: usize = 512;

/// A text that is no join token. It does not repeat the text, which may hold the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: {0}; hint: copy all of what `nightshift token create node` printed, `id.secret.ca-hash`")]
pub struct InvalidToken(&'static str);

/// A single-use permission to join, with the hash of the authority that gave it. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: String,
    authority_hash: AuthorityHash,
}

impl JoinToken {
    /// The public part, by which a coordinator lists and revokes it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text.split('.').next().unwrap_or_default()
    }

    /// Which authority gave it.
    #[must_use]
    pub const fn authority_hash(&self) -> AuthorityHash {
        self.authority_hash
    }

    /// The whole token, for the one message that carries it.
    pub(super) fn reveal(&self) -> String {
        self.text.clone()
    }

    /// `text` without the secret, should somebody have repeated it.
    pub(super) fn redact(&self, text: &str) -> String {
        let secret = self.text.split('.').nth(1).unwrap_or_default();
        text.replace(secret, "[secret]")
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;
    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        if text.len() > LIMIT_BYTES {
            return Err(InvalidToken("it is longer than 512 bytes"));
        }
        let mut parts = text.split('.');
        let (Some(id), Some(secret), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken("it does not have three parts with dots between them"));
        };
        let good = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !good(id) || !good(secret) {
            return Err(InvalidToken("id and secret may hold only `A-Z a-z 0-9 - _`"));
        }
        let authority_hash =
            AuthorityHash::from_hex(hash).ok_or(InvalidToken("the last part is not 64 of `0-9 a-f`"))?;
        Ok(Self { text: text.to_owned(), authority_hash })
    }
}

/// SHA-256 of an authority's certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuthorityHash([u8; 32]);

impl AuthorityHash {
    /// The hash of this certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    fn from_hex(text: &str) -> Option<Self> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut hash = [0; 32];
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        if pairs.len() != hash.len() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for AuthorityHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_and_never_shown() {
        let hash = AuthorityHash::of(b"a certificate");
        let text = format!("t1.s3cret-word.{hash}");
        let token: JoinToken = format!(" {text}\n").parse().expect("well formed");
        assert_eq!((token.id(), token.authority_hash(), token.reveal()), ("t1", hash, text));
        assert_eq!(format!("{token:?}"), r#"JoinToken { id: "t1", .. }"#);
        assert_eq!(token.redact("no token `t1.s3cret-word`"), "no token `t1.[secret]`");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        let hash = "0a".repeat(32);
        for bad in [
            String::new(),
            "s3cret".into(),
            format!("t1.s3cret.{hash}.x"),
            format!("t1..{hash}"),
            format!("t1.s3cret{hash}"),
            format!(".s3cret.{hash}"),
            format!("t1.s3 cret.{hash}"),
            format!("t1.s3cret.{}", hash.to_uppercase()),
            format!("t1.s3cret.{}", &hash[1..]),
            format!("t1.s3cret.{}", &hash[2..]),
            format!("t1.{}.{hash}", "s3cret".repeat(100)),
        ] {
            let error = bad.parse::<JoinToken>().expect_err(&bad).to_string();
            assert!(error.starts_with("not a join token: ") && !error.contains("s3cret"), "{error}");
        }
    }
}
