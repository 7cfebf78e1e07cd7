//! The HTTP request that makes a CI system build, and what its answer means.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Host;
use crate::rebuild::template::{Encoding, SecretName, Template};

/// First pause before a trigger is tried again; it doubles up to [`PAUSE_LIMIT`].
const PAUSE_FIRST: Duration = Duration::from_secs(10);
/// Longest pause: a CI system that is back is asked within this time.
const PAUSE_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Longest wait that an answer can ask for: one that names more means another day.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// Longest URL: what servers and proxies take in a request line at least.
const URL_LIMIT_BYTES: usize = 2_048;

/// A method that can start something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET`: some systems start builds by it.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
}

impl Method {
    /// The word in files and requests.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// Where a request goes: scheme, host and port. A secret is bound to some of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Whether by TLS.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// What is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no host of a CI system: allowed are `host`, `host:port` (both mean HTTPS) and `http://host:port` where there is no TLS"
)]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let (tls, authority) = match text.split_once("://") {
            None => (true, text),
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(InvalidOrigin),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                (host, port.parse().ok().filter(|port| *port > 0 && digits).ok_or(InvalidOrigin)?)
            }
            Some(_) | None => (authority, if tls { 443 } else { 80 }),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bracketed.unwrap_or(host).parse().map_err(|_| InvalidOrigin)?;
        let is_v6 = matches!(host, Host::Address(std::net::IpAddr::V6(_)));
        if is_v6 == bracketed.is_some() { Ok(Self { tls, host, port }) } else { Err(InvalidOrigin) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match self.host {
            Host::Address(std::net::IpAddr::V6(_)) => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            Host::Address(std::net::IpAddr::V4(_)) | Host::Name(_) => {
                write!(f, "{scheme}://{}:{}", self.host, self.port)
            }
        }
    }
}

/// What cannot be the URL of a trigger. What was found may hold credentials and is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No `http` or `https` URL of a host.
    #[error("no URL of a trigger: allowed is `https://host/path`, with placeholders behind the host alone")]
    Form,
    /// Credentials before the host.
    #[error(
        "a URL with credentials in it is refused, for everybody who may see the app would see them: use `{{secret:NAME}}`"
    )]
    Credentials,
    /// Longer than servers take.
    #[error("longer than {URL_LIMIT_BYTES} bytes")]
    Long,
}

/// The origin of a URL template. Scheme, host and port are fixed, so that nobody has to guess where a secret goes.
///
/// # Errors
/// It is no URL of a trigger.
pub fn origin_of(url: &str) -> Result<Origin, InvalidUrl> {
    if url.len() > URL_LIMIT_BYTES {
        return Err(InvalidUrl::Long);
    }
    let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl::Form)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(InvalidUrl::Credentials);
    }
    let graphic = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['#', '\\']);
    let origin = format!("{scheme}://{authority}").parse().map_err(|_| InvalidUrl::Form)?;
    if graphic { Ok(origin) } else { Err(InvalidUrl::Form) }
}

/// The request that starts a build. It is stored and shown, so it holds names of secrets alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTrigger {
    /// The method.
    pub method: Method,
    /// The URL; placeholders stand behind the host.
    pub url: Template,
    /// Headers, by name in lower case.
    pub headers: BTreeMap<String, Template>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Template>,
}

impl HttpTrigger {
    /// Where it goes.
    ///
    /// # Errors
    /// Its URL is none: it was not read from a file.
    pub fn origin(&self) -> Result<Origin, InvalidUrl> {
        origin_of(self.url.as_str())
    }

    /// Names of all secrets in it.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretName> {
        let all = std::iter::once(&self.url).chain(self.headers.values()).chain(&self.body);
        let names: std::collections::BTreeSet<_> = all.flat_map(Template::secrets).collect();
        names.into_iter().collect()
    }

    /// How values are written in its body, by what it says of it.
    #[must_use]
    pub fn body_encoding(&self) -> Encoding {
        match self.headers.get("content-type").map(Template::as_str) {
            Some(kind) if kind.contains("json") => Encoding::Json,
            Some(kind) if kind.contains("form-urlencoded") => Encoding::Percent,
            Some(_) | None => Encoding::Plain,
        }
    }
}

impl fmt::Display for HttpTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_str(), self.url.as_str())
    }
}

/// What came of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriggerOutcome {
    /// The server answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// How long it wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// No answer came.
    Lost {
        /// Why, without anything secret.
        reason: String,
    },
    /// It was not sent, and would not be the next time.
    Refused {
        /// Why, without anything secret.
        reason: String,
    },
}

/// What an outcome means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A build has been started.
    Accepted,
    /// It is worth to try again, not sooner than after this long.
    Again {
        /// What happened.
        reason: String,
        /// The pause.
        pause: Duration,
    },
    /// The same request would fail again.
    Hopeless {
        /// What happened, and what to do.
        reason: String,
    },
}

