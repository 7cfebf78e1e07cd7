//! Platforms: what an image was built for, and what a node can run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest part of a platform's name, in bytes: the longest known one is `mips64le`.
const PART_LIMIT_BYTES: usize = 32;
/// Most platforms of one image that are remembered: the official images with most have a dozen.
pub const PLATFORM_LIMIT: usize = 64;

/// An operating system and a processor, as image indexes write them: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// A text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no platform, allowed is `os/architecture` or `os/architecture/variant`, such as `linux/arm64`")]
pub struct InvalidPlatform(String);

impl Platform {
    /// Whether a node of this platform runs an image for the other. It is what engines do when they choose from an index: 32-bit
    /// programs run on the 64-bit processor of the same family, an older ARM's on a newer one. Emulation does not count, since
    /// no engine tells whether it has any.
    #[must_use]
    pub fn runs(&self, image: &Self) -> bool {
        let same = self.architecture == image.architecture;
        let family =
            matches!((self.architecture.as_str(), image.architecture.as_str()), ("amd64", "386") | ("arm64", "arm"));
        // Nodes do not say their variant: one that is known on both sides only.
        let newer = match (self.level(), image.level()) {
            (Some(node), Some(image)) if same => node >= image,
            (Some(_) | None, _) => true,
        };
        self.os == image.os && (same || family) && newer
    }

    /// The number in a variant such as `v7`.
    fn level(&self) -> Option<u32> {
        self.variant.as_deref()?.strip_prefix('v')?.parse().ok()
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let legal = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            (1..=PART_LIMIT_BYTES).contains(&part.len()) && part.bytes().all(plain)
        };
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] if legal(os) && legal(architecture) => {
                Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: None })
            }
            [os, architecture, variant] if legal(os) && legal(architecture) && legal(variant) => {
                Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: Some(variant.to_owned()) })
            }
            [..] => Err(InvalidPlatform(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = InvalidPlatform;
    fn try_from(text: String) -> Result<Self, InvalidPlatform> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.variant {
            None => write!(f, "{}/{}", self.os, self.architecture),
            Some(variant) => write!(f, "{}/{}/{variant}", self.os, self.architecture),
        }
    }
}

/// Several platforms as people read them.
#[must_use]
pub fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_runs_what_its_engine_would_choose() {
        for (node, image, expect) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "linux/386", true),
            ("linux/386", "linux/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64", "linux/arm/v7", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm", "linux/arm64", false),
            ("windows/amd64", "linux/amd64", false),
            ("linux/amd64", "linux/amd64/v3", true),
        ] {
            let [node, image] = [node, image].map(|text| text.parse::<Platform>().expect(text));
            assert_eq!(node.runs(&image), expect, "{image} on {node}");
        }
    }

    #[test]
    fn platforms_are_written_as_indexes_write_them() {
        for good in ["linux/amd64", "linux/arm/v7", "windows/amd64"] {
            let platform: Platform = good.parse().expect(good);
            assert_eq!(platform.to_string(), good);
            assert_eq!(serde_json::to_value(&platform).expect("text"), good);
        }
        for bad in [
            "",
            "linux",
            "linux/",
            "/amd64",
            "linux/arm/",
            "a/b/c/d",
            "linux/a b",
            &format!("linux/{}", "x".repeat(33)),
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?} was accepted");
        }
    }
}
