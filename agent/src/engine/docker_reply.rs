//! Reading an engine's answers into our own types.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::labels::Labels;
use nightshift_core::recreate::{ApiVersion, Product};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ContainerSummary, EngineEvent, EngineInfo, Error, EventKind, ImageSummary, NetworkSummary, Result, api_version,
};

/// Reads an answer as `T`.
pub(super) fn read<T: DeserializeOwned>(call: &'static str, json: Value) -> Result<T> {
    T::deserialize(json).map_err(|error| Error::Malformed { call, reason: error.to_string() })
}

/// The answer to `GET /version`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) version: String,
    api_version: String,
    #[serde(rename = "MinAPIVersion")]
    oldest_api_version: Option<String>,
    os: String,
    arch: String,
    components: Option<Vec<Component>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: String,
}

impl Version {
    /// The version of the API to speak.
    pub(super) fn negotiate(&self, url: &str) -> Result<ApiVersion> {
        let parse = |text: &str| {
            text.parse::<ApiVersion>()
                .map_err(|error| Error::Malformed { call: "GET /version", reason: error.to_string() })
        };
        let newest = parse(&self.api_version)?;
        let oldest = self.oldest_api_version.as_deref().map_or(Ok(newest), parse)?;
        api_version::negotiate(oldest, newest).map_err(|reason| Error::Unsupported {
            url: url.to_owned(),
            reason,
            newest,
        })
    }
}

