//! A socket between the agent and a real engine, at which a test decides about each request.
//!
//! [`Proxy::start`] listens on a socket of its own and asks a [`Judge`] twice about each request: before the engine sees it,
//! and after the engine has answered, before the agent hears of it. What the judge lets through is passed on as it is,
//! streams and upgraded connections too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

/// Longest head of a request that is read: the agent's longest has a reference and credentials in it.
const HEAD_LIMIT_BYTES: usize = 64 << 10;

/// What the agent asks of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Method and path as `docs/engine-calls.md` writes them: `POST /containers/{id}/rename`.
    pub(crate) call: String,
    /// The path as it was sent, without version and arguments.
    pub(crate) path: String,
    /// The arguments, encoded.
    pub(crate) query: String,
}

impl Request {
    /// Reads the first line of a request.
    fn read(line: &str) -> Self {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = match path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/')) {
            Some((_, rest)) => format!("/{rest}"),
            None => path.to_owned(),
        };
        Self { call: format!("{method} {}", general(&path)), path, query: query.to_owned() }
    }

    /// Whether it is made on a container that cannot exist, to see whether it is allowed.
    pub(crate) fn is_trial(&self) -> bool {
        self.path.starts_with("/containers/0000000000000000")
    }

    /// Whether the engine is another one when it is done.
    pub(crate) fn is_change(&self) -> bool {
        !self.call.starts_with("GET ") && !self.is_trial()
    }
}

/// A path in which ids and names are replaced by what they are.
fn general(path: &str) -> String {
    let is_fixed = matches!(path, "/containers/json" | "/containers/create" | "/images/json" | "/images/create");
    let pieces: Vec<&str> = path.split('/').skip(1).collect();
    let (Some(&kind), Some(&last), false) = (pieces.first(), pieces.last(), is_fixed) else { return path.to_owned() };
    let name = if kind == "images" { "{name}" } else { "{id}" };
    match (kind, pieces.len()) {
        ("images", 3..) if matches!(last, "json" | "tag") => format!("/images/{name}/{last}"),
        ("images", 2..) => format!("/images/{name}"),
        ("containers" | "networks" | "exec", 2) => format!("/{kind}/{name}"),
        ("containers" | "networks" | "exec", 3) => format!("/{kind}/{name}/{last}"),
        _ => path.to_owned(),
    }
}

/// What becomes of a request before the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Before {
    /// It is passed on.
    Pass,
    /// It is passed on, [`Judge::after`] hears of it when the engine has answered in full, and the answer is lost.
    PassAndAsk,
    /// The engine does not see it; this is the answer, with a message in the engine's own form.
    Answer(u16, String),
    /// The engine does not see it, and the connection breaks.
    Cut,
    /// The engine does not see it, and nobody answers.
    Hang,
}

/// Who decides.
#[async_trait]
pub(crate) trait Judge: Send + Sync + 'static {
    /// The agent asks for something.
    async fn before(&self, request: &Request) -> Before;
    /// The engine has done it, and said so. When this returns the connection breaks, and the answer is lost.
    async fn after(&self, request: &Request);
}

/// A proxy that listens until it is dropped.
pub(crate) struct Proxy {
    directory: TempDir,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens before the engine with this socket.
    pub(crate) fn start(engine: &Path, judge: Arc<dyn Judge>) -> Self {
        // A short path, whatever TMPDIR says: a socket's path has 107 bytes at most.
        let directory = tempfile::tempdir().expect("a temporary directory");
        let listener = UnixListener::bind(directory.path().join("proxy.sock")).expect("a free name");
        let engine = engine.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Whoever ends first ends the other: no error to tell anybody.
                tokio::spawn(serve(stream, engine.clone(), judge.clone()));
            }
        });
        Self { directory, _task: AbortOnDropHandle::new(task) }
    }

    /// The engine's URL for the agent.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.directory.path().join("proxy.sock").display())
    }
}

