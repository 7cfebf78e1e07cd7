//! `recreate::plan` against what a real engine said and did, for each kind of `docker run` option.
//!
//! `scripts/record-inspects` made the records (see there). For each kind the plan, merged with the new image as the
//! engine merges, must be what `docker run` of the new image by hand gave; so must the container that the engine really
//! made of the plan; and to replace that one again must plan the same body.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nightshift_core::labels::Labels;
use nightshift_core::recreate::{ApiVersion, Input, Plan, Product, RunState, plan};
use serde_json::{Map, Value, json};

/// Fewest kinds that must be there: an empty directory proves nothing.
const KINDS_AT_LEAST: usize = 76;

/// Fields of `Config` in which the new container differs from one made by hand, and may.
///
/// - `Image`: what the plan is told to say.
/// - `Hostname`: the short id, unless something sets it; compared on its own.
const MAY_DIFFER: [&str; 2] = ["Image", "Hostname"];

fn records() -> BTreeMap<String, Value> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/inspects");
    let entries = directory.read_dir().expect("the records are in the tree");
    entries
        .map(|entry| {
            let path = entry.expect("readable").path();
            let kind = path.file_stem().expect("a name").to_string_lossy().into_owned();
            #[expect(clippy::disallowed_methods, reason = "records are test data, one file each")]
            let text = std::fs::read_to_string(&path).expect("readable");
            (kind, serde_json::from_str(&text).expect("JSON"))
        })
        .collect()
}

struct Images(Value);

impl Images {
    /// The first version of the image that a container runs, and the second.
    fn of(&self, record: &Value) -> [&Value; 2] {
        ["old", "by_hand"].map(|which| &self.0[record[which]["Image"].as_str().expect("an id")])
    }
}

fn plan_for(container: &Value, old_image: &Value, new_image: &Value) -> Plan {
    let labels = Labels::from([("nightshift.role".to_owned(), "new".to_owned())]);
    let input = Input {
        container,
        old_image,
        new_image,
        image_name: "app:2",
        new_image_id: new_image["Id"].as_str().expect("an id"),
        api_version: ApiVersion { major: 1, minor: 41 },
        product: Product::Docker,
        temporary_name: "subject-next",
        labels: &labels,
    };
    plan(&input).unwrap_or_else(|refusal| panic!("{}: {refusal}", container["Name"]))
}

/// The engine's merge of a create body with an image (`daemon/commit.go`, observed on 20.10).
fn merge(body: &Value, image: &Value) -> Map<String, Value> {
    let mut config = body.as_object().expect("an object").clone();
    config.retain(|key, _| key != "HostConfig" && key != "NetworkingConfig");
    let empty = |config: &Map<String, Value>, key: &str| config.get(key).is_none_or(is_empty);
    for key in ["User", "WorkingDir", "StopSignal"] {
        if empty(&config, key) {
            config.insert(key.into(), image[key].clone());
        }
    }
    if empty(&config, "Entrypoint") {
        if empty(&config, "Cmd") {
            config.insert("Cmd".into(), image["Cmd"].clone());
        }
        config.insert("Entrypoint".into(), image["Entrypoint"].clone());
    }
    if config["Entrypoint"] == json!([""]) {
        config.insert("Entrypoint".into(), Value::Null);
    }
    for key in ["ExposedPorts", "Volumes", "Labels", "Healthcheck"] {
        let mut merged = image[key].as_object().cloned().unwrap_or_default();
        merged.extend(config.get(key).and_then(Value::as_object).cloned().unwrap_or_default());
        config.insert(key.into(), Value::Object(merged));
    }
    let mut env = config["Env"].as_array().cloned().unwrap_or_default();
    let key = |entry: &Value| entry.as_str().expect("text").split('=').next().map(str::to_owned);
    for entry in image["Env"].as_array().into_iter().flatten() {
        if !env.iter().any(|known| key(known) == key(entry)) {
            env.push(entry.clone());
        }
    }
    config.insert("Env".into(), Value::Array(env));
    config
}

fn is_empty(value: &Value) -> bool {
    matches!(value, Value::Null) || *value == json!("") || *value == json!([]) || *value == json!({})
}

/// Compares two objects key by key, unset and empty being the same.
fn compare(what: &str, found: &Map<String, Value>, expect: &Map<String, Value>, problems: &mut Vec<String>) {
    let keys: BTreeSet<&String> = found.keys().chain(expect.keys()).collect();
    for key in keys {
        let (a, b) = (found.get(key).unwrap_or(&Value::Null), expect.get(key).unwrap_or(&Value::Null));
        if a != b && !(is_empty(a) && is_empty(b)) {
            problems.push(format!("{what}.{key}: {a}, by hand {b}"));
        }
    }
}

fn without(config: &Value, keys: &[&str]) -> Map<String, Value> {
    let mut config = config.as_object().expect("an object").clone();
    config.retain(|key, _| !keys.contains(&key.as_str()));
    config
}

