//! What this agent does not do, whoever asks: a coordinator that was taken over must not be able to run any image.

use std::fmt;
use std::str::FromStr;

use nightshift_core::image::Repository;

/// Longest pattern, in bytes: a repository's own limit and room for stars.
const PATTERN_LIMIT_BYTES: usize = 300;

/// The agent's own limits, from its configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Repositories whose images may be pulled and run; empty: all.
    pub allow_images: Vec<ImagePattern>,
}

impl Limits {
    /// Whether images of a repository may run here.
    #[must_use]
    pub fn allow(&self, repository: &Repository) -> bool {
        self.allow_images.is_empty() || self.allow_images.iter().any(|pattern| pattern.matches(repository))
    }

    /// Why images of a repository are refused.
    pub(super) fn refusal(repository: &Repository) -> String {
        format!(
            "this node does not run images of `{repository}`; hint: see `allow_images` in its agent's configuration"
        )
    }
}

/// A repository in full, in which `*` stands for any text: `registry.example/team/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern(String);

/// Text that is no pattern of repositories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no pattern of repositories: allowed is a repository in full, with `*` for any text, such as \
     `registry.example/team/*` or `docker.io/library/nginx`"
)]
pub struct InvalidImagePattern(String);

impl ImagePattern {
    /// Whether the pattern fits the whole repository.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        let text = repository.to_string();
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for ImagePattern {
    type Err = InvalidImagePattern;
    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "./_-:*".contains(c);
        // Without a registry a pattern would never fit: repositories are compared in full.
        let good = text.contains('/') && text.len() <= PATTERN_LIMIT_BYTES && text.chars().all(legal);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidImagePattern(text.chars().take(100).collect())) }
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_allowed_by_their_whole_repository() {
        for (pattern, repository, expect) in [
            ("r.example/web", "r.example/web", true),
            ("r.example/web", "r.example/web2", false),
            ("r.example/*", "r.example/team/web", true),
            ("r.example/*", "evil.example/r.example/web", false),
            ("docker.io/library/nginx", "nginx", true),
            ("*/web", "127.0.0.1:5000/web", true),
            ("*/web", "127.0.0.1:5000/web/x", false),
        ] {
            let limits = Limits { allow_images: vec![pattern.parse().unwrap()] };
            assert_eq!(limits.allow(&repository.parse().unwrap()), expect, "{pattern} for {repository}");
        }
        assert!(Limits::default().allow(&"nginx".parse().unwrap()));
        for bad in ["", "*", "nginx", "R.example/x", "a b/c", &format!("a/{}", "x".repeat(PATTERN_LIMIT_BYTES))] {
            assert!(bad.parse::<ImagePattern>().is_err(), "{bad:?} was accepted");
        }
    }
}
