//! Compares inspects field by field. Everything counts but what is named here, with its reason.

use std::collections::BTreeSet;

use nightshift_core::recreate::BOOKKEEPING_LABELS;
use serde_json::{Map, Value};

/// Facts of one run of one container: no two are alike, and no option says them.
const OF_ONE_RUN: [&str; 16] = [
    "State.Pid",
    "State.StartedAt",
    "State.FinishedAt",
    // Checked once or not yet, at what time.
    "State.Health",
    // The probe's own command may still be listed.
    "ExecIDs",
    "NetworkSettings.SandboxID",
    "NetworkSettings.SandboxKey",
    "NetworkSettings.EndpointID",
    "NetworkSettings.IPAddress",
    "NetworkSettings.GlobalIPv6Address",
    "NetworkSettings.MacAddress",
    // Below each network: addresses that were handed out. Asked-for ones stand in `IPAMConfig`, which counts.
    "NetworkSettings.Networks.*.EndpointID",
    "NetworkSettings.Networks.*.IPAddress",
    "NetworkSettings.Networks.*.GlobalIPv6Address",
    "NetworkSettings.Networks.*.MacAddress",
    // A random host port; a fixed one stands in `PortBindings`, which counts.
    "NetworkSettings.Ports.*.HostPort",
];

/// What two containers of one configuration differ in besides.
const OF_ONE_CONTAINER: [&str; 7] = [
    "Id",
    "Created",
    // Directories of its own layer.
    "GraphDriver.Data",
    // Paths with the id in them; the rest of the path is the engine's.
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    // A file on the machine of whoever typed the command, written once and by the client.
    "HostConfig.ContainerIDFile",
];

/// What only a container that runs has: left out when one of the two was never started.
const WHILE_IT_RUNS: [&str; 9] = [
    "State",
    "LogPath",
    "NetworkSettings.Ports",
    "NetworkSettings.Gateway",
    "NetworkSettings.IPPrefixLen",
    "NetworkSettings.IPv6Gateway",
    "NetworkSettings.GlobalIPv6PrefixLen",
    // An engine without AppArmor forgets the wish at the start.
    "AppArmorProfile",
    // That of the container whose network it shares is found at the start.
    "Config.Hostname",
];

/// The same below each network.
const WHILE_CONNECTED: [&str; 6] = [
    "NetworkSettings.Networks.*.Gateway",
    "NetworkSettings.Networks.*.IPPrefixLen",
    "NetworkSettings.Networks.*.IPv6Gateway",
    "NetworkSettings.Networks.*.GlobalIPv6PrefixLen",
    "NetworkSettings.Networks.*.NetworkID",
    // The host name is added at the start.
    "NetworkSettings.Networks.*.Aliases",
];

/// How two inspects are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// One of the same configuration that a person made and started.
    Started,
    /// One that a person made and did not start.
    Created,
}

/// What the replaced container has otherwise than the one made by hand. Both are of the same image.
pub(crate) fn with_by_hand(found: &Value, by_hand: &Value, before: &Value, against: Against) -> Vec<String> {
    let unnamed: BTreeSet<String> = [found, by_hand, before].into_iter().flat_map(unnamed_volumes).collect();
    let mut problems = data_kept(found, before, by_hand);
    let mut ignored: Vec<&str> = [&OF_ONE_RUN[..], &OF_ONE_CONTAINER[..]].concat();
    if against == Against::Created {
        ignored.extend(WHILE_IT_RUNS.iter().chain(&WHILE_CONNECTED));
    }
    let expected_label = &found["Image"];
    let noted = found.pointer("/Config/Labels/com.docker.compose.image").unwrap_or(expected_label);
    if noted != expected_label {
        problems.push(format!("Compose's note of the image: {noted}, and it runs {expected_label}"));
    }
    let (mut found, mut by_hand) = (normal(found, &unnamed), normal(by_hand, &unnamed));
    // Volumes that only the earlier image declared are kept for their data; checked by `data_kept`.
    let declared: BTreeSet<String> = mounts(&by_hand).iter().map(|mount| mount["Destination"].to_string()).collect();
    let kept = |mount: &Value| declared.contains(&mount["Destination"].to_string()) || mount["Name"] != UNNAMED;
    if let Some(list) = found["Mounts"].as_array_mut() {
        list.retain(kept);
    }
    // The name of the image as each of the two was given it: `repository:tag@digest` and `repository:tag`.
    for side in [&mut found, &mut by_hand] {
        let name = side["Config"]["Image"].as_str().unwrap_or_default();
        let name =
            name.split('@').next().unwrap_or_default().rsplit_once(':').map(|(repository, _)| repository.to_owned());
        side["Config"]["Image"] = Value::from(name);
    }
    differences("", &found, &by_hand, &ignored, &mut problems);
    problems
}

/// What the container has otherwise than before it was replaced and taken back.
pub(crate) fn with_before(found: &Value, before: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let none = BTreeSet::new();
    differences("", &normal(found, &none), &normal(before, &none), &OF_ONE_RUN, &mut problems);
    for key in ["Id", "Name", "Created", "Image"] {
        if found[key] != before[key] {
            problems.push(format!("{key}: {}, before {}", found[key], before[key]));
        }
    }
    problems
}

