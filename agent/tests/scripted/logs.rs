//! What a piece of code logged, for tests that read it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that this thread logs, at every level, while it lives.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Begins to listen; until the guard is dropped.
    pub fn listen() -> (Self, DefaultGuard) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// The lines of this level by this crate.
    pub fn lines(&self, level: &str) -> Vec<String> {
        let text = self.text();
        let ours = |line: &&str| line.trim_start().starts_with(level) && line.contains("nightshift_agent");
        text.lines().filter(ours).map(str::to_owned).collect()
    }

    /// Waits until a line of this level holds this text.
    pub async fn until(&self, level: &str, text: &str) {
        let seen = async {
            while !self.lines(level).iter().any(|line| line.contains(text)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(super::PATIENCE, seen).await;
        assert!(seen.is_ok(), "no {level} with `{text}` in time:\n{}", self.lines("").join("\n"));
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
