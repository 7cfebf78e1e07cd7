//! Versions of the engine's API, and the choice of the one that is spoken.

use std::fmt;
use std::str::FromStr;

/// The oldest API that is spoken: Engine 20.10.
pub const OLDEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// The newest API that is spoken. A newer engine is asked in this version: its raw answers then have the shape that the
/// re-creation of containers knows.
pub const NEWEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 53 };

/// A version of the engine's API, such as `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Before the point: 1 in every engine so far.
    pub major: u16,
    /// After the point.
    pub minor: u16,
}

/// Text that is no version of the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of the engine's API: expected is `1.41` or the like")]
pub struct InvalidApiVersion(String);

/// An engine and this program have no version of the API in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine speaks API `{oldest}` to `{newest}`, understood are `{OLDEST_KNOWN}` to `{NEWEST_KNOWN}`")]
pub struct NoCommonVersion {
    oldest: ApiVersion,
    newest: ApiVersion,
}

impl ApiVersion {
    /// The newest version that an engine which speaks `oldest` to `newest` and this program both know.
    ///
    /// # Errors
    /// There is none.
    pub fn negotiate(oldest: ApiVersion, newest: ApiVersion) -> Result<ApiVersion, NoCommonVersion> {
        let chosen = newest.min(NEWEST_KNOWN);
        let common = chosen >= OLDEST_KNOWN && chosen >= oldest;
        if common { Ok(chosen) } else { Err(NoCommonVersion { oldest, newest }) }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidApiVersion;
    fn from_str(text: &str) -> Result<Self, InvalidApiVersion> {
        let wrong = || InvalidApiVersion(text.chars().take(40).collect());
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self { major: major.parse().map_err(|_| wrong())?, minor: minor.parse().map_err(|_| wrong())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        let negotiate = |oldest: &str, newest: &str| {
            let oldest = oldest.parse().expect("well formed");
            ApiVersion::negotiate(oldest, newest.parse().expect("well formed")).map(|chosen| chosen.to_string()).ok()
        };
        for (oldest, newest, expect) in [
            ("1.12", "1.41", Some("1.41")),
            ("1.24", "1.47", Some("1.47")),
            ("1.44", "1.99", Some("1.53")),
            ("1.12", "1.40", None),
            ("1.60", "1.70", None),
        ] {
            assert_eq!(negotiate(oldest, newest).as_deref(), expect, "{oldest} to {newest}");
        }
    }

    #[test]
    fn versions_are_numbers_and_no_text() {
        assert!("1.9".parse::<ApiVersion>().expect("well formed") < OLDEST_KNOWN);
        for bad in ["", "1", "v1.41", "1.x", "1.41.2", "-1.2"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad:?} was accepted");
        }
    }
}
