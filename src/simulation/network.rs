//! The network between agents and the coordinator: it delays, holds, loses, doubles and reorders messages, one way or both.
//!
//! TCP would not lose a message in the middle of a stream. This network may: what holds here holds there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt as _};
use nightshift_agent::dial::{self, Server};
use nightshift_agent::session::{Incoming, Line, Lost};
use nightshift_coordinator::sessions::Reception;
use nightshift_core::ids::NodeName;
use nightshift_proto::pb;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::chance::Chance;
use super::notes::Notes;

/// The usual way of a message through the network.
const LATENCY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// How much later a late message comes.
const LATE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(25));
/// How long a connection attempt into silence takes.
const CONNECT: Duration = Duration::from_secs(10);
/// Orders of the past that a link remembers.
const PAST_LIMIT: usize = 32;

/// What happens to messages, in thousandths of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
    pub(crate) reordered: u64,
}

/// Which ways are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ways {
    /// From the agent to the coordinator.
    pub(crate) up: bool,
    /// From the coordinator to the agent.
    pub(crate) down: bool,
}

impl Ways {
    pub(crate) const OPEN: Self = Self { up: true, down: true };
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

type Told = Result<pb::CoordinatorMessage, Status>;

#[derive(Debug, Default)]
struct Connections {
    /// Ends every connection of now.
    cut: CancellationToken,
    /// Where a message of the past can be put in.
    inject: Option<mpsc::UnboundedSender<Told>>,
    /// Orders that were sent over this link.
    past: Vec<pb::StepOrder>,
    /// Whether the connection breaks with the next order in it.
    snare: bool,
}

/// Who takes connections now.
pub(crate) type Switchboard = Arc<Mutex<Option<Reception>>>;

/// The way between one node and the coordinator.
pub(crate) struct Link {
    node: NodeName,
    server: Server,
    switchboard: Switchboard,
    chance: Chance,
    notes: Notes,
    ways: watch::Sender<Ways>,
    weather: Mutex<Weather>,
    connections: Mutex<Connections>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) fn new(node: NodeName, switchboard: Switchboard, chance: Chance, notes: Notes) -> Arc<Self> {
        let server = "coordinator.example:7443".parse().expect("it is an address");
        let (ways, _) = watch::channel(Ways::OPEN);
        let (weather, connections) = (Mutex::default(), Mutex::default());
        Arc::new(Self { node, server, switchboard, chance, notes, ways, weather, connections })
    }

    /// From now on messages fare like this.
    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// From now on these ways are open.
    pub(crate) fn set_ways(&self, ways: Ways) {
        self.ways.send_replace(ways);
    }

    /// Breaks every connection; what is under way is lost.
    pub(crate) fn cut(&self) {
        let mut connections = self.lock();
        connections.inject = None;
        std::mem::take(&mut connections.cut).cancel();
    }

    /// Lets the connection break with the next order in it, or no longer.
    pub(crate) fn set_snare(&self, set: bool) {
        self.lock().snare = set;
    }

    /// Delivers an order of the past once more. Whether there was one like this.
    pub(crate) fn haunt(&self, like_this: impl Fn(&pb::StepOrder) -> bool) -> bool {
        let connections = self.lock();
        let stale: Vec<_> = connections.past.iter().filter(|order| like_this(order)).collect();
        let (false, Some(inject)) = (stale.is_empty(), &connections.inject) else { return false };
        let order = self.chance.pick(&stale).clone();
        let body = Some(pb::coordinator_message::Body::Step(order));
        inject.send(Ok(pb::CoordinatorMessage { body })).is_ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, told: &Told) {
        let Ok(pb::CoordinatorMessage { body: Some(pb::coordinator_message::Body::Step(order)) }) = told else {
            return;
        };
        let mut connections = self.lock();
        connections.past.push(order.clone());
        if connections.past.len() > PAST_LIMIT {
            connections.past.remove(0);
        }
        if std::mem::take(&mut connections.snare) {
            self.notes.reached("connection broken with an order in it");
            connections.inject = None;
            std::mem::take(&mut connections.cut).cancel();
        }
    }

    fn is_open(&self, direction: Direction) -> bool {
        let ways = *self.ways.borrow();
        match direction {
            Direction::Up => ways.up,
            Direction::Down => ways.down,
        }
    }

    fn latency(&self) -> Duration {
        self.chance.between(LATENCY.0, LATENCY.1)
    }

