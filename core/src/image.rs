//! Image references and digests, as the registries' distribution specification writes them.
//!
//! [`ImageRef`] is what an operator types and an app follows (`registry/path:tag`); [`Digest`] is what a rollout moves to.
//! Docker's own short forms are understood: `nginx` is `docker.io/library/nginx:latest`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Registry that Docker means when a reference names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// Tag that Docker means when a reference names none.
pub const DEFAULT_TAG: &str = "latest";
/// Longest repository path, in bytes: the distribution specification's limit.
const REPOSITORY_LIMIT_BYTES: usize = 255;
/// Longest tag, in bytes: the distribution specification's limit.
const TAG_LIMIT_BYTES: usize = 128;

/// A reference or digest that breaks the specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImage {
    /// Not `sha256:` and 64 lower-case hexadecimal digits.
    #[error("`{0}` is no digest: allowed is `sha256:` and 64 of `0-9 a-f`")]
    Digest(String),
    /// The repository part cannot be used.
    #[error("`{0}` is no image reference: allowed is `[registry/]path[:tag]`, the path in lower case")]
    Reference(String),
    /// The tag part cannot be used.
    #[error("`{0}` is no tag: allowed are 1 to 128 of `A-Z a-z 0-9 . _ -`, not first `.` or `-`")]
    Tag(String),
}

fn excerpt(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The content address of an image manifest or index: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest as text, `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256:` and the first twelve hexadecimal digits: what people read.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..19).unwrap_or(&self.0)
    }

    /// The hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.get(7..).unwrap_or("")
    }
}

impl FromStr for Digest {
    type Err = InvalidImage;
    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let hex = text.strip_prefix("sha256:").unwrap_or("");
        let good = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidImage::Digest(excerpt(text))) }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidImage;
    fn try_from(text: String) -> Result<Self, InvalidImage> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A repository in a registry, in full: `docker.io/library/nginx`, `127.0.0.1:5000/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// Host and optional port of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path inside its registry.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The short form that the engine shows and keeps in its image store: Docker Hub's parts are left out.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return self.to_string();
        }
        self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
    }

    /// The reference that pulls exactly this content: `repository@sha256:…`.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.familiar())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl FromStr for Repository {
    type Err = InvalidImage;
    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        let wrong = || InvalidImage::Reference(excerpt(text));
        // Docker's rule: the first part is a host only if it could not be a path component of Docker Hub.
        let is_host =
            |host: &str| host.contains(['.', ':']) || host == "localhost" || host.chars().any(char::is_uppercase);
        let (registry, path) = match text.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, text.to_owned()),
            None => (DEFAULT_REGISTRY, format!("library/{text}")),
        };
        let registry =
            if matches!(registry, "index.docker.io" | "registry-1.docker.io") { DEFAULT_REGISTRY } else { registry };
        let path = if registry == DEFAULT_REGISTRY && !path.contains('/') { format!("library/{path}") } else { path };
        let host_good = registry.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
            && registry.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        if !host_good || path.len() > REPOSITORY_LIMIT_BYTES || !path.split('/').all(is_path_component) {
            return Err(wrong());
        }
        Ok(Self { registry: registry.to_owned(), path })
    }
}

fn is_path_component(part: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(edge) && part.ends_with(edge) && part.bytes().all(inside)
}

impl TryFrom<String> for Repository {
    type Error = InvalidImage;
    fn try_from(text: String) -> Result<Self, InvalidImage> {
        text.parse()
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> Self {
        repository.to_string()
    }
}

/// What an app follows: a repository and a tag that moves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    /// Where the images are.
    pub repository: Repository,
    /// The tag that is followed; `latest` when none was written.
    pub tag: String,
}

impl ImageRef {
    /// The reference as the engine writes it: `web:stable`, `registry.example/web:stable`.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}:{}", self.repository.familiar(), self.tag)
    }

    /// Tag and digest in one: the form in which a replaced container names its image, so that both are kept.
    #[must_use]
    pub fn at(&self, digest: &Digest) -> String {
        format!("{}@{digest}", self.familiar())
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImage;
    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        if text.contains('@') {
            // A digest never moves: there is nothing to follow.
            return Err(InvalidImage::Reference(excerpt(text)));
        }
        let (repository, tag) = match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            Some(_) | None => (text, DEFAULT_TAG),
        };
        let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let tag_good =
            (1..=TAG_LIMIT_BYTES).contains(&tag.len()) && !tag.starts_with(['.', '-']) && tag.bytes().all(inside);
        if !tag_good {
            return Err(InvalidImage::Tag(excerpt(tag)));
        }
        Ok(Self { repository: repository.parse()?, tag: tag.to_owned() })
    }
}

impl TryFrom<String> for ImageRef {
    type Error = InvalidImage;
    fn try_from(text: String) -> Result<Self, InvalidImage> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.to_string()
    }
}

/// The repository that a container's or image's reference names, whatever tag or digest follows it.
///
/// # Errors
/// The part before tag and digest is no repository, as in a bare image id.
pub fn repository_of(reference: &str) -> Result<Repository, InvalidImage> {
    let name = reference.split('@').next().unwrap_or(reference);
    if name.starts_with("sha256:") {
        return Err(InvalidImage::Reference(excerpt(reference)));
    }
    let name = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        Some(_) | None => name,
    };
    name.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> Result<String, InvalidImage> {
        text.parse::<ImageRef>().map(|image| image.to_string())
    }

    #[test]
    fn references_read_as_docker_reads_them() {
        for (typed, expect, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("acme/web", "docker.io/acme/web:latest", "acme/web:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("127.0.0.1:5000/web", "127.0.0.1:5000/web:latest", "127.0.0.1:5000/web:latest"),
            ("localhost/web:a_b", "localhost/web:a_b", "localhost/web:a_b"),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ] {
            assert_eq!(full(typed), Ok(expect.to_owned()), "{typed}");
            assert_eq!(typed.parse::<ImageRef>().map(|image| image.familiar()), Ok(familiar.to_owned()));
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for bad in
            ["", ":tag", "Web", "a//b", "/a", "a/", "a b", "web:", "web:-x", "web:a b", "web@sha256:00", "http://x/y"]
        {
            assert!(full(bad).is_err(), "{bad:?} was accepted as {:?}", full(bad));
        }
    }

    #[test]
    fn a_digest_is_exact() {
        let good = format!("sha256:{}", "0a".repeat(32));
        let digest: Digest = good.parse().expect("well formed");
        assert_eq!(digest.short(), "sha256:0a0a0a0a0a0a");
        assert_eq!(digest.hex().len(), 64);
        for bad in ["", "sha256:", "sha256:0a", &good.to_uppercase(), &good[7..], &format!("{good}0"), "md5:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_repository_of_any_reference_is_found() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (reference, expect) in [
            ("nginx", "docker.io/library/nginx"),
            ("r.example:5000/a/web:tag", "r.example:5000/a/web"),
            (&format!("r.example:5000/web:tag@{digest}"), "r.example:5000/web"),
            (&format!("r.example:5000/web@{digest}"), "r.example:5000/web"),
        ] {
            assert_eq!(repository_of(reference).map(|r| r.to_string()), Ok(expect.to_owned()));
        }
        assert!(repository_of(&digest).is_err());
    }
}
