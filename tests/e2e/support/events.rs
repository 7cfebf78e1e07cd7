//! What the engines themselves say happened, while it happens: their event streams, recorded in the order of time.

use std::io::BufRead as _;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::Surroundings;

/// One thing that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happened {
    /// When, in nanoseconds since 1970. All engines run on the same machine and share its clock.
    pub(crate) at: i64,
    /// Which engine, from 0.
    pub(crate) engine: usize,
    /// The container's ID.
    pub(crate) id: String,
    /// `create`, `start`, `kill`, `die`, `stop`, `rename`, `destroy`, `health_status: healthy`.
    pub(crate) what: String,
}

/// Event streams of all engines that are being read.
pub(crate) struct Recording {
    seen: Arc<Mutex<Vec<Happened>>>,
}

/// The time in which an instance was not available: from *stop old* to *healthy new*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Away {
    /// Which engine.
    pub(crate) engine: usize,
    /// Nanoseconds since 1970.
    pub(crate) from: i64,
    /// Nanoseconds since 1970.
    pub(crate) to: i64,
}

impl Recording {
    /// Reads from now on what happens to the scenario's containers.
    pub(crate) fn start(surroundings: &Surroundings) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        for (number, engine) in surroundings.engines.iter().enumerate() {
            let (seen, prefix) = (Arc::clone(&seen), engine.name(""));
            let mut body = engine.events();
            // It ends with the stream: when the engine goes or stays silent for long.
            std::thread::spawn(move || {
                let mut line = String::new();
                while body.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if let Some(happened) = happened(number, &prefix, &line) {
                        seen.lock().expect("nobody panics with it").push(happened);
                    }
                    line.clear();
                }
            });
        }
        Self { seen }
    }

    /// What has happened, in the order of time.
    pub(crate) fn all(&self) -> Vec<Happened> {
        let mut all = self.seen.lock().expect("nobody panics with it").clone();
        all.sort_by_key(|happened| happened.at);
        all
    }

    /// Whether anything at all happened that touches a container. Health checks are not that.
    pub(crate) fn touched(&self) -> Vec<Happened> {
        self.all().into_iter().filter(|happened| !happened.what.starts_with("health_status")).collect()
    }

    /// When the instances were away, by time. An engine kills the old one first and says `healthy` of the new one last.
    pub(crate) fn away(&self) -> Vec<Away> {
        let all = self.all();
        let stops = all.iter().filter(|happened| happened.what == "kill");
        let away = stops.filter_map(|stop| {
            let healthy = all.iter().find(|later| {
                later.engine == stop.engine
                    && later.at > stop.at
                    && later.what == "health_status: healthy"
                    && later.id != stop.id
            })?;
            Some(Away { engine: stop.engine, from: stop.at, to: healthy.at })
        });
        // An old container that needs a second signal was stopped by the first.
        let mut found: Vec<Away> = Vec::new();
        for away in away {
            if !found.iter().any(|earlier| earlier.engine == away.engine && earlier.to == away.to) {
                found.push(away);
            }
        }
        found
    }
}

fn happened(engine: usize, prefix: &str, line: &str) -> Option<Happened> {
    let event: Value = serde_json::from_str(line).ok()?;
    let name = event["Actor"]["Attributes"]["name"].as_str()?;
    name.starts_with(prefix).then(|| Happened {
        at: event["timeNano"].as_i64().unwrap_or_default(),
        engine,
        id: event["Actor"]["ID"].as_str().unwrap_or_default().to_owned(),
        what: event["Action"].as_str().unwrap_or_default().to_owned(),
    })
}
