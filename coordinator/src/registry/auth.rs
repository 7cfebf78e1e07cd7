//! Requests with the authentication that the registry asks for; what it accepted is used again until its time is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use nightshift_core::docker_config::Credentials;
use nightshift_core::image::{DEFAULT_REGISTRY, Repository};
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::{Challenge, choose};
use super::http::{Answer, Failure};
use super::{Error, Registry, credentials};
use crate::secret::Secret;

/// Where Docker's own registry answers.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// What a token server that does not say means, by the specification.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// Longest use of one token or password without asking again: so that changed credentials are noticed.
const REUSE_LIMIT: Duration = Duration::from_secs(3600);
/// A token is not used in its last seconds: it must still be good when it arrives.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// What each repository's registry accepted last.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<BTreeMap<Repository, Accepted>>);

#[derive(Debug)]
struct Accepted {
    header: Secret,
    until: Instant,
}

impl Cache {
    fn get(&self, repository: &Repository) -> Option<Secret> {
        let accepted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.get(repository).filter(|one| Instant::now() < one.until).map(|one| one.header.clone())
    }

    fn keep(&self, repository: &Repository, header: Secret, lifetime: Duration) {
        let now = Instant::now();
        let mut accepted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Repositories that nobody follows any more leave nothing behind.
        accepted.retain(|_, one| now < one.until);
        accepted.insert(repository.clone(), Accepted { header, until: now + lifetime.min(REUSE_LIMIT) });
    }

    fn forget(&self, repository: &Repository) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(repository);
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Registry {
    /// Asks a repository, with authentication if the registry wants it.
    pub(super) async fn ask(&self, repository: &Repository, method: Method, path: &str) -> Result<Answer, Error> {
        let url = self.url(repository, path)?;
        let known = self.authorizations.get(repository);
        let registry = repository.registry();
        let fail = |failure| failed(registry, failure);
        let mut answer = self.http.get(registry, method.clone(), &url, known.as_ref()).await.map_err(fail)?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.authorizations.forget(repository);
            let challenges = answer.headers.get_all(WWW_AUTHENTICATE).iter();
            let challenge = choose(challenges.filter_map(|value| value.to_str().ok()));
            let Some(challenge) = challenge else { return Err(unauthorized(repository)) };
            let (header, lifetime) = self.authorize(repository, &url, challenge).await?;
            answer = self.http.get(registry, method, &url, Some(&header)).await.map_err(fail)?;
            if answer.status.is_success() {
                self.authorizations.keep(repository, header, lifetime);
            }
        }
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Error::NotFound { reference: reference(repository, path) });
        }
        judge(repository, answer)
    }

    fn url(&self, repository: &Repository, path: &str) -> Result<Url, Error> {
        let registry = repository.registry();
        let options = &self.options;
        let local = is_loopback(registry) && !options.ca_files.contains_key(registry);
        let plain = local || options.insecure.contains(registry);
        let scheme = if plain { "http" } else { "https" };
        let host = if registry == DEFAULT_REGISTRY { DOCKER_HUB_HOST } else { registry };
        let text = format!("{scheme}://{host}/v2/{}/{path}", repository.path());
        Url::parse(&text).map_err(|error| Error::Unreachable { registry: registry.into(), reason: error.to_string() })
    }

    /// The header that answers a challenge, and how long it may be used.
    async fn authorize(
        &self,
        repository: &Repository,
        url: &Url,
        challenge: Challenge,
    ) -> Result<(Secret, Duration), Error> {
        let registry = repository.registry();
        let credentials = credentials::of(&self.options, registry).await;
        let credentials =
            credentials.map_err(|problem| Error::Credentials { registry: registry.to_owned(), problem })?;
        match (challenge, credentials) {
            (Challenge::Basic, Some(Credentials::Login { username, password })) => {
                Ok((basic(&username, &password), REUSE_LIMIT))
            }
            (Challenge::Basic, Some(Credentials::IdentityToken(_)) | None) => Err(unauthorized(repository)),
            (Challenge::Bearer { realm, service }, credentials) => {
                let server = token_server(registry, url, &realm)?;
                self.token(repository, server, service.as_deref(), credentials).await
            }
        }
    }

    async fn token(
        &self,
        repository: &Repository,
        mut server: Url,
        service: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<(Secret, Duration), Error> {
        let registry = repository.registry();
        let scope = format!("repository:{}:pull", repository.path());
        let service = service.map(|service| ("service", service));
        let answer = match credentials {
            Some(Credentials::IdentityToken(token)) => {
                let mut form = vec![("grant_type", "refresh_token"), ("client_id", "nightshift"), ("scope", &scope)];
                form.extend(service);
                form.push(("refresh_token", token.expose()));
                self.http.post(registry, &server, &form).await
            }
            Some(Credentials::Login { username, password }) => {
                server.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
                self.http.get(registry, Method::GET, &server, Some(&basic(&username, &password))).await
            }
            None => {
                server.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
                self.http.get(registry, Method::GET, &server, None).await
            }
        };
        let answer = judge(repository, answer.map_err(|failure| failed(registry, failure))?)?;
        let malformed =
            || Error::Malformed { registry: registry.to_owned(), problem: "its token server gives no token".into() };
        let given: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|_| malformed())?;
        let token = given.token.or(given.access_token).ok_or_else(malformed)?;
        let lifetime = given.expires_in.map_or(TOKEN_LIFETIME, Duration::from_secs);
        Ok((Secret::new(format!("Bearer {token}")), lifetime.saturating_sub(TOKEN_MARGIN)))
    }
}

