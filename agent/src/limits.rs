//! What this node never does, whoever asks: judged by the agent alone, from its own file.
//!
//! [`Limits::judge`] is the one place. Whoever is about to fetch or run an image that somebody else named asks it first: orders of
//! steps, images that are fetched ahead. A coordinator that was stolen meets the same refusal as one that is mistaken.
//! [`Limits::judge_build`] is the same for builds (`build`), which no node does unless its file allows it.

pub mod build;
pub mod git_url;

use nightshift_core::config::ImagePattern;
use nightshift_core::image::{Digest, Repository};
use nightshift_core::signature::{PublicKey, Signature, Unverified, verify};

pub use build::{AllowedDirectory, AllowedGit, BuildLimits};
use git_url::{GitUrl, InvalidGitUrl};

/// What an agent refuses, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Repositories that may run here; empty: any.
    pub allow_images: Vec<ImagePattern>,
    /// Which of them must be signed. Each entry that fits an image must be satisfied.
    pub signed: Vec<Signed>,
    /// What may be built here; `None`: nothing.
    pub build: Option<BuildLimits>,
}

/// Images that must be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Which.
    pub images: Vec<ImagePattern>,
    /// The keys of which one must have signed.
    pub keys: Vec<PublicKey>,
}

/// Why an image, or what it should be built from, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its repository is not allowed.
    #[error("this node does not run images of `{repository}`; hint: see `allow_images` in its agent's configuration")]
    Repository {
        /// The repository.
        repository: Repository,
    },
    /// It must be signed and is not.
    #[error("this node does not run {digest} of `{repository}`: {reason}; hint: {}", hint(reason), digest = digest.short())]
    Signature {
        /// The repository.
        repository: Repository,
        /// The digest.
        digest: Digest,
        /// What is wrong.
        reason: Unverified,
    },
    /// Nothing is built here.
    #[error("this node builds no images; hint: see `limits.build` in its agent's configuration")]
    NoBuilds,
    /// It may run here, but not be built.
    #[error(
        "this node does not build images of `{repository}`; hint: see `limits.build.images` in its agent's configuration"
    )]
    BuildRepository {
        /// The repository.
        repository: Repository,
    },
    /// A directory must not be a context.
    #[error(
        "`{directory}` is no context for builds on this node: {reason}; hint: see `limits.build.directories` in its agent's \
         configuration"
    )]
    Directory {
        /// Its path, or the part of it that is shown.
        directory: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A git repository must not be used.
    #[error("builds on this node take nothing from `{url}`; hint: see `limits.build.git` in its agent's configuration")]
    Git {
        /// Its address.
        url: GitUrl,
    },
    /// The address of a git repository cannot be judged.
    #[error(
        "builds on this node cannot use the git repository: {reason}; hint: see `limits.build.git` in its agent's configuration"
    )]
    GitUrl {
        /// What is wrong with it.
        reason: InvalidGitUrl,
    },
    /// The name of a branch could be read as something else.
    #[error("`{branch}` is no name of a git branch")]
    Branch {
        /// The name, or the part of it that is shown.
        branch: String,
    },
}

/// What to do about it. A coordinator passes on only what it was told to look for.
fn hint(reason: &Unverified) -> &'static str {
    match reason {
        Unverified::NotSigned => {
            "sign it, and let the app's `gate.tests` ask for a `signature`, so that it is passed on to the node"
        }
        Unverified::UnknownKey | Unverified::Malformed { .. } | Unverified::OtherDigest { .. } => {
            "see `limits.signed` in its agent's configuration for the keys that it trusts"
        }
    }
}

impl Limits {
    /// Whether containers of this repository may be touched and made here.
    #[must_use]
    pub fn allow(&self, repository: &Repository) -> bool {
        self.allow_images.is_empty() || fits(&self.allow_images, repository)
    }

    /// Whether this digest may be fetched and run here, with these signatures.
    ///
    /// # Errors
    /// It may not.
    pub fn judge(&self, repository: &Repository, digest: &Digest, signatures: &[Signature]) -> Result<(), Refusal> {
        if !self.allow(repository) {
            return Err(Refusal::Repository { repository: repository.clone() });
        }
        for rule in self.signed.iter().filter(|rule| fits(&rule.images, repository)) {
            if let Err(reason) = verify(digest, &rule.keys, signatures) {
                let (repository, digest) = (repository.clone(), digest.clone());
                return Err(Refusal::Signature { repository, digest, reason });
            }
        }
        Ok(())
    }
}

fn fits(patterns: &[ImagePattern], repository: &Repository) -> bool {
    patterns.iter().any(|pattern| pattern.matches(repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../core/src/signature/samples/", $name))
        };
    }

    fn rule(images: &str, keys: &[&str]) -> Signed {
        let keys = keys.iter().map(|pem| pem.parse().expect("a key")).collect();
        Signed { images: vec![images.parse().expect("a pattern")], keys }
    }

    fn signed(signature: &str) -> Signature {
        Signature { payload: sample!("payload.json").into(), signature: signature.into() }
    }

    #[test]
    fn every_rule_that_fits_must_be_satisfied() {
        let digest: Digest =
            "sha256:97e9d7a16021e6d07fbe28cce398f5847fc00c574991fbff65d95fd5e032d389".parse().expect("one");
        let (p256, p384) = (sample!("p256.pub"), sample!("p384.pub"));
        let (by_p256, by_p384) = (signed(sample!("p256.sig")), signed(sample!("p384.sig")));
        let both = || vec![by_p256.clone(), by_p384.clone()];
        for (rules, repository, signatures, expect) in [
            (vec![], "r.example/web", vec![], None),
            (vec![rule("r.example/*", &[p256])], "other.example/web", vec![], None),
            (vec![rule("r.example/*", &[p256])], "r.example/web", vec![], Some(Unverified::NotSigned)),
            (vec![rule("r.example/*", &[p256])], "r.example/web", vec![by_p384.clone()], Some(Unverified::UnknownKey)),
            (vec![rule("r.example/*", &[p256])], "r.example/web", both(), None),
            (vec![rule("r.example/*", &[p256, p384])], "r.example/web", vec![by_p384.clone()], None),
            (vec![rule("*", &[p256]), rule("r.example/*", &[p384])], "r.example/web", both(), None),
            (
                vec![rule("*", &[p256]), rule("r.example/*", &[p384])],
                "r.example/web",
                vec![by_p256.clone()],
                Some(Unverified::UnknownKey),
            ),
            (vec![rule("*", &[])], "r.example/web", both(), Some(Unverified::UnknownKey)),
        ] {
            let limits = Limits { signed: rules, ..Limits::default() };
            let repository: Repository = repository.parse().expect("a repository");
            let verdict = limits.judge(&repository, &digest, &signatures);
            let expect = expect.map(|reason| {
                let (repository, digest) = (repository.clone(), digest.clone());
                Refusal::Signature { repository, digest, reason }
            });
            assert_eq!(verdict.err(), expect, "{limits:?} {repository}");
        }
    }

    #[test]
    fn a_refusal_says_what_and_why_and_what_to_do() {
        let limits = Limits { signed: vec![rule("*", &[sample!("p256.pub")])], ..Limits::default() };
        let digest: Digest = format!("sha256:{}", "ab".repeat(32)).parse().expect("a digest");
        let refusal = limits.judge(&"r.example/web".parse().expect("one"), &digest, &[]).expect_err("refused");
        assert_eq!(
            refusal.to_string(),
            "this node does not run sha256:abababababab of `r.example/web`: not signed; hint: sign it, and let the app's \
             `gate.tests` ask for a `signature`, so that it is passed on to the node"
        );
    }
}
