//! The version of an engine's HTTP API, `1.41`: which shape a request must have depends on it.

use std::fmt;
use std::str::FromStr;

/// A text that is no API version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no API version: allowed is `major.minor`, for example `1.41`")]
pub struct InvalidApiVersion(String);

/// Version of an engine's API, ordered as numbers: `1.9` is older than `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Grows with breaking changes; it has been 1 since the beginning.
    pub major: u16,
    /// Grows with each change that a client can see.
    pub minor: u16,
}

impl ApiVersion {
    /// Since 1.44 (Engine 25) a container can be created with all its networks at once; before, with one.
    #[must_use]
    pub fn creates_with_several_networks(self) -> bool {
        self >= Self { major: 1, minor: 44 }
    }

    /// Since 1.44 (Engine 25) a wanted MAC address belongs to a network's endpoint; before, to the container.
    #[must_use]
    pub fn has_mac_address_per_endpoint(self) -> bool {
        self >= Self { major: 1, minor: 44 }
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidApiVersion;
    fn from_str(text: &str) -> Result<Self, InvalidApiVersion> {
        let wrong = || InvalidApiVersion(text.chars().take(100).collect());
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        let version = |text: &str| text.parse::<ApiVersion>().expect(text);
        assert!(version("1.9") < version("1.41"));
        assert!(version("1.41") < version("1.44"));
        assert!(version("2.0") > version("1.50"));
        assert_eq!(version("1.41").to_string(), "1.41");
        for bad in ["", "1", "1.", ".1", "v1.41", "1.41.0", "+1.41", "1.-4", "1.99999"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad:?} was accepted");
        }
    }
}
