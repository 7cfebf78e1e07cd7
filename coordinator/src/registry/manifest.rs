//! What is read of manifests and image configurations: only the way from a digest to the time of building.

use chrono::{DateTime, Utc};
use nightshift_core::image::Digest;
use serde::Deserialize;

/// A manifest, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// An image for several platforms.
    Index {
        /// The first image in it.
        first: Option<Digest>,
    },
    /// An image for one platform.
    Image {
        /// Its configuration; none in the old schema 1.
        config: Option<Digest>,
    },
}

#[derive(Deserialize)]
struct Document {
    manifests: Option<Vec<Entry>>,
    config: Option<Descriptor>,
}

#[derive(Deserialize)]
struct Entry {
    digest: Digest,
    #[serde(default)]
    platform: Platform,
}

#[derive(Deserialize, Default)]
struct Platform {
    #[serde(default)]
    os: String,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

#[derive(Deserialize)]
struct Configuration {
    created: Option<DateTime<Utc>>,
}

pub(super) fn parse(body: &[u8]) -> Result<Manifest, String> {
    let document: Document = serde_json::from_slice(body).map_err(|error| format!("manifest: {error}"))?;
    let Some(manifests) = document.manifests else {
        return Ok(Manifest::Image { config: document.config.map(|config| config.digest) });
    };
    // Attestations stand in an index beside the images, for a platform `unknown`.
    let first = manifests.into_iter().find(|entry| entry.platform.os != "unknown").map(|entry| entry.digest);
    Ok(Manifest::Index { first })
}

/// When an image was built. A reproducible build that says 1970 says nothing.
pub(super) fn created(body: &[u8]) -> Result<Option<DateTime<Utc>>, String> {
    let found: Configuration = serde_json::from_slice(body).map_err(|error| format!("image configuration: {error}"))?;
    Ok(found.created.filter(|created| *created > DateTime::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_configuration_is_found() {
        let (a, b) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
        let first = Some(b.parse().unwrap());
        for (text, expect) in [
            (format!(r#"{{"config": {{"digest": "{b}"}}}}"#), Ok(Manifest::Image { config: first.clone() })),
            (r#"{"schemaVersion": 1, "history": []}"#.into(), Ok(Manifest::Image { config: None })),
            (
                format!(
                    r#"{{"manifests": [{{"digest": "{a}", "platform": {{"os": "unknown"}}}}, {{"digest": "{b}"}}]}}"#
                ),
                Ok(Manifest::Index { first }),
            ),
            (r#"{"manifests": []}"#.into(), Ok(Manifest::Index { first: None })),
            ("[".into(), Err(())),
            (r#"{"config": {"digest": "x"}}"#.into(), Err(())),
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|_| ()), expect, "{text}");
        }
    }

    #[test]
    fn the_time_of_building_is_read_where_it_says_something() {
        let day = "2026-11-20T10:00:00Z".parse().unwrap();
        for (text, expect) in [
            (r#"{"created": "2026-11-20T10:00:00.000Z", "x": 1}"#, Ok(Some(day))),
            (r#"{"created": "2026-11-20T11:00:00+01:00"}"#, Ok(Some(day))),
            (r#"{"created": "1970-01-01T00:00:00Z"}"#, Ok(None)),
            (r#"{"created": "0001-01-01T00:00:00Z"}"#, Ok(None)),
            (r#"{"created": null}"#, Ok(None)),
            ("{}", Ok(None)),
            (r#"{"created": "yesterday"}"#, Err(())),
        ] {
            assert_eq!(created(text.as_bytes()).map_err(|_| ()), expect, "{text}");
        }
    }
}