const UNNAMED: &str = "<unnamed>";

/// Each volume that the container had is still at its place, by its name.
fn data_kept(found: &Value, before: &Value, by_hand: &Value) -> Vec<String> {
    let at = |inspect: &Value, destination: &Value| {
        mounts(inspect).iter().find(|mount| mount["Destination"] == *destination).map(|mount| mount["Name"].clone())
    };
    let wanted = mounts(before).iter().filter(|mount| mount["Type"] == "volume");
    let mut problems: Vec<String> = wanted
        .filter(|mount| at(found, &mount["Destination"]).as_ref() != Some(&mount["Name"]))
        .map(|mount| format!("{}: the volume {} is lost", mount["Destination"], mount["Name"]))
        .collect();
    let expected: BTreeSet<String> =
        mounts(before).iter().chain(mounts(by_hand)).map(|mount| mount["Destination"].to_string()).collect();
    let mounted: BTreeSet<String> = mounts(found).iter().map(|mount| mount["Destination"].to_string()).collect();
    if expected != mounted {
        problems.push(format!("mounted at {mounted:?}, expected {expected:?}"));
    }
    problems
}

fn mounts(inspect: &Value) -> &[Value] {
    inspect["Mounts"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Volumes that nobody named: the engine gave them names of 64 digits.
fn unnamed_volumes(inspect: &Value) -> Vec<String> {
    let names = mounts(inspect).iter().filter_map(|mount| mount["Name"].as_str());
    names.filter(|name| name.len() == 64).map(str::to_owned).collect()
}

/// The inspect with lists in order that the engine or the client shows in a different one each time, without its own id,
/// without a replacement's books, and with the unnamed volumes as if they were not held by name.
fn normal(inspect: &Value, unnamed: &BTreeSet<String>) -> Value {
    let mut inspect = inspect.clone();
    let id = inspect["Id"].as_str().unwrap_or_default().to_owned();
    let short = id.get(..12).unwrap_or_default().to_owned();
    if let Some(labels) = inspect["Config"]["Labels"].as_object_mut() {
        labels.retain(|key, _| !BOOKKEEPING_LABELS.contains(&key.as_str()) && key != "com.docker.compose.image");
    }
    if inspect["Config"]["Hostname"] == short {
        inspect["Config"]["Hostname"] = Value::from("<id>");
    }
    if let Some(path) = inspect["LogPath"].as_str() {
        inspect["LogPath"] = Value::from(path.replace(&id, "<id>"));
    }
    sorted(&mut inspect["Config"]["Env"], |_| true);
    let host = &mut inspect["HostConfig"];
    let held = |text: &Value| unnamed.iter().any(|name| text.as_str().is_some_and(|text| text.starts_with(name)));
    sorted(&mut host["Binds"], |bind| !held(bind));
    sorted(&mut host["Links"], |_| true);
    for mount in host["Mounts"].as_array_mut().into_iter().flatten() {
        if held(&mount["Source"]) {
            mount.as_object_mut().expect("an object").remove("Source");
        }
    }
    for mount in inspect["Mounts"].as_array_mut().into_iter().flatten() {
        if unnamed.iter().any(|name| mount["Name"] == name.as_str()) {
            mount["Name"] = Value::from(UNNAMED);
            mount["Source"] = Value::from(UNNAMED);
            // How it was typed: nothing where it was not named, and the engine's own default (`z`) or what `RW` says as
            // well where it is, as held ones are.
            if mount["Mode"] == "z" || mount["Mode"] == "ro" {
                mount["Mode"] = Value::from("");
            }
        }
    }
    sorted(&mut inspect["Mounts"], |_| true);
    for network in inspect["NetworkSettings"]["Networks"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        sorted(&mut network["Aliases"], |alias| *alias != short);
    }
    inspect
}

fn sorted(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    if let Some(list) = list.as_array_mut() {
        list.retain(keep);
        list.sort_by_key(|entry| entry.get("Destination").map_or_else(|| entry.to_string(), Value::to_string));
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a path is ignored: `*` stands for one key, and what is below an ignored path is ignored as well.
fn is_ignored(path: &str, ignored: &[&str]) -> bool {
    ignored.iter().any(|pattern| {
        let (mut words, mut path) = (pattern.split('.'), path.split('\u{1f}'));
        words.all(|word| path.next().is_some_and(|key| word == "*" || word == key))
    })
}

fn differences(path: &str, found: &Value, expect: &Value, ignored: &[&str], problems: &mut Vec<String>) {
    if found == expect || (is_empty(found) && is_empty(expect)) || is_ignored(path, ignored) {
        return;
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}\u{1f}{key}") };
    match (found, expect) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let side = |side: &Map<String, Value>| side.get(key).cloned().unwrap_or(Value::Null);
                differences(&below(key), &side(a), &side(b), ignored, problems);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (a, b) in a.iter().zip(b) {
                differences(path, a, b, ignored, problems);
            }
        }
        _ => problems.push(format!("{}: {found}, expected {expect}", path.replace('\u{1f}', "."))),
    }
}
