//! A real engine that is not there, hangs, or talks nonsense: what a person is told.

use std::time::Duration;

use nightshift_agent::engine::{BuildContext, BuildOptions, DockerEngine, Engine, Error, deadline};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// A listener that reads one request per connection and answers by its path; no answer for `None`, and no end of one in chunks.
fn serve(answer: fn(&str) -> Option<String>) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).expect("a free name");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let target = request.split(' ').nth(1).unwrap_or("").to_owned();
                match answer(&target) {
                    Some(answer) => {
                        drop(stream.write_all(answer.as_bytes()).await);
                        if answer.contains(CHUNKED) {
                            std::future::pending().await
                        }
                    }
                    None => std::future::pending().await,
                }
            });
        }
    });
    (directory, format!("unix://{}", path.display()))
}

fn json(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

const CHUNKED: &str = "Transfer-Encoding: chunked";

/// An answer that begins with these messages, after which more may come.
fn open_stream(messages: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n{:x}\r\n{messages}\r\n", messages.len()))
}

const VERSION: &str =
    r#"{"Version":"20.10.24","ApiVersion":"1.41","MinAPIVersion":"1.12","Os":"linux","Arch":"amd64"}"#;

#[tokio::test]
async fn a_socket_that_is_not_there_is_named_with_a_hint() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let url = format!("unix://{}/none.sock", directory.path().display());
    let error = DockerEngine::connect(&url).await.expect_err("there is no socket");
    assert!(!error.may_have_been_done());
    assert_eq!(
        error.to_string(),
        format!(
            "engine `{url}` cannot be reached: No such file or directory (os error 2); hint: check the path, and that \
             Docker is installed and started"
        )
    );
}

#[tokio::test]
async fn a_socket_without_a_listener_is_told_from_a_missing_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("engine.sock");
    drop(UnixListener::bind(&path).expect("a free name"));
    let error = DockerEngine::connect(path.to_str().expect("plain text")).await.expect_err("nobody listens");
    assert!(error.to_string().contains("nobody listens: start the engine"), "{error}");
}

#[tokio::test]
async fn what_is_no_engine_url_is_refused_with_what_is_allowed() {
    let error = DockerEngine::connect("ssh://host").await.expect_err("not supported");
    assert_eq!(
        error.to_string(),
        "`ssh://host` is no engine URL: allowed are `unix:///path/to.sock`, `/path/to.sock` and `tcp://host:port`"
    );
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused() {
    let (_directory, url) = serve(|_| json("200 OK", &VERSION.replace("1.41", "1.40")));
    let error = DockerEngine::connect(&url).await.expect_err("too old");
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("Engine 20.10 and newer are supported"), "{error}");
}

