//! Two containers at the same time: those that depend on each other are replaced as one unit, and with `start-first` the new
//! one serves beside the old one. And what hooks are told, on a real engine.

use std::time::Duration;

use nightshift_core::container::RunState;
use nightshift_core::ids::ContainerId;
use nightshift_core::spec::{Hook, HookCall, Hooks, UpdateOrder};
use nightshift_core::step::{FailureKind, StepPhase};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::docker::DockerFixture;
use crate::fixture::{Fixture, Kind, created, created_from, pulled, view};
use crate::node::{Node, all_named, order, running};

/// A container in the network of another one.
async fn sidecar(fixture: &dyn Fixture, of: &ContainerId) -> (String, ContainerId) {
    let image = pulled(fixture, Kind::Stubborn).await;
    let mode = format!("container:{}", of.0);
    let typed = json!({"StopTimeout": 1, "HostConfig": {"NetworkMode": mode, "RestartPolicy": {"Name": "always"}}});
    let (name, id) = created_from(fixture, &image, typed).await;
    fixture.engine().start(&id).await.expect("it starts");
    (name, id)
}

async fn inspect(fixture: &dyn Fixture, name: &str) -> Value {
    let all = all_named(&*fixture.engine(), name).await;
    let [one] = all.as_slice() else { panic!("one of {name}: {all:?}") };
    one.clone()
}

fn lives_in(inspect: &Value) -> &str {
    inspect["HostConfig"]["NetworkMode"].as_str().expect("a mode")
}

pub(crate) async fn what_shares_its_network_is_replaced_with_it(fixture: &dyn Fixture) {
    let (name, old) = running(fixture).await;
    let (side, old_side) = sidecar(fixture, &old).await;
    let before = inspect(fixture, &side).await;
    let image = fixture.push(Kind::Web).await;
    let end = Node::new(fixture.engine()).await.carry_out(&order(0, &name, &old, &image)).await;
    assert_eq!(end.phase, StepPhase::Committed, "{end:?}");
    let (web, after) = (inspect(fixture, &name).await, inspect(fixture, &side).await);
    assert_eq!(lives_in(&after), format!("container:{}", web["Id"].as_str().expect("an id")));
    assert_ne!(after["Id"], old_side.0);
    for key in ["Image", "Name"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(after["HostConfig"]["RestartPolicy"], before["HostConfig"]["RestartPolicy"]);
    for inspect in [&web, &after] {
        assert_eq!(inspect["State"]["Status"], "running", "{inspect}");
    }
}

pub(crate) async fn what_shares_its_network_is_taken_back_with_it(fixture: &dyn Fixture) {
    let (name, old) = running(fixture).await;
    let (side, old_side) = sidecar(fixture, &old).await;
    let image = fixture.push(Kind::Sick).await;
    let end = Node::new(fixture.engine()).await.carry_out(&order(0, &name, &old, &image)).await;
    assert_eq!(end.phase, StepPhase::RolledBack, "{end:?}");
    let (web, after) = (inspect(fixture, &name).await, inspect(fixture, &side).await);
    assert_eq!((&web["Id"], &after["Id"]), (&json!(old.0), &json!(old_side.0)));
    assert_eq!(lives_in(&after), format!("container:{}", old.0));
    for inspect in [&web, &after] {
        assert_eq!(inspect["State"]["Status"], "running", "{inspect}");
        assert_eq!(inspect["HostConfig"]["RestartPolicy"]["Name"], "always");
    }
}

/// A container without anything that only one can have.
async fn movable(fixture: &dyn Fixture) -> (String, ContainerId) {
    let typed =
        json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}, "RestartPolicy": {"Name": "always"}}});
    let (name, id) = created(fixture, Kind::Web, typed).await;
    fixture.engine().start(&id).await.expect("it starts");
    (name, id)
}