    /// When a message arrives: never, once, or twice. `last` is when the one before it does.
    fn fate(&self, last: &mut Instant) -> Vec<Instant> {
        let weather = *self.weather.lock().unwrap_or_else(PoisonError::into_inner);
        if self.chance.permille(weather.lost) {
            self.notes.reached("message lost");
            return Vec::new();
        }
        let mut arrives = Instant::now() + self.latency();
        if self.chance.permille(weather.late) {
            self.notes.reached("message late");
            arrives += self.chance.between(LATE.0, LATE.1);
        }
        let early = self.chance.permille(weather.reordered);
        if early && arrives < *last {
            self.notes.reached("message reordered");
        } else {
            arrives = arrives.max(*last);
            *last = arrives;
        }
        let mut fate = vec![arrives];
        if self.chance.permille(weather.doubled) {
            self.notes.reached("message doubled");
            fate.push(arrives + self.latency());
        }
        fate
    }

    /// Carries messages from one end to the other until one of them is gone, or the connection is cut.
    async fn carry<M: Clone>(
        self: Arc<Self>,
        direction: Direction,
        mut from: impl Stream<Item = M> + Unpin,
        to: mpsc::UnboundedSender<M>,
        cut: CancellationToken,
    ) {
        let mut under_way: BTreeMap<(Instant, u64), M> = BTreeMap::new();
        let (mut last, mut number, mut closed) = (Instant::now(), 0, false);
        let mut ways = self.ways.subscribe();
        loop {
            let due = under_way.first_key_value().map(|((at, _), _)| *at).filter(|_| self.is_open(direction));
            if closed && under_way.is_empty() && self.is_open(direction) {
                return;
            }
            tokio::select! {
                biased;
                () = cut.cancelled() => return,
                () = to.closed() => return,
                () = at(due), if due.is_some() => {
                    let arrived = under_way.pop_first();
                    if arrived.is_none_or(|(_, message)| to.send(message).is_err()) {
                        return;
                    }
                }
                message = from.next(), if !closed => match message {
                    Some(message) => for arrives in self.fate(&mut last) {
                        number += 1;
                        under_way.insert((arrives, number), message.clone());
                    },
                    None => closed = true,
                },
                _ = ways.changed() => {}
            }
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The agent's end of a link.
#[derive(Debug)]
pub(crate) struct SimulatedLine(pub(crate) Arc<Link>);

#[async_trait]
impl Line for SimulatedLine {
    fn server(&self) -> &Server {
        &self.0.server
    }

    async fn open(&self, outgoing: mpsc::Receiver<pb::AgentMessage>) -> Result<Incoming, Lost> {
        let link = &self.0;
        sleep(link.latency()).await;
        if *link.ways.borrow() != Ways::OPEN {
            sleep(CONNECT).await;
            return Err(dial::Error::Timeout(link.server.clone()).into());
        }
        let reception = link.switchboard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(reception) = reception else {
            let (server, reason) = (link.server.clone(), "connection refused".to_owned());
            return Err(dial::Error::Unreachable { server, reason }.into());
        };
        let cut = link.lock().cut.child_token();
        let (up, inbound) = mpsc::unbounded_channel();
        tokio::spawn(link.clone().carry(Direction::Up, ReceiverStream::new(outgoing), up, cut.clone()));
        let inbound = UnboundedReceiverStream::new(inbound).map(Ok);
        let broken = |reason: &str| Lost::Broken { server: link.server.clone(), reason: reason.to_owned() };
        let replies = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(broken("it was cut")),
            replies = reception.receive(link.node.clone(), inbound) => replies,
        };
        let replies = replies.map_err(|status| broken(status.message()))?;
        let (inject, past) = mpsc::unbounded_channel();
        link.lock().inject = Some(inject);
        let (down, arrived) = mpsc::unbounded_channel();
        let remembering = link.clone();
        let replies = ReceiverStream::new(replies).inspect(move |told| remembering.remember(told));
        let replies = with_past(replies, UnboundedReceiverStream::new(past));
        tokio::spawn(link.clone().carry(Direction::Down, Box::pin(replies), down, cut));
        let server = link.server.clone();
        let arrived = UnboundedReceiverStream::new(arrived).map(move |told: Told| {
            told.map_err(|status| Lost::Broken { server: server.clone(), reason: status.message().to_owned() })
        });
        Ok(Box::pin(arrived))
    }
}

/// What is said now, with what is said once more in between; it ends with the former.
fn with_past(
    now: impl Stream<Item = Told> + Unpin,
    past: impl Stream<Item = Told> + Unpin,
) -> impl Stream<Item = Told> {
    futures::stream::unfold((now, past), |(mut now, mut past)| async move {
        let told = tokio::select! {
            biased;
            told = now.next() => told,
            Some(told) = past.next() => Some(told),
        };
        told.map(|told| (told, (now, past)))
    })
}
