//! One real engine: containers of a scenario, and what the engine itself says happened to them.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::http::{self, Place};
use super::registry::Login;
use super::script;

/// The API that the oldest engine we care for speaks.
const API: &str = "/v1.41";
/// What Engine 20.10 says to every start of a container after a crash cut one off: its runtime still holds that.
pub(super) const GHOST: &str = ": already exists";
/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;

/// An engine, and the part of it that belongs to one scenario.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    url: String,
    unique: String,
}

impl Engine {
    pub(super) fn new(url: &str, unique: &str) -> Self {
        Self { url: url.to_owned(), unique: unique.to_owned() }
    }

    /// `unix:///path`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn socket(&self) -> &str {
        self.url.strip_prefix("unix://").expect("an engine of scripts/test has a socket")
    }

    /// What `scripts/engines` made: the directory that holds the socket.
    pub(super) fn directory(&self) -> PathBuf {
        Path::new(self.socket()).parent().expect("a socket lies in a directory").to_owned()
    }

    /// The name of the network namespace that the engine runs in.
    pub(super) fn network(&self) -> String {
        let home = self.socket().strip_suffix(".sock").expect("the name of a socket of scripts/engines");
        let name = std::fs::read_to_string(Path::new(home).join("name")).expect("scripts/engines wrote it");
        name.trim().to_owned()
    }

    /// An address of the node in its own network: published ports are there, and the engine forwards them as it does for
    /// other machines.
    pub(super) fn gateway(&self, container: &str) -> String {
        let inspect = self.inspect(&self.name(container));
        let gateway = inspect["NetworkSettings"]["Networks"]["bridge"]["Gateway"].as_str();
        gateway.expect("a running container has one").to_owned()
    }

    /// Its number in `scripts/engines`.
    fn number(&self) -> &str {
        let name = Path::new(self.socket()).file_stem().and_then(|name| name.to_str()).expect("plain text");
        name.strip_prefix("engine-").expect("named by scripts/lib/engines.sh")
    }

    /// Does to the engine what `scripts/engines VERB DIR K MORE` does. Returns what it printed.
    pub(super) fn script(&self, verb: &[&str], more: &[&str]) -> String {
        let directory = self.directory();
        let place = [directory.to_str().expect("text"), self.number()];
        script(&[verb, &place, more].concat())
    }

    /// Takes it away as a crash does: its containers live on without it.
    pub(crate) fn kill(&self) {
        self.script(&["kill"], &[]);
    }

    /// Ends it as a service manager does: it stops its containers itself.
    pub(crate) fn end(&self) {
        self.script(&["end"], &[]);
    }

    /// Takes it up again, and returns when it answers.
    pub(crate) fn start(&self) {
        self.script(&["start"], &[]);
    }

    /// The whole name of a scenario's container.
    pub(crate) fn name(&self, base: &str) -> String {
        format!("{}-{base}", self.unique)
    }

    /// Asks the engine; the answer must be good.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, text) = self.try_call(method, path, body);
        assert!(status < 400, "{method} {path} on {}: {status} {text}", self.url);
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        self.try_call_with(method, path, &[("Content-Type", "application/json")], body)
    }

    fn try_call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, String) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let place = Place::Unix(self.socket().to_owned());
        let path = format!("{API}{path}");
        let answer = http::ask(&place, method, &path, headers, &body);
        let answer = answer.unwrap_or_else(|error| panic!("the engine {} is up: {error}", self.url));
        (answer.status, answer.text())
    }

    /// Starts a container of an image that was pulled, as `docker run -d` does. Returns its ID.
    pub(crate) fn run(&self, base: &str, image: &str, more: Value) -> String {
        let id = self.create(base, image, more);
        self.call("POST", &format!("/containers/{id}/start"), &Value::Null);
        id
    }

    /// Creates a container. `more` is the rest of the engine's own configuration.
    pub(crate) fn create(&self, base: &str, image: &str, more: Value) -> String {
        let mut body = more;
        body["Image"] = json!(image);
        let created = self.call("POST", &format!("/containers/create?name={}", self.name(base)), &body);
        created["Id"].as_str().expect("a created container has an ID").to_owned()
    }

    /// Pulls an image.
    pub(crate) fn pull(&self, image: &str) {
        self.pull_as(image, None);
    }

    /// Pulls an image with a login.
    pub(crate) fn pull_as(&self, image: &str, login: Option<&Login>) {
        let header = login.map(Login::header);
        let headers: Vec<_> = header.iter().map(|header| ("X-Registry-Auth", header.as_str())).collect();
        let path = format!("/images/create?fromImage={image}");
        let (status, text) = self.try_call_with("POST", &path, &headers, &Value::Null);
        assert!(status == 200 && !text.contains("\"error\""), "pull of {image}: {status} {text}");
    }

    /// What the engine says about a container, by ID or whole name.
    pub(crate) fn inspect(&self, container: &str) -> Value {
        self.call("GET", &format!("/containers/{container}/json"), &Value::Null)
    }

    /// Runs a command in a container, and returns what it wrote.
    pub(crate) fn exec(&self, container: &str, command: &str) -> String {
        // With a terminal the output comes as it is, without frames around it.
        let body = json!({"Cmd": ["sh", "-c", command], "AttachStdout": true, "AttachStderr": true, "Tty": true});
        let exec = self.call("POST", &format!("/containers/{container}/exec"), &body);
        let id = exec["Id"].as_str().expect("an exec has an ID");
        let (status, text) =
            self.try_call("POST", &format!("/exec/{id}/start"), &json!({"Detach": false, "Tty": true}));
        assert!(status < 400, "exec on {}: {status} {text}", self.url);
        text.trim().to_owned()
    }

    /// The stream of what happens to containers from now on, or from a moment on that the engine remembers; health checks only
    /// by their results.
    ///
    /// # Errors
    /// The engine is away.
    pub(super) fn events(&self, since_nanos: Option<i64>) -> std::io::Result<Box<dyn BufRead + Send>> {
        let wanted =
            ["create", "start", "kill", "die", "stop", "rename", "destroy", "health_status", "pause", "restart"];
        let filters = json!({"type": ["container"], "event": wanted}).to_string();
        let encoded: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let since = since_nanos.map(|at| format!("&since={}.{:09}", at / NANOS, at % NANOS)).unwrap_or_default();
        let path = format!("{API}/events?filters={encoded}{since}");
        let answer = http::ask(&Place::Unix(self.socket().to_owned()), "GET", &path, &[], "")?;
        if answer.status == 200 { Ok(answer.body) } else { Err(std::io::Error::other(answer.text())) }
    }

    /// Does what [`GHOST`] needs and only a person on the node can do: ends the process that holds a container which the engine
    /// refused to start for that. Returns the containers.
    pub(crate) fn lay_ghosts(&self) -> Vec<String> {
        let ids = self.containers().into_iter().map(|container| container["Id"].as_str().expect("an ID").to_owned());
        let is_held = |id: &String| {
            let (status, text) = self.try_call("GET", &format!("/containers/{id}/json"), &Value::Null);
            let state = &serde_json::from_str::<Value>(&text).unwrap_or_default()["State"];
            let error = state["Error"].as_str().unwrap_or_default();
            status == 200 && state["Running"] == false && error.contains("task ") && error.contains(GHOST)
        };
        let held: Vec<String> = ids.filter(is_held).collect();
        for id in &held {
            // None left is as good: the engine remembers its last refusal until the next start.
            let shim = format!("containerd-shim.* -id {id}");
            Command::new("pkill").args(["-9", "-f", &shim]).status().expect("pkill is everywhere");
        }
        held
    }

    /// Starts a container, as a person does who does not mind if that is refused.
    pub(crate) fn try_start(&self, container: &str) {
        self.try_call("POST", &format!("/containers/{container}/start"), &Value::Null);
    }

    /// All containers of the scenario, running or not.
    pub(crate) fn containers(&self) -> Vec<Value> {
        let list = self.call("GET", "/containers/json?all=1", &Value::Null);
        let ours = |container: &Value| {
            let names = container["Names"].as_array().into_iter().flatten();
            names.filter_map(Value::as_str).any(|name| name.starts_with(&format!("/{}-", self.unique)))
        };
        list.as_array().expect("a list").iter().filter(|container| ours(container)).cloned().collect()
    }
}

impl Engine {
    /// Removes the scenario's containers with their anonymous volumes.
    pub(super) fn clean_up(&self) {
        for container in self.containers() {
            let id = container["Id"].as_str().unwrap_or_default();
            // Gone already is as good.
            self.try_call("DELETE", &format!("/containers/{id}?force=1&v=1"), &Value::Null);
        }
    }
}
