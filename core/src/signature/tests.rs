//! Signatures that OpenSSL made (`samples/make.sh`): which count, and why the others do not.

use super::*;

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("samples/", $name))
    };
}

fn key(pem: &str) -> PublicKey {
    pem.parse().expect("a public key")
}

fn signed(payload: &str, signature: &str) -> Signature {
    Signature { payload: payload.to_owned(), signature: signature.to_owned() }
}

/// The digest that the samples are about.
fn digest() -> Digest {
    "sha256:97e9d7a16021e6d07fbe28cce398f5847fc00c574991fbff65d95fd5e032d389".parse().expect("well formed")
}

fn p256() -> PublicKey {
    key(sample!("p256.pub"))
}

fn good() -> Signature {
    signed(sample!("payload.json"), sample!("p256.sig"))
}

#[test]
fn each_kind_of_key_is_known_by_its_signature() {
    for (name, pem, signature) in [
        ("P-256", sample!("p256.pub"), sample!("p256.sig")),
        ("P-384 as cosign hashes", sample!("p384.pub"), sample!("p384.sig")),
        ("P-384 with the hash of its curve", sample!("p384.pub"), sample!("p384-sha384.sig")),
        ("Ed25519", sample!("ed25519.pub"), sample!("ed25519.sig")),
    ] {
        let keys = [key(sample!("stranger.pub")), key(pem)];
        let signatures = [signed(sample!("payload.json"), signature)];
        assert_eq!(verify(&digest(), &keys, &signatures), Ok(&keys[1]), "{name}");
        assert_eq!(verify(&digest(), &keys[..1], &signatures), Err(Unverified::UnknownKey), "{name}, another key");
    }
}

#[test]
fn what_is_not_signed_for_this_digest_by_a_known_key_never_counts() {
    let other = sample!("other.json");
    let other_digest = || super::payload::digest_in(other).expect("well formed");
    let malformed = |problem: &str| Unverified::Malformed { problem: problem.to_owned() };
    let unknown = Unverified::UnknownKey;
    let long = format!("{}{}", sample!("payload.json"), " ".repeat(PAYLOAD_LIMIT_BYTES));
    let flipped = sample!("payload.json").replace("registry.example", "registry.exampla");
    for (name, signatures, expect) in [
        ("none", vec![], Unverified::NotSigned),
        ("a stranger's", vec![signed(sample!("payload.json"), sample!("stranger.sig"))], unknown.clone()),
        ("another text", vec![signed(other, sample!("p256.sig"))], unknown.clone()),
        ("one letter changed", vec![signed(&flipped, sample!("p256.sig"))], unknown.clone()),
        ("no Base64", vec![signed(sample!("payload.json"), "%%%")], unknown.clone()),
        ("empty", vec![signed(sample!("payload.json"), "")], unknown.clone()),
        ("too long", vec![signed(&long, sample!("p256.sig"))], unknown.clone()),
        (
            "copied from another image",
            vec![signed(other, sample!("other.sig"))],
            Unverified::OtherDigest { digest: other_digest() },
        ),
        (
            "another type",
            vec![signed(sample!("bad-type.json"), sample!("bad-type.sig"))],
            malformed("its type is not `cosign container image signature`"),
        ),
        (
            "a critical field that nobody knows",
            vec![signed(sample!("bad-critical.json"), sample!("bad-critical.sig"))],
            malformed("unknown field `not-after`, expected one of `identity`, `image`, `type` at line 1 column 188"),
        ),
        (
            "an identity that nobody knows",
            vec![signed(sample!("bad-identity.json"), sample!("bad-identity.sig"))],
            malformed("unknown field `tenant`, expected `docker-reference` at line 1 column 33"),
        ),
        (
            "the most serious of several",
            vec![
                signed(other, sample!("other.sig")),
                signed(sample!("payload.json"), sample!("stranger.sig")),
                signed(sample!("bad-type.json"), sample!("bad-type.sig")),
            ],
            Unverified::OtherDigest { digest: other_digest() },
        ),
    ] {
        assert_eq!(verify(&digest(), &[p256()], &signatures), Err(expect), "{name}");
    }
    for (payload, signature) in
        [(sample!("bad-digest.json"), sample!("bad-digest.sig")), (sample!("bad-json.json"), sample!("bad-json.sig"))]
    {
        let keys = [p256()];
        let verdict = verify(&digest(), &keys, &[signed(payload, signature)]);
        assert!(matches!(verdict, Err(Unverified::Malformed { .. })), "{payload}: {verdict:?}");
    }
    assert_eq!(verify(&digest(), &[], &[good()]), Err(unknown), "nobody is trusted");
}

#[test]
fn one_good_signature_is_enough_within_the_limit() {
    let stranger = signed(sample!("payload.json"), sample!("stranger.sig"));
    let mut signatures = vec![stranger; SIGNATURE_LIMIT - 1];
    signatures.push(good());
    assert_eq!(verify(&digest(), &[p256()], &signatures), Ok(&p256()));
    signatures.insert(0, signatures[0].clone());
    assert_eq!(verify(&digest(), &[p256()], &signatures), Err(Unverified::UnknownKey));
}

#[test]
fn only_public_keys_of_known_kinds_are_taken() {
    let pem = sample!("p256.pub");
    let private = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let long = pem.replace('\n', &"\n".repeat(1024));
    for (text, expect) in [
        ("", InvalidKey::NotPem),
        ("cosign.pub", InvalidKey::NotPem),
        (sample!("p256.sig"), InvalidKey::NotPem),
        (&pem[..pem.len() - 5], InvalidKey::NotPem),
        (&format!("{pem}{pem}"), InvalidKey::NotPem),
        (&long, InvalidKey::NotPem),
        (private, InvalidKey::Private),
        ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", InvalidKey::Private),
        (sample!("rsa.pub"), InvalidKey::OtherKind),
        ("-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----", InvalidKey::OtherKind),
    ] {
        assert_eq!(text.parse::<PublicKey>(), Err(expect), "{text:.60}");
    }
}

#[test]
fn a_key_is_stored_as_pem_and_has_one_name() {
    for pem in [sample!("p256.pub"), sample!("p384.pub"), sample!("ed25519.pub")] {
        let stored = serde_json::to_string(&key(pem)).expect("text");
        assert_eq!(serde_json::from_str::<PublicKey>(&stored).expect("text"), key(pem));
        let spaced = pem.replace('\n', "\r\n  ");
        assert_eq!(key(&spaced), key(pem), "white space in it means nothing");
        assert_eq!(key(pem).id().as_str().len(), 16);
    }
    assert_ne!(p256().id(), key(sample!("stranger.pub")).id());
}
