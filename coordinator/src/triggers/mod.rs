//! Sends the requests that make CI systems build: what the driver has stored, and nothing else.
//!
//! [`Triggers::run`] takes [`Fire`]s and tells the driver what came of each. What an answer means and when to try again is
//! decided in the core. No redirect is followed, for it could carry a secret elsewhere; no body of an answer is read, for it
//! could hold the secret that was sent.

mod secrets;

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::control;
use nightshift_core::event::Actor;
use nightshift_core::ids::AppName;
use nightshift_core::image::ImageRef;
use nightshift_core::rebuild::RebuildNumber;
use nightshift_core::rebuild::template::{Encoding, Template, Values};
use nightshift_core::rebuild::trigger::{HttpTrigger, Method, TriggerOutcome};
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Url, redirect};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::driver::{Clock, Handle};
pub use secrets::{Error as SecretError, Secrets};

/// Longest request, answer's head included. Hosted systems answer within seconds.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Longest attempt to connect.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Requests that wait at most: more apps than this are not due at once. One that finds no room is asked for again later.
const QUEUE_LIMIT: usize = 1_000;
/// Requests at once: all nights of a fleet begin at the same minute.
const AT_ONCE: usize = 16;

/// A request to send.
#[derive(Debug, Clone)]
pub struct Fire {
    /// For which app.
    pub app: AppName,
    /// What is followed.
    pub image: ImageRef,
    /// Of which rebuild.
    pub number: RebuildNumber,
    /// When that began.
    pub started_at: DateTime<Utc>,
    /// Which request of it.
    pub attempt: u32,
    /// The request.
    pub trigger: HttpTrigger,
}

/// Where the driver puts requests.
pub type Outbox = mpsc::Sender<Fire>;

/// A way for requests from the driver to [`Triggers::run`].
#[must_use]
pub fn queue() -> (Outbox, mpsc::Receiver<Fire>) {
    mpsc::channel(QUEUE_LIMIT)
}

/// Why triggers cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file with authorities cannot be read.
    #[error("certificates for triggers, `{path}`, cannot be used: {reason}")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// What sends them.
#[derive(Debug, Clone)]
pub struct Triggers {
    secrets: Secrets,
    authorities: Vec<Certificate>,
}

impl Triggers {
    /// With these secrets, and these authorities besides the system's.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub fn new(secrets: Secrets, ca_file: Option<&Path>) -> Result<Self, SetupError> {
        let authorities = ca_file.map(authorities).transpose()?.unwrap_or_default();
        Ok(Self { secrets, authorities })
    }

    /// Sends what the driver asks for, until the driver is gone.
    pub async fn run(self, mut fires: mpsc::Receiver<Fire>, handle: Handle, clock: Clock) {
        let mut sending = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = sending.join_next(), if !sending.is_empty() => {}
                fire = fires.recv(), if sending.len() < AT_ONCE => {
                    let Some(fire) = fire else { return };
                    let (triggers, handle, clock) = (self.clone(), handle.clone(), clock.clone());
                    sending.spawn(async move { triggers.fire(fire, &handle, &clock).await });
                }
            }
        }
    }

    async fn fire(&self, fire: Fire, handle: &Handle, clock: &Clock) {
        let outcome = self.send(&fire, clock).await;
        tracing::info!(app = %fire.app, rebuild = %fire.number, attempt = fire.attempt, ?outcome, "trigger sent");
        let Fire { app, number, attempt, .. } = fire;
        let answered = control::Request::TriggerAnswered { app, number, attempt, outcome };
        // Without a driver nobody is there to hear it: it is sent again when there is one.
        drop(handle.request(answered, Actor::nightshift()).await);
    }

    /// Sends one request.
    pub async fn send(&self, fire: &Fire, clock: &Clock) -> TriggerOutcome {
        let request = match self.request(fire) {
            Ok(request) => request,
            Err(reason) => return TriggerOutcome::Refused { reason },
        };
        match request.send().await {
            Ok(response) => {
                let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = retry_after.and_then(|text| pause(text.trim(), clock()));
                TriggerOutcome::Answered { status: response.status().as_u16(), retry_after }
            }
            Err(error) => TriggerOutcome::Lost { reason: reason(error) },
        }
    }

    /// The request with its values; else why it cannot be sent, without anything secret.
    fn request(&self, fire: &Fire) -> Result<reqwest::RequestBuilder, String> {
        let trigger = &fire.trigger;
        let origin = trigger.origin().map_err(|error| error.to_string())?;
        let values = Values { app: &fire.app, image: &fire.image, time: fire.started_at };
        let fill = |template: &Template, encoding: Encoding| {
            let secret = |name: &_| self.secrets.value(name, &origin).map(|secret| secret.expose().to_owned());
            template.fill(&values, encoding, secret).map_err(|error| error.to_string())
        };
        let url = fill(&trigger.url, Encoding::Percent)?;
        let url: Url = url.parse().map_err(|_| "its URL cannot be used".to_owned())?;
        // What was checked is where it goes, whatever stood in a placeholder.
        let goes_to = url.origin().ascii_serialization().parse().ok();
        if goes_to != Some(origin.clone()) {
            return Err("its URL leads elsewhere than it says".to_owned());
        }
        let method = match trigger.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let mut request = self.client(origin.tls)?.request(method, url);
        for (name, value) in &trigger.headers {
            let unusable =
                || format!("its header `{name}` cannot be sent: a value has characters that no header can have");
            let header = HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
            let mut filled = HeaderValue::try_from(fill(value, Encoding::Plain)?).map_err(|_| unusable())?;
            filled.set_sensitive(!value.secrets().is_empty());
            request = request.header(header, filled);
        }
        match &trigger.body {
            Some(body) => Ok(request.body(fill(body, trigger.body_encoding())?)),
            None => Ok(request),
        }
    }

    /// One client for one request: they are rare, and the system's certificates cost memory.
    fn client(&self, tls: bool) -> Result<Client, String> {
        let builder = Client::builder()
            .timeout(REQUEST_DEADLINE)
            .connect_timeout(CONNECT_DEADLINE)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")));
        let builder = if tls {
            builder.tls_certs_merge(self.authorities.iter().cloned())
        } else {
            builder.no_proxy().tls_certs_only([])
        };
        builder.build().map_err(|error| format!("TLS cannot be set up: {}", reason(error)))
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, SetupError> {
    let unusable = |reason: String| SetupError::Authorities { path: path.display().to_string(), reason };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    match Certificate::from_pem_bundle(&text) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(unusable("there is no certificate in it".to_owned())),
    }
}

/// `Retry-After`: seconds, or a date.
fn pause(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some((DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().unwrap_or_default()),
    }
}

/// The last cause of a failure, without the URL: a secret may stand in it.
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

#[cfg(test)]
mod tests;