pub(crate) async fn with_start_first_the_old_one_stops_when_the_new_one_is_healthy(fixture: &dyn Fixture) {
    let (name, old) = movable(fixture).await;
    let image = fixture.push(Kind::Web).await;
    let mut order = order(0, &name, &old, &image);
    order.order = UpdateOrder::StartFirst;
    let mut node = Node::new(fixture.engine()).await;
    node.worker.submit(order.clone()).await;
    let reports = node.until_end(&order.key).await;
    let phases: Vec<StepPhase> = reports.iter().map(|report| report.phase).collect();
    assert!(phases.contains(&StepPhase::Healthy) && !phases.contains(&StepPhase::OldStopped), "{phases:?}");
    let end = reports.last().expect("the end at least");
    assert_eq!((end.phase, end.downtime_ms), (StepPhase::Committed, Some(0)), "{end:?}");
    let web = inspect(fixture, &name).await;
    assert_eq!(web["Id"], end.new_container_id.clone().expect("made").0);
    assert_eq!(web["HostConfig"]["RestartPolicy"]["Name"], "always");
}

pub(crate) async fn with_start_first_a_bad_image_never_disturbs_the_old_one(fixture: &dyn Fixture) {
    let (name, old) = movable(fixture).await;
    let before = view(fixture, &old).await.started_at;
    let image = fixture.push(Kind::Sick).await;
    let mut order = order(0, &name, &old, &image);
    order.order = UpdateOrder::StartFirst;
    let end = Node::new(fixture.engine()).await.carry_out(&order).await;
    let failure = end.failure.expect("told");
    assert_eq!((end.phase, failure.kind), (StepPhase::Untouched, FailureKind::Unhealthy), "{failure:?}");
    assert!(failure.log.contains("serving"), "{failure:?}");
    let web = inspect(fixture, &name).await;
    assert_eq!(web["Id"], old.0);
    let after = view(fixture, &old).await;
    assert_eq!((after.state, after.started_at), (RunState::Running, before));
}

pub(crate) async fn start_first_is_refused_where_only_one_can_have_the_port(fixture: &dyn Fixture) {
    let (name, old) = running(fixture).await;
    let image = fixture.push(Kind::Web).await;
    let mut order = order(0, &name, &old, &image);
    order.order = UpdateOrder::StartFirst;
    let end = Node::new(fixture.engine()).await.carry_out(&order).await;
    let failure = end.failure.expect("told");
    assert_eq!((end.phase, failure.kind), (StepPhase::Untouched, FailureKind::Precondition), "{failure:?}");
    assert!(failure.reason.contains("on host port"), "{}", failure.reason);
}

fn shell(line: &str) -> Option<Hook> {
    let command = ["sh", "-c", line].map(str::to_owned).to_vec();
    Some(Hook { call: HookCall::Exec { command }, timeout: Duration::from_secs(10) })
}

#[tokio::test]
async fn hooks_run_in_the_container_in_their_order_and_know_what_it_is_about() {
    let Some(fixture) = DockerFixture::from_environment("hooks").await else { return };
    let (name, mut old) = movable(&fixture).await;
    let mut node = Node::new(fixture.engine()).await;
    let write = "echo $NIGHTSHIFT_HOOK $NIGHTSHIFT_NODE $NIGHTSHIFT_CONTAINER_ID ${NIGHTSHIFT_PORTS%%=*} \
                 $NIGHTSHIFT_ROLE $NIGHTSHIFT_OTHER_ID ${NIGHTSHIFT_OTHER_PORTS%%=*} >>/data/hooks";
    let mut expect = String::new();
    for (step, order_of) in [(0, UpdateOrder::StopFirst), (1, UpdateOrder::StartFirst)] {
        let image = fixture.push(Kind::Web).await;
        let mut order = order(step, &name, &old, &image);
        (order.order, order.hooks) =
            (order_of, Hooks { before: shell(write), drain: shell(write), after: shell(write) });
        let end = node.carry_out(&order).await;
        assert_eq!(end.phase, StepPhase::Committed, "{end:?}");
        let new = end.new_container_id.expect("made");
        // The other one has ports while it runs.
        let line = |hook: &str, role: &str, about: &ContainerId, other: &ContainerId, runs: bool| {
            format!("{hook} node1 {} 80/tcp {role} {}{}\n", about.0, other.0, if runs { " 80/tcp" } else { "" })
        };
        let before = line("before", "old", &old, &new, false);
        let both_run = order_of == UpdateOrder::StartFirst;
        let (drain, after) = (line("drain", "old", &old, &new, both_run), line("after", "new", &new, &old, both_run));
        expect += &if both_run { [before, after, drain].concat() } else { [before, drain, after].concat() };
        old = new;
    }
    let command = ["cat", "/data/hooks"].map(str::to_owned);
    let told = fixture.engine().exec(&old, &command, &[], Duration::from_secs(10)).await.expect("it runs").output;
    assert_eq!(told, expect);
    fixture.clean_up().await;
}

