//! What the calls do to the world, with the engine's own refusals.

use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::labels::Labels;
use serde_json::Value;

use super::container::{self, Container};
use super::registry::Happening;
use super::world::{KILLED, World, no_such_container};
use super::{hashed, short};
use crate::engine::tail::Tail;
use crate::engine::{ContainerSummary, Error, EventKind, ExecOutcome, NetworkSummary, Result};

/// The restart policies that the engine knows; nothing stands for `no`.
const POLICIES: [&str; 5] = ["", "no", "always", "unless-stopped", "on-failure"];

fn conflict(message: String) -> Error {
    Error::Conflict { message }
}

fn network_id(name: &str) -> String {
    hashed(&format!("network {name}"))
}

fn bad_request(message: &str) -> Error {
    Error::Refused { call: "simulated call", status: 400, message: message.to_owned() }
}

impl World {
    /// Finds a container by id, unambiguous start of the id, or name.
    pub(super) fn find(&self, reference: &str) -> Result<&Container> {
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let by_name = || self.containers.values().find(|container| container.name == name);
        let by_start = || {
            let mut found = self.containers.values().filter(|container| container.id.starts_with(name));
            found.next().filter(|_| !name.is_empty() && found.next().is_none())
        };
        let found = self.containers.get(name).or_else(by_name).or_else(by_start);
        found.ok_or_else(|| no_such_container(name))
    }

    fn find_mut(&mut self, reference: &str) -> Result<&mut Container> {
        let id = self.find(reference)?.id.clone();
        self.containers.get_mut(&id).ok_or_else(|| no_such_container(reference))
    }

    pub(super) fn list(&self) -> Vec<ContainerSummary> {
        let summary = |container: &Container| ContainerSummary {
            id: ContainerId(container.id.clone()),
            name: container.name.clone(),
            image: container.image_name().to_owned(),
            image_id: container.image_id.clone(),
            labels: container.labels(),
            state: container.status,
        };
        self.containers.values().map(summary).collect()
    }