/// What is used of the answer to `GET /info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    name: String,
    system_time: String,
    registry_config: Option<RegistryConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RegistryConfig {
    #[serde(rename = "InsecureRegistryCIDRs")]
    insecure_networks: Option<Vec<String>>,
    index_configs: Option<HashMap<String, Index>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Index {
    secure: bool,
}

/// Puts the answers to `GET /version` and `GET /info` together.
pub(super) fn engine_info(version: Version, api_version: ApiVersion, info: Value) -> Result<EngineInfo> {
    const CALL: &str = "GET /info";
    let info: Info = read(CALL, info)?;
    let time = DateTime::parse_from_rfc3339(&info.system_time)
        .map_err(|error| Error::Malformed { call: CALL, reason: format!("`SystemTime`: {error}") })?;
    let mut insecure_registries = Vec::new();
    if let Some(config) = info.registry_config {
        let hosts = config.index_configs.unwrap_or_default();
        insecure_registries.extend(hosts.into_iter().filter(|(_, index)| !index.secure).map(|(host, _)| host));
        insecure_registries.extend(config.insecure_networks.unwrap_or_default());
        insecure_registries.sort();
    }
    let components = version.components.unwrap_or_default();
    Ok(EngineInfo {
        name: info.name,
        version: version.version,
        api_version,
        product: Product::of_components(components.iter().map(|component| component.name.as_str())),
        os: version.os,
        arch: version.arch,
        time: time.to_utc(),
        insecure_registries,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    labels: Option<Labels>,
    state: String,
}

/// Reads the answer to `GET /containers/json`.
///
/// A container that is being removed may already have lost its name; it is left out, as it will be gone.
pub(super) fn containers(json: Value) -> Result<Vec<ContainerSummary>> {
    const CALL: &str = "GET /containers/json";
    let mut summaries = Vec::new();
    for container in read::<Vec<Container>>(CALL, json)? {
        // Links add names of the form `/other/alias`; the container's own has no second slash.
        let names = container.names.unwrap_or_default();
        let own = names.iter().filter_map(|name| name.strip_prefix('/')).find(|name| !name.contains('/'));
        let Some(name) = own.map(str::to_owned) else { continue };
        let unknown = || Error::Malformed {
            call: CALL,
            reason: format!("container `{name}` has the unknown state `{}`", container.state),
        };
        let state = RunState::of_status(&container.state).ok_or_else(unknown)?;
        summaries.push(ContainerSummary {
            id: ContainerId(container.id),
            name,
            image: container.image,
            image_id: container.image_id,
            labels: container.labels.unwrap_or_default(),
            state,
        });
    }
    Ok(summaries)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    id: String,
    name: String,
    labels: Option<Labels>,
}

/// Reads the answer to `GET /networks`.
pub(super) fn networks(json: Value) -> Result<Vec<NetworkSummary>> {
    let summary = |network: Network| NetworkSummary {
        id: network.id,
        name: network.name,
        labels: network.labels.unwrap_or_default(),
    };
    Ok(read::<Vec<Network>>("GET /networks", json)?.into_iter().map(summary).collect())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    id: String,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    created: i64,
    size: i64,
}

/// Reads the answer to `GET /images/json`. Old engines write `<none>:<none>` where there is no name.
pub(super) fn images(json: Value) -> Result<Vec<ImageSummary>> {
    const CALL: &str = "GET /images/json";
    let named = |names: Option<Vec<String>>| {
        names.unwrap_or_default().into_iter().filter(|name| !name.starts_with("<none>")).collect()
    };
    let images = read::<Vec<Image>>(CALL, json)?.into_iter().map(|image| ImageSummary {
        id: image.id,
        repo_tags: named(image.repo_tags),
        repo_digests: named(image.repo_digests),
        created: DateTime::from_timestamp(image.created, 0).unwrap_or(DateTime::UNIX_EPOCH),
        size_bytes: u64::try_from(image.size).unwrap_or(0),
    });
    Ok(images.collect())
}

/// Actions that the engine is asked to report. Unfiltered, a stream is full of the `exec_*` of health checks.
/// The last two are Podman's, which filters by words that it does not show: its `died` is shown as `die`.
pub(super) const ACTIONS: [&str; 14] = [
    "create",
    "start",
    "die",
    "stop",
    "kill",
    "destroy",
    "rename",
    "health_status",
    "update",
    "pause",
    "unpause",
    "oom",
    "died",
    "remove",
];

/// Reads an event; none for an action that was not asked for (an engine may ignore the filter).
///
/// The attributes hold the container's labels next to the engine's own keys, without telling them apart: a label that
/// is called like one of them is lost. Inspect has all labels.
pub(super) fn event(
    id: String,
    action: &str,
    mut attributes: HashMap<String, String>,
    at: DateTime<Utc>,
) -> Option<EngineEvent> {
    const OWN_KEYS: [&str; 6] = ["image", "signal", "execDuration", "comment", "containerExitCode", "podId"];
    let without_slash = |name: String| name.strip_prefix('/').map(str::to_owned).unwrap_or(name);
    let name = without_slash(attributes.remove("name").unwrap_or_default());
    let exit_code = attributes.remove("exitCode").and_then(|code| code.parse().ok());
    let from = attributes.remove("oldName").map(without_slash);
    let kind = match action {
        "create" => EventKind::Create,
        "start" => EventKind::Start,
        "die" => EventKind::Die { exit_code: exit_code.unwrap_or(-1) },
        "stop" => EventKind::Stop,
        "kill" => EventKind::Kill,
        "destroy" | "remove" => EventKind::Destroy,
        "rename" => EventKind::Rename { from: from.unwrap_or_default() },
        "update" => EventKind::Update,
        "pause" => EventKind::Pause,
        "unpause" => EventKind::Unpause,
        "oom" => EventKind::OutOfMemory,
        _ => EventKind::HealthStatus(health(action.strip_prefix("health_status:")?.trim())?),
    };
    let labels = attributes.into_iter().filter(|(key, _)| !OWN_KEYS.contains(&key.as_str())).collect();
    Some(EngineEvent { id: ContainerId(id), name, kind, labels, at })
}

fn health(word: &str) -> Option<Health> {
    Health::deserialize(Value::from(word)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_linked_container_is_listed_under_its_own_name() {
        let list = json!([
            {"Id": "a", "Names": ["/other/db", "/db-1"], "Image": "db:1", "ImageID": "sha256:00", "Labels": null,
             "State": "running", "SizeRw": 5},
            {"Id": "b", "Names": null, "Image": "x", "ImageID": "sha256:00", "State": "removing"},
        ]);
        let expect = ContainerSummary {
            id: ContainerId("a".into()),
            name: "db-1".into(),
            image: "db:1".into(),
            image_id: "sha256:00".into(),
            labels: Labels::new(),
            state: RunState::Running,
        };
        assert_eq!(containers(list), Ok(vec![expect]));
    }

    #[test]
    fn podmans_states_are_understood_and_unknown_ones_named() {
        let list = |state: &str| json!([{"Id": "a", "Names": ["/web"], "Image": "x", "ImageID": "y", "State": state}]);
        let state =
            |word: &str| containers(list(word)).map(|found| found.iter().map(|one| one.state).collect::<Vec<_>>());
        assert_eq!(state("stopped"), Ok(vec![RunState::Exited]));
        assert_eq!(state("initialized"), Ok(vec![RunState::Created]));
        let error = state("hibernating").expect_err("never guessed").to_string();
        assert!(error.contains("`web`") && error.contains("`hibernating`"), "{error}");
    }

    #[test]
    fn podman_is_known_by_the_answer_to_version() {
        let product = |components: Value| {
            let version = json!({"Version": "4.3.1", "ApiVersion": "1.41", "MinAPIVersion": "1.24", "Os": "linux",
                "Arch": "amd64", "Components": components});
            let version: Version = read("GET /version", version).expect("complete");
            let info = json!({"Name": "node", "SystemTime": "2026-11-26T12:00:00Z"});
            engine_info(version, ApiVersion { major: 1, minor: 41 }, info).expect("complete").product
        };
        assert_eq!(product(json!([{"Name": "Podman Engine"}, {"Name": "Conmon"}])), Product::Podman);
        assert_eq!(product(json!([{"Name": "Engine"}, {"Name": "containerd"}])), Product::Docker);
        assert_eq!(product(json!(null)), Product::Docker);
    }

    #[test]
    fn events_are_read_with_their_labels_only() {
        let at = DateTime::UNIX_EPOCH;
        let read = |action: &str, more: &[(&str, &str)]| {
            let base = [("name", "web"), ("image", "web:1"), ("app", "shop")];
            let attributes = base.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            event("id".into(), action, attributes, at)
        };
        let expect = |kind| {
            let labels = Labels::from([("app".to_owned(), "shop".to_owned())]);
            Some(EngineEvent { id: ContainerId("id".into()), name: "web".into(), kind, labels, at })
        };
        assert_eq!(read("die", &[("exitCode", "137")]), expect(EventKind::Die { exit_code: 137 }));
        assert_eq!(read("rename", &[("oldName", "/old")]), expect(EventKind::Rename { from: "old".into() }));
        assert_eq!(read("health_status: healthy", &[]), expect(EventKind::HealthStatus(Health::Healthy)));
        assert_eq!(read("kill", &[("signal", "15")]), expect(EventKind::Kill));
        assert_eq!(read("exec_create: true", &[]), None);
        let podman = [("containerExitCode", "0"), ("podId", "")];
        assert_eq!(read("remove", &podman), expect(EventKind::Destroy));
        assert_eq!(read("cleanup", &podman), None);
    }

    #[test]
    fn registries_without_tls_are_known() {
        let version = json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64"});
        let version: Version = read("GET /version", version).expect("well formed");
        let api = version.negotiate("unix:///x").expect("common");
        let info = json!({"Name": "host", "SystemTime": "2026-01-02T03:04:05.5Z", "RegistryConfig": {
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {"docker.io": {"Secure": true}, "r.example:5000": {"Secure": false}}}});
        let info = engine_info(version, api, info).expect("well formed");
        assert_eq!(info.insecure_registries, ["127.0.0.0/8", "r.example:5000"]);
        assert_eq!(info.time.to_rfc3339(), "2026-01-02T03:04:05.500+00:00");
    }
}
