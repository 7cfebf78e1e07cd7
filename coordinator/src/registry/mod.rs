//! A client for image registries: which digest does a tag point to, and when was that image built.
//!
//! It speaks the distribution specification over HTTP, with the authentication that registries really use (none, basic, bearer
//! tokens) and credentials from the configuration or Docker's `config.json`. It keeps what others hide: how long a registry
//! asks to be left alone, and which of many things went wrong. No secret is in any error or log.

mod auth;
mod challenge;
mod credentials;
mod http;
mod manifest;
mod signatures;
mod tags;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use nightshift_core::docker_config::Credentials;
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::release::Description;
use nightshift_core::signature::Signature;
use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::secret::sha256_hex;
use http::{Answer, Http};
pub(crate) use signatures::reference_of as signature_reference;

/// Header in which a registry says a manifest's digest.
const DIGEST_HEADER: &str = "docker-content-digest";

/// How to reach registries. The default: as the system trusts, without credentials.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Registries (host and optional port) that are spoken to without TLS. Those on loopback are, too, unless they stand in
    /// `ca_files`.
    pub insecure: BTreeSet<String>,
    /// By registry: PEM file of authorities that are trusted for it and its token server besides the system's.
    pub ca_files: BTreeMap<String, PathBuf>,
    /// Docker's `config.json`, read whenever credentials are needed. It must exist.
    pub docker_config: Option<PathBuf>,
    /// Credentials by registry; they go before those of `docker_config`.
    pub credentials: BTreeMap<String, Credentials>,
}

/// Why the client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of authorities cannot be read.
    #[error("cannot read `{}`", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of authorities holds no certificates.
    #[error("`{}` holds no certificates in PEM", .0.display())]
    NoCertificates(PathBuf),
}

/// Why a registry gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not have what was asked for.
    #[error(
        "`{reference}` is not in the registry\nhint: was it pushed, and does the app name the right repository and tag?"
    )]
    NotFound {
        /// What was asked for.
        reference: String,
    },
    /// It wants other credentials.
    #[error(
        "registry `{registry}` does not let us read `{repository}`\nhint: check the credentials for this registry, and the repository's name"
    )]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What was to be read.
        repository: String,
    },
    /// It was asked too often.
    #[error("registry `{registry}` says that it is asked too often")]
    RateLimited {
        /// The registry.
        registry: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No connection, or no answer in time.
    #[error("registry `{registry}` cannot be reached: {reason}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// It has a problem of its own.
    #[error("registry `{registry}` answers with HTTP status {status}")]
    Failed {
        /// The registry.
        registry: String,
        /// The status.
        status: u16,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Its answer breaks the specification or a limit.
    #[error("registry `{registry}` gives an answer that cannot be used: {problem}")]
    Malformed {
        /// The registry.
        registry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The credentials cannot be read.
    #[error("cannot read the credentials for registry `{registry}`: {problem}")]
    Credentials {
        /// The registry.
        registry: String,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    /// How long the registry wants to be left alone, if it said so.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Failed { retry_after, .. } => *retry_after,
            Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::Unreachable { .. }
            | Self::Malformed { .. }
            | Self::Credentials { .. } => None,
        }
    }

    /// Whether it concerns everything in the registry, not only what was asked for.
    #[must_use]
    pub const fn is_of_registry(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Unreachable { .. } | Self::Failed { .. } | Self::Credentials { .. } => {
                true
            }
            Self::NotFound { .. } | Self::Unauthorized { .. } | Self::Malformed { .. } => false,
        }
    }
}

/// Where the watcher learns of images: a registry, or in its own tests a script.
#[async_trait]
pub trait ImageSource: Send + Sync {
    /// The digest that the tag points to now.
    ///
    /// # Errors
    /// See [`Error`].
    async fn head(&self, image: &ImageRef) -> Result<Digest, Error>;

    /// What the image says of itself.
    ///
    /// # Errors
    /// See [`Error`].
    async fn describe(&self, repository: &Repository, digest: &Digest) -> Result<Description, Error>;

