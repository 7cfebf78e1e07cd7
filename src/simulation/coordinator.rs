//! The coordinator's host: its store outlives it, its process does not.
//!
//! The process is the real one: driver, watcher, and the reception of agents' streams.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nightshift_coordinator::driver::{self, Driver, Handle, Witness};
use nightshift_coordinator::registry::ImageSource;
use nightshift_coordinator::sessions::Reception;
use nightshift_coordinator::watcher;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::chance::Chance;
use super::clock::Clock;
use super::fuse::{Fuse, Side};
use super::network::{Link, Switchboard};
use super::notes::Notes;
use super::store::Events;

/// How long the host waits before it starts a coordinator that has died.
const RESTART: Duration = Duration::from_secs(2);
/// How long messages of a coordinator that has died are under way: longer than usual, shorter than its next start.
const ON_THE_WAY: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Process {
    fuse: Fuse,
    tasks: JoinSet<()>,
    handle: Option<Handle>,
}

/// The coordinator's host.
pub(crate) struct Host {
    pub(crate) events: Events,
    parts: Parts,
    process: Mutex<Process>,
    /// At which write the next coordinator dies, counted over all of them.
    crash: Mutex<Option<(u64, Side)>>,
    written: Mutex<u64>,
}

/// The parts of the host.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) switchboard: Switchboard,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) source: Arc<dyn ImageSource>,
    pub(crate) chance: Chance,
    pub(crate) notes: Notes,
    pub(crate) witness: Witness,
    pub(crate) unknown_after: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) watch_interval: Duration,
}

impl Host {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            events: Events::default(),
            parts,
            process: Mutex::default(),
            crash: Mutex::default(),
            written: Mutex::default(),
        })
    }

    /// Lets a coordinator die at this write.
    pub(crate) fn crash_at(&self, write: u64, side: Side) {
        *lock(&self.crash) = Some((write, side));
        let before = *lock(&self.written);
        lock(&self.process).fuse.arm(write.saturating_sub(before), side);
    }

    /// Durable writes of all coordinators so far.
    pub(crate) fn writes(&self) -> u64 {
        *lock(&self.written) + lock(&self.process).fuse.writes()
    }

    /// The way to the coordinator, while there is one.
    pub(crate) fn handle(&self) -> Option<Handle> {
        lock(&self.process).handle.clone()
    }

    /// Starts the coordinator, and starts it again whenever a write was its last.
    pub(crate) fn start(self: &Arc<Self>) {
        let fuse = Fuse::default();
        let before = self.writes();
        if let Some((write, side)) = *lock(&self.crash)
            && write > before
        {
            fuse.arm(write - before, side);
        }
        let mut process = Process { fuse: fuse.clone(), ..Process::default() };
        process.tasks.spawn(self.clone().run(fuse.clone()));
        *lock(&self.written) = before;
        *lock(&self.process) = process;
        let host = self.clone();
        tokio::spawn(async move {
            fuse.blown().await;
            if host.is_running_on(&fuse) {
                host.parts.notes.reached("coordinator killed at a durable write");
                host.kill();
                sleep(RESTART).await;
                host.start();
            }
        });
    }

    /// Starts the coordinator if none runs.
    pub(crate) fn start_unless_running(self: &Arc<Self>) {
        if lock(&self.process).tasks.is_empty() {
            self.start();
        }
    }

    fn is_running_on(&self, fuse: &Fuse) -> bool {
        let process = lock(&self.process);
        process.fuse.is(fuse) && !process.tasks.is_empty()
    }

    /// Kills the coordinator, as `kill -9` does.
    pub(crate) fn kill(&self) {
        let mut process = lock(&self.process);
        process.fuse.blow();
        process.tasks.abort_all();
        *lock(&self.written) += process.fuse.writes();
        *process = Process::default();
        drop(process);
        *lock(&self.parts.switchboard) = None;
        // What it had sent may still arrive.
        let links = self.parts.links.clone();
        tokio::spawn(async move {
            sleep(ON_THE_WAY).await;
            links.iter().for_each(|link| link.cut());
        });
    }

    async fn run(self: Arc<Self>, fuse: Fuse) {
        let Parts { clock, source, chance, notes, witness, .. } = &self.parts;
        let read = clock.clone();
        let clock: driver::Clock = Arc::new(move || read.now());
        let options = driver::Options {
            store: Arc::new(self.events.open(fuse.clone())),
            clock: clock.clone(),
            unknown_after: self.parts.unknown_after,
            heartbeat_interval: self.parts.heartbeat_interval,
            witness: Some(witness.clone()),
            triggers: None,
        };
        let (driver, handle) = match Driver::open(options).await {
            Ok(opened) => opened,
            Err(error) => return notes.wrong(format!("the coordinator cannot start: {error}")),
        };
        let chance = chance.fork("watcher");
        let watching = watcher::Options {
            interval: self.parts.watch_interval,
            clock: clock.clone(),
            chance: Arc::new(move || chance.unit()),
        };
        let reception = Reception::new(handle.clone(), clock, self.parts.heartbeat_interval);
        {
            let mut process = lock(&self.process);
            if !process.fuse.is(&fuse) {
                return;
            }
            process.handle = Some(handle.clone());
            let source = Arc::clone(source);
            process
                .tasks
                .spawn(async move { drop(watcher::follow(handle, source, watching, watcher::checks().1).await) });
        }
        *lock(&self.parts.switchboard) = Some(reception);
        if let Err(error) = driver.run(CancellationToken::new()).await {
            notes.wrong(format!("the coordinator ended: {error}"));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
