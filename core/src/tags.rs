//! Which of a repository's tags an app follows, when its file gives a rule instead of a tag.
//!
//! [`TagPolicy::choose`] is pure: the watcher brings all tags, and the greatest that fits is followed. Nothing goes back by itself:
//! when the followed tag disappears, or a list is incomplete, a smaller one is not taken instead.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use regex::Regex;
use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};

/// Longest pattern, in bytes: tags have at most 128.
const PATTERN_LIMIT_BYTES: usize = 512;
/// Largest memory of a compiled pattern, in bytes: tags are short, and an app file comes from outside.
const COMPILED_LIMIT_BYTES: usize = 256 * 1024;
/// Most digits of a number in a tag: dates with a time have 14, and more would not fit the type.
const NUMBER_LIMIT_DIGITS: usize = 30;

/// The rule by which a tag is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagPolicy {
    /// The greatest version within a range. A tag is a version with or without `v` before it.
    Semver(VersionRange),
    /// The greatest of the tags that fit a pattern.
    Regex {
        /// The pattern.
        pattern: TagPattern,
        /// What makes one greater than another.
        order: TagOrder,
    },
}

/// What makes a tag greater than another: of the pattern's first group if it has one, else of the whole tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagOrder {
    /// As versions.
    Semver,
    /// As whole numbers.
    Numerical,
    /// Letter by letter: for dates such as `2026-11-26`.
    Alphabetical,
}

impl TagOrder {
    /// Every order with its word.
    pub const WORDS: [(&'static str, Self); 3] =
        [("semver", Self::Semver), ("numerical", Self::Numerical), ("alphabetical", Self::Alphabetical)];

    /// The word in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Semver => "semver",
            Self::Numerical => "numerical",
            Self::Alphabetical => "alphabetical",
        }
    }
}

/// A range of versions, such as `^1.4` or `>=1.2, <3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VersionRange(VersionReq);

/// A text that is no range of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no range of versions ({0}), allowed are such as `^1.4`, `~1.4.2`, `>=1.2, <3`, `*`")]
pub struct InvalidRange(String);

impl FromStr for VersionRange {
    type Err = InvalidRange;
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        text.parse().map(Self).map_err(|error| InvalidRange(error.to_string()))
    }
}

impl TryFrom<String> for VersionRange {
    type Error = InvalidRange;
    fn try_from(text: String) -> Result<Self, InvalidRange> {
        text.parse()
    }
}

impl From<VersionRange> for String {
    fn from(range: VersionRange) -> Self {
        range.0.to_string()
    }
}

/// A regular expression that the whole tag must fit.
#[derive(Debug, Clone)]
pub struct TagPattern {
    text: String,
    regex: Regex,
}

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// The expression is wrong, or needs too much memory.
    #[error("no regular expression: {0}")]
    Expression(String),
    /// It is too long.
    #[error("a pattern of {0} bytes, allowed are up to {PATTERN_LIMIT_BYTES}")]
    TooLong(usize),
}

impl FromStr for TagPattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > PATTERN_LIMIT_BYTES {
            return Err(InvalidPattern::TooLong(text.len()));
        }
        let wrong = |error: &regex::Error| {
            // The last line says what is wrong; those before draw the place.
            let whole = error.to_string();
            let line = whole.lines().last().unwrap_or_default();
            InvalidPattern::Expression(line.trim_start_matches("error: ").to_owned())
        };
        // Alone first: what is no expression by itself must not become one between the anchors.
        Regex::new(text).map_err(|error| wrong(&error))?;
        let whole = regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(COMPILED_LIMIT_BYTES).build();
        Ok(Self { text: text.to_owned(), regex: whole.map_err(|error| wrong(&error))? })
    }
}

impl PartialEq for TagPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TagPattern {}

impl Serialize for TagPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TagPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a tag is compared by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'t> {
    Version(Version),
    Number(u128),
    Text(&'t str),
}

impl TagPolicy {
    /// The greatest tag that fits, if it is not smaller than the one that is followed; `None`: nothing new to follow. A followed
    /// tag that no longer fits the rule holds nothing back: then the rule was changed.
    #[must_use]
    pub fn choose<'t>(&self, tags: impl IntoIterator<Item = &'t str>, followed: Option<&str>) -> Option<&'t str> {
        let fitting = tags.into_iter().filter_map(|tag| Some((self.key(tag)?, tag)));
        let (key, tag) = fitting.max_by(|a, b| greater(a, b))?;
        let floor = followed.and_then(|followed| Some((self.key(followed)?, followed)));
        match floor {
            Some((at_least, _)) if key < at_least => None,
            // Two names of one version: the one that is followed stays.
            Some((at_least, _)) if key == at_least => None,
            Some(_) | None => Some(tag),
        }
    }

    /// Whether a tag fits the rule.
    #[must_use]
    pub fn fits(&self, tag: &str) -> bool {
        self.key(tag).is_some()
    }

    fn key<'t>(&self, tag: &'t str) -> Option<Key<'t>> {
        match self {
            Self::Semver(range) => version(tag).filter(|version| range.0.matches(version)).map(Key::Version),
            Self::Regex { pattern, order } => {
                let found = pattern.regex.captures(tag)?;
                let part = found.get(1).or_else(|| found.get(0))?.as_str();
                match order {
                    TagOrder::Semver => version(part).map(Key::Version),
                    TagOrder::Numerical => number(part).map(Key::Number),
                    TagOrder::Alphabetical => Some(Key::Text(part)),
                }
            }
        }
    }
}

