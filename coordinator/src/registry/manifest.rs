//! What is read of manifests and image configurations: the way from a digest to the time of building, and to the platforms.

use chrono::{DateTime, Utc};
use nightshift_core::image::Digest;
use nightshift_core::platform::Platform;
use nightshift_core::release::Description;
use serde::Deserialize;

/// A manifest, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// An image for several platforms.
    Index {
        /// The first image in it.
        first: Option<Digest>,
        /// What there is an image for; empty where one of them does not say.
        platforms: Vec<Platform>,
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
    platform: Names,
}

/// A platform as the specification writes it, in an index as in an image's configuration.
#[derive(Deserialize, Default)]
struct Names {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl Names {
    fn platform(&self) -> Option<Platform> {
        let Self { os, architecture, variant } = self;
        let variant = if variant.is_empty() { String::new() } else { format!("/{variant}") };
        format!("{os}/{architecture}{variant}").parse().ok()
    }
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

#[derive(Deserialize)]
struct Configuration {
    created: Option<DateTime<Utc>>,
    #[serde(flatten)]
    names: Names,
}

pub(super) fn parse(body: &[u8]) -> Result<Manifest, String> {
    let document: Document = serde_json::from_slice(body).map_err(|error| format!("manifest: {error}"))?;
    let Some(manifests) = document.manifests else {
        return Ok(Manifest::Image { config: document.config.map(|config| config.digest) });
    };
    // Attestations stand in an index beside the images, for a platform `unknown`.
    let images: Vec<Entry> = manifests.into_iter().filter(|entry| entry.platform.os != "unknown").collect();
    let platforms: Option<Vec<Platform>> = images.iter().map(|entry| entry.platform.platform()).collect();
    let first = images.into_iter().next().map(|entry| entry.digest);
    Ok(Manifest::Index { first, platforms: platforms.unwrap_or_default() })
}

/// When an image was built, and for what. A reproducible build that says 1970 says nothing.
pub(super) fn description(body: &[u8]) -> Result<Description, String> {
    let found: Configuration = serde_json::from_slice(body).map_err(|error| format!("image configuration: {error}"))?;
    let created = found.created.filter(|created| *created > DateTime::UNIX_EPOCH);
    Ok(Description { created, platforms: found.names.platform().into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(names: &[&str]) -> Vec<Platform> {
        names.iter().map(|name| name.parse().expect("a platform")).collect()
    }

    #[test]
    fn what_an_image_was_built_for_is_read_where_it_says_so() {
        for (text, expect) in [
            (r#"{"os": "linux", "architecture": "amd64"}"#, vec!["linux/amd64"]),
            (r#"{"os": "linux", "architecture": "arm", "variant": "v7"}"#, vec!["linux/arm/v7"]),
            (r#"{"os": "linux"}"#, vec![]),
            (r#"{"os": "linux", "architecture": "a b"}"#, vec![]),
            ("{}", vec![]),
        ] {
            let found = description(text.as_bytes()).expect(text);
            assert_eq!(found.platforms, platforms(&expect), "{text}");
        }
    }

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
                Ok(Manifest::Index { first: first.clone(), platforms: vec![] }),
            ),
            (
                format!(
                    r#"{{"manifests": [{{"digest": "{b}", "platform": {{"os": "linux", "architecture": "amd64"}}}},
                        {{"digest": "{a}", "platform": {{"os": "linux", "architecture": "arm", "variant": "v7"}}}},
                        {{"digest": "{a}", "platform": {{"os": "unknown", "architecture": "unknown"}}}}]}}"#
                ),
                Ok(Manifest::Index { first, platforms: platforms(&["linux/amd64", "linux/arm/v7"]) }),
            ),
            (r#"{"manifests": []}"#.into(), Ok(Manifest::Index { first: None, platforms: vec![] })),
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
            let found = description(text.as_bytes()).map(|found| found.created);
            assert_eq!(found.map_err(|_| ()), expect, "{text}");
        }
    }
}
