//! What agent and coordinator files have in common: logs, secrets, patterns of images.

use std::fmt;
use std::str::FromStr;

use super::Table;
use crate::image::Repository;
use crate::spec::fits;

/// Longest pattern of images, in bytes: a repository's own limit, and some room for the host.
const PATTERN_LIMIT_BYTES: usize = 512;

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The filter in the words of `tracing`: `info`, or `info,nightshift_agent=debug`. The shell that sets up the log judges it.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How lines of a log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for machines.
    Json,
}

/// Reads `[log]`.
#[must_use]
pub fn log(file: &mut Table<'_>) -> LogConfig {
    let log = file.table("log", |log| {
        let default = LogConfig::default();
        let filter = log.optional("filter").unwrap_or(default.filter);
        let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        LogConfig { filter, format: log.one_of("format", &words).unwrap_or(default.format) }
    });
    log.unwrap_or_default()
}

/// Text that no log, error or event may show. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A secret without any text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret is empty")]
pub struct EmptySecret;

impl Secret {
    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = EmptySecret;
    /// White space around it is left out: files end with a newline.
    fn from_str(text: &str) -> Result<Self, EmptySecret> {
        let text = text.trim();
        if text.is_empty() { Err(EmptySecret) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[not shown]")
    }
}

/// A pattern of repositories in which `*` stands for any text: `registry.example/*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern(String);

/// A pattern that no repository could match.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no pattern of images: allowed is a repository without tag and digest, in lower case, with `*` for any text, \
     such as `registry.example/*` or `docker.io/library/nginx`"
)]
pub struct InvalidImagePattern(String);

impl ImagePattern {
    /// Whether the repository fits, by its full name or by the short one that Docker shows.
    #[must_use]
    pub fn matches(&self, repository: &Repository) -> bool {
        fits(&self.0, &repository.to_string()) || fits(&self.0, &repository.familiar())
    }
}

impl FromStr for ImagePattern {
    type Err = InvalidImagePattern;
    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        // What stands for a star here can be part of any host or path.
        let filled = text.replace('*', "x");
        let (host, path) = filled.split_once('/').unwrap_or(("", &filled));
        let port_good = host.is_empty() || format!("{host}/x").parse::<Repository>().is_ok();
        let path_good = path.split('/').all(|part| part.parse::<Repository>().is_ok() && !part.contains(':'));
        let good = text.len() <= PATTERN_LIMIT_BYTES && port_good && path_good;
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidImagePattern(text.chars().take(60).collect())) }
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
    fn patterns_choose_repositories_by_full_or_short_name() {
        for (pattern, repository, expect) in [
            ("registry.example/*", "registry.example/shop/web", true),
            ("registry.example/*", "registry.example.evil.example/web", false),
            ("registry.example/*", "evil.example/registry.example/web", false),
            ("registry.example:5000/*", "registry.example:5000/web", true),
            ("registry.example:5000/*", "registry.example/web", false),
            ("nginx", "docker.io/library/nginx", true),
            ("docker.io/library/nginx", "nginx", true),
            ("acme/*", "docker.io/acme/web", true),
            ("acme/*", "registry.example/acme/web", false),
            ("*", "registry.example/web", true),
            ("*/web", "registry.example/web2", false),
        ] {
            let parsed: ImagePattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(&repository.parse().expect(repository)), expect, "{pattern} on {repository}");
        }
        for bad in ["", "registry.example/", "Web", "web:1", "r.example/web:1", "web@sha256:*", "a b", "https://x/*"] {
            assert!(bad.parse::<ImagePattern>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let secret: Secret = " hunter2\n".parse().expect("not empty");
        assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("hunter2", "[not shown]"));
        assert_eq!(" \n".parse::<Secret>(), Err(EmptySecret));
    }
}