/// `Config` without what may differ: Nightshift's label, Compose's note of the image.
fn config(container: &Value) -> Map<String, Value> {
    let mut config = without(container, &MAY_DIFFER);
    if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.retain(|key, _| key != "nightshift.role" && key != "com.docker.compose.image");
    }
    // The client sends variables in a different order each time.
    if let Some(env) = config.get_mut("Env").and_then(Value::as_array_mut) {
        env.sort_by_key(Value::to_string);
    }
    config
}

/// `HostConfig` without what may differ: unnamed volumes are held by their names; the client sends binds, and the engine
/// shows links, in a different order each time.
fn host_config(host_config: &Value, unnamed: &BTreeSet<&str>) -> Map<String, Value> {
    let mut host_config = host_config.as_object().expect("an object").clone();
    let held = |value: &Value| unnamed.iter().any(|name| value.as_str().is_some_and(|text| text.starts_with(name)));
    if let Some(binds) = host_config.get_mut("Binds").and_then(Value::as_array_mut) {
        binds.retain(|bind| !held(bind));
        binds.sort_by_key(Value::to_string);
    }
    for mount in host_config.get_mut("Mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        if held(&mount["Source"]) {
            mount.as_object_mut().expect("an object").remove("Source");
        }
    }
    if let Some(links) = host_config.get_mut("Links").and_then(Value::as_array_mut) {
        let typed = |link: &Value| {
            let link = link.as_str().expect("text").trim_start_matches('/').to_owned();
            let (target, alias) = link.split_once(':').expect("a link");
            format!("{target}:{}", alias.rsplit('/').next().unwrap_or(alias))
        };
        let mut sorted: Vec<String> = links.iter().map(typed).collect();
        sorted.sort();
        *links = sorted.into_iter().map(Value::from).collect();
    }
    host_config
}

/// What the user asked for on a network.
fn wishes(endpoint: &Value, container_id: &str) -> Map<String, Value> {
    let mut wishes = Map::new();
    for key in ["IPAMConfig", "Links", "Aliases", "DriverOpts"] {
        let mut value = endpoint[key].clone();
        if let Some(list) = value.as_array_mut() {
            list.retain(|entry| *entry != container_id[..12]);
        }
        wishes.insert(key.to_owned(), value);
    }
    wishes
}

fn networks(container: &Value) -> BTreeMap<String, Map<String, Value>> {
    let id = container["Id"].as_str().expect("an id");
    let networks = container["NetworkSettings"]["Networks"].as_object().expect("networks");
    networks.iter().map(|(name, endpoint)| (name.clone(), wishes(endpoint, id))).collect()
}

fn planned_networks(plan: &Plan) -> BTreeMap<String, Map<String, Value>> {
    let at_creation = plan.create_body["NetworkingConfig"]["EndpointsConfig"].as_object().cloned().unwrap_or_default();
    let connects =
        plan.connects.iter().map(|connect| (connect.network.clone(), connect.body["EndpointConfig"].clone()));
    at_creation.into_iter().chain(connects).map(|(name, endpoint)| (name, wishes(&endpoint, "no container"))).collect()
}

/// Names of the volumes that nobody named: the engine gave them names of 64 digits.
fn unnamed_volumes(container: &Value) -> BTreeSet<&str> {
    let mounts = container["Mounts"].as_array().expect("mounts");
    mounts.iter().filter_map(|mount| mount["Name"].as_str()).filter(|name| name.len() == 64).collect()
}

/// Each destination with what is mounted there, and whether it can be written.
fn mounts(container: &Value) -> BTreeMap<String, (Value, bool)> {
    let list = container["Mounts"].as_array().expect("mounts");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.iter()
        .map(|mount| {
            let source = if mount["Type"] == "volume" { &mount["Name"] } else { &mount["Source"] };
            (text(&mount["Destination"]), (source.clone(), mount["RW"] == true))
        })
        .collect()
}

/// The plan, merged as the engine merges, is what `docker run` by hand gave.
fn check_plan(plan: &Plan, record: &Value, new_image: &Value, problems: &mut Vec<String>) {
    let (old, by_hand) = (&record["old"], &record["by_hand"]);
    let merged = json!(merge(&plan.create_body, &new_image["Config"]));
    compare("plan.Config", &config(&merged), &config(&by_hand["Config"]), problems);
    let unnamed: BTreeSet<&str> = unnamed_volumes(old).union(&unnamed_volumes(by_hand)).copied().collect();
    compare(
        "plan.HostConfig",
        &host_config(&plan.create_body["HostConfig"], &unnamed),
        &host_config(&by_hand["HostConfig"], &unnamed),
        problems,
    );
    // With nothing left out: what the engine made of the plan when it was recorded.
    let as_made = host_config(&record["replaced"]["HostConfig"], &BTreeSet::new());
    compare("plan.HostConfig", &host_config(&plan.create_body["HostConfig"], &BTreeSet::new()), &as_made, problems);
    let links = plan.create_body["HostConfig"]["Links"].as_array().cloned().unwrap_or_default();
    let typed = |link: &Value| link.as_str().is_some_and(|link| !link.contains('/'));
    if !links.iter().all(typed) || !links.is_sorted_by_key(Value::to_string) {
        problems.push(format!("plan.HostConfig.Links: {links:?} are not as typed and in order"));
    }
    let was = match plan.was {
        RunState::Created => "created",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Exited => "exited",
    };
    if old["State"]["Status"] != was || plan.restart_policy != old["HostConfig"]["RestartPolicy"] {
        problems.push(format!("plan: was {was}, restart policy {}", plan.restart_policy));
    }
    let planned = planned_networks(plan);
    for (network, expect) in networks(by_hand) {
        let nothing = Map::new();
        compare(&format!("plan.{network}"), planned.get(&network).unwrap_or(&nothing), &expect, problems);
    }
}