#[tokio::test]
async fn a_hook_that_ends_with_75_or_not_in_time_leaves_the_container_alone() {
    let Some(fixture) = DockerFixture::from_environment("skip").await else { return };
    let (name, old) = movable(&fixture).await;
    let image = fixture.push(Kind::Web).await;
    let mut node = Node::new(fixture.engine()).await;
    let slow = shell("sleep 60").map(|hook| Hook { timeout: Duration::from_secs(1), ..hook });
    for (step, hook, kind, words) in [
        (0, shell("echo a backup runs; exit 75"), FailureKind::Skipped, "asks to skip it this time: a backup runs"),
        (1, shell("echo no; exit 3"), FailureKind::Hook, "`sh` ended with 3: no"),
        (2, slow, FailureKind::Hook, "`sh` did not end within 1s"),
    ] {
        let mut order = order(step, &name, &old, &image);
        order.hooks.drain = hook;
        let end = node.carry_out(&order).await;
        let failure = end.failure.expect("told");
        assert_eq!((end.phase, failure.kind), (StepPhase::Untouched, kind), "{failure:?}");
        assert!(failure.reason.contains(words), "{}", failure.reason);
        assert_eq!(inspect(&fixture, &name).await["Id"], old.0);
    }
    fixture.clean_up().await;
}

/// Answers each request with the next of these statuses, and gives back what was asked.
async fn web_server(statuses: Vec<u16>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for status in statuses {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut text = Vec::new();
            let mut part = [0; 4096];
            while !text.ends_with(b"}") {
                let count = stream.read(&mut part).await.expect("a request");
                text.extend_from_slice(&part[..count]);
            }
            asked.push(String::from_utf8(text).expect("text"));
            let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 5\r\nConnection: close\r\n\r\nwords");
            stream.write_all(answer.as_bytes()).await.expect("it listens");
        }
        asked
    });
    (url, served)
}

#[tokio::test]
async fn a_hook_by_http_posts_what_it_is_about() {
    let Some(fixture) = DockerFixture::from_environment("http").await else { return };
    // As the program does at its start; another test of this process may have done it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let (name, old) = movable(&fixture).await;
    let image = fixture.push(Kind::Web).await;
    let (url, served) = web_server(vec![425, 500, 200, 200]).await;
    let mut node = Node::new(fixture.engine()).await;
    let hook = || Some(Hook { call: HookCall::Http { url: url.clone() }, timeout: Duration::from_secs(10) });
    for (step, kind) in [(0, FailureKind::Skipped), (1, FailureKind::Hook)] {
        let mut order = order(step, &name, &old, &image);
        order.hooks.before = hook();
        let failure = node.carry_out(&order).await.failure.expect("told");
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.reason.ends_with("words"), "{}", failure.reason);
    }
    let mut good = order(2, &name, &old, &image);
    good.hooks = Hooks { before: hook(), after: hook(), ..Hooks::default() };
    let end = node.carry_out(&good).await;
    assert_eq!(end.phase, StepPhase::Committed, "{end:?}");
    let asked = served.await.expect("no panic");
    let body =
        |text: &str| -> Value { serde_json::from_str(text.split_once("\r\n\r\n").expect("a body").1).expect("JSON") };
    let last = body(&asked[3]);
    assert!(asked[3].starts_with("POST /hook HTTP/1.1\r\n"), "{}", asked[3]);
    assert_eq!((&last["hook"], &last["node"], &last["app"]), (&json!("after"), &json!("node1"), &json!(name)));
    assert_eq!(last["container_id"], end.new_container_id.expect("made").0);
    assert_eq!(body(&asked[2])["container_id"], old.0);
    fixture.clean_up().await;
}
