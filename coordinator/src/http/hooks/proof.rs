//! How a sender proves that it knows a webhook's secret. Everything is compared in constant time.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use ring::hmac;

use crate::config::Proof;
use crate::secret::Secret;

/// Header of a signature: WebSub's name, which GitHub, Gitea and others use.
const SIGNATURE_HEADER: &str = "x-hub-signature-256";
/// What stands before the signature's hexadecimal digits.
const SIGNATURE_PREFIX: &str = "sha256=";
/// Where Docker Hub, which can send nothing else, has the secret in its address.
const TOKEN_PARAMETER: &str = "token=";
/// Shortest secret, in characters: what has fewer is no random text.
const SECRET_FLOOR: usize = 16;
/// Longest secret, in characters: a header must hold it.
const SECRET_LIMIT: usize = 500;

/// A secret that cannot protect anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a webhook's secret has {SECRET_FLOOR} to {SECRET_LIMIT} of `A-Z a-z 0-9 - . _ ~`")]
pub struct WeakSecret;

impl WeakSecret {
    /// What to do.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "`openssl rand -hex 32` makes one"
    }
}

/// What a webhook's secret is compared with.
#[derive(Clone)]
pub struct Key {
    secret: hmac::Key,
    // Under a key of the process alone: the time that a comparison takes tells nothing of the secret.
    comparison: hmac::Key,
    tag: hmac::Tag,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Key {
    /// From a secret that can stand in a header and in an address.
    ///
    /// # Errors
    /// It is too short, too long, or has other characters.
    pub fn new(secret: &Secret) -> Result<Self, WeakSecret> {
        let text = secret.expose();
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        if !plain || !(SECRET_FLOOR..=SECRET_LIMIT).contains(&text.len()) {
            return Err(WeakSecret);
        }
        let comparison = crate::trust::comparison_key();
        let tag = hmac::sign(&comparison, text.as_bytes());
        Ok(Self { secret: hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()), comparison, tag })
    }

    /// Whether the head proves it, where the proof stands there; a signature is looked at later.
    pub(super) fn admits(&self, proof: Proof, parts: &Parts) -> bool {
        match proof {
            Proof::Header => self.is(bearer(&parts.headers)),
            Proof::Address => self.is(token_of(parts.uri.query().unwrap_or_default())),
            Proof::Signature => parts.headers.contains_key(SIGNATURE_HEADER),
        }
    }

    /// Whether the body is signed, where it must be.
    pub(super) fn signed(&self, proof: Proof, headers: &HeaderMap, body: &[u8]) -> bool {
        match proof {
            Proof::Header | Proof::Address => true,
            Proof::Signature => {
                let mut given = headers.get_all(SIGNATURE_HEADER).iter();
                let (Some(given), None) = (given.next(), given.next()) else { return false };
                let digits = given.to_str().ok().and_then(|text| text.strip_prefix(SIGNATURE_PREFIX));
                let Some(signature) = digits.and_then(from_hex) else { return false };
                hmac::verify(&self.secret, body, &signature).is_ok()
            }
        }
    }

    fn is(&self, given: &str) -> bool {
        hmac::verify(&self.comparison, given.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

/// The text of `Authorization: Bearer TEXT`, or of `Authorization: TEXT` as Harbor sends it.
fn bearer(headers: &HeaderMap) -> &str {
    let text = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        Some(_) | None => text,
    }
}

/// The first `token` of a query; a secret has no characters that would be escaped.
fn token_of(query: &str) -> &str {
    query.split('&').find_map(|pair| pair.strip_prefix(TOKEN_PARAMETER)).unwrap_or_default()
}

/// The 32 bytes of a SHA-256 in hexadecimal.
fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, position) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(position..position + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::hex;

    const SECRET: &str = "correct-horse-battery";

    fn key() -> Key {
        Key::new(&Secret::new(SECRET)).expect("long enough")
    }

    fn parts(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("well formed").into_parts().0
    }

    #[test]
    fn a_secret_is_long_plain_and_never_shown() {
        for weak in ["", "short", "fifteen-letters", "with a space in it", "päßwörter-sind-gut", "a/b+c=d/e+f=g/h+i="]
        {
            assert_eq!(Key::new(&Secret::new(weak)).err(), Some(WeakSecret), "{weak}");
        }
        assert_eq!(Key::new(&Secret::new("s".repeat(501))).err(), Some(WeakSecret));
        assert_eq!(format!("{:?}", key()), "[redacted]");
        assert!(!WeakSecret.to_string().contains(SECRET));
    }

    #[test]
    fn a_header_proves_it_with_and_without_a_scheme() {
        for (header, expect) in [
            (format!("Bearer {SECRET}"), true),
            (format!("bearer  {SECRET}"), true),
            (SECRET.to_owned(), true),
            (format!("Basic {SECRET}"), false),
            (format!("{SECRET}x"), false),
            ("Bearer".to_owned(), false),
            (String::new(), false),
        ] {
            let parts = parts("/", &[("authorization", &header)]);
            assert_eq!(key().admits(Proof::Header, &parts), expect, "{header}");
        }
        let in_address = parts(&format!("/?token={SECRET}"), &[]);
        assert!(!key().admits(Proof::Header, &in_address), "where a header can be sent, the address is not enough");
    }

    #[test]
    fn an_address_proves_it() {
        for (query, expect) in [
            (format!("?token={SECRET}"), true),
            (format!("?a=b&token={SECRET}&c"), true),
            (format!("?token={SECRET}x"), false),
            (format!("?token=x&token={SECRET}"), false),
            (format!("?xtoken={SECRET}"), false),
            ("?token=".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(key().admits(Proof::Address, &parts(&format!("/{query}"), &[])), expect, "{query}");
        }
    }

    #[test]
    fn a_signature_holds_for_this_body_and_this_secret_alone() {
        let body = br#"{"image": "registry.example/web"}"#;
        let sign = |secret: &str| hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body).as_ref());
        let good = sign(SECRET);
        for (header, expect) in [
            (format!("sha256={good}"), true),
            (format!("sha256={}", good.to_uppercase()), true),
            (good.clone(), false),
            (format!("sha1={good}"), false),
            (format!("sha256={}", &good[1..]), false),
            (format!("sha256={good}00"), false),
            (format!("sha256={}", "g".repeat(64)), false),
            (format!("sha256={}", sign("another-secret-of-some-length")), false),
            (String::new(), false),
        ] {
            let parts = parts("/", &[("x-hub-signature-256", &header)]);
            assert_eq!(key().signed(Proof::Signature, &parts.headers, body), expect, "{header}");
        }
        let signed = parts("/", &[("x-hub-signature-256", &format!("sha256={good}"))]);
        assert!(!key().signed(Proof::Signature, &signed.headers, b"{}"), "another body");
        let twice = format!("sha256={good}");
        let twice = parts("/", &[("x-hub-signature-256", &twice), ("x-hub-signature-256", "sha256=00")]);
        assert!(!key().signed(Proof::Signature, &twice.headers, body), "two signatures are none");
        assert!(!key().admits(Proof::Signature, &parts("/", &[])), "without one nothing is read");
    }

    /// The example of GitHub's documentation on validating deliveries.
    #[test]
    fn the_signature_is_the_one_that_github_documents() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"It's a Secret to Everybody");
        let signature = hex(hmac::sign(&key, b"Hello, World!").as_ref());
        assert_eq!(signature, "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
    }
}
