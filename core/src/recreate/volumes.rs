//! Data stays: a volume that the engine made without a name for this container is referenced by its generated name.
//!
//! Such volumes come from `VOLUME` in the image, from `-v /path`, and from `--mount type=volume` without a source. A new
//! container would get new, empty ones. Where the user named the volume or path, the host configuration says so already.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::raw::Inspect;
use super::refuse::Refusal;
use crate::mutation::{Rule, broken};

/// Makes the host configuration hold every unnamed volume that the container has.
pub(super) fn hold(container: Inspect<'_>, host_config: &mut Map<String, Value>) -> Result<(), Refusal> {
    container.get("Mounts")?;
    let mut covered = covered_by_options(container)?;
    let mut binds: Vec<Value> = Vec::new();
    for mount in container.list("Mounts")? {
        let mount = Inspect { of: container.of, value: mount };
        if mount.text_or_empty("Type")? != "volume" {
            continue;
        }
        let destination = clean(mount.text("Destination")?);
        if name_in_mounts(host_config, &destination, mount.text("Name")?) || covered.contains(&destination) {
            continue;
        }
        binds.push(Value::from(bind(mount, &destination)?));
        covered.insert(destination);
    }
    if binds.is_empty() || broken(Rule::Volumes) {
        return Ok(());
    }
    // The engine lists mounts in a different order each time.
    binds.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    let mut all = container.list("HostConfig.Binds")?.to_vec();
    all.append(&mut binds);
    host_config.insert("Binds".to_owned(), Value::Array(all));
    Ok(())
}

/// `name:destination[:options]`.
fn bind(mount: Inspect<'_>, destination: &str) -> Result<String, Refusal> {
    let name = mount.text("Name")?;
    let mut options: Vec<&str> = mount.text_or_empty("Mode")?.split(',').filter(|option| !option.is_empty()).collect();
    let read_only = mount.find("RW").and_then(Value::as_bool) == Some(false);
    if read_only && !options.contains(&"ro") {
        options.push("ro");
    }
    let separator = if options.is_empty() { "" } else { ":" };
    Ok(format!("{name}:{destination}{separator}{}", options.join(",")))
}

/// Destinations that the user's options fill: with them, nothing needs to be added.
fn covered_by_options(container: Inspect<'_>) -> Result<BTreeSet<String>, Refusal> {
    let mut covered = BTreeSet::new();
    for bind in container.texts("HostConfig.Binds")? {
        let destination = bind.split(':').nth(1).ok_or_else(|| container.malformed("HostConfig.Binds"))?;
        covered.insert(clean(destination));
    }
    covered.extend(container.object_or_empty("HostConfig.Tmpfs")?.keys().map(|path| clean(path)));
    for mount in container.list("HostConfig.Mounts")? {
        covered.insert(clean(Inspect { of: container.of, value: mount }.text("Target")?));
    }
    if !container.list("HostConfig.VolumesFrom")?.is_empty() {
        // What neither the image nor `-v /path` asks for comes from the other container, and will come again.
        let declared: BTreeSet<String> =
            container.object_or_empty("Config.Volumes")?.keys().map(|path| clean(path)).collect();
        for mount in container.list("Mounts")? {
            let destination = clean(Inspect { of: container.of, value: mount }.text("Destination")?);
            if !declared.contains(&destination) {
                covered.insert(destination);
            }
        }
    }
    Ok(covered)
}

/// Fills the source of a `--mount type=volume` that has none, so that all its options stay as they are.
fn name_in_mounts(host_config: &mut Map<String, Value>, destination: &str, name: &str) -> bool {
    let Some(mounts) = host_config.get_mut("Mounts").and_then(Value::as_array_mut) else {
        return false;
    };
    for mount in mounts.iter_mut().filter_map(Value::as_object_mut) {
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or("");
        if text("Type") == "volume" && text("Source").is_empty() && clean(text("Target")) == destination {
            mount.insert("Source".to_owned(), Value::from(name));
            return true;
        }
    }
    false
}

/// The path as the engine compares it: absolute, without repeated or trailing slashes and dots.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recreate::Subject;

    fn check(container: &Value, expect: &Value) {
        let inspect = Inspect { of: Subject::Container, value: container };
        let mut host_config = container["HostConfig"].as_object().expect("an object").clone();
        hold(inspect, &mut host_config).expect("well formed");
        assert_eq!(&Value::Object(host_config), expect, "{container}");
    }

    fn volume(name: &str, destination: &str) -> Value {
        json!({"Type": "volume", "Name": name, "Destination": destination, "Mode": "", "RW": true})
    }

    #[test]
    fn unnamed_volumes_are_held_by_name() {
        check(
            &json!({
                "Config": {"Volumes": {"/data": {}, "/x/": {}}},
                "HostConfig": {"Binds": ["named:/y"]},
                "Mounts": [volume("v2", "/x"), volume("named", "/y"), volume("v1", "/data")],
            }),
            &json!({"Binds": ["named:/y", "v1:/data", "v2:/x"]}),
        );
    }

    #[test]
    fn a_mount_without_source_keeps_its_options() {
        let mount = json!({"Type": "volume", "Target": "/m", "ReadOnly": true, "VolumeOptions": {"NoCopy": true}});
        let mut named = mount.clone();
        named["Source"] = json!("v1");
        check(
            &json!({"HostConfig": {"Binds": null, "Mounts": [mount]}, "Mounts": [volume("v1", "/m")]}),
            &json!({"Binds": null, "Mounts": [named]}),
        );
    }

    #[test]
    fn what_comes_from_elsewhere_is_left_to_it() {
        let from_other = volume("theirs", "/theirs");
        let mut shared_and_declared = volume("shared", "/data");
        shared_and_declared["RW"] = json!(false);
        check(
            &json!({
                "Config": {"Volumes": {"/data": {}, "/tmp/fast": {}}},
                "HostConfig": {"VolumesFrom": ["other"], "Tmpfs": {"/tmp/fast": ""}},
                "Mounts": [from_other, shared_and_declared, volume("unused", "/tmp/fast"),
                    {"Type": "bind", "Source": "/srv", "Destination": "/srv"}],
            }),
            &json!({"VolumesFrom": ["other"], "Tmpfs": {"/tmp/fast": ""}, "Binds": ["shared:/data:ro"]}),
        );
    }
}
