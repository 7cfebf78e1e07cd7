//! One container of a simulated engine: its configuration, as the engine merges it, and its raw inspect.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use nightshift_core::container::{Health, RunState};
use nightshift_core::labels::Labels;
use serde_json::{Map, Value, json};

use super::registry::{Behaviour, Happening};
use super::{hashed, short};

/// A container and what it is doing.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image_id: String,
    pub(super) created: DateTime<Utc>,
    /// `Config`: the request merged with the image's.
    pub(super) config: Map<String, Value>,
    pub(super) host_config: Map<String, Value>,
    /// `NetworkSettings.Networks`.
    pub(super) networks: Map<String, Value>,
    pub(super) mounts: Vec<Value>,
    pub(super) behaviour: Behaviour,
    pub(super) status: RunState,
    pub(super) exit_code: i64,
    pub(super) error: String,
    pub(super) health: Option<Health>,
    pub(super) started_at: Option<DateTime<Utc>>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) restart_count: u64,
    /// Counts the starts: what was planned for an earlier run does not happen in a later one.
    pub(super) run: u64,
    /// By a person or by us: `unless-stopped` leaves it alone then.
    pub(super) stopped_on_request: bool,
    /// What fell due while it was paused.
    pub(super) postponed: Vec<Happening>,
    pub(super) log: Vec<String>,
}

/// The status words of the engine.
pub(super) const fn word(status: RunState) -> &'static str {
    match status {
        RunState::Created => "created",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Restarting => "restarting",
        RunState::Removing => "removing",
        RunState::Exited => "exited",
        RunState::Dead => "dead",
    }
}

const fn health_word(health: Health) -> &'static str {
    match health {
        Health::None => "none",
        Health::Starting => "starting",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

fn instant(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Nanos, true))
}

impl Container {
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.status, RunState::Running | RunState::Paused)
    }

    pub(super) fn labels(&self) -> Labels {
        let labels = self.config.get("Labels").and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        labels.into_iter().flatten().filter_map(text).collect()
    }

    pub(super) fn image_name(&self) -> &str {
        self.config.get("Image").and_then(Value::as_str).unwrap_or("")
    }

    pub(super) fn policy(&self) -> (&str, u64) {
        let policy = self.host_config.get("RestartPolicy");
        let name = policy.and_then(|policy| policy.get("Name")).and_then(Value::as_str).unwrap_or("no");
        (name, policy.and_then(|policy| policy.get("MaximumRetryCount")).and_then(Value::as_u64).unwrap_or(0))
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.host_config.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn has_health_check(&self) -> bool {
        let test = self.config.get("Healthcheck").and_then(|check| check.get("Test")).and_then(Value::as_array);
        test.is_some_and(|test| !test.is_empty() && test.first().and_then(Value::as_str) != Some("NONE"))
    }

    /// Ports of the host that it holds while it is up, with their protocol.
    pub(super) fn host_ports(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let bindings = self.host_config.get("PortBindings").and_then(Value::as_object);
        bindings.into_iter().flatten().flat_map(|(port, bindings)| {
            let protocol = port.split_once('/').map_or("tcp", |(_, protocol)| protocol);
            let host_port = |binding: &Value| binding.get("HostPort").and_then(Value::as_str).map(str::to_owned);
            let ports = bindings.as_array().into_iter().flatten().filter_map(host_port).filter(|port| !port.is_empty());
            ports.map(|port| (protocol.to_owned(), port)).collect::<Vec<_>>()
        })
    }

    /// The raw inspect, in the shape of API 1.41.
    pub(super) fn inspect(&self) -> Value {
        let up = self.is_up();
        let mut state = json!({
            "Status": word(self.status), "Running": up || self.status == RunState::Restarting,
            "Paused": self.status == RunState::Paused, "Restarting": self.status == RunState::Restarting,
            "OOMKilled": false, "Dead": false, "Pid": if up { 4_242 } else { 0 }, "ExitCode": self.exit_code,
            "Error": self.error, "StartedAt": instant(self.started_at), "FinishedAt": instant(self.finished_at),
        });
        if let Some(health) = self.health {
            state["Health"] = json!({"Status": health_word(health), "FailingStreak": 0, "Log": []});
        }
        json!({
            "Id": self.id, "Created": instant(Some(self.created)), "Name": format!("/{}", self.name),
            "Path": "serve", "Args": [], "Image": self.image_id, "RestartCount": self.restart_count,
            "Driver": "overlay2", "Platform": "linux", "State": state, "Config": self.config,
            "HostConfig": self.host_config, "Mounts": self.mounts,
            "NetworkSettings": {"Networks": self.networks, "Ports": {}},
        })
    }
}

/// The request merged with the image's configuration, by the rules of Engine 20.10.
pub(super) fn merged_config(id: &str, body: &Map<String, Value>, image: &Value) -> Map<String, Value> {
    let mut config = body.clone();
    config.remove("HostConfig");
    config.remove("NetworkingConfig");
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    };
    // An explicit entrypoint takes the image's command out of play.
    let no_entrypoint = empty(body.get("Entrypoint"));
    let entrypoint_not_given = body.get("Entrypoint").is_none_or(Value::is_null);
    for (key, of_image) in image.as_object().into_iter().flatten() {
        let take = match key.as_str() {
            "Env" | "Labels" | "ExposedPorts" | "Volumes" | "Healthcheck" => false,
            "Cmd" => no_entrypoint && empty(body.get("Cmd")),
            "Entrypoint" => entrypoint_not_given,
            _ => empty(body.get(key)),
        };
        if take {
            config.insert(key.clone(), of_image.clone());
        }
    }
    for key in ["Labels", "ExposedPorts", "Volumes", "Healthcheck"] {
        let mut sum = image.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        sum.extend(body.get(key).and_then(Value::as_object).cloned().unwrap_or_default());
        if !sum.is_empty() || key == "Labels" {
            config.insert(key.to_owned(), Value::Object(sum));
        }
    }
    config.insert("Env".to_owned(), Value::from(merged_env(body.get("Env"), image.get("Env"))));
    // `--entrypoint ""` arrives as `[""]` and is shown as nothing.
    if config.get("Entrypoint") == Some(&json!([""])) || config.get("Entrypoint").is_none() {
        config.insert("Entrypoint".to_owned(), Value::Null);
    }
    if empty(config.get("Hostname")) {
        config.insert("Hostname".to_owned(), Value::from(short(id)));
    }
    for (key, default) in [("Domainname", ""), ("User", ""), ("WorkingDir", "")] {
        config.entry(key).or_insert_with(|| Value::from(default));
    }
    config.entry("Cmd").or_insert(Value::Null);
    config
}