fn basic(username: &str, password: &Secret) -> Secret {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose()))))
}

/// The token server that a registry names: a registry behind TLS must not send our password through the open.
fn token_server(registry: &str, url: &Url, realm: &str) -> Result<Url, Error> {
    let wrong = |problem: &str| Error::Malformed { registry: registry.to_owned(), problem: problem.to_owned() };
    let server = Url::parse(realm).map_err(|_| wrong("its token server has no address"))?;
    match (url.scheme(), server.scheme()) {
        (_, "https") | ("http", "http") => Ok(server),
        (_, _) => Err(wrong("its token server does not use TLS")),
    }
}

/// What every answer but 404 means, the token server's included.
fn judge(repository: &Repository, answer: Answer) -> Result<Answer, Error> {
    let registry = || repository.registry().to_owned();
    let retry_after = answer.retry_after(Utc::now());
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(unauthorized(repository)),
        StatusCode::TOO_MANY_REQUESTS => Err(Error::RateLimited { registry: registry(), retry_after }),
        status => Err(Error::Failed { registry: registry(), status: status.as_u16(), retry_after }),
    }
}

fn failed(registry: &str, failure: Failure) -> Error {
    let registry = registry.to_owned();
    match failure {
        Failure::Lost(reason) => Error::Unreachable { registry, reason },
        Failure::Unusable(problem) => Error::Malformed { registry, problem },
    }
}

/// What was asked for, as people write it.
fn reference(repository: &Repository, path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let separator = if name.contains(':') { '@' } else { ':' };
    format!("{repository}{separator}{name}")
}

fn unauthorized(repository: &Repository) -> Error {
    Error::Unauthorized { registry: repository.registry().to_owned(), repository: repository.path().to_owned() }
}

/// Whether a registry is on this very machine, where TLS protects from nobody.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_without_tls_by_itself() {
        for (registry, expect) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("[::1]", true),
            ("localhost.example:5000", false),
            ("127.0.0.1.example", false),
            ("10.0.0.1:5000", false),
            ("[fe80::1]:5000", false),
            ("docker.io", false),
        ] {
            assert_eq!(is_loopback(registry), expect, "{registry}");
        }
    }

    #[test]
    fn a_registry_behind_tls_cannot_send_a_password_through_the_open() {
        let tls = Url::parse("https://r.example/v2/").unwrap();
        let plain = Url::parse("http://127.0.0.1:5000/v2/").unwrap();
        for (url, realm, expect) in [
            (&tls, "https://auth.example/token", true),
            (&tls, "http://auth.example/token", false),
            (&plain, "http://127.0.0.1:5001/token", true),
            (&plain, "https://auth.example/token", true),
            (&plain, "file:///etc/passwd", false),
            (&tls, "/token", false),
        ] {
            assert_eq!(token_server("r", url, realm).is_ok(), expect, "{url} {realm}");
        }
    }
}