/// What the engine made of the plan is what `docker run` by hand gave, and it has the old one's data.
fn check_replaced(record: &Value, problems: &mut Vec<String>) {
    let [old, replaced, by_hand] = ["old", "replaced", "by_hand"].map(|which| &record[which]);
    compare("replaced.Config", &config(&replaced["Config"]), &config(&by_hand["Config"]), problems);
    let unnamed: BTreeSet<&str> = unnamed_volumes(old).union(&unnamed_volumes(by_hand)).copied().collect();
    compare(
        "replaced.HostConfig",
        &host_config(&replaced["HostConfig"], &unnamed),
        &host_config(&by_hand["HostConfig"], &unnamed),
        problems,
    );
    let (found, expect) = (networks(replaced), networks(by_hand));
    for network in found.keys().chain(expect.keys()) {
        let nothing = Map::new();
        let side = |side: &BTreeMap<String, _>| side.get(network).unwrap_or(&nothing).clone();
        if found.contains_key(network) != expect.contains_key(network) {
            problems.push(format!("replaced.{network}: connected only on one side"));
        }
        compare(&format!("replaced.{network}"), &side(&found), &side(&expect), problems);
    }
    let hostname = |container: &Value| {
        let (id, name) =
            (container["Id"].as_str().unwrap_or(""), container["Config"]["Hostname"].as_str().unwrap_or(""));
        if id.starts_with(name) { String::new() } else { name.to_owned() }
    };
    if hostname(replaced) != hostname(by_hand) {
        problems.push(format!("replaced host name: {}, by hand {}", hostname(replaced), hostname(by_hand)));
    }
    if replaced["State"]["Status"] != by_hand["State"]["Status"] {
        problems.push(format!("replaced is {}, by hand {}", replaced["State"]["Status"], by_hand["State"]["Status"]));
    }
    let (found, before) = (mounts(replaced), mounts(old));
    for (destination, mount) in &before {
        if found.get(destination) != Some(mount) {
            problems.push(format!("{destination}: {mount:?} became {:?}", found.get(destination)));
        }
    }
    let all: BTreeSet<String> = before.into_keys().chain(mounts(by_hand).into_keys()).collect();
    if found.into_keys().collect::<BTreeSet<_>>() != all {
        problems.push(format!("not mounted at just {all:?}"));
    }
}

#[test]
fn every_kind_of_container_is_recreated_as_by_hand() {
    let mut records = records();
    let images = Images(records.remove("images").expect("images.json"));
    assert!(records.len() >= KINDS_AT_LEAST, "only {} kinds are recorded", records.len());
    let mut failed = String::new();
    for (kind, record) in &records {
        let [old_image, new_image] = images.of(record);
        let mut problems = Vec::new();
        let first = plan_for(&record["old"], old_image, new_image);
        check_plan(&first, record, new_image, &mut problems);
        check_replaced(record, &mut problems);
        for problem in problems {
            failed += &format!("{kind}: {problem}\n");
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}

#[test]
fn to_replace_a_replaced_container_plans_the_same() {
    let mut records = records();
    let images = Images(records.remove("images").expect("images.json"));
    let mut failed = String::new();
    for (kind, record) in &records {
        let [old_image, new_image] = images.of(record);
        let first = plan_for(&record["old"], old_image, new_image);
        let second = plan_for(&record["replaced"], new_image, new_image);
        let mut problems = Vec::new();
        // Volumes that only the new image declares get their data with it: from then on they are held, too.
        let unnamed = unnamed_volumes(&record["replaced"]);
        let body = |plan: &Plan| {
            let mut body = without(&plan.create_body, &["HostConfig", "NetworkingConfig"]);
            body.retain(|_, value| !is_empty(value));
            body
        };
        compare("again", &body(&second), &body(&first), &mut problems);
        compare(
            "again.HostConfig",
            &host_config(&second.create_body["HostConfig"], &unnamed),
            &host_config(&first.create_body["HostConfig"], &unnamed),
            &mut problems,
        );
        for (network, wishes) in planned_networks(&first) {
            let again = planned_networks(&second).remove(&network).unwrap_or_default();
            compare(&format!("again.{network}"), &again, &wishes, &mut problems);
        }
        for problem in problems {
            failed += &format!("{kind}: {problem}\n");
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}
