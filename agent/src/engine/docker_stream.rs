//! Calls to an engine that are answered by a stream of messages: JSON, one in each line.
//!
//! Unlike `bollard` this takes a request's body piece by piece and says why it broke off, keeps the exit code beside an error's
//! text, and has a limit for a message.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Body, Frame, Incoming};
use serde::Deserialize;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::docker_raw::{AbortOnDrop, Opened, RawClient, message_of, refusal};
use super::{BuildContext, Error, Result};

/// Longest message that is read. The engine cuts output into messages of 32 KiB, which JSON may write six times as long.
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;
/// Longest answer that is read when it is an error.
const ERROR_LIMIT_BYTES: usize = 1 << 20;
/// How much of a body is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A message, as far as it is used.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message {
    /// Output of the builder and of what it runs.
    pub(super) stream: Option<String>,
    /// What happens to a layer, or to the whole image.
    pub(super) status: Option<String>,
    /// The layer.
    pub(super) id: Option<String>,
    /// A bar for a terminal: such a message comes many times for one layer.
    pub(super) progress: Option<String>,
    /// What came of it.
    pub(super) aux: Option<serde_json::Value>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    error_detail: Option<ErrorDetail>,
}

#[derive(Debug, Deserialize)]
struct ErrorDetail {
    code: Option<i64>,
    message: Option<String>,
}

impl Message {
    /// The text by which the stream says that it failed, with the exit code of the command that did.
    pub(super) fn failure(&self) -> Option<(Option<i64>, &str)> {
        let detail = self.error_detail.as_ref();
        let text = detail.and_then(|detail| detail.message.as_deref()).or(self.error.as_deref());
        let failed = detail.is_some() || text.is_some();
        failed.then(|| (detail.and_then(|detail| detail.code), text.unwrap_or("no reason given")))
    }
}

/// The messages of one call. The connection is closed when they are dropped, and the engine then cancels what it does.
#[derive(Debug)]
pub(super) struct Messages {
    call: &'static str,
    client: RawClient,
    body: Incoming,
    received: BytesMut,
    _connection: AbortOnDrop,
}

impl RawClient {
    /// Sends a request and gives the messages that answer it. Without a deadline: the caller has one.
    pub(super) async fn messages<B>(&self, call: &'static str, request: Request<B>) -> Result<Messages>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Opened { response, connection } = self.open(request).await?;
        let (status, body) = (response.status(), response.into_body());
        if status.is_success() {
            let received = BytesMut::new();
            return Ok(Messages { call, client: self.clone(), body, received, _connection: connection });
        }
        let body = Limited::new(body, ERROR_LIMIT_BYTES).collect().await;
        let body = body.map_err(|error| Error::Malformed { call, reason: error.to_string() })?.to_bytes();
        Err(refusal(call, status.as_u16(), &message_of(&body)))
    }
}

impl Messages {
    /// The next message; `None` when the engine has said everything.
    pub(super) async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(line) = next_line(&mut self.received) {
                return self.read(&line).map(Some);
            }
            if self.received.len() > MESSAGE_LIMIT_BYTES {
                let reason = format!("a message of more than {MESSAGE_LIMIT_BYTES} bytes");
                return Err(Error::Malformed { call: self.call, reason });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.received.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(self.client.broken(&error, true)),
                None => {
                    let last = self.received.split();
                    return if last.trim_ascii().is_empty() { Ok(None) } else { self.read(&last).map(Some) };
                }
            }
        }
    }

    fn read(&self, line: &[u8]) -> Result<Message> {
        serde_json::from_slice(line).map_err(|error| Error::Malformed { call: self.call, reason: error.to_string() })
    }
}

/// Takes the first whole line that has something in it.
fn next_line(received: &mut BytesMut) -> Option<BytesMut> {
    while let Some(end) = received.iter().position(|&byte| byte == b'\n') {
        let line = received.split_to(end + 1);
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
    None
}

/// Why a context could not be read, once that is so.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadFailure(Arc<Mutex<Option<String>>>);

impl ReadFailure {
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, reason: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
    }
}

/// A request's body that is read while it is sent.
pub(super) struct ContextBody {
    context: BuildContext,
    piece: Box<[u8]>,
    failure: ReadFailure,
}

impl ContextBody {
    pub(super) fn new(context: BuildContext, failure: ReadFailure) -> Self {
        Self { context, piece: vec![0; PIECE_BYTES].into_boxed_slice(), failure }
    }
}

impl Body for ContextBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let mut piece = ReadBuf::new(&mut this.piece);
        match Pin::new(&mut this.context).poll_read(task, &mut piece) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if piece.filled().is_empty() => Poll::Ready(None),
            Poll::Ready(Ok(())) => Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(piece.filled()))))),
            Poll::Ready(Err(error)) => {
                this.failure.set(error.to_string());
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_line_by_line() {
        let mut received = BytesMut::from(&b"\r\n{\"a\":1}\r\n\n{\"b\""[..]);
        assert_eq!(next_line(&mut received).as_deref(), Some(&b"{\"a\":1}\r\n"[..]));
        assert_eq!(next_line(&mut received), None);
        received.extend_from_slice(b":2}\n");
        assert_eq!(next_line(&mut received).as_deref(), Some(&b"{\"b\":2}\n"[..]));
        assert!(received.is_empty());
    }

    #[test]
    fn a_failure_is_known_in_each_of_its_forms() {
        let failure = |text: &str| {
            let message: Message = serde_json::from_str(text).expect("JSON");
            message.failure().map(|(code, text)| (code, text.to_owned()))
        };
        let both = r#"{"errorDetail":{"code":3,"message":"it failed"},"error":"it failed"}"#;
        assert_eq!(failure(both), Some((Some(3), "it failed".to_owned())));
        assert_eq!(failure(r#"{"errorDetail":{"message":"x"},"error":"x"}"#), Some((None, "x".to_owned())));
        assert_eq!(failure(r#"{"error":"podman's"}"#), Some((None, "podman's".to_owned())));
        assert_eq!(failure(r#"{"errorDetail":{}}"#), Some((None, "no reason given".to_owned())));
        assert_eq!(failure(r#"{"stream":"error: just a word\n"}"#), None);
    }
}
