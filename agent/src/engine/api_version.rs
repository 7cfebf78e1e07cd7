//! Which versions of the engine's API are spoken, and the choice of one.

use nightshift_core::recreate::ApiVersion;

/// The oldest API that is spoken: Engine 20.10.
pub const OLDEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 41 };

/// The newest API that is spoken. A newer engine is asked in this version: its raw answers then have the shape that the
/// re-creation of containers knows.
pub const NEWEST_KNOWN: ApiVersion = ApiVersion { major: 1, minor: 53 };

/// An engine and this program have no version of the API in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the engine speaks API `{oldest}` to `{newest}`, understood are `{OLDEST_KNOWN}` to `{NEWEST_KNOWN}`")]
pub struct NoCommonVersion {
    oldest: ApiVersion,
    newest: ApiVersion,
}

/// The newest version that an engine which speaks `oldest` to `newest` and this program both know.
///
/// # Errors
/// There is none.
pub(super) fn negotiate(oldest: ApiVersion, newest: ApiVersion) -> Result<ApiVersion, NoCommonVersion> {
    let chosen = newest.min(NEWEST_KNOWN);
    let common = chosen >= OLDEST_KNOWN && chosen >= oldest;
    if common { Ok(chosen) } else { Err(NoCommonVersion { oldest, newest }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_spoken() {
        let chosen = |oldest: &str, newest: &str| {
            let oldest = oldest.parse().expect("well formed");
            negotiate(oldest, newest.parse().expect("well formed")).map(|version| version.to_string()).ok()
        };
        for (oldest, newest, expect) in [
            ("1.12", "1.41", Some("1.41")),
            ("1.24", "1.47", Some("1.47")),
            ("1.44", "1.99", Some("1.53")),
            ("1.12", "1.40", None),
            ("1.60", "1.70", None),
        ] {
            assert_eq!(chosen(oldest, newest).as_deref(), expect, "{oldest} to {newest}");
        }
    }
}
