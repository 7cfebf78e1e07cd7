//! The user's part of `Config`: who the container is and what it runs.
//!
//! Keys fall into three kinds. Some are merged by a rule of their own (`Env`, `Cmd`, labels, …). Some the engine never
//! takes from an image, although images carry them too (one made by `docker commit` of a terminal has `Tty`): these are
//! always the user's. All others, `User` and `StopSignal` as well as keys unknown today, are the image's when they
//! equal the image's, else the user's.

use serde_json::{Map, Value};

use super::raw::Inspect;
use super::refuse::Refusal;
use super::{Input, command, env, healthcheck, labels};

/// Length of a container's short id, in characters: its host name when the user gave none.
pub(super) const SHORT_ID_CHARS: usize = 12;

/// Keys that an image's configuration may hold and that the engine yet never takes from it.
const NEVER_FROM_IMAGE: [&str; 13] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Domainname",
    "Hostname",
    "MacAddress",
    "NetworkDisabled",
    "OnBuild",
    "OpenStdin",
    "Shell",
    "StdinOnce",
    "StopTimeout",
    "Tty",
];

/// The create body's top level: what the user set, and the new image's name.
pub(super) fn users_part(
    container: Inspect<'_>,
    image: Inspect<'_>,
    input: &Input<'_>,
) -> Result<Map<String, Value>, Refusal> {
    let of_image = image.object_or_empty("Config")?;
    let mut body: Map<String, Value> = container
        .object("Config")?
        .iter()
        .filter(|(key, value)| NEVER_FROM_IMAGE.contains(&key.as_str()) || of_image.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    set_env(&mut body, container, image)?;
    set_command(&mut body, container, image)?;
    set_keyed(&mut body, container, image)?;
    let own_labels = labels::for_new(
        &container.object_or_empty("Config.Labels")?,
        &image.object_or_empty("Config.Labels")?,
        input.new_image_id,
        input.labels,
    );
    body.insert("Labels".to_owned(), Value::Object(own_labels));
    clear_derived_names(&mut body, container)?;
    body.insert("Image".to_owned(), Value::from(input.image_name));
    Ok(body)
}

fn set_env(body: &mut Map<String, Value>, container: Inspect<'_>, image: Inspect<'_>) -> Result<(), Refusal> {
    let all = container.texts("Config.Env")?;
    let count =
        env::users_count(&all, &image.texts("Config.Env")?).map_err(|variable| Refusal::EnvNotOfImage { variable })?;
    let own = all.into_iter().take(count).map(Value::from).collect();
    body.insert("Env".to_owned(), Value::Array(own));
    Ok(())
}

fn set_command(body: &mut Map<String, Value>, container: Inspect<'_>, image: Inspect<'_>) -> Result<(), Refusal> {
    let (entrypoint, cmd) = (container.texts("Config.Entrypoint")?, container.texts("Config.Cmd")?);
    let (image_entrypoint, image_cmd) = (image.texts("Config.Entrypoint")?, image.texts("Config.Cmd")?);
    let own = command::users(
        command::Shown { entrypoint: &entrypoint, cmd: &cmd },
        command::Shown { entrypoint: &image_entrypoint, cmd: &image_cmd },
    );
    for (key, value) in [("Entrypoint", own.entrypoint), ("Cmd", own.cmd)] {
        match value {
            Some(list) => body.insert(key.to_owned(), Value::from(list)),
            None => body.remove(key),
        };
    }
    Ok(())
}

/// The keys whose value is an object that the engine merges key by key.
fn set_keyed(body: &mut Map<String, Value>, container: Inspect<'_>, image: Inspect<'_>) -> Result<(), Refusal> {
    let check = healthcheck::users(
        &container.object_or_empty("Config.Healthcheck")?,
        &image.object_or_empty("Config.Healthcheck")?,
    );
    match check {
        Some(check) => body.insert("Healthcheck".to_owned(), Value::Object(check)),
        None => body.remove("Healthcheck"),
    };
    // A published port stays exposed, also when the new image does not expose it any more.
    let published = container.object_or_empty("HostConfig.PortBindings")?;
    for (key, kept) in [("ExposedPorts", &published), ("Volumes", &Map::new())] {
        let path = format!("Config.{key}");
        let of_image = image.object_or_empty(&path)?;
        let own: Map<String, Value> = container
            .object_or_empty(&path)?
            .into_iter()
            .filter(|(name, _)| !of_image.contains_key(name) || kept.contains_key(name))
            .collect();
        if own.is_empty() {
            body.remove(key)
        } else {
            body.insert(key.to_owned(), Value::Object(own))
        };
    }
    Ok(())
}

/// Host and domain name are the user's only where the engine did not derive them from something else.
fn clear_derived_names(body: &mut Map<String, Value>, container: Inspect<'_>) -> Result<(), Refusal> {
    let id = container.text("Id")?;
    let hostname = container.text_or_empty("Config.Hostname")?;
    let shares_network = container.text_or_empty("HostConfig.NetworkMode")?.starts_with("container:");
    let shares_host_name = container.text_or_empty("HostConfig.UTSMode")? == "host";
    if shares_network || shares_host_name || id.get(..SHORT_ID_CHARS) == Some(hostname) {
        body.remove("Hostname");
    }
    if shares_network {
        body.remove("Domainname");
    }
    Ok(())
}
