//! The networks of a container: which one it is created on, which ones are connected afterwards, and what the user
//! asked for on each.
//!
//! The engine shows wishes and facts in one object per network. Wishes are passed on: aliases, static addresses
//! (`IPAMConfig`), links, driver options, and keys unknown today. Facts are not, for they are the old container's: an
//! address that was handed out must not be pinned.
//!
//! On a Swarm network (attachable overlay) the engine writes the address that it handed out where a wish would stand,
//! and takes it away only when the container stops (seen on 20.10). There, while it runs, nothing tells the two apart.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::config::SHORT_ID_CHARS;
use super::raw::{Inspect, is_empty};
use super::refuse::{self, Refusal};
use super::{ApiVersion, NetworkConnect, RunState};

/// The network that the engine offers from the start. It knows no aliases and no static addresses, and refuses them.
const DEFAULT_BRIDGE: &str = "bridge";

/// What the engine reports about an endpoint, as opposed to what the user wants of it.
const FACTS: [&str; 10] = [
    "DNSNames",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
    "NetworkID",
];

/// Length of the id of a Swarm network, in characters of base 36. A network of one host has 64 hexadecimal digits.
const SWARM_ID_CHARS: usize = 25;

/// A container's networks, by when they are connected.
pub(super) struct Networks {
    /// `NetworkingConfig.EndpointsConfig` of the create body; empty when nothing is to be said.
    pub(super) at_creation: Map<String, Value>,
    /// The others.
    pub(super) connects: Vec<NetworkConnect>,
}

/// Splits the container's networks into those of the creation and those to connect.
pub(super) fn split(
    container: Inspect<'_>,
    api_version: ApiVersion,
    temporary_name: &str,
) -> Result<Networks, Refusal> {
    let mut networks = Networks { at_creation: Map::new(), connects: Vec::new() };
    let mode = container.text("HostConfig.NetworkMode")?;
    if matches!(mode, "host" | "none") || mode.starts_with("container:") {
        return Ok(networks);
    }
    let connected = container.object("NetworkSettings.Networks")?;
    let primary = primary(mode, connected).ok_or_else(|| Refusal::PrimaryNetworkLeft { network: mode.to_owned() })?;
    let id = container.text("Id")?;
    let short_id = id.get(..SHORT_ID_CHARS).unwrap_or(id);
    let mac_address = container.text_or_empty("Config.MacAddress")?;
    let mac_belongs_here = api_version.has_mac_address_per_endpoint() && !mac_address.is_empty();
    let running = matches!(refuse::run_state(container)?, RunState::Running | RunState::Paused);
    for (network, settings) in connected {
        let settings = settings.as_object().ok_or_else(|| container.malformed("NetworkSettings.Networks"))?;
        let mut wishes = wishes(network, settings, short_id);
        if wishes.contains_key("IPAMConfig") && running && is_swarm_network(settings) {
            return Err(Refusal::SwarmAddress { network: network.clone() });
        }
        if network == primary && mac_belongs_here && !is_generated(mac_address, settings) {
            wishes.insert("MacAddress".to_owned(), Value::from(mac_address));
        }
        if network == primary || api_version.creates_with_several_networks() {
            networks.at_creation.insert(network.clone(), Value::Object(wishes));
        } else {
            let body = json!({"Container": temporary_name, "EndpointConfig": wishes});
            networks.connects.push(NetworkConnect { network: network.clone(), body });
        }
    }
    let nothing_to_say = networks.at_creation.len() == 1 && networks.at_creation.values().all(is_empty);
    if nothing_to_say {
        networks.at_creation.clear();
    }
    Ok(networks)
}

/// The network, among those connected, that the container was created on. The mode may name it or give its id.
fn primary<'a>(mode: &str, connected: &'a Map<String, Value>) -> Option<&'a str> {
    let name = if mode == "default" { DEFAULT_BRIDGE } else { mode };
    let by_id = |settings: &Value| {
        settings
            .get("NetworkID")
            .and_then(Value::as_str)
            .is_some_and(|id| mode.len() >= SHORT_ID_CHARS && id.starts_with(mode))
    };
    connected
        .keys()
        .find(|key| *key == name)
        .or_else(|| connected.iter().find(|(_, settings)| by_id(settings)).map(|(key, _)| key))
        .map(String::as_str)
}

/// Whether the engine made the MAC address from the IPv4 address, `02:42` and its four bytes. Engine 25.0 shows such an
/// address as if the user had asked for it (moby issue 47228).
fn is_generated(mac_address: &str, settings: &Map<String, Value>) -> bool {
    let shown = settings.get("IPAddress").and_then(Value::as_str).unwrap_or("");
    shown.parse::<Ipv4Addr>().is_ok_and(|address| {
        let [a, b, c, d] = address.octets();
        mac_address.eq_ignore_ascii_case(&format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"))
    })
}

fn is_swarm_network(settings: &Map<String, Value>) -> bool {
    let id = settings.get("NetworkID").and_then(Value::as_str).unwrap_or("");
    id.len() == SWARM_ID_CHARS && id.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

fn wishes(network: &str, settings: &Map<String, Value>, short_id: &str) -> Map<String, Value> {
    let on_default_bridge = network == DEFAULT_BRIDGE;
    let mut wishes = Map::new();
    for (key, value) in settings {
        let refused_there = on_default_bridge && matches!(key.as_str(), "Aliases" | "IPAMConfig" | "Links");
        if FACTS.contains(&key.as_str()) || refused_there {
            continue;
        }
        let value = match (key.as_str(), value.as_array()) {
            // The engine adds the short id itself, to each container its own.
            ("Aliases", Some(aliases)) => aliases.iter().filter(|alias| *alias != short_id).cloned().collect(),
            _ => value.clone(),
        };
        if !is_empty(&value) {
            wishes.insert(key.clone(), value);
        }
    }
    wishes
}