    fn free_name(&self, name: &str) -> Result<()> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.len() < 2 || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(legal) {
            let message = format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
            return Err(bad_request(&message));
        }
        match self.containers.values().find(|container| container.name == name) {
            None => Ok(()),
            Some(owner) => Err(conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or \
                 rename) that container to be able to reuse that name.",
                owner.id
            ))),
        }
    }

    pub(super) fn create(&mut self, name: &str, body: &Value) -> Result<ContainerId> {
        let body = body.as_object().ok_or_else(|| bad_request("invalid JSON"))?;
        self.free_name(name)?;
        let reference = body.get("Image").and_then(Value::as_str).unwrap_or("");
        let (image_id, stored) = self.images.find(reference)?;
        let (image_id, image) = (image_id.clone(), stored.image.clone());
        if self.disk_full {
            let message = "mkdir /var/lib/docker/overlay2: no space left on device".to_owned();
            return Err(Error::Refused { call: "POST /containers/create", status: 500, message });
        }
        let number = self.next_number();
        let id = hashed(&format!("container {} {number}", self.name));
        let config = container::merged_config(&id, body, &image.config);
        let host_config = container::host_config(body);
        let policy = host_config.get("RestartPolicy").and_then(|policy| policy.get("Name")).and_then(Value::as_str);
        if let Some(odd) = policy.filter(|name| !POLICIES.contains(name)) {
            return Err(bad_request(&format!("invalid restart policy '{odd}'")));
        }
        if host_config.get("AutoRemove") == Some(&Value::Bool(true)) && !matches!(policy, None | Some("" | "no")) {
            return Err(bad_request("can't create 'AutoRemove' container with restart policy"));
        }
        let mut behaviour = image.behaviour;
        if let Some(after) = self.allergy {
            behaviour.timeline = vec![(after, Happening::Unhealthy)];
        }
        let made = Container {
            name: name.to_owned(),
            image_id,
            created: self.time(),
            networks: container::first_network(&id, body, &host_config),
            mounts: container::mounts(&id, &config, &host_config),
            config,
            host_config,
            behaviour,
            status: RunState::Created,
            exit_code: 0,
            error: String::new(),
            health: None,
            started_at: None,
            finished_at: None,
            restart_count: 0,
            run: 0,
            stopped_on_request: false,
            postponed: Vec::new(),
            log: Vec::new(),
            id: id.clone(),
        };
        self.containers.insert(id.clone(), made);
        self.emit(&id, EventKind::Create);
        Ok(ContainerId(id))
    }

    pub(super) fn create_network(&mut self, body: &Value) -> Result<String> {
        let name = body.get("Name").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| bad_request("invalid network name: a name is required"))?;
        if self.networks.contains_key(name) {
            return Err(conflict(format!("network with name {name} already exists")));
        }
        let labels = body.get("Labels").and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        self.networks.insert(name.to_owned(), labels.into_iter().flatten().filter_map(text).collect());
        Ok(network_id(name))
    }

    pub(super) fn labelled_networks(&self, label: &str) -> Vec<NetworkSummary> {
        let found = self.networks.iter().filter(|(_, labels)| labels.contains_key(label));
        let summary = |(name, labels): (&String, &Labels)| NetworkSummary {
            id: network_id(name),
            name: name.clone(),
            labels: labels.clone(),
        };
        found.map(summary).collect()
    }

    pub(super) fn remove_network(&mut self, network: &str) -> Result<()> {
        let known = self.networks.keys().find(|name| *name == network || network_id(name) == network).cloned();
        let name = known.ok_or_else(|| Error::NotFound { message: format!("network {network} not found") })?;
        if self.containers.values().any(|container| container.is_up() && container.networks.contains_key(&name)) {
            let message = format!("error while removing network: network {name} has active endpoints");
            return Err(Error::Refused { call: "DELETE /networks/{id}", status: 403, message });
        }
        self.networks.remove(&name);
        Ok(())
    }

    pub(super) fn connect(&mut self, network: &str, body: &Value) -> Result<()> {
        if !self.networks.contains_key(network) {
            return Err(Error::NotFound { message: format!("network {network} not found") });
        }
        let reference = body.get("Container").and_then(Value::as_str).unwrap_or("");
        let container = self.find_mut(reference)?;
        // Observed on Engine 20.10: one that does not run may be connected again, with the new wishes.
        if container.is_up() && container.networks.contains_key(network) {
            let message = format!("endpoint with name {} already exists in network {network}", container.name);
            return Err(Error::Refused { call: "POST /networks/{id}/connect", status: 403, message });
        }
        let endpoint = container::endpoint(&container.id, network, body.get("EndpointConfig"));
        container.networks.insert(network.to_owned(), endpoint);
        Ok(())
    }

    pub(super) fn set_restart_policy(&mut self, id: &str, policy: &Value) -> Result<()> {
        let container = self.find_mut(id)?;
        let none = matches!(policy.get("Name").and_then(Value::as_str), None | Some("" | "no"));
        if container.flag("AutoRemove") && !none {
            let message = "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(conflict(message.to_owned()));
        }
        container.host_config.insert("RestartPolicy".to_owned(), policy.clone());
        self.emit(id, EventKind::Update);
        Ok(())
    }

    pub(super) fn start(&mut self, id: &str) -> Result<()> {
        let container = self.find_mut(id)?;
        match container.status {
            RunState::Running | RunState::Restarting => Ok(()),
            RunState::Paused => Err(conflict("cannot start a paused container, try unpause instead".to_owned())),
            RunState::Created | RunState::Exited | RunState::Removing | RunState::Dead => {
                let mode = container.host_config.get("NetworkMode").and_then(Value::as_str).unwrap_or_default();
                if let Some(host) = mode.strip_prefix("container:").map(str::to_owned)
                    && !self.find(&host).is_ok_and(Container::is_up)
                {
                    return Err(conflict(format!("cannot join network of a non running container: {host}")));
                }
                let container = self.find_mut(id)?;
                container.stopped_on_request = false;
                container.restart_count = 0;
                self.run(id)
            }
        }
    }

    pub(super) fn pause(&mut self, id: &str) -> Result<()> {
        let container = self.find_mut(id)?;
        if container.status != RunState::Running {
            return Err(conflict(format!("Container {id} is not running")));
        }
        container.status = RunState::Paused;
        self.emit(id, EventKind::Pause);
        Ok(())
    }

    pub(super) fn resume(&mut self, id: &str) -> Result<()> {
        if self.find(id)?.status != RunState::Paused {
            let message = format!("Container {id} is not paused");
            return Err(Error::Refused { call: "POST /containers/{id}/unpause", status: 500, message });
        }
        self.unpause(id);
        Ok(())
    }

    pub(super) fn rename(&mut self, id: &str, name: &str) -> Result<()> {
        let container = self.find(id)?;
        if container.name == name {
            return Err(bad_request("Renaming a container with the same name as its current name"));
        }
        self.free_name(name)?;
        let container = self.find_mut(id)?;
        if container.status == RunState::Restarting {
            // Observed on Engine 20.10: it has no network sandbox between two runs, and the engine looks for it.
            return Err(Error::NotFound { message: format!("sandbox {} not found", hashed(id)) });
        }
        let from = std::mem::replace(&mut container.name, name.to_owned());
        self.emit(id, EventKind::Rename { from });
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &str) -> Result<()> {
        let container = self.find(id)?;
        if container.is_up() || container.status == RunState::Restarting {
            return Err(conflict(format!(
                "You cannot remove a {} container {}. Stop the container before attempting removal or force remove",
                container::word(container.status),
                container.id
            )));
        }
        self.emit(id, EventKind::Destroy);
        self.containers.remove(id);
        Ok(())
    }

    pub(super) fn discard(&mut self, id: &str) -> Result<()> {
        if self.find(id)?.is_up() {
            self.emit(id, EventKind::Kill);
            self.die(id, KILLED);
        }
        self.emit(id, EventKind::Destroy);
        self.containers.remove(id);
        Ok(())
    }

    pub(super) fn remove_image(&mut self, reference: &str) -> Result<()> {
        let containers = &self.containers;
        let user = |image: &str| containers.values().find(|c| c.image_id == image).map(|c| short(&c.id).to_owned());
        self.images.remove(reference, user)
    }

    pub(super) fn log(&self, id: &str, lines: u32, limit_bytes: usize) -> Result<String> {
        let container = self.find(id)?;
        if container.host_config.get("LogConfig").and_then(|config| config.get("Type")) == Some(&Value::from("none")) {
            let message = "configured logging driver does not support reading".to_owned();
            return Err(Error::Refused { call: "GET /containers/{id}/logs", status: 501, message });
        }
        let log = &container.log;
        let skip = log.len().saturating_sub(usize::try_from(lines).unwrap_or(usize::MAX));
        let mut tail = Tail::new(limit_bytes);
        log.iter().skip(skip).for_each(|line| tail.push(format!("{line}\n").as_bytes()));
        Ok(tail.into_text())
    }

    /// What a command says; none when it never ends.
    pub(super) fn command(&self, id: &str, command: &[String]) -> Result<Option<ExecOutcome>> {
        let container = self.find(id)?;
        match container.status {
            RunState::Running => {}
            RunState::Paused => {
                return Err(conflict(format!("Container {id} is paused, unpause the container before exec")));
            }
            RunState::Created | RunState::Restarting | RunState::Removing | RunState::Exited | RunState::Dead => {
                return Err(conflict(format!("Container {id} is not running")));
            }
        }
        if let Some(outcome) = self.commands.get(command) {
            return Ok(outcome.clone());
        }
        let unknown = || {
            let program = command.first().map_or("", String::as_str);
            let output =
                format!("OCI runtime exec failed: exec: \"{program}\": executable file not found in $PATH: unknown");
            Some(ExecOutcome { exit_code: 127, output })
        };
        let known = container.behaviour.commands.get(command).cloned();
        Ok(known.or_else(|| health_check(container, command)).unwrap_or_else(unknown))
    }

    /// What a command that never ends has written.
    pub(super) fn says_meanwhile(&self, id: &str, command: &[String]) -> String {
        let spoken = self.find(id).ok().and_then(|container| container.behaviour.spoken.get(command).cloned());
        spoken.unwrap_or_default()
    }

    /// Whether somebody listens inside.
    pub(super) fn serves(&self, id: &str) -> bool {
        let healthy = |container: &Container| matches!(container.health, None | Some(Health::Healthy));
        self.find(id).is_ok_and(|container| container.status == RunState::Running && healthy(container))
    }

    /// Something happens to a container that runs.
    pub(super) fn strike_now(&mut self, id: &str, what: Happening) {
        if self.find(id).is_ok_and(|container| container.is_up()) {
            self.strike(id, what);
        }
    }
}

/// The command of a container's own health check says what that says.
fn health_check(container: &Container, command: &[String]) -> Option<Option<ExecOutcome>> {
    let test = container.config.get("Healthcheck")?.get("Test")?.as_array()?;
    let words: Vec<&str> = test.iter().filter_map(Value::as_str).collect();
    let (how, its) = words.split_first()?;
    let asked = *how == "CMD" && its.iter().eq(command.iter());
    let exit_code = i64::from(container.health != Some(Health::Healthy));
    asked.then(|| Some(ExecOutcome { exit_code, output: String::new() }))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    #[test]
    fn a_body_is_an_object() {
        let mut world = World::new("n".to_owned(), chrono::DateTime::UNIX_EPOCH);
        assert!(world.create("web", &Value::Null).is_err());
        assert!(world.create("web", &Value::Object(Map::new())).is_err());
    }
}