fn merged_env(user: Option<&Value>, image: Option<&Value>) -> Vec<String> {
    let list = |value: Option<&Value>| -> Vec<String> {
        let entries = value.and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let key = |entry: &str| entry.split('=').next().unwrap_or(entry).to_owned();
    let mut env = list(user);
    let set: Vec<String> = env.iter().map(|entry| key(entry)).collect();
    env.extend(list(image).into_iter().filter(|entry| !set.contains(&key(entry))));
    env
}

/// `HostConfig` with the defaults that the engine fills in.
pub(super) fn host_config(body: &Map<String, Value>) -> Map<String, Value> {
    let defaults = json!({
        "Binds": null, "NetworkMode": "default", "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": false, "VolumesFrom": null, "Links": null, "IpcMode": "private", "PidMode": "", "UTSMode": "",
        "Privileged": false, "LogConfig": {"Type": "json-file", "Config": {}},
    });
    let mut host_config = defaults.as_object().cloned().unwrap_or_default();
    host_config.extend(body.get("HostConfig").and_then(Value::as_object).cloned().unwrap_or_default());
    host_config
}

/// The networks of a new container: one, by its network mode, with the wishes of the request.
pub(super) fn first_network(
    id: &str,
    body: &Map<String, Value>,
    host_config: &Map<String, Value>,
) -> Map<String, Value> {
    let mode = host_config.get("NetworkMode").and_then(Value::as_str).unwrap_or("default");
    let network = if mode == "default" { "bridge" } else { mode };
    if network.starts_with("container:") {
        return Map::new();
    }
    let wishes = body.get("NetworkingConfig").and_then(|config| config.get("EndpointsConfig"));
    let wishes = wishes.and_then(|endpoints| endpoints.get(mode).or_else(|| endpoints.get(network)));
    Map::from_iter([(network.to_owned(), endpoint(id, network, wishes))])
}

/// A container's place in a network. In networks of the user it is known by its short id, too.
pub(super) fn endpoint(id: &str, network: &str, wishes: Option<&Value>) -> Value {
    let wish = |key: &str| wishes.and_then(|wishes| wishes.get(key)).cloned().unwrap_or(Value::Null);
    let mut aliases: Vec<Value> = wish("Aliases").as_array().cloned().unwrap_or_default();
    let built_in = matches!(network, "bridge" | "host" | "none");
    if !built_in && !aliases.contains(&Value::from(short(id))) {
        aliases.push(Value::from(short(id)));
    }
    json!({
        "IPAMConfig": wish("IPAMConfig"), "Links": wish("Links"),
        "Aliases": if aliases.is_empty() { Value::Null } else { Value::Array(aliases) },
        "NetworkID": hashed(&format!("network {network}")), "EndpointID": "", "Gateway": "", "IPAddress": "",
        "IPPrefixLen": 0, "MacAddress": "", "DriverOpts": wish("DriverOpts"),
    })
}

/// What is mounted where: binds and mounts of the request, and a new volume for each path that the image or the request
/// declares and nothing else covers.
pub(super) fn mounts(id: &str, config: &Map<String, Value>, host_config: &Map<String, Value>) -> Vec<Value> {
    let volume = |name: &str, destination: &str, writable: bool| {
        let source = format!("/var/lib/docker/volumes/{name}/_data");
        json!({"Type": "volume", "Name": name, "Source": source, "Destination": destination, "Driver": "local",
               "Mode": "", "RW": writable, "Propagation": ""})
    };
    let unnamed = |destination: &str| hashed(&format!("volume {id} {destination}"));
    let mut found = BTreeMap::new();
    for bind in host_config.get("Binds").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        let mut parts = bind.split(':');
        let (Some(source), Some(destination)) = (parts.next(), parts.next()) else { continue };
        let writable = parts.next().is_none_or(|mode| !mode.split(',').any(|word| word == "ro"));
        let mount = if source.starts_with('/') {
            json!({"Type": "bind", "Source": source, "Destination": destination, "Mode": "", "RW": writable,
                   "Propagation": "rprivate"})
        } else {
            volume(source, destination, writable)
        };
        found.insert(destination.to_owned(), mount);
    }
    for mount in host_config.get("Mounts").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or("");
        let (destination, writable) =
            (text("Target"), !mount.get("ReadOnly").and_then(Value::as_bool).unwrap_or(false));
        let mount = match (text("Type"), text("Source")) {
            ("volume", "") => volume(&unnamed(destination), destination, writable),
            ("volume", name) => volume(name, destination, writable),
            (kind, source) => json!({"Type": kind, "Source": source, "Destination": destination, "RW": writable}),
        };
        found.insert(destination.to_owned(), mount);
    }
    for destination in config.get("Volumes").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        found.entry(destination.clone()).or_insert_with(|| volume(&unnamed(destination), destination, true));
    }
    found.into_values().collect()
}
