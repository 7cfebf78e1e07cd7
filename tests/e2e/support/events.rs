//! What the engines themselves say happened, while it happens: their event streams, recorded in the order of time. An engine
//! that goes away and comes back is listened to again.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{Engine, LOOK_EVERY, Surroundings};

/// One thing that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Happened {
    /// When, in nanoseconds since 1970. All engines run on the same machine and share its clock.
    pub(crate) at: i64,
    /// Which engine, from 0.
    pub(crate) engine: usize,
    /// The container's ID.
    pub(crate) id: String,
    /// `create`, `start`, `kill`, `die`, `stop`, `rename`, `destroy`, `health_status: healthy`.
    pub(crate) what: String,
    /// The container's name at that time, within the scenario.
    pub(crate) name: String,
    /// What it was created from, as it was asked for.
    pub(crate) image: String,
}

/// Event streams of all engines that are being read.
pub(crate) struct Recording {
    seen: Arc<Mutex<BTreeSet<Happened>>>,
    over: Arc<AtomicBool>,
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
        let (seen, over) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
        for (number, engine) in surroundings.engines.iter().enumerate() {
            let body = engine.events(None).unwrap_or_else(|error| panic!("{} is up: {error}", engine.url()));
            let ear = Ear { number, engine: engine.clone(), seen: Arc::clone(&seen), over: Arc::clone(&over) };
            std::thread::spawn(move || ear.listen(body));
        }
        Self { seen, over }
    }

    /// What has happened, in the order of time.
    pub(crate) fn all(&self) -> Vec<Happened> {
        self.seen.lock().expect("nobody panics with it").iter().cloned().collect()
    }

    /// Which engine's instance was away from when to when, by time: from the first signal to what serves there until
    /// something there serves again, the old one or another.
    pub(crate) fn turns(&self) -> Vec<Away> {
        let mut turns: Vec<Away> = Vec::new();
        let mut open: Vec<Option<i64>> = vec![None; 3];
        for happened in self.all() {
            let from = &mut open[happened.engine];
            match happened.what.as_str() {
                "kill" => _ = from.get_or_insert(happened.at),
                "health_status: healthy" => {
                    let (engine, to) = (happened.engine, happened.at);
                    turns.extend(from.take().map(|from| Away { engine, from, to }));
                }
                _ => {}
            }
        }
        turns.sort_by_key(|turn| turn.from);
        turns
    }

    /// Checks that the instances were away one at a time, in this order of engines.
    pub(crate) fn one_at_a_time(&self, engines: &[usize]) {
        let turns = self.turns();
        let order: Vec<usize> = turns.iter().map(|turn| turn.engine).collect();
        assert_eq!(order, engines, "{turns:?} of {:#?}", self.all());
        for pair in turns.windows(2) {
            assert!(pair[0].to <= pair[1].from, "two instances were away at the same time: {turns:?}");
        }
    }

    /// How many containers were created on each engine.
    pub(crate) fn created(&self) -> Vec<usize> {
        let all = self.all();
        let on = |engine| all.iter().filter(|one| one.engine == engine && one.what == "create").count();
        (0..3).map(on).collect()
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

impl Drop for Recording {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Listens to one engine, until the recording is over.
struct Ear {
    number: usize,
    engine: Engine,
    seen: Arc<Mutex<BTreeSet<Happened>>>,
    over: Arc<AtomicBool>,
}

impl Ear {
    /// An engine tells what has happened since the last that was heard once more: the same is one.
    fn listen(&self, body: Box<dyn std::io::BufRead + Send>) {
        let (prefix, mut last, mut body) = (self.engine.name(""), None, Some(body));
        while !self.over.load(Ordering::Acquire) {
            let Some(mut stream) = body.take().or_else(|| self.engine.events(last).ok()) else {
                std::thread::sleep(LOOK_EVERY);
                continue;
            };
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
                if let Some(happened) = happened(self.number, &prefix, &line) {
                    last = last.max(Some(happened.at));
                    self.seen.lock().expect("nobody panics with it").insert(happened);
                }
                line.clear();
            }
        }
    }
}

fn happened(engine: usize, prefix: &str, line: &str) -> Option<Happened> {
    let event: Value = serde_json::from_str(line).ok()?;
    let attributes = &event["Actor"]["Attributes"];
    let name = attributes["name"].as_str()?.strip_prefix(prefix)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some(Happened {
        at: event["timeNano"].as_i64().unwrap_or_default(),
        engine,
        id: text(&event["Actor"]["ID"]),
        what: text(&event["Action"]),
        name: name.to_owned(),
        image: text(&attributes["image"]),
    })
}
