//! The bytes of a connection, and a note of what ended it.
//!
//! A TLS alert can arrive at any moment after the handshake, and what is above may then say no more than "closed". Here it
//! is seen for certain.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Error, Server};
use crate::reason;

/// How much is read at a time, and how often, when writing has failed: an alert is small and there is little before it.
const READ_BYTES: usize = 1024;
const READ_LIMIT: usize = 64;

/// What ended a connection, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Ending(Arc<OnceLock<Cause>>);

#[derive(Debug)]
struct Cause {
    alert: Option<String>,
    reason: String,
}

impl Ending {
    /// The error for a server that ended the connection with an alert: TLS 1.3 lets a client believe that it is connected
    /// and tells it only then that its certificate was refused.
    #[must_use]
    pub fn refusal(&self, server: &Server) -> Option<Error> {
        let alert = self.0.get()?.alert.clone()?;
        Some(Error::NotAccepted { server: server.clone(), alert })
    }

    /// What the system or TLS said.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(|cause| cause.reason.as_str())
    }

    fn note(&self, error: &io::Error) {
        let alert = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => Some(format!("{alert:?}")),
            Some(_) | None => None,
        };
        // The first error is the cause, those after it are its consequences.
        self.0.get_or_init(|| Cause { alert, reason: reason::of(error) });
    }
}

/// A TLS stream that notes its first error.
pub(super) struct Wire {
    stream: TlsStream<TcpStream>,
    ending: Ending,
    /// What a write came to, while what was received before is still to be read.
    failed: Option<io::Error>,
}

impl Wire {
    pub(super) const fn new(stream: TlsStream<TcpStream>, ending: Ending) -> Self {
        Self { stream, ending, failed: None }
    }

    /// Passes what a write came to. Whoever refuses us sends an alert and closes: our next write fails, and nobody above
    /// would read what had come before that. So a failed write ends only when that was read; the closed socket wakes us.
    fn written<T>(&mut self, cx: &mut Context<'_>, result: io::Result<T>) -> Poll<io::Result<T>> {
        match result {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(error) => {
                self.failed = Some(error);
                self.fail(cx)
            }
        }
    }

    /// Reads to the end, then fails with the error of the write.
    fn fail<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let mut bytes = [0; READ_BYTES];
        for _ in 0..READ_LIMIT {
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if buf.filled().is_empty() => break,
                Ok(()) => {}
                Err(earlier) => {
                    self.ending.note(&earlier);
                    break;
                }
            }
        }
        let error = self.failed.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
        self.ending.note(&error);
        Poll::Ready(Err(error))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        Poll::Ready(result.inspect_err(|error| self.ending.note(error)))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.failed.is_some() {
            return self.fail(cx);
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.written(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return self.fail(cx);
        }
        let result = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.written(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
