//! The text that cosign signs: which digest it names.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::image::Digest;

/// What cosign writes as the type.
const TYPE: &str = "cosign container image signature";

/// The whole text. What is `critical` must be understood in full; `optional` is for annotations, which nobody here needs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(default, rename = "optional")]
    _optional: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    #[serde(rename = "identity")]
    _identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

/// The repository as the signer wrote it. It is not compared: a signature is carried along when an image is copied to another
/// registry, and the digest says which content is meant. (cosign does not compare it either.)
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    _docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

/// The digest that a signed text is about.
///
/// # Errors
/// It is none of cosign's texts, in one sentence.
pub(super) fn digest_in(text: &str) -> Result<Digest, String> {
    let payload: Payload = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if payload.critical.kind != TYPE {
        return Err(format!("its type is not `{TYPE}`"));
    }
    Ok(payload.critical.image.digest)
}
