//! `examples/haproxy` under load: an update with `start-first` loses no request, whatever becomes of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::fleet::{self, ROLLOUT};
use crate::support::haproxy::Haproxy;
use crate::support::load::{Load, Tally};
use crate::support::parts::Parts;
use crate::support::{Image, Surroundings, eventually, repository_file};

/// A fleet behind HAProxy.
struct Behind {
    haproxy: Haproxy,
    parts: Parts,
    v1: Image,
    directory: tempfile::TempDir,
}

impl Behind {
    /// Containers publish one of these two ports; the scenarios share the engines, so each has its own.
    fn start(scenario: &str, ports: [&str; 2]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let range = json!([{"HostIp": "0.0.0.0", "HostPort": ports.join("-")}]);
        let more = json!({"HostConfig": {"PortBindings": {"80/tcp": range}}});
        let first = options(&server(&directory), "true");
        let (parts, v1) = Parts::start(scenario, &first.each(), &more)?;
        let haproxy = Haproxy::start(&parts.surroundings, ports);
        haproxy.serves(3);
        let file = haproxy.app_file(&parts.surroundings);
        let applied = parts.control.cli.run(&["apply", file.to_str().expect("text")]);
        assert_eq!(applied.code, 0, "{applied:?}");
        Some(Self { haproxy, parts, v1, directory })
    }

    fn push(&self, text: &str, health: &str) -> Image {
        let surroundings = &self.parts.surroundings;
        let image =
            surroundings.registry.push_text("web:stable", text, &options(&server(&self.directory), health).each());
        fleet::report_passed(&self.parts.control.cli, &surroundings.app(), &image);
        image
    }

    fn surroundings(&self) -> &Surroundings {
        &self.parts.surroundings
    }

    fn rollout_is(&self, state: &str) -> serde_json::Value {
        fleet::rollout_is(&self.parts.control.cli, &self.surroundings().app(), &[state], ROLLOUT)
    }
}

/// The program of the image, built where it is not yet.
fn server(directory: &tempfile::TempDir) -> PathBuf {
    let program = directory.path().join("server");
    if !program.exists() {
        let source = repository_file("tests/e2e/support/keep_alive.c");
        let mut command = Command::new("gcc");
        command.args(["-O2", "-static", "-D_GNU_SOURCE", "-o"]).arg(&program).arg(source);
        assert!(command.status().expect("gcc is there").success(), "the server can be built");
    }
    program
}

struct Options(Vec<String>);

impl Options {
    fn each(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn options(server: &Path, health: &str) -> Options {
    let server = server.display().to_string();
    let all = [
        "--cmd",
        "exec /server",
        "--file",
        &server,
        "--health",
        health,
        "--health-interval",
        "0.5",
        "--volume",
        "/data",
    ];
    Options(all.map(str::to_owned).to_vec())
}

/// Nothing failed, and so many different versions answered.
fn none_failed(tally: &Tally, versions: usize) {
    assert_eq!(tally.failed, Vec::<String>::new(), "of {:?}", tally.answers);
    assert_eq!(tally.answers.len(), versions, "{:?}", tally.answers);
    assert!(tally.answers.values().sum::<u64>() > 500, "it was a load: {:?}", tally.answers);
}

#[test]
fn behind_haproxy_an_update_loses_no_request_also_when_an_agent_dies_while_it_drains() {
    let Some(mut behind) = Behind::start("haproxy-update", ["28481", "28482"]) else { return };
    let load = Load::start(&behind.haproxy.address);
    let v2 = behind.push("v2", "true");
    let drains = |node: &str| {
        let servers = behind.haproxy.servers();
        let draining = servers.iter().any(|server| server.name.starts_with(node) && server.status.starts_with("DRAIN"));
        if draining { Ok(()) } else { Err(format!("{servers:?}")) }
    };
    eventually("the second node drains", ROLLOUT, || {
        let shown = behind.parts.control.cli.try_json(&["rollout", "show", &behind.surroundings().app()]);
        let state = shown.value()["steps"][1]["state"].clone();
        if state == "healthy" { drains("n2-") } else { Err(shown.out) }
    });
    behind.parts.agent_crash(1);
    behind.parts.agent_up(1);
    behind.rollout_is("completed");
    let tally = load.end();
    for engine in &behind.surroundings().engines {
        fleet::runs(engine, &v2);
    }
    none_failed(&tally, 2);
    behind.haproxy.serves(3);
}

#[test]
fn behind_haproxy_a_version_that_is_bad_on_the_second_node_goes_back_and_loses_no_request() {
    let Some(behind) = Behind::start("haproxy-bad", ["28483", "28484"]) else { return };
    let second = &behind.surroundings().engines[1];
    second.exec(&second.name(fleet::CONTAINER), "touch /data/worse");
    let before = behind.haproxy.servers();
    let load = Load::start(&behind.haproxy.address);
    // It answers HAProxy's check everywhere; what is wrong is known to its own health check alone.
    behind.push("v2", "test ! -e /data/worse");
    behind.rollout_is("rolled_back");
    let tally = load.end();
    for engine in &behind.surroundings().engines {
        fleet::runs(engine, &behind.v1);
    }
    none_failed(&tally, 2);
    // On the second node the free server was never given a request.
    for (server, before) in behind.haproxy.servers().iter().zip(before) {
        if server.name.starts_with("n2-") && before.status != "UP" {
            assert_eq!(server.requests, 0, "{server:?}");
        }
    }
    behind.haproxy.serves(3);
}