#[tokio::test]
async fn requests_carry_the_negotiated_version() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        "/v1.41/containers/web/json" => json("200 OK", r#"{"Id":"x"}"#),
        _ => json("404 Not Found", r#"{"message":"no such page"}"#),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    assert_eq!(engine.inspect("web").await.expect("asked in its version")["Id"], "x");
}

#[tokio::test]
async fn streams_carry_the_negotiated_version_too() {
    let (_directory, url) = serve(|target| {
        if target == "/version" {
            return json("200 OK", VERSION);
        }
        let good = target.starts_with("/v1.41/images/create?");
        json(if good { "418 I'm a teapot" } else { "404 Not Found" }, r#"{"message":"seen"}"#)
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let reference = format!("127.0.0.1:5000/web@sha256:{}", "0".repeat(64));
    let error = engine.pull(&reference, None, &mut |_| ()).await.expect_err("a teapot");
    assert!(
        matches!(&error, Error::Pull { message, failure, .. }
        if message == "seen" && *failure == nightshift_agent::engine::PullFailure::Other),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_becomes_a_timeout() {
    let (_directory, url) = serve(|target| if target == "/version" { json("200 OK", VERSION) } else { None });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let id = nightshift_core::ids::ContainerId("abc".into());
    let error = engine.stop(&id, Duration::from_secs(20)).await.expect_err("it hangs");
    let after = Duration::from_secs(20) + deadline::STOP_MARGIN;
    assert_eq!(error, Error::Timeout { call: "POST /containers/{id}/stop", after });
    assert!(error.may_have_been_done());
    assert_eq!(error.to_string(), "engine did not answer `POST /containers/{id}/stop` within 50s");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_may_have_been_done() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        "/v1.41/containers/abc/start" => Some(String::new()),
        _ => Some("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{\"Id\":".to_owned()),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let error = engine.start(&nightshift_core::ids::ContainerId("abc".into())).await.expect_err("cut off");
    assert!(matches!(error, Error::Unreachable { sent: true, .. }), "{error:?}");
    let error = engine.inspect("abc").await.expect_err("cut off");
    assert!(error.may_have_been_done(), "{error:?}");
}

fn no_files() -> BuildContext {
    Box::new(tokio::io::empty())
}

#[tokio::test(start_paused = true)]
async fn a_push_that_stalls_is_given_up() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        "/v1.41/images/silent/push?tag=v1" => None,
        _ => open_stream("{\"status\":\"The push refers to repository [r.example/web]\"}\r\n"),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    for repository in ["r.example/web", "silent"] {
        for (limit, after) in
            [(Duration::from_secs(7_200), deadline::PUSH_SILENCE), (Duration::from_secs(60), Duration::from_secs(60))]
        {
            let before = tokio::time::Instant::now();
            let error = engine.push(repository, "v1", None, limit).await.expect_err("it stalls");
            assert_eq!(error, Error::Timeout { call: "POST /images/{name}/push", after }, "{repository}");
            assert!(error.may_have_been_done());
            assert!(before.elapsed() < after + Duration::from_secs(1), "{repository}: {:?}", before.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_stalls_is_ended_by_its_deadline() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        _ => open_stream("{\"stream\":\"Step 1/1 : FROM scratch\"}\r\n"),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let options = BuildOptions::new("web:v1", Duration::from_secs(1_800));
    // The second context never comes to its end.
    let (mut open, endless) = tokio::io::duplex(10);
    for context in [no_files(), Box::new(endless)] {
        let mut lines = Vec::new();
        let outcome = engine.build(context, &options, &mut |line: &str| lines.push(line.to_owned())).await;
        assert_eq!(outcome, Err(Error::Timeout { call: "POST /build", after: options.deadline }));
        assert_eq!(lines, ["Step 1/1 : FROM scratch"], "the open line is told, too");
    }
    let let_go = tokio::time::timeout(Duration::from_secs(10), open.read(&mut [0])).await;
    assert!(matches!(let_go, Ok(Ok(0))), "nobody reads the context any more: {let_go:?}");
}

#[tokio::test]
async fn a_build_whose_connection_breaks_is_no_verdict_on_the_source() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        _ if target.contains("forbidden") => json("403 Forbidden", "not found: blocked by the proxy"),
        _ => Some("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"stream\":\"Step 1/2 : RUN x\\n\"}\r\n".to_owned()),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let build = async |name: &str| {
        engine.build(no_files(), &BuildOptions::new(name, Duration::from_secs(60)), &mut |_| ()).await
    };
    let error = build("web:v1").await.expect_err("cut off");
    assert!(matches!(error, Error::Unreachable { sent: true, .. }), "{error:?}");
    let error = build("forbidden:v1").await.expect_err("the proxy says no");
    assert!(matches!(&error, Error::Refused { status: 403, .. }), "{error:?}");
}

#[tokio::test]
async fn a_build_without_an_id_at_its_end_is_known_by_its_name() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        "/v1.41/images/web%3Av1/json" => json("200 OK", r#"{"Id":"sha256:07"}"#),
        _ => json("200 OK", "{\"stream\":\"done\\n\"}\n{\"aux\":{\"Other\":1}}\n\n"),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let options = BuildOptions::new("web:v1", Duration::from_secs(60));
    assert_eq!(engine.build(no_files(), &options, &mut |_| ()).await.as_deref(), Ok("sha256:07"));
    let error = engine.push("web", "v1", None, Duration::from_secs(60)).await.expect_err("no digest");
    assert!(matches!(&error, Error::Malformed { reason, .. } if reason == "no digest at the end"), "{error:?}");
}

#[tokio::test]
async fn a_message_without_an_end_is_not_read_for_ever() {
    let (_directory, url) = serve(|target| match target {
        "/version" => json("200 OK", VERSION),
        _ => open_stream(&format!("{{\"stream\":\"{}", "x".repeat(2 << 20))),
    });
    let engine = DockerEngine::connect(&url).await.expect("it answers");
    let options = BuildOptions::new("web:v1", Duration::from_secs(60));
    let error = engine.build(no_files(), &options, &mut |_| ()).await.expect_err("it has a limit");
    assert!(matches!(&error, Error::Malformed { reason, .. } if reason.contains("1048576 bytes")), "{error:?}");
}
