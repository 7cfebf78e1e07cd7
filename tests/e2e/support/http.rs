//! HTTP as simple as can be: one request on one connection, over TCP or a Unix socket. Speaks 1.0, so an answer has no
//! chunks and ends with the connection.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest silence of an engine or registry: nothing may happen for a while on a stream of events.
const SILENCE: Duration = Duration::from_secs(300);

/// Where a request goes.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A socket in the file system.
    Unix(String),
    /// `HOST:PORT`.
    Tcp(String),
}

/// An answer whose body can be read.
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The rest.
    pub(crate) body: Box<dyn std::io::BufRead + Send>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).expect("the answer is complete and text");
        text
    }
}

/// Asks, and reads up to the body.
pub(crate) fn ask(
    place: &Place,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(SILENCE))?;
            exchange(stream, &request)
        }
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(SILENCE))?;
            exchange(stream, &request)
        }
    }
}

fn exchange(mut stream: impl Read + Write + Send + 'static, request: &str) -> std::io::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut body = BufReader::new(stream);
    let mut line = String::new();
    body.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {line:?}")))?;
    while !line.trim_end().is_empty() {
        line.clear();
        body.read_line(&mut line)?;
    }
    Ok(Answer { status, body: Box::new(body) })
}
