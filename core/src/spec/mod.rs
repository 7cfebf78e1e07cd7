//! What an operator wants of an app: the validated form of an app file.
//!
//! These types are what the rest of the product works with and what the store keeps. Reading a file into them, with every
//! problem reported at its line, is the business of [`crate::config`].

mod differences;
mod hooks;
mod self_test;
mod update;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::AppName;
use crate::image::{ImageRef, Repository, repository_of};
use crate::labels::{Labels, Selector};
use crate::quiet::QuietHours;
use crate::rebuild::RebuildSpec;
use crate::signature::PublicKey;
use crate::tags::TagPolicy;
pub use differences::spec_differences;
pub use hooks::{DEFAULT_HOOK_TIMEOUT, Hook, HookCall, HookPoint, Hooks, SKIP_EXIT_CODE, SKIP_HTTP_STATUS};
pub use self_test::{
    DEFAULT_TEST_TIMEOUT, InvalidMemory, Memory, SelfTest, TEST_LABEL, TEST_VARIABLE, TestLimits, TestRun,
};
pub use update::{FailureAction, RolloutMode, Supersede, UpdateConfig, UpdateOrder};

/// Label by which a container belongs to an app when the app file says nothing else.
pub const APP_LABEL: &str = "nightshift.app";

/// What is kept fresh, and by which rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSpec {
    /// Unique in the fleet.
    pub name: AppName,
    /// The reference that is followed; where there is a rule for tags, only its repository means something.
    pub image: ImageRef,
    /// By which rule the tag is chosen, where it is not a fixed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<TagPolicy>,
    /// Nodes on which instances are looked for; empty: all.
    pub nodes: Selector,
    /// Which containers on those nodes are instances.
    pub instances: InstanceSelector,
    /// What makes a digest tested.
    pub gate: Gate,
    /// How old what runs may become before someone is told.
    pub freshness: Option<Freshness>,
    /// When installing is allowed; without it never automatically.
    pub quiet_hours: Option<QuietHours>,
    /// How instances are replaced.
    pub update: UpdateConfig,
    /// How a new instance is judged.
    pub health: HealthCheck,
    /// What is called around a replacement.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    /// How a candidate tests itself; there exactly where the gate asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
    /// Apps whose rollouts go first.
    pub after: Vec<AppName>,
    /// How it is built again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<RebuildSpec>,
}

impl AppSpec {
    /// Time that one step may need at worst on the node, rollback and hooks included.
    #[must_use]
    pub fn worst_case(&self, canary: bool) -> Duration {
        self.update.worst_case(canary) + self.hooks.worst_case()
    }
}

/// Which containers on a node are instances of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceSelector {
    /// Containers that carry this label with this value.
    Label {
        /// The label's key.
        key: String,
        /// The label's value.
        value: String,
    },
    /// Containers whose name matches this pattern.
    Name(NamePattern),
    /// Every container created from the app's repository.
    Image,
}

impl InstanceSelector {
    /// Whether a container with this name, these labels and this image reference is chosen.
    #[must_use]
    pub fn matches(&self, name: &str, labels: &Labels, image: &str, repository: &Repository) -> bool {
        match self {
            Self::Label { key, value } => labels.get(key) == Some(value),
            Self::Name(pattern) => pattern.matches(name),
            Self::Image => repository_of(image).as_ref() == Ok(repository),
        }
    }
}

/// A container name in which `*` stands for any text: `web-*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(String);

/// A pattern that no container name could match, or that would match every one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name pattern: allowed are `a-z A-Z 0-9 . _ -` and `*`, not `*` alone, at most 128 characters")]
pub struct InvalidPattern(String);

impl NamePattern {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name fits the pattern.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        fits(&self.0, name)
    }
}

/// Whether the whole text fits the pattern, in which `*` stands for any text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
        let good = text.chars().any(|c| c != '*') && text.len() <= 128 && text.chars().all(legal);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidPattern(text.chars().take(130).collect())) }
    }
}

impl TryFrom<String> for NamePattern {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0
    }
}

/// What must be known of a digest before it may be a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Kinds of report that must be there, each passed and none failed. Empty: the tag itself is trusted.
    pub tests: Vec<TestKind>,
    /// A report older than this no longer counts.
    #[serde(with = "crate::duration::optional_text")]
    pub max_age: Option<Duration>,
    /// How long a digest must have been known before it may be a target.
    #[serde(with = "crate::duration::text")]
    pub cooldown: Duration,
    /// Keys of which one must have signed the digest. There are some just where `tests` asks for a signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signature_keys: Vec<PublicKey>,
}

impl Default for Gate {
    /// One passed report from CI, however old: an untested image never runs because a file said nothing about tests.
    fn default() -> Self {
        Self { tests: vec![TestKind::Ci], max_age: None, cooldown: Duration::ZERO, signature_keys: Vec::new() }
    }
}

/// Where a test report comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestKind {
    /// CI tested the image that it pushed, and says so.
    Ci,
    /// Nightshift launched the candidate and ran its tests.
    SelfTest,
    /// The digest carries a valid signature.
    Signature,
}

impl TestKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Ci, Self::SelfTest, Self::Signature];

    /// The word in files and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::SelfTest => "self-test",
            Self::Signature => "signature",
        }
    }
}

impl fmt::Display for TestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How old what runs may become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Largest age of a running image: [`crate::freshness`] says from when it counts.
    #[serde(with = "crate::duration::text")]
    pub max_age: Duration,
}

/// How a container is judged after it was started. In every case it must stay up, without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthCheck {
    /// The engine's own health check where the container has one, else that it stays up for the monitor period.
    #[default]
    Auto,
    /// The engine's own health check; a container without one is refused before anything is touched.
    Docker,
    /// An HTTP request to the container answers 200 to 399.
    Http {
        /// Port inside the container.
        port: u16,
        /// Path with a leading slash.
        path: String,
    },
    /// A TCP connection to the container is accepted.
    Tcp {
        /// Port inside the container.
        port: u16,
    },
    /// A command inside the container ends with 0.
    Exec {
        /// Program and arguments, no shell.
        command: Vec<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_patterns_match_whole_names() {
        for (pattern, name, expect) in [
            ("web", "web", true),
            ("web", "web-1", false),
            ("web-*", "web-1", true),
            ("web-*", "web-", true),
            ("web-*", "my-web-1", false),
            ("*-web", "my-web", true),
            ("*-web", "my-web-2", false),
            ("a*b*c", "a12b34c", true),
            ("a*b*c", "a12c34b", false),
            ("a*a", "a", false),
            ("a**b", "axb", true),
        ] {
            let parsed: NamePattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(name), expect, "{pattern} against {name}");
        }
        for bad in ["", "*", "**", "a b", "a/b", &"x".repeat(129)] {
            assert!(bad.parse::<NamePattern>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn instances_are_opt_in_by_label_name_or_image() {
        let repository: Repository = "127.0.0.1:5000/web".parse().expect("well formed");
        let labels: Labels = [("nightshift.app".to_owned(), "web".to_owned())].into();
        let by_label = InstanceSelector::Label { key: APP_LABEL.into(), value: "web".into() };
        assert!(by_label.matches("x", &labels, "other", &repository));
        assert!(!by_label.matches("x", &Labels::new(), "127.0.0.1:5000/web:1", &repository));
        assert!(InstanceSelector::Image.matches("x", &Labels::new(), "127.0.0.1:5000/web:1", &repository));
        assert!(!InstanceSelector::Image.matches("x", &labels, "127.0.0.1:5000/web2:1", &repository));
        assert!(!InstanceSelector::Image.matches("x", &labels, "sha256:00", &repository));
    }
}
