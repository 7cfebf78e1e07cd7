//! A CI system's ear: hears each request whole, and answers as it is told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::eventually;
use super::fleet::SOON;

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This status.
    Status(u16),
    /// Nothing, while the listener lives.
    Silence,
}

#[derive(Debug)]
struct Ear {
    answer: Answer,
    heard: Vec<String>,
    held: Vec<TcpStream>,
}

/// It listens until the test's process ends.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Where: host and port.
    pub(crate) address: String,
    ear: Arc<Mutex<Ear>>,
}

impl Listener {
    /// One that accepts every build.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let ear = Arc::new(Mutex::new(Ear { answer: Answer::Status(202), heard: Vec::new(), held: Vec::new() }));
        let shared = ear.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever asked may be killed in the middle of it.
                let Some((request, mut stream)) = hear(stream) else { continue };
                let mut ear = shared.lock().expect("no panic holds it");
                ear.heard.push(request);
                match ear.answer {
                    Answer::Silence => ear.held.push(stream),
                    Answer::Status(status) => {
                        let answer = format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                        drop(stream.write_all(answer.as_bytes()));
                    }
                }
            }
        });
        Self { address, ear }
    }

    /// What the next requests get.
    pub(crate) fn answers(&self, answer: Answer) {
        self.ear.lock().expect("no panic holds it").answer = answer;
    }

    /// Every request until now, head and body.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.ear.lock().expect("no panic holds it").heard.clone()
    }

    /// Waits until there were so many requests, and no more.
    pub(crate) fn is_asked(&self, times: usize) {
        eventually(&format!("CI is asked {times} times"), SOON, || match self.heard() {
            heard if heard.len() == times => Ok(()),
            heard => Err(format!("{heard:#?}")),
        });
    }
}

/// A whole request, and the way to answer it.
fn hear(stream: TcpStream) -> Option<(String, TcpStream)> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(said) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = said.trim().parse().ok()?;
        }
        request.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.push_str(&String::from_utf8_lossy(&body));
    Some((request, reader.into_inner()))
}
