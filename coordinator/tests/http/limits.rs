//! Clients that are slow, loud or greedy, and those that speak HTTP/2.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nightshift_coordinator::http::Limits;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::scene::{Scene, digest};

/// Short, so that a test that waits for it is short as well.
pub(crate) const SHORT: Duration = Duration::from_millis(300);
/// Far beyond any limit here: what takes so long has none.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn short() -> Limits {
    Limits { head_deadline: SHORT, body_deadline: SHORT, connections: 4 }
}

/// A connection on which a test can misbehave.
pub(crate) async fn connect(scene: &Scene, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(scene.ca_pem.as_bytes()).unwrap()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(scene.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// What comes until the other end closes.
pub(crate) async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    // Closed without a farewell is closed as well.
    drop(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn head(token: &str, length: usize) -> String {
    format!(
        "POST /v1/apps/web/reports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn who_is_silent_or_slow_with_the_head_is_cut_off() {
    let scene = Scene::with(short()).await;
    for begun in ["", "POST /v1/apps/web/reports HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut stream = connect(&scene, b"http/1.1").await;
        let began = Instant::now();
        stream.write_all(begun.as_bytes()).await.unwrap();
        assert!(!rest(&mut stream).await.contains(" 200 "), "no answer to half a question");
        assert!(began.elapsed() >= SHORT, "not before its time: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_slow_body_is_refused_and_changes_nothing() {
    let mut scene = Scene::with(short()).await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let body = json!({"digest": digest('a'), "result": "passed"}).to_string();
    let mut stream = connect(&scene, b"http/1.1").await;
    stream.write_all(head(&token, body.len()).as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..body.len() - 1]).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#"{"error":"the body did not come within 300 ms"}"#), "{answer}");
    assert_eq!(scene.reports("web").await, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let body = json!({"digest": digest('a'), "result": "passed"}).to_string();
    let mut stream = connect(&scene, b"http/1.1").await;
    // One byte is missing for ever.
    stream.write_all(head(&token, body.len() + 1).as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(!rest(&mut stream).await.contains(" 200 "));
    assert_eq!(scene.reports("web").await, 0);
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_heard_by_who_sends_it() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    for size in [16_400, 300_000, 1_000_000] {
        let body = json!({"digest": digest('a'), "result": "passed", "url": "u".repeat(size)});
        let reply = scene.post("web", &token, &body).await;
        assert!(reply.refused(413).contains("larger than 16384 bytes"), "{reply:?}");
    }
    // Without a length as well.
    let chunks = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
    let request = scene.http.post(scene.url("/v1/apps/web/reports")).bearer_auth(&token);
    let request = request.header("content-type", "application/json").body(reqwest::Body::wrap_stream(chunks));
    scene.send(request).await.refused(413);
    assert_eq!(scene.reports("web").await, 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let scene = Scene::new().await;
    let lines: String = (0..200).map(|number| format!("X-{number}: x\r\n")).collect();
    for head in [format!("X-Long: {}\r\n", "x".repeat(40_000)), lines] {
        let mut stream = connect(&scene, b"http/1.1").await;
        let text = format!("POST /v1/apps/web/reports HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        // The other end may have enough before all is sent.
        drop(stream.write_all(text.as_bytes()).await);
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn many_silent_connections_hold_nobody_up_for_long() {
    let mut scene = Scene::with(short()).await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(connect(&scene, b"http/1.1").await);
    }
    // gRPC is not held up at all; HTTP until those before it were cut off, four at a time.
    scene.report_by_grpc(&token, &digest('b'), true).await.unwrap();
    let began = Instant::now();
    let body = json!({"digest": digest('a'), "result": "passed"});
    assert_eq!(scene.post("web", &token, &body).await.status, 200);
    assert!(began.elapsed() >= SHORT, "more were served at once than allowed: {:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_holds_up_the_end_of_the_coordinator() {
    // More patient with clients than anyone is with a service that ends.
    let patient = Limits { head_deadline: 3 * PATIENCE, body_deadline: 3 * PATIENCE, ..Limits::default() };
    let mut scene = Scene::with(patient).await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let mut idle = connect(&scene, b"http/1.1").await;
    let mut begun = connect(&scene, b"http/1.1").await;
    let head = head(&token, 100).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    begun.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    begun.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n", "the body is waited for");
    let began = Instant::now();
    tokio::time::timeout(PATIENCE, scene.stop()).await.expect("it ends");
    assert!(began.elapsed() > SHORT, "what is begun gets a moment: {:?}", began.elapsed());
    assert_eq!(rest(&mut idle).await, "");
    assert!(!rest(&mut begun).await.contains(" 200 "));
}

#[tokio::test]
async fn who_speaks_http_2_alone_is_served_the_same() {
    let mut scene = Scene::with(short()).await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let io = TokioIo::new(connect(&scene, b"h2").await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = async |path: &str, kind: &str, token: &str, body: Value| {
        let request = http::Request::post(format!("https://{}{path}", scene.address));
        let request = request.header("authorization", format!("Bearer {token}")).header("content-type", kind);
        let request = request.body(Full::new(axum::body::Bytes::from(body.to_string()))).unwrap();
        let answer = client.send_request(request).await.unwrap();
        let (status, grpc) = (answer.status().as_u16(), answer.headers().get("grpc-status").cloned());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, grpc, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let (path, json_kind) = ("/v1/apps/web/reports", "application/json");
    let body = json!({"digest": digest('a'), "result": "passed"});
    let (status, _, answer) = ask(path, json_kind, &token, body.clone()).await;
    assert_eq!((status, &answer["eligible"]), (200, &Value::Bool(true)), "{answer}");
    assert_eq!(ask(path, json_kind, "wrong", body.clone()).await.0, 401);
    let (status, _, answer) = ask("/v1/else", json_kind, &token, body.clone()).await;
    assert_eq!((status, answer["error"].is_string()), (404, true));
    let (status, grpc, _) = ask("/nightshift.v1.Other/Call", "application/grpc", &token, body).await;
    assert_eq!((status, grpc.unwrap().to_str().unwrap()), (200, "12"), "gRPC hears `unimplemented` in its own way");
    drop(client);
    drop(connection);
    assert_eq!(scene.reports("web").await, 1);
}
