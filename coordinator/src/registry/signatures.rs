//! Where cosign keeps signatures: a manifest under a tag that is made of the digest, one layer for each signature.
//!
//! Nothing is judged here: what is found goes to the domain as it is. A layer that is none of cosign's, too large, or gone is
//! passed over, since a good one may stand beside it.

use std::collections::BTreeMap;

use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::signature::{PAYLOAD_LIMIT_BYTES, SIGNATURE_LIMIT, SIGNATURE_LIMIT_BYTES, Signature};
use serde::Deserialize;

use super::{Error, Registry, malformed};

/// What the signed text is called.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Where the signature over it stands.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: usize,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The tag under which the signatures of a digest are.
pub(crate) fn tag_of(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The reference under which they are.
pub(crate) fn reference_of(repository: &Repository, digest: &Digest) -> ImageRef {
    ImageRef { repository: repository.clone(), tag: tag_of(digest) }
}

impl Registry {
    /// The signatures of a digest, the newest last; none when there is nothing under its tag.
    pub(super) async fn read_signatures(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Signature>, Error> {
        let body = match self.manifest(repository, &tag_of(digest)).await {
            Ok((_, body)) => body,
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut signatures = Vec::new();
        for (layer, signature) in layers(&body).map_err(|problem| malformed(repository, problem))? {
            match self.content(repository, "blobs", &layer).await {
                Ok(payload) => {
                    signatures.extend(String::from_utf8(payload).ok().map(|payload| Signature { payload, signature }));
                }
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(signatures)
    }
}

/// The layers with signatures that are worth fetching: cosign adds new ones at the end.
fn layers(body: &[u8]) -> Result<Vec<(Digest, String)>, String> {
    let document: Document =
        serde_json::from_slice(body).map_err(|error| format!("manifest of signatures: {error}"))?;
    let mut found: Vec<_> = document.layers.into_iter().filter_map(signed).collect();
    found.drain(..found.len().saturating_sub(SIGNATURE_LIMIT));
    Ok(found)
}

fn signed(mut layer: Layer) -> Option<(Digest, String)> {
    let signature = layer.annotations.remove(SIGNATURE)?;
    let fits = layer.size <= PAYLOAD_LIMIT_BYTES && (1..=SIGNATURE_LIMIT_BYTES).contains(&signature.len());
    (layer.media_type == PAYLOAD && fits).then_some((layer.digest, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: usize, media_type: &str, size: usize, annotation: &str) -> String {
        let digest = format!("sha256:{number:064x}");
        format!(
            r#"{{"mediaType": "{media_type}", "digest": "{digest}", "size": {size}, "annotations": {{"{annotation}": "s{number}"}}}}"#
        )
    }

    fn found(layers_text: &[String]) -> Vec<String> {
        let body = format!(r#"{{"schemaVersion": 2, "layers": [{}]}}"#, layers_text.join(","));
        layers(body.as_bytes()).expect("well formed").into_iter().map(|(_, signature)| signature).collect()
    }

    #[test]
    fn only_layers_of_cosign_within_the_limits_are_fetched_and_the_newest_win() {
        let good = |number| layer(number, PAYLOAD, 200, SIGNATURE);
        assert_eq!(found(&[good(1), good(2)]), ["s1", "s2"]);
        assert_eq!(found(&[layer(1, "text/plain", 200, SIGNATURE), good(2)]), ["s2"]);
        assert_eq!(found(&[layer(1, PAYLOAD, PAYLOAD_LIMIT_BYTES + 1, SIGNATURE), good(2)]), ["s2"]);
        assert_eq!(found(&[layer(1, PAYLOAD, 200, "other"), good(2)]), ["s2"]);
        let many: Vec<String> = (1..=SIGNATURE_LIMIT + 2).map(good).collect();
        assert_eq!(found(&many)[0], "s3");
        assert_eq!(found(&many).len(), SIGNATURE_LIMIT);
        assert_eq!(layers(b"{}").expect("an index, say"), []);
        for bad in ["[", r#"{"layers": [{"digest": "x", "size": 1}]}"#] {
            assert!(layers(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn signatures_are_looked_for_where_cosign_puts_them() {
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        let reference = reference_of(&"r.example/web".parse().expect("a repository"), &digest);
        assert_eq!(reference.to_string(), format!("r.example/web:sha256-{}.sig", "ab".repeat(32)));
    }
}
