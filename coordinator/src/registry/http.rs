//! HTTP with limits: a deadline, a largest body, a few redirects, and no secret for a server that it is not meant for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, Method, StatusCode, Url, redirect};

use super::SetupError;
use crate::secret::Secret;

/// Longest request, body included: what is read is small, and the next check comes soon.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Longest attempt to connect, so that a dead address leaves time for a second one.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Largest body: the specification lets registries refuse manifests beyond it.
const BODY_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Most redirects of one request: a content network needs one or two.
const REDIRECT_LIMIT: usize = 5;
/// Longest time that a registry can ask us to stay away, so that a mistake of its cannot stop the watching.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(3600);
/// Every kind of manifest that is understood, so that the digest is that of the index, not of one platform in it.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

/// What a server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// How long the server wants to be left alone: seconds, or a date.
    pub(super) fn retry_after(&self, now: DateTime<Utc>) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let asked = match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().unwrap_or_default(),
        };
        Some(asked.min(RETRY_AFTER_LIMIT))
    }
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection, or none that lasted.
    Lost(String),
    /// An answer that breaks a limit.
    Unusable(String),
}

/// A client without TLS and proxies for what is insecure, one with them for the rest, and one for each registry with
/// authorities of its own.
#[derive(Debug)]
pub(super) struct Http {
    plain: Client,
    system: Secure,
    own: BTreeMap<String, Secure>,
}

/// A client that is made when it is first needed: it loads the system's certificates, which cost memory, and which a small
/// image may not have.
#[derive(Debug, Default)]
struct Secure {
    client: OnceLock<Result<Client, String>>,
    authorities: Vec<Certificate>,
}

impl Secure {
    fn client(&self) -> Result<&Client, Failure> {
        let made = self.client.get_or_init(|| {
            let client = builder().tls_certs_merge(self.authorities.iter().cloned()).build();
            client.map_err(reason)
        });
        made.as_ref().map_err(|problem| Failure::Lost(format!("TLS cannot be set up: {problem}")))
    }
}

impl Http {
    pub(super) fn new(ca_files: &BTreeMap<String, PathBuf>) -> Result<Self, SetupError> {
        let own = ca_files.iter().map(|(registry, path)| {
            let authorities = read_authorities(path)?;
            Ok((registry.clone(), Secure { authorities, ..Secure::default() }))
        });
        let plain = builder().no_proxy().tls_certs_only([]).build();
        let plain = plain.expect("a client without certificates and proxies has nothing that could be missing");
        Ok(Self { plain, system: Secure::default(), own: own.collect::<Result<_, _>>()? })
    }

    fn client(&self, registry: &str, url: &Url) -> Result<&Client, Failure> {
        if url.scheme() == "http" { Ok(&self.plain) } else { self.own.get(registry).unwrap_or(&self.system).client() }
    }

    /// One request in a registry's name, redirects followed. The authorization goes to the first server only.
    pub(super) async fn get(
        &self,
        registry: &str,
        method: Method,
        url: &Url,
        authorization: Option<&Secret>,
    ) -> Result<Answer, Failure> {
        let mut target = url.clone();
        for _ in 0..=REDIRECT_LIMIT {
            let client = self.client(registry, &target)?;
            let mut request = client.request(method.clone(), target.clone()).header(ACCEPT, ACCEPTED);
            if let Some(secret) = authorization.filter(|_| target.origin() == url.origin()) {
                request = request.header(AUTHORIZATION, header(secret)?);
            }
            let answer = answer(request).await?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            target = redirected(&target, &answer)?;
        }
        Err(Failure::Unusable(format!("more than {REDIRECT_LIMIT} redirects")))
    }

    /// A form for a token server; never redirected, since it holds a secret.
    pub(super) async fn post(&self, registry: &str, url: &Url, form: &[(&str, &str)]) -> Result<Answer, Failure> {
        let request =
            self.client(registry, url)?.post(url.clone()).header("content-type", "application/x-www-form-urlencoded");
        answer(request.body(encoded(form))).await
    }
}

/// `key=value&…`, encoded as forms are.
fn encoded(form: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://localhost/").expect("a constant that is an address");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

fn builder() -> ClientBuilder {
    Client::builder()
        .timeout(REQUEST_DEADLINE)
        .connect_timeout(CONNECT_DEADLINE)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")))
}

fn read_authorities(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let text = std::fs::read(path).map_err(|source| SetupError::CaFile { path: path.to_owned(), source })?;
    match Certificate::from_pem_bundle(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(SetupError::NoCertificates(path.to_owned())),
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let lost = |error| Failure::Lost(reason(error));
    let mut response = request.send().await.map_err(lost)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(lost)? {
        if body.len() + part.len() > BODY_LIMIT_BYTES {
            return Err(Failure::Unusable(format!("more than {BODY_LIMIT_BYTES} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer { status, headers, body })
}

fn redirected(from: &Url, answer: &Answer) -> Result<Url, Failure> {
    let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = location.and_then(|location| from.join(location).ok());
    let target = target.ok_or_else(|| Failure::Unusable("a redirect to nowhere".into()))?;
    match (from.scheme(), target.scheme()) {
        ("https", "https") | ("http", "http" | "https") => Ok(target),
        (_, scheme) => Err(Failure::Unusable(format!("a redirect from TLS to `{scheme}`"))),
    }
}

fn header(secret: &Secret) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_str(secret.expose());
    let mut value = value.map_err(|_| Failure::Unusable("a token that no header can hold".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The last cause of a failure: what a person can act on. Without the address, which stands beside it anyway.
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
