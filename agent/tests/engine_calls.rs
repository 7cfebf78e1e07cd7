//! The list of engine calls in `docs/engine-calls.md`, by which operators set their socket proxies, is what is really sent.
//!
//! Every method of the port is called once on a socket that writes down what arrives. A method that is missing here is found
//! by its name in the adapter's source.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_agent::engine::{BuildOptions, DockerEngine, Engine};
use nightshift_core::ids::ContainerId;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Names that stand for one container, image, network and command in the recorded paths.
const IDS: [(&str, &str); 4] = [
    ("/containers/c0ffee", "/containers/{id}"),
    ("/images/some/image", "/images/{name}"),
    ("/networks/net", "/networks/{id}"),
    ("/exec/e0", "/exec/{id}"),
];

type Calls = Arc<Mutex<BTreeSet<String>>>;

/// The call of a request's first line: its method and path, without version, arguments and names.
fn call_of(line: &str) -> String {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    let general = IDS.iter().find_map(|(id, name)| path.strip_prefix(id).map(|rest| format!("{name}{rest}")));
    format!("{method} {}", general.unwrap_or_else(|| path.to_owned()))
}

/// What an engine that has everything answers, as far as the adapter reads it.
fn answer(call: &str) -> (&'static str, &'static str) {
    match call {
        "GET /version" => (
            "200 OK",
            r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#,
        ),
        "GET /info" => ("200 OK", r#"{"Name":"node","SystemTime":"2026-11-23T12:00:00Z"}"#),
        "GET /containers/json" | "GET /images/json" | "GET /networks" => ("200 OK", "[]"),
        "POST /containers/create" | "POST /networks/create" | "POST /containers/{id}/exec" => {
            ("201 Created", r#"{"Id":"e0"}"#)
        }
        "GET /exec/{id}/json" => ("200 OK", r#"{"ExitCode":0}"#),
        "POST /exec/{id}/start" => ("101 UPGRADED", ""),
        "POST /build" => ("200 OK", r#"{"aux":{"ID":"sha256:00"}}"#),
        "POST /images/{name}/push" => (
            "200 OK",
            r#"{"aux":{"Tag":"v1","Digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}}"#,
        ),
        "GET /events" | "GET /containers/{id}/logs" => ("200 OK", ""),
        _ => ("200 OK", "{}"),
    }
}

async fn serve(mut stream: UnixStream, calls: Calls) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(length) if length > 0 => request.extend_from_slice(&piece[..length]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request);
    let call = call_of(text.lines().next().unwrap_or_default());
    let (status, body) = answer(&call);
    calls.lock().expect("nobody panics with it").insert(call);
    let framing = if status.starts_with("101") {
        "Connection: Upgrade\r\nUpgrade: tcp".to_owned()
    } else {
        format!("Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}", body.len())
    };
    drop(stream.write_all(format!("HTTP/1.1 {status}\r\n{framing}\r\n\r\n{body}").as_bytes()).await);
}

/// Calls each method of the port; the answers are not looked at, for what counts is what was asked.
async fn call_everything(url: &str) {
    let container = ContainerId("c0ffee".to_owned());
    let digest = format!("some/image@sha256:{}", "0".repeat(64));
    let engine = DockerEngine::connect(url).await.expect("the version is good");
    engine.info().await.expect("who it is");
    engine.list().await.expect("containers");
    engine.inspect("c0ffee").await.expect("a container");
    engine.inspect_image("some/image").await.expect("an image");
    engine.list_images().await.expect("images");
    engine.pull(&digest, None, &mut |_| {}).await.expect("a pull");
    let options = BuildOptions::new("some/image:v1", Duration::from_secs(10));
    engine.build(Box::new(tokio::io::empty()), &options, &mut |_| ()).await.expect("a build");
    engine.push("some/image", "v1", None, Duration::from_secs(10)).await.expect("a push");
    engine.tag("some/image", "nightshift/keep", "web-0").await.expect("a tag");
    engine.remove_image("some/image").await.expect("an image less");
    engine.create("web", &json!({})).await.expect("a container more");
    engine.connect_network("net", &json!({})).await.expect("a network");
    engine.create_network(&json!({"Name": "net"})).await.expect("a network more");
    engine.networks("nightshift.job").await.expect("networks");
    engine.remove_network("net").await.expect("a network less");
    engine.set_restart_policy(&container, &json!({"Name": "no"})).await.expect("a policy");
    engine.start(&container).await.expect("a start");
    engine.stop(&container, Duration::from_secs(1)).await.expect("a stop");
    engine.pause(&container).await.expect("a pause");
    engine.unpause(&container).await.expect("its end");
    engine.rename(&container, "other").await.expect("a name");
    engine.remove(&container).await.expect("a container less");
    engine.discard(&container).await.expect("another one less");
    engine.discard_with_volumes(&container).await.expect("one more with its volumes");
    engine.logs_tail(&container, 10, 1000).await.expect("a log");
    engine.exec(&container, &["true".to_owned()], &[], Duration::from_secs(10)).await.expect("a command");
    engine.run_command(&container, &["true".to_owned()], Duration::from_secs(10), 100).await.expect("another command");
    let events = engine.events(None).await.expect("events");
    // The request is sent when the stream is read; it ends at once here.
    futures::StreamExt::count(events).await;
}

/// Every `` `METHOD /path` `` that opens a row of the page.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/engine-calls.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(call, _)| call));
    rows.map(str::to_owned).collect()
}

/// Every `"METHOD /path"` by which the adapter calls its calls in errors.
fn named_in_the_source() -> BTreeSet<String> {
    let sources = [include_str!("../src/engine/docker.rs"), include_str!("../src/engine/docker_build.rs")];
    let words = sources.into_iter().flat_map(|source| source.split('"'));
    let methods = ["GET /", "POST /", "DELETE /", "PUT /", "HEAD /"];
    words.filter(|word| methods.iter().any(|method| word.starts_with(method))).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_lists_what_is_sent() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).expect("a free name");
    let calls = Calls::default();
    let recorder = calls.clone();
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, recorder.clone()));
        }
    });
    let all = call_everything(path.to_str().expect("plain text"));
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("in time");
    server.abort();
    let sent = calls.lock().expect("nobody panics with it").clone();
    assert_eq!(sent, documented(), "what is sent, and what docs/engine-calls.md says");
    assert_eq!(sent, named_in_the_source(), "what this test calls, and what the adapter knows");
}
