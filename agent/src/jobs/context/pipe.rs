//! What a blocking thread writes is what an asynchronous reader reads, with a few pieces between them and no more.
//!
//! The reader sees the end only when the writer has said that all is there. A writer that fails, panics or is dropped is an
//! error to the reader, never an end: half an archive must not look like a whole one.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use nightshift_core::spec::Memory;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

/// Size of a piece: few calls for much, and little for small.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces on their way: the reader does not wait for the disk, and no more than this is in memory.
const PIECE_LIMIT: usize = 4;

/// A reader that owns what it reads.
pub(crate) type Stream = Box<dyn AsyncRead + Send + Unpin>;

/// The writer's end.
#[derive(Debug)]
pub(super) struct Sink {
    sender: mpsc::Sender<Piece>,
    buffer: Vec<u8>,
    left_bytes: u64,
    limit: Memory,
    /// It has failed: nothing more is sent, whoever tries.
    failed: bool,
}

/// `None` is the end.
type Piece = io::Result<Option<Bytes>>;

/// Starts a thread that writes into the stream. What it gives back as an error is what the reader sees.
///
/// At most `limit` is written; more is an error.
pub(super) fn stream(limit: Memory, write: impl FnOnce(&mut Sink) -> io::Result<()> + Send + 'static) -> Stream {
    let (sender, receiver) = mpsc::channel(PIECE_LIMIT);
    let mut sink = Sink { sender, buffer: Vec::new(), left_bytes: limit.0, limit, failed: false };
    tokio::task::spawn_blocking(move || {
        let end = write(&mut sink).and_then(|()| sink.flush()).map(|()| None);
        // Nobody is left to be told when the reader is gone.
        let _ = sink.sender.blocking_send(end);
    });
    Box::new(Source { receiver, piece: Bytes::new(), state: State::Open })
}

impl Sink {
    /// Whether so much can still be written.
    ///
    /// # Errors
    /// It is more than is allowed.
    pub(super) fn has_room(&mut self, bytes: u64) -> io::Result<()> {
        if bytes <= self.left_bytes {
            return Ok(());
        }
        self.fail();
        let limit = self.limit;
        let words = format!(
            "the context is larger than {limit}; hint: a `.dockerignore` leaves out what is not needed, and \
             `limits.build.context_size` of the agent's configuration is the limit"
        );
        Err(io::Error::new(io::ErrorKind::FileTooLarge, words))
    }

    /// Sends nothing more. What an archive's writer adds when it is dropped would make half of it look whole.
    pub(super) const fn fail(&mut self) {
        self.failed = true;
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed || std::thread::panicking() {
            return Err(io::Error::other("it has failed before"));
        }
        self.has_room(bytes.len() as u64)?;
        self.left_bytes -= bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE_BYTES)));
        self.sender.blocking_send(Ok(Some(piece))).map_err(|_| {
            self.failed = true;
            io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more")
        })
    }
}

#[derive(Debug)]
struct Source {
    receiver: mpsc::Receiver<Piece>,
    piece: Bytes,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Whole,
    Failed,
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            match self.state {
                State::Open => {}
                State::Whole => return Poll::Ready(Ok(())),
                State::Failed => return Poll::Ready(Err(io::Error::other("the context ended before it was whole"))),
            }
            match ready!(self.receiver.poll_recv(cx)) {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.state = State::Whole,
                Some(Err(error)) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
                None => self.state = State::Failed,
            }
        }
        let length = self.piece.len().min(buffer.remaining());
        buffer.put_slice(&self.piece[..length]);
        self.piece.advance(length);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::sync::oneshot;

    use super::*;

    const LIMIT: Memory = Memory(8 << 20);

    async fn read(mut stream: Stream) -> (usize, Option<String>) {
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).await;
        (bytes.len(), ended.err().map(|error| error.to_string()))
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_its_order() {
        let written: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expect = written.clone();
        let mut stream = stream(LIMIT, move |sink| written.chunks(777).try_for_each(|part| sink.write_all(part)));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes == expect);
        assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0, "an end stays an end");
        assert_eq!(read(super::stream(LIMIT, |_| Ok(()))).await, (0, None));
    }

    #[tokio::test]
    async fn a_writer_that_does_not_end_well_is_an_error_to_the_reader() {
        let failing = stream(LIMIT, |sink| {
            sink.write_all(&[1; 100_000])?;
            sink.fail();
            let _ = sink.write_all(&[2; 100_000]);
            Err(io::Error::other("the disk is gone"))
        });
        assert_eq!(read(failing).await, (100_000, Some("the disk is gone".into())));
        let mut panicking = stream(LIMIT, |_| panic!("a mistake"));
        for _ in 0..2 {
            let error = panicking.read(&mut [0; 10]).await.expect_err("an error, again and again");
            assert_eq!(error.to_string(), "the context ended before it was whole");
        }
    }

    #[tokio::test]
    async fn no_more_is_written_than_is_allowed() {
        let allowed = stream(Memory(1 << 20), |sink| sink.write_all(&vec![1; 1 << 20]));
        assert_eq!(read(allowed).await, (1 << 20, None));
        let (length, error) = read(stream(Memory(1 << 20), |sink| sink.write_all(&vec![1; (1 << 20) + 1]))).await;
        assert_eq!(length, 0);
        assert!(error.expect("an error").starts_with("the context is larger than 1m; hint: "));
    }

    #[tokio::test]
    async fn a_reader_that_goes_ends_the_writer() {
        let (told, tells) = oneshot::channel();
        let stream = stream(Memory(u64::MAX), |sink| {
            let mut written = 0;
            let error = loop {
                match sink.write_all(&[0; 10_000]) {
                    Ok(()) => written += 10_000,
                    Err(error) => break error.kind(),
                }
            };
            told.send((written, error)).map_err(|_| io::Error::other("nobody waits"))
        });
        drop(stream);
        let (written, error) = tells.await.unwrap();
        assert_eq!(error, io::ErrorKind::BrokenPipe);
        assert!(written <= PIECE_BYTES * (PIECE_LIMIT + 2), "{written}");
    }
}
