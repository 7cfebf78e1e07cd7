//! Names and numbers that identify things: newtypes, so that a node's name is never taken for an app's.
//!
//! A name is checked once, where it enters; everything behind that edge can rely on its form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest accepted name of an app or node, in bytes. It ends up in labels, file names and container names;
/// 63 is the limit of a DNS label, which every one of those accepts.
pub const NAME_LIMIT_BYTES: usize = 63;

/// A name that breaks the rules for names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no {what} name: allowed are 1 to {NAME_LIMIT_BYTES} of `a-z A-Z 0-9 . _ -`, first a letter or digit"
)]
pub struct InvalidName {
    what: &'static str,
    found: String,
}

fn check_name(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = (1..=NAME_LIMIT_BYTES).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(legal);
    if good {
        return Ok(());
    }
    // A hostile name must not fill a log: show its start only.
    let found = text.chars().take(NAME_LIMIT_BYTES).collect();
    Err(InvalidName { what, found })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check_name($what, text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                check_name($what, &text).map(|()| Self(text))
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// The name of an app, unique in the fleet.
    AppName,
    "app"
);
name!(
    /// The name of a node, unique in the fleet; it stands in the node's certificate.
    NodeName,
    "node"
);
name!(
    /// The identity of a rollout: short, sortable by time of birth, unique. The coordinator's shell makes it.
    RolloutId,
    "rollout"
);
name!(
    /// The identity of a job: unique, and sortable by time of birth like a rollout's.
    JobId,
    "job"
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl $type {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Grows at every start of a coordinator; an agent refuses an instruction that carries a smaller one than it has seen.
    Epoch(u64)
);
number!(
    /// Grows with every change of direction of one rollout; an agent refuses a step of a smaller one.
    Generation(u64)
);
number!(
    /// Position of a step in its rollout, from 0, never reused.
    StepIndex(u32)
);
number!(
    /// Version of an app's spec: 1 for the first `apply`, one more for each change.
    SpecVersion(u64)
);

/// An engine's own id of a container: 64 hexadecimal digits on a real engine. Taken as it comes, never made up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first twelve characters: what people read and what the engine uses as a default host name.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        for good in ["web", "a", "node-1.example", "9lives", &"x".repeat(NAME_LIMIT_BYTES)] {
            assert_eq!(good.parse::<AppName>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "-web", ".hidden", "a b", "a/b", "ümlaut", "a\n", &"x".repeat(NAME_LIMIT_BYTES + 1)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?} was accepted");
            let json = serde_json::Value::from(bad);
            assert!(serde_json::from_value::<NodeName>(json).is_err(), "{bad:?} came in by serde");
        }
    }

    #[test]
    fn a_refused_name_says_what_is_allowed_and_stays_short() {
        let error = "x y".repeat(1000).parse::<NodeName>().expect_err("spaces are refused").to_string();
        assert!(error.contains("is no node name: allowed are"), "{error}");
        assert!(error.len() < 250, "{error}");
    }

    #[test]
    fn a_short_id_never_panics() {
        assert_eq!(ContainerId("0123456789abcdef".into()).short(), "0123456789ab");
        assert_eq!(ContainerId("abc".into()).short(), "abc");
    }
}