/// By key; of equal ones, such as `1.4.0` and `v1.4.0`, always the same.
fn greater(a: &(Key<'_>, &str), b: &(Key<'_>, &str)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| b.1.len().cmp(&a.1.len())).then_with(|| b.1.cmp(a.1))
}

/// A whole version: `1.4` moves and is none.
fn version(tag: &str) -> Option<Version> {
    tag.strip_prefix('v').unwrap_or(tag).parse().ok()
}

fn number(text: &str) -> Option<u128> {
    let digits = text.len() <= NUMBER_LIMIT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

impl fmt::Display for TagPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Semver(range) => write!(f, "semver {}", range.0),
            Self::Regex { pattern, order } => write!(f, "regex {}, the greatest as {}", pattern.text, order.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn semver(range: &str) -> TagPolicy {
        TagPolicy::Semver(range.parse().expect(range))
    }

    fn regex(pattern: &str, order: TagOrder) -> TagPolicy {
        TagPolicy::Regex { pattern: pattern.parse().expect(pattern), order }
    }

    #[test]
    fn the_greatest_tag_that_fits_is_chosen() {
        use TagOrder::{Alphabetical, Numerical, Semver};
        for (policy, tags, expect) in [
            (semver("^1.4"), vec!["1.3.9", "1.4.0", "1.10.0", "1.9.0", "2.0.0"], Some("1.10.0")),
            (semver("^1.4"), vec!["latest", "1.4", "1", "v1.4.2", "1.4.1", "sha256-ab.sig"], Some("v1.4.2")),
            (semver("^1.4"), vec!["2.0.0", "latest"], None),
            (semver("^1.4"), vec![], None),
            // Pre-releases by the rules of versions: only where the range names one of the same version.
            (semver("^1.4"), vec!["1.5.0-rc.1", "1.4.7"], Some("1.4.7")),
            (semver(">=1.5.0-alpha, <2"), vec!["1.5.0-rc.2", "1.5.0-rc.10", "1.4.7"], Some("1.5.0-rc.10")),
            (semver(">=1.5.0-alpha, <2"), vec!["1.5.0-rc.10", "1.5.0"], Some("1.5.0")),
            (semver("*"), vec!["0.1.0", "10.0.0", "9.9.9"], Some("10.0.0")),
            (semver("^1.4"), vec!["v1.4.2", "1.4.2"], Some("1.4.2")),
            (semver("^1.4"), vec!["1.4.2", "v1.4.2"], Some("1.4.2")),
            (
                regex("build-([0-9]+)", Numerical),
                vec!["build-9", "build-10", "build-x", "rebuild-99"],
                Some("build-10"),
            ),
            (regex(r"build-(\d+)", Numerical), vec!["build-9", "build-10"], Some("build-10")),
            (regex("[0-9]+", Numerical), vec!["9", "10", &"9".repeat(31)], Some("10")),
            (regex("2026-.*", Alphabetical), vec!["2026-11-26", "2026-09-30", "2027-01-01"], Some("2026-11-26")),
            (regex("(.*)-alpine", Semver), vec!["1.9.0-alpine", "1.10.0-alpine", "1.11.0"], Some("1.10.0-alpine")),
            (regex("a|ab", Alphabetical), vec!["ab", "abc", "xa"], Some("ab")),
        ] {
            assert_eq!(policy.choose(tags.iter().copied(), None), expect, "{policy} of {tags:?}");
        }
    }

    #[test]
    fn nothing_goes_back_by_itself() {
        for (policy, tags, followed, expect) in [
            (semver("^1.4"), vec!["1.4.0", "1.5.0"], "1.4.0", Some("1.5.0")),
            (semver("^1.4"), vec!["1.4.0"], "1.5.0", None),
            (semver("^1.4"), vec!["1.4.0", "1.5.0"], "1.5.0", None),
            (semver("^1.4"), vec![], "1.5.0", None),
            (semver("^1.4"), vec!["1.5.0", "v1.5.0"], "v1.5.0", None),
            // The rule was changed so that what is followed does not fit any more.
            (semver("~1.4"), vec!["1.4.7", "1.5.0"], "1.5.0", Some("1.4.7")),
            (regex("b-([0-9]+)", TagOrder::Numerical), vec!["b-7"], "b-8", None),
            (regex("b-([0-9]+)", TagOrder::Numerical), vec!["b-7"], "stable", Some("b-7")),
        ] {
            assert_eq!(policy.choose(tags.iter().copied(), Some(followed)), expect, "{policy} of {tags:?}, {followed}");
        }
    }

    #[test]
    fn rules_that_mean_nothing_are_refused() {
        for bad in ["", "one", "^1.4 || ^2", "1.4.x.y"] {
            assert!(bad.parse::<VersionRange>().is_err(), "{bad:?} was accepted");
        }
        for bad in ["(", "a)(b", "[", &"x".repeat(513), "(?:a{1000}){1000}"] {
            assert!(bad.parse::<TagPattern>().is_err(), "{bad:.20} was accepted");
        }
    }

    #[test]
    fn rules_are_stored_as_they_were_written() {
        for policy in [semver(">=1.2, <3"), regex("build-([0-9]+)", TagOrder::Numerical)] {
            let text = serde_json::to_string(&policy).expect("text");
            assert_eq!(serde_json::from_str::<TagPolicy>(&text).expect("the same"), policy, "{text}");
        }
    }
}
