//! Plain HTTP calls to an engine's socket, with JSON in and out exactly as it is.
//!
//! One connection per call: an agent makes few calls, and no stale connection can be met after the engine restarted.
//! Statuses become [`Error`]s here. Streams are not read here: builds and pushes in [`super::docker_stream`], the others (pull,
//! logs, exec, events) in [`super::docker`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use nightshift_core::recreate::ApiVersion;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::{Error, Result, deadline};

/// Longest answer that is read. The list of thousands of containers with many labels has some megabytes.
const REPLY_LIMIT_BYTES: usize = 32 << 20;
/// Longest message of the engine that is kept in an error.
const MESSAGE_LIMIT_CHARS: usize = 2_000;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A socket file.
    Unix(PathBuf),
    /// A host and port, without TLS: for a socket proxy on the same host.
    Tcp(String),
}

impl Address {
    /// Reads an engine URL: `unix:///path`, a bare path, or `tcp://host:port`.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let invalid = || Error::InvalidUrl { url: url.chars().take(200).collect() };
        let path = url.strip_prefix("unix://").unwrap_or(url);
        if path.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let authority = url.strip_prefix("tcp://").ok_or_else(invalid)?.trim_end_matches('/');
        let parsed: http::uri::Authority = authority.parse().map_err(|_| invalid())?;
        let complete = parsed.port_u16().is_some() && !authority.contains('@');
        if complete { Ok(Self::Tcp(authority.to_owned())) } else { Err(invalid()) }
    }

    /// The URL in its full form.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Tcp(authority) => format!("tcp://{authority}"),
        }
    }
}

/// The version of the API that is sent with each request. It changes when the engine is upgraded under us.
#[derive(Debug, Clone)]
pub(super) struct SharedVersion(Arc<AtomicU32>);

impl SharedVersion {
    pub(super) fn new(version: ApiVersion) -> Self {
        let shared = Self(Arc::default());
        shared.set(version);
        shared
    }

    pub(super) fn set(&self, version: ApiVersion) {
        self.0.store(u32::from(version.major) << 16 | u32::from(version.minor), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> ApiVersion {
        let packed = self.0.load(Ordering::Relaxed).to_be_bytes();
        ApiVersion {
            major: u16::from_be_bytes([packed[0], packed[1]]),
            minor: u16::from_be_bytes([packed[2], packed[3]]),
        }
    }
}

/// One call.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// What it is called in errors: the endpoint, without the arguments.
    name: &'static str,
    method: Method,
    target: String,
    body: Option<&'a Value>,
    deadline: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn get(name: &'static str, target: impl Into<String>) -> Self {
        Self { name, method: Method::GET, target: target.into(), body: None, deadline: deadline::READ }
    }

    pub(super) fn post(name: &'static str, target: impl Into<String>) -> Self {
        Self { name, method: Method::POST, target: target.into(), body: None, deadline: deadline::CHANGE }
    }

    pub(super) fn delete(name: &'static str, target: impl Into<String>) -> Self {
        Self { name, method: Method::DELETE, target: target.into(), body: None, deadline: deadline::REMOVE }
    }

    pub(super) fn body(self, body: &'a Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(super) fn within(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
}

/// Makes calls to one engine.
#[derive(Debug, Clone)]
pub(super) struct RawClient {
    address: Address,
}

impl RawClient {
    pub(super) fn new(address: Address) -> Self {
        Self { address }
    }

    pub(super) fn url(&self) -> String {
        self.address.url()
    }

    /// Does a call in the given version of the API (none: the engine's newest) and returns the body of a good answer.
    /// "Not modified" is a good answer: what was asked for is so already.
    pub(super) async fn call(&self, version: Option<ApiVersion>, call: Call<'_>) -> Result<Bytes> {
        let (name, after) = (call.name, call.deadline);
        let (status, body) = tokio::time::timeout(after, self.exchange(version, call))
            .await
            .map_err(|_| Error::Timeout { call: name, after })??;
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(body);
        }
        Err(refusal(name, status.as_u16(), &message_of(&body)))
    }

    /// Does a call and reads the answer as JSON.
    pub(super) async fn json(&self, version: Option<ApiVersion>, call: Call<'_>) -> Result<Value> {
        let name = call.name;
        let body = self.call(version, call).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Malformed { call: name, reason: error.to_string() })
    }

