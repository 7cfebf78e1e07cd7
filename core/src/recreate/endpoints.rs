//! The networks of a container: which one it is created on, which ones are connected afterwards, and what the user
//! asked for on each.
//!
//! The engine shows wishes and facts in one object per network. Wishes are passed on: aliases, static addresses
//! (`IPAMConfig`), links, driver options, and keys unknown today. Facts are not, for they are the old container's: an
//! address that was handed out must not be pinned.

use serde_json::{Map, Value, json};

use super::config::SHORT_ID_CHARS;
use super::raw::{Inspect, is_empty};
use super::refuse::Refusal;
use super::{ApiVersion, NetworkConnect};

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
    for (network, settings) in connected {
        let settings = settings.as_object().ok_or_else(|| container.malformed("NetworkSettings.Networks"))?;
        let mut wishes = wishes(network, settings, short_id);
        if network == primary && api_version.has_mac_address_per_endpoint() && !mac_address.is_empty() {
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
    let name = if matches!(mode, "default" | "") { DEFAULT_BRIDGE } else { mode };
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
