//! `HostConfig`: passed on raw, whatever is in it, save a few keys that name other containers or that describe the
//! client's machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::config::SHORT_ID_CHARS;
use super::raw::Inspect;
use super::refuse::Refusal;

/// Keys whose value can be `container:<id or name>`.
const SHARED_NAMESPACES: [&str; 3] = ["NetworkMode", "PidMode", "IpcMode"];

/// The host configuration for the new container, without its volumes' rules.
pub(super) fn users_part(container: Inspect<'_>) -> Result<Map<String, Value>, Refusal> {
    let mut host_config = container.object("HostConfig")?.clone();
    // A file on the machine of whoever typed `docker run`: written once, by the client.
    host_config.remove("ContainerIDFile");
    let links = container.texts("HostConfig.Links")?;
    if !links.is_empty() {
        // The engine lists them in a different order each time.
        let mut links: Vec<String> = links.into_iter().map(typed_link).collect();
        links.sort();
        host_config.insert("Links".to_owned(), Value::from(links));
    }
    Ok(host_config)
}

/// Leads a create body's references to containers that were replaced since to those that took their places. `ids`: today's
/// id by the former one. `names`: for links, which hold a container and not its name, what bears the name in its stead
/// until it takes it over.
pub(crate) fn repoint(body: &mut Value, ids: &BTreeMap<String, String>, names: &BTreeMap<String, String>) {
    let Some(host_config) = body.get_mut("HostConfig").and_then(Value::as_object_mut) else { return };
    for key in SHARED_NAMESPACES {
        if let Some(Value::String(mode)) = host_config.get_mut(key)
            && let Some(other) = mode.strip_prefix("container:")
        {
            *mode = format!("container:{}", current(other, ids));
        }
    }
    let link = |entry: &str| match entry.split_once(':') {
        Some((other, alias)) => {
            format!("{}:{alias}", names.get(other).map_or_else(|| current(other, ids), String::as_str))
        }
        None => entry.to_owned(),
    };
    for entry in texts_mut(host_config, "VolumesFrom") {
        *entry = volumes_from_entry(entry, ids);
    }
    for entry in texts_mut(host_config, "Links") {
        *entry = link(entry);
    }
}

fn texts_mut<'a>(host_config: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut String> {
    let list = host_config.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(|entry| match entry {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    })
}

/// Today's id of a container that may have been replaced. A name is left as it is: the replacement has taken it over.
fn current<'a>(other: &'a str, resolve: &'a BTreeMap<String, String>) -> &'a str {
    let short = other.len() >= SHORT_ID_CHARS && other.bytes().all(|b| b.is_ascii_hexdigit());
    resolve
        .iter()
        .find(|(former, _)| former.as_str() == other || (short && former.starts_with(other)))
        .map_or(other, |(_, now)| now)
}

/// `container[:mode]`.
fn volumes_from_entry(entry: &str, resolve: &BTreeMap<String, String>) -> String {
    match entry.split_once(':') {
        Some((other, mode)) => format!("{}:{mode}", current(other, resolve)),
        None => current(entry, resolve).to_owned(),
    }
}

/// The engine shows `/db:/web/alias`; what was typed is `db:alias`.
fn typed_link(shown: &str) -> String {
    let shown = shown.trim_start_matches('/');
    match shown.split_once(':') {
        Some((target, path)) => format!("{target}:{}", path.rsplit('/').next().unwrap_or(path)),
        None => shown.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_read_as_they_were_typed() {
        for (shown, typed) in [("/db:/web/store", "db:store"), ("/db:/web/db", "db:db"), ("db:store", "db:store")] {
            assert_eq!(typed_link(shown), typed);
        }
    }

    #[test]
    fn replaced_containers_are_found_under_their_new_id() {
        let (old, new) = ("a".repeat(64), "b".repeat(64));
        let resolve = BTreeMap::from([(old.clone(), new.clone())]);
        for (other, expect) in [
            (old.as_str(), new.as_str()),
            (&old[..12], &new),
            (&old[..11], &old[..11]),
            ("web", "web"),
            ("aaaaaaaaaaaax", "aaaaaaaaaaaax"),
        ] {
            assert_eq!(current(other, &resolve), expect);
        }
        assert_eq!(volumes_from_entry(&format!("{old}:ro"), &resolve), format!("{new}:ro"));
        assert_eq!(volumes_from_entry("web", &resolve), "web");
    }
}