    async fn exchange(&self, version: Option<ApiVersion>, call: Call<'_>) -> Result<(StatusCode, Bytes)> {
        let target = version.map_or_else(|| call.target.clone(), |version| format!("/v{version}{}", call.target));
        let (content_type, body) = match call.body {
            Some(body) => ("application/json", Bytes::from(body.to_string())),
            None => ("text/plain", Bytes::new()),
        };
        let request = Request::builder()
            .method(call.method)
            .uri(target)
            .header(header::HOST, "engine")
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body))
            .map_err(|error| Error::Malformed { call: call.name, reason: error.to_string() })?;
        let name = call.name;
        let Opened { response, connection } = self.open(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REPLY_LIMIT_BYTES).collect().await;
        drop(connection);
        match body {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) => Err(Error::Malformed { call: name, reason: error.to_string() }),
        }
    }

    /// Sends a request on a connection of its own, and waits for the head of the answer. Without a deadline.
    pub(super) async fn open<B>(&self, request: Request<B>) -> Result<Opened>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match &self.address {
            Address::Unix(path) => {
                let stream = self.connected(UnixStream::connect(path)).await?;
                self.send(request, TokioIo::new(stream)).await
            }
            Address::Tcp(authority) => {
                let stream = self.connected(TcpStream::connect(authority)).await?;
                self.send(request, TokioIo::new(stream)).await
            }
        }
    }

    async fn connected<S>(&self, connect: impl Future<Output = io::Result<S>>) -> Result<S> {
        match tokio::time::timeout(deadline::CONNECT, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&io::ErrorKind::TimedOut.into())),
        }
    }

    async fn send<S, B>(&self, request: Request<B>, stream: S) -> Result<Opened>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(stream).await.map_err(|error| self.broken(&error, false))?;
        // Ends with the exchange: whoever reads the answer holds it, and it goes with this future when the deadline has passed.
        let connection = AbortOnDrop(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error, true))?;
        Ok(Opened { response, connection })
    }

    pub(super) fn broken(&self, error: &hyper::Error, sent: bool) -> Error {
        let reason = error.to_string();
        Error::Unreachable { url: self.url(), reason, hint: "check whether the engine restarted or stopped", sent }
    }

    /// The error of a connection that could not be opened.
    fn unreachable(&self, error: &io::Error) -> Error {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel has many more errors than there are hints for")]
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the path, and that Docker is installed and started",
            io::ErrorKind::PermissionDenied => "run as root or as a member of the socket's group (`docker`)",
            io::ErrorKind::ConnectionRefused => "the socket is there but nobody listens: start the engine",
            io::ErrorKind::TimedOut => "the engine does not accept connections: look at its log",
            _ => "check that the engine runs and that the URL is right",
        };
        Error::Unreachable { url: self.url(), reason: error.to_string(), hint, sent: false }
    }
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) response: Response<Incoming>,
    /// The connection lives as long as this.
    pub(super) connection: AbortOnDrop,
}

/// A connection that is closed when nobody wants it any more.
#[derive(Debug)]
pub(super) struct AbortOnDrop(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error that stands for a status which is no success.
pub(super) fn refusal(call: &'static str, status: u16, message: &str) -> Error {
    let message = message.trim().chars().take(MESSAGE_LIMIT_CHARS).collect();
    match status {
        404 => Error::NotFound { message },
        409 => Error::Conflict { message },
        _ => Error::Refused { call, status, message },
    }
}

/// The engine answers `{"message": "…"}`; a proxy in between may answer anything.
pub(super) fn message_of(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| json.get("message")).and_then(Value::as_str);
    message.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// An argument as part of a request's path or query: nothing in it can end the part or begin another one.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The name or id of a container as part of a path.
///
/// A name has no `/` inside and is never only dots; the leading `/` of inspect's answer is taken off.
pub(super) fn container_part(container: &str) -> Result<String> {
    let name = container.strip_prefix('/').unwrap_or(container);
    part(name, "container name or id", false)
}

/// An image reference as part of a path: its slashes stay, as the engine wants them.
pub(super) fn image_part(reference: &str) -> Result<String> {
    part(reference, "image reference", true)
}

fn part(text: &str, expected: &'static str, slashes: bool) -> Result<String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@[]".contains(&b) || (slashes && b == b'/');
    let good = !text.is_empty()
        && text.bytes().all(legal)
        && text.split('/').all(|piece| !piece.is_empty() && piece.bytes().any(|b| b != b'.'));
    if !good {
        return Err(Error::InvalidArgument { expected, found: text.chars().take(100).collect() });
    }
    Ok(text.split('/').map(encoded).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_urls_are_read() {
        let unix = |path: &str| Ok(Address::Unix(PathBuf::from(path)));
        for (url, expect) in [
            ("unix:///run/docker.sock", unix("/run/docker.sock")),
            ("/run/docker.sock", unix("/run/docker.sock")),
            ("tcp://127.0.0.1:2375", Ok(Address::Tcp("127.0.0.1:2375".into()))),
            ("tcp://[::1]:2375/", Ok(Address::Tcp("[::1]:2375".into()))),
        ] {
            assert_eq!(Address::parse(url), expect, "{url}");
        }
        for bad in
            ["", "docker.sock", "unix://docker.sock", "http://h:1", "tcp://h", "tcp://u:p@h:1", "ssh://h", "tcp://"]
        {
            assert_eq!(Address::parse(bad), Err(Error::InvalidUrl { url: bad.into() }));
        }
    }

    #[test]
    fn an_argument_cannot_leave_its_place_in_the_path() {
        assert_eq!(container_part("/web-1").as_deref(), Ok("web-1"));
        assert_eq!(image_part("r.example:5000/a/web@sha256:00").as_deref(), Ok("r.example%3A5000/a/web%40sha256%3A00"));
        for bad in ["", "/", "a/b", "..", "a?b", "a#b", "a b", "a%2f", "ü", "a\r\nb"] {
            assert!(container_part(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in ["", "a//b", "../x", "a/../b", "a/.", "/a", "a?x=1"] {
            assert!(image_part(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn the_version_is_shared() {
        let shared = SharedVersion::new(ApiVersion { major: 1, minor: 41 });
        let other = shared.clone();
        other.set(ApiVersion { major: 2, minor: 300 });
        assert_eq!(shared.get(), ApiVersion { major: 2, minor: 300 });
    }

    #[test]
    fn an_error_carries_the_engines_own_words() {
        assert_eq!(message_of(br#"{"message":"No such container: x"}"#), "No such container: x");
        assert_eq!(message_of(b"<html>bad gateway</html>"), "<html>bad gateway</html>");
    }
}
