//! What engines and coordinator tell of a whole scenario, in the words of the invariants: the same code judges simulations.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_coordinator::data_dir::DataDir;
use nightshift_coordinator::store::{PAGE_LIMIT, Sequence, SqliteStore, Store as _};
use nightshift_core::event::{Actor, Recorded};
use nightshift_core::ids::{AppName, ContainerId, NodeName};
use nightshift_core::image::Digest;
use nightshift_core::invariants::{Act, Found, Happened, History, Outage, Place};

use super::events::{self, Recording};
use super::fleet::CONTAINER;
use super::parts::node;
use super::{Engine, Surroundings};

/// What Nightshift puts into the names of containers that are being replaced, or replace.
const INFIX: &str = ".nightshift-";
/// The coordinator learns within this time that an instance is away: three lost heartbeats, a start of its own and the moment
/// in which it asks everybody, on a machine that is busy.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

/// The audit log of a coordinator that has ended.
pub(crate) fn log(home: &Path) -> Vec<Recorded> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let data_dir = DataDir::open(home.join("coordinator")).expect("nobody else holds it");
        let store = SqliteStore::open(&data_dir).await.expect("the coordinator's database");
        let mut log = Vec::new();
        let mut last = Sequence(0);
        loop {
            let page = store.load_all(last, PAGE_LIMIT).await.expect("it can be read");
            let Some(end) = page.last() else { return log };
            last = end.sequence;
            log.extend(page.into_iter().map(|stored| {
                let event = serde_json::from_value(stored.body).expect("an event");
                Recorded { at: stored.at, by: Actor(stored.by), event }
            }));
        }
    })
}

/// What the engines hold now.
pub(crate) fn found(surroundings: &Surroundings) -> Vec<Found> {
    let engines = surroundings.engines.iter().enumerate();
    engines.flat_map(|(number, engine)| found_on(surroundings, number, engine)).collect()
}

fn found_on(surroundings: &Surroundings, number: usize, engine: &Engine) -> Vec<Found> {
    let look = |container: serde_json::Value| {
        let inspect = engine.inspect(container["Id"].as_str().expect("an id"));
        let mounts = inspect["Mounts"].as_array().into_iter().flatten();
        let volumes: BTreeSet<(String, String)> =
            mounts.map(|mount| (mount["Destination"].to_string(), mount["Name"].to_string())).collect();
        Found {
            place: place(surroundings, number),
            container: ContainerId(inspect["Id"].as_str().expect("an id").to_owned()),
            own_name: inspect["Name"].as_str() == Some(&format!("/{}", engine.name(CONTAINER))),
            running: inspect["State"]["Running"] == true,
            volumes,
        }
    };
    engine.containers().into_iter().map(look).collect()
}

/// The scenario's instance on a node.
pub(crate) fn place(surroundings: &Surroundings, number: usize) -> Place {
    (app(surroundings), node_name(number), surroundings.engines[number].name(CONTAINER))
}

fn app(surroundings: &Surroundings) -> AppName {
    surroundings.app().parse().expect("a scenario's name is an app's name")
}

/// A node's name.
pub(crate) fn node_name(number: usize) -> NodeName {
    node(number).parse().expect("a node's name")
}

/// Everything that the engines told.
pub(crate) fn history(
    surroundings: &Surroundings,
    before: Vec<Found>,
    recording: &Recording,
    outages: Vec<Outage>,
) -> History {
    let always = DateTime::<Utc>::MIN_UTC..DateTime::<Utc>::MAX_UTC;
    History {
        before,
        happened: recording.all().iter().filter_map(|event| happened(surroundings, event)).collect(),
        outages,
        allowed: [(app(surroundings), vec![always])].into(),
        noticed_within: NOTICED_WITHIN,
        after: found(surroundings),
    }
}

fn happened(surroundings: &Surroundings, event: &events::Happened) -> Option<Happened> {
    let base = event.name.split_once(INFIX).map_or(event.name.as_str(), |(base, _)| base);
    assert_eq!(base, CONTAINER, "a container of nobody: {event:?}");
    let act = match event.what.as_str() {
        "create" => Act::Created(event.image.split_once('@').and_then(|(_, digest)| digest.parse::<Digest>().ok())),
        "start" => Act::Started,
        "kill" => Act::Stopping,
        "die" => Act::Ended,
        "health_status: healthy" => Act::Serving,
        "health_status: unhealthy" => Act::Failing,
        "destroy" => Act::Removed,
        _ => return None,
    };
    let at = DateTime::from_timestamp_nanos(event.at);
    Some(Happened { at, place: place(surroundings, event.engine), container: ContainerId(event.id.clone()), act })
}

/// An outage that begins now and lasts for as long as this takes.
pub(crate) fn outage(number: usize, during: impl FnOnce()) -> Outage {
    let from = Utc::now();
    during();
    // What the engine says while it comes back has the time at which it said it.
    Outage { node: node_name(number), time: from..Utc::now() + TimeDelta::milliseconds(1) }
}