/// One connection carries one request here: both sides are told so.
async fn serve(mut agent: UnixStream, engine: PathBuf, judge: Arc<dyn Judge>) -> Option<()> {
    let (head, rest) = read_head(&mut agent).await?;
    let request = Request::read(head.lines().next().unwrap_or_default());
    let verdict = judge.before(&request).await;
    match &verdict {
        Before::Pass | Before::PassAndAsk => {}
        Before::Answer(status, message) => {
            let body = json!({ "message": message }).to_string();
            let answer = format!(
                "HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            return agent.write_all(answer.as_bytes()).await.ok();
        }
        Before::Cut => return None,
        Before::Hang => return std::future::pending().await,
    }
    let mut upstream = UnixStream::connect(engine).await.ok()?;
    upstream.write_all(with_one_request(&head).as_bytes()).await.ok()?;
    upstream.write_all(&rest).await.ok()?;
    if verdict == Before::Pass {
        return copy_bidirectional(&mut agent, &mut upstream).await.ok().map(drop);
    }
    let (mut from_agent, _to_agent) = agent.split();
    let (mut from_engine, mut to_engine) = upstream.split();
    let mut answer = tokio::io::sink();
    tokio::select! {
        // The rest of the body, until the agent has said all; then it waits, or gives up.
        _ = async { drop(tokio::io::copy(&mut from_agent, &mut to_engine).await); std::future::pending::<()>().await } => {}
        _ = tokio::io::copy(&mut from_engine, &mut answer) => {}
    }
    judge.after(&request).await;
    None
}

/// The head of a request as text, and what came with it of the body.
async fn read_head(stream: &mut UnixStream) -> Option<(String, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let mut read = Vec::new();
    let mut piece = vec![0; 4096];
    loop {
        if let Some(end) = read.windows(END.len()).position(|window| window == END) {
            let rest = read.split_off(end + END.len());
            return Some((String::from_utf8(read).ok()?, rest));
        }
        let length = stream.read(&mut piece).await.ok().filter(|&length| length > 0)?;
        read.extend_from_slice(piece.get(..length)?);
        (read.len() <= HEAD_LIMIT_BYTES).then_some(())?;
    }
}

/// The same head with the wish that the connection ends after the answer; an upgrade is left as it is.
fn with_one_request(head: &str) -> String {
    let is = |line: &str, name: &str| line.to_ascii_lowercase().starts_with(name);
    if head.lines().any(|line| is(line, "upgrade:")) {
        return head.to_owned();
    }
    let kept = head.trim_end().split("\r\n").filter(|line| !is(line, "connection:"));
    let mut lines: Vec<&str> = kept.collect();
    lines.push("Connection: close");
    lines.join("\r\n") + "\r\n\r\n"
}

#[test]
fn a_request_is_named_as_the_page_names_it() {
    for (line, call, query) in [
        ("GET /version HTTP/1.1", "GET /version", ""),
        ("GET /v1.41/containers/json?all=1 HTTP/1.1", "GET /containers/json", "all=1"),
        ("GET /v1.41/containers/json/json HTTP/1.1", "GET /containers/{id}/json", ""),
        ("POST /v1.41/containers/abc/rename?name=x HTTP/1.1", "POST /containers/{id}/rename", "name=x"),
        ("DELETE /v1.41/containers/abc HTTP/1.1", "DELETE /containers/{id}", ""),
        ("POST /v1.41/images/create?fromImage=a HTTP/1.1", "POST /images/create", "fromImage=a"),
        ("GET /v1.41/images/r%3A5/a/b%40sha256/json HTTP/1.1", "GET /images/{name}/json", ""),
        ("POST /v1.41/images/sha256%3Aab/tag?repo=a HTTP/1.1", "POST /images/{name}/tag", "repo=a"),
        ("DELETE /v1.41/images/nightshift/keep%3Aa HTTP/1.1", "DELETE /images/{name}", ""),
        ("POST /v1.41/networks/n/connect HTTP/1.1", "POST /networks/{id}/connect", ""),
        ("POST /v1.41/exec/e/start HTTP/1.1", "POST /exec/{id}/start", ""),
        ("GET /v1.41/events?since=1 HTTP/1.1", "GET /events", "since=1"),
    ] {
        let request = Request::read(line);
        assert_eq!((request.call.as_str(), request.query.as_str()), (call, query), "{line}");
        assert_eq!(request.is_change(), !call.starts_with("GET"));
        assert!(!request.is_trial());
    }
}
