//! A steady load of requests, and what came of each: on connections that are kept, on new ones, and slow ones.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An answer takes at most so long; the slow ones take a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clients of each kind.
const CLIENTS: usize = 8;
/// Time between two requests of a client: two times eight clients make 320 requests a second.
const PERIOD: Duration = Duration::from_millis(50);

/// What came of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many answers there were of each text.
    pub(crate) answers: BTreeMap<String, u64>,
    /// What was wrong, for each request that failed.
    pub(crate) failed: Vec<String>,
}

/// A load that goes on until it is ended.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

#[derive(Clone, Copy)]
struct Kind {
    path: &'static str,
    keeps: bool,
}

impl Load {
    /// Starts to ask the address.
    pub(crate) fn start(address: &str) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let kinds =
            [Kind { path: "/", keeps: true }, Kind { path: "/", keeps: false }, Kind { path: "/slow", keeps: true }];
        let clients = kinds.into_iter().flat_map(|kind| (0..CLIENTS).map(move |_| kind));
        let clients = clients.map(|kind| {
            let (ends, address) = (Arc::clone(&ends), address.to_owned());
            std::thread::spawn(move || client(&address, kind, &ends))
        });
        let clients = clients.collect();
        Self { ends, clients }
    }

    /// Ends it, and says what came of it.
    pub(crate) fn end(self) -> Tally {
        self.ends.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client does not panic");
            for (text, count) in tally.answers {
                *all.answers.entry(text).or_default() += count;
            }
            all.failed.extend(tally.failed);
        }
        all
    }
}

fn client(address: &str, kind: Kind, ends: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut kept = None;
    let mut next = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        match request(address, kind, kept.take()) {
            Ok((text, connection)) => {
                *tally.answers.entry(text).or_default() += 1;
                kept = Some(connection).filter(|_| kind.keeps);
            }
            Err(error) => tally.failed.push(format!("{}: {error}", kind.path)),
        }
        next = (next + PERIOD).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    tally
}

type Connection = BufReader<TcpStream>;

fn request(address: &str, kind: Kind, kept: Option<Connection>) -> std::io::Result<(String, Connection)> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            BufReader::new(stream)
        }
    };
    let closes = if kind.keeps { "" } else { "Connection: close\r\n" };
    write!(connection.get_mut(), "GET {} HTTP/1.1\r\nHost: web\r\n{closes}\r\n", kind.path)?;
    let status = line(&mut connection)?;
    let mut length = None;
    loop {
        let header = line(&mut connection)?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        length = header.strip_prefix("content-length:").and_then(|value| value.trim().parse().ok()).or(length);
    }
    // A truncated answer ends before its length: an error of `read_exact`.
    let mut body = vec![0; length.ok_or_else(|| std::io::Error::other(format!("no length: {status}")))?];
    connection.read_exact(&mut body)?;
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    if status.starts_with("HTTP/1.1 200 ") {
        Ok((text, connection))
    } else {
        Err(std::io::Error::other(format!("{status}: {text}")))
    }
}

fn line(connection: &mut Connection) -> std::io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