impl TriggerOutcome {
    /// What it means after so many failures in a row.
    #[must_use]
    pub fn judge(&self, failures: u32) -> Verdict {
        let backoff = PAUSE_FIRST.saturating_mul(1 << failures.min(10)).min(PAUSE_LIMIT);
        match self {
            Self::Lost { reason } => Verdict::Again { reason: reason.clone(), pause: backoff },
            Self::Refused { reason } => Verdict::Hopeless { reason: reason.clone() },
            Self::Answered { status: 200..=299, .. } => Verdict::Accepted,
            Self::Answered { status, retry_after } => {
                let reason = format!("the answer is {status}{}", meaning(*status));
                // GitHub limits rates by 403, too; it says then when to come back.
                let limited = *status == 403 && retry_after.is_some();
                if limited || matches!(status, 408 | 425 | 429 | 500..=599) {
                    let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_LIMIT);
                    Verdict::Again { reason, pause: backoff.max(asked) }
                } else {
                    Verdict::Hopeless { reason }
                }
            }
        }
    }
}

/// What an operator should look at.
const fn meaning(status: u16) -> &'static str {
    match status {
        300..=399 => ", a redirect, which is not followed: give the URL that it leads to",
        401 => ": the token is not accepted",
        403 => ": the token may not start builds there",
        404 => ": there is no such repository, branch or workflow, or the token may not see it",
        422 => ": the request is not accepted; does the workflow have `workflow_dispatch`, and the branch exist?",
        429 => ": too many requests",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, retry_after: Option<u64>) -> TriggerOutcome {
        TriggerOutcome::Answered { status, retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_stays_wrong_is_not() {
        for (outcome, failures, pause) in [
            (answered(500, None), 0, Some(10)),
            (answered(503, None), 1, Some(20)),
            (answered(503, Some(120)), 1, Some(120)),
            (answered(503, Some(5)), 1, Some(20)),
            (answered(429, Some(u64::MAX)), 0, Some(86_400)),
            (answered(429, None), 30, Some(600)),
            (answered(403, Some(60)), 0, Some(60)),
            (answered(408, None), 0, Some(10)),
            (TriggerOutcome::Lost { reason: "connection refused".into() }, 2, Some(40)),
            (answered(301, None), 0, None),
            (answered(400, None), 0, None),
            (answered(401, None), 0, None),
            (answered(403, None), 0, None),
            (answered(404, Some(60)), 0, None),
            (answered(422, None), 0, None),
            (TriggerOutcome::Refused { reason: "no such secret".into() }, 0, None),
        ] {
            let found = match outcome.judge(failures) {
                Verdict::Again { pause, .. } => Some(pause.as_secs()),
                Verdict::Hopeless { reason } => {
                    assert!(!reason.is_empty());
                    None
                }
                Verdict::Accepted => panic!("{outcome:?} was accepted"),
            };
            assert_eq!(found, pause, "{outcome:?} after {failures}");
        }
        for status in [200, 201, 202, 204] {
            assert_eq!(answered(status, None).judge(0), Verdict::Accepted);
        }
    }

    #[test]
    fn a_trigger_goes_to_one_host_that_nothing_can_change() {
        for (url, expect) in [
            ("https://api.github.com/repos/a/b", Ok("https://api.github.com:443")),
            ("HTTPS://api.github.com", Err(InvalidUrl::Form)),
            ("https://GitLab.example:8443?x={app}", Ok("https://gitlab.example:8443")),
            ("http://127.0.0.1:8080/{secret:x}", Ok("http://127.0.0.1:8080")),
            ("https://[::1]:9/x", Ok("https://[::1]:9")),
            ("https://{app}.example/x", Err(InvalidUrl::Form)),
            ("https://a.example:{app}/x", Err(InvalidUrl::Form)),
            ("https://a.example\\@b.example/", Err(InvalidUrl::Credentials)),
            ("https://a.example\\b.example/", Err(InvalidUrl::Form)),
            ("https://user:hunter2@a.example/", Err(InvalidUrl::Credentials)),
            ("https://a.example/#x", Err(InvalidUrl::Form)),
            ("https://a.example/a b", Err(InvalidUrl::Form)),
            ("ftp://a.example/", Err(InvalidUrl::Form)),
            ("a.example/x", Err(InvalidUrl::Form)),
            ("https:///x", Err(InvalidUrl::Form)),
        ] {
            let found = origin_of(url).map(|origin| origin.to_string());
            assert_eq!(found, expect.map(str::to_owned), "{url}");
        }
        assert_eq!(origin_of(&format!("https://a.example/{}", "x".repeat(URL_LIMIT_BYTES))), Err(InvalidUrl::Long));
    }

    #[test]
    fn a_host_means_tls_unless_it_says_otherwise() {
        for (text, expect) in [
            ("api.github.com", Some("https://api.github.com:443")),
            ("ci.example:8443", Some("https://ci.example:8443")),
            ("http://ci.example", Some("http://ci.example:80")),
            ("https://ci.example/x", None),
            ("*.example", None),
            ("", None),
            ("ci.example:0", None),
            ("::1", None),
        ] {
            assert_eq!(text.parse::<Origin>().ok().map(|origin| origin.to_string()).as_deref(), expect, "{text}");
        }
    }
}