    /// Every tag of a repository.
    ///
    /// # Errors
    /// See [`Error`].
    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Error>;

    /// The signatures of an image, the newest last; none when it has none. They are worth nothing before they are verified.
    ///
    /// # Errors
    /// See [`Error`].
    async fn signatures(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Signature>, Error>;
}

/// The client. One serves all registries.
#[derive(Debug)]
pub struct Registry {
    options: Options,
    http: Http,
    authorizations: auth::Cache,
}

impl Registry {
    /// Sets the client up; reaches nothing yet.
    ///
    /// # Errors
    /// The file of authorities cannot be used.
    pub fn new(options: Options) -> Result<Self, SetupError> {
        let http = Http::new(&options.ca_files)?;
        Ok(Self { options, http, authorizations: auth::Cache::default() })
    }

    /// A manifest by tag or digest, with its bytes.
    async fn manifest(&self, repository: &Repository, reference: &str) -> Result<(HeaderMap, Vec<u8>), Error> {
        let answer = self.ask(repository, Method::GET, &format!("manifests/{reference}")).await?;
        Ok((answer.headers, answer.body))
    }

    /// Content by digest, proven to be it.
    async fn content(&self, repository: &Repository, kind: &str, digest: &Digest) -> Result<Vec<u8>, Error> {
        let Answer { body, .. } = self.ask(repository, Method::GET, &format!("{kind}/{digest}")).await?;
        if sha256_hex(&body) != digest.hex() {
            return Err(malformed(repository, format!("the content of `{digest}` has another digest")));
        }
        Ok(body)
    }
}

#[async_trait]
impl ImageSource for Registry {
    async fn head(&self, image: &ImageRef) -> Result<Digest, Error> {
        let ImageRef { repository, tag } = image;
        match self.ask(repository, Method::HEAD, &format!("manifests/{tag}")).await {
            Ok(answer) => {
                if let Some(digest) = digest_in(&answer.headers) {
                    return Ok(digest);
                }
            }
            // A few registries and proxies do not know HEAD.
            Err(Error::Failed { status: 405 | 501, .. }) => {}
            Err(error) => return Err(error),
        }
        let (_, body) = self.manifest(repository, tag).await?;
        let digest = format!("sha256:{}", sha256_hex(&body));
        digest.parse().map_err(|error| malformed(repository, format!("{error}")))
    }

    async fn describe(&self, repository: &Repository, digest: &Digest) -> Result<Description, Error> {
        let wrong = |problem| malformed(repository, problem);
        let body = self.content(repository, "manifests", digest).await?;
        let (config, platforms) = match manifest::parse(&body).map_err(wrong)? {
            manifest::Manifest::Image { config } => (config, None),
            manifest::Manifest::Index { first: None, .. } => return Ok(Description::default()),
            manifest::Manifest::Index { first: Some(first), platforms } => {
                let body = self.content(repository, "manifests", &first).await?;
                match manifest::parse(&body).map_err(wrong)? {
                    manifest::Manifest::Image { config } => (config, Some(platforms)),
                    // An index in an index is not built by anything that builds images.
                    manifest::Manifest::Index { .. } => return Ok(Description::default()),
                }
            }
        };
        let Some(config) = config else { return Ok(Description::default()) };
        let config = self.content(repository, "blobs", &config).await?;
        let Description { created, platforms: of_one } = manifest::description(&config).map_err(wrong)?;
        Ok(Description { created, platforms: platforms.unwrap_or(of_one) })
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Error> {
        self.read_tags(repository).await
    }

    async fn signatures(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Signature>, Error> {
        self.read_signatures(repository, digest).await
    }
}

fn digest_in(headers: &HeaderMap) -> Option<Digest> {
    headers.get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

fn malformed(repository: &Repository, problem: String) -> Error {
    Error::Malformed { registry: repository.registry().to_owned(), problem }
}
