//! Images for real engines, many of them and quickly: variations of one that `scripts/engines push` made.
//!
//! All share their layers; each has a configuration of its own, and so an id and a digest of its own.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use nightshift_core::image::{Digest, ImageRef};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Command;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry of `scripts/engines`, with an image to make others of.
#[derive(Debug)]
pub(crate) struct Registry {
    address: String,
    /// The repository with the layers.
    base: String,
    manifest: Value,
    config: Value,
    made: AtomicU32,
}

/// An image in the registry.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    /// `127.0.0.1:PORT/REPOSITORY:TAG`.
    pub(crate) name: ImageRef,
    /// Its content.
    pub(crate) digest: Digest,
    /// The engine's id of it: the digest of its configuration.
    pub(crate) id: String,
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Runs `scripts/engines push`, which prints the digest.
async fn run_push(directory: &Path, tagged: &str, options: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/engines");
    let output = Command::new(script).arg("push").arg(directory).arg(tagged).args(options).output().await;
    let output = output.expect("the script is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Registry {
    /// The registry beside the engines of a directory, as `scripts/engines` made it.
    pub(crate) async fn of(directory: &Path) -> Self {
        let port = std::fs::read_to_string(directory.join("registry/port")).expect("scripts/engines made a registry");
        // Other test programs do the same at this time.
        let base = format!("base-{}", std::process::id());
        run_push(directory, &format!("{base}:v1"), &["--volume", "/data"]).await;
        let address = format!("127.0.0.1:{}", port.trim());
        let mut registry = Self { address, base, manifest: Value::Null, config: Value::Null, made: AtomicU32::new(0) };
        registry.manifest = registry.json(&format!("/v2/{}/manifests/v1", registry.base)).await;
        let config = registry.manifest["config"]["digest"].as_str().expect("a digest");
        registry.config = registry.json(&format!("/v2/{}/blobs/{config}", registry.base)).await;
        registry
    }

    /// Pushes one more image: `change` makes its `config` (`Cmd`, `Healthcheck`, ...) out of that of a plain web server.
    pub(crate) async fn push(&self, repository: &str, tag: &str, change: impl FnOnce(&mut Value)) -> Pushed {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut config = self.config.clone();
        config["config"]["Labels"] = json!({"image": format!("{repository}-{number}")});
        change(&mut config["config"]);
        let config = config.to_string();
        let mut manifest = self.manifest.clone();
        let id = sha256(config.as_bytes());
        manifest["config"]["digest"] = json!(id);
        manifest["config"]["size"] = json!(config.len());
        for layer in manifest["layers"].as_array().expect("a list") {
            let digest = layer["digest"].as_str().expect("a digest");
            let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={}", self.base);
            let (status, _, _) = self.ask(Method::POST, &target, "text/plain", Bytes::new()).await;
            assert_eq!(status, StatusCode::CREATED, "mounting {digest}");
        }
        self.upload(repository, &id, config).await;
        let manifest = manifest.to_string();
        let digest = sha256(manifest.as_bytes()).parse().expect("well formed");
        let target = format!("/v2/{repository}/manifests/{tag}");
        let (status, _, _) = self.ask(Method::PUT, &target, MANIFEST, manifest.into()).await;
        assert_eq!(status, StatusCode::CREATED, "{target}");
        let name = format!("{}/{repository}:{tag}", self.address).parse().expect("well formed");
        Pushed { name, digest, id }
    }

    /// Pushes an image with a layer that no other one has, so that a pull must fetch it.
    pub(crate) async fn push_layer(&self, directory: &Path, repository: &str) -> Pushed {
        let digest = run_push(directory, &format!("{repository}:stable"), &["--text", repository]).await;
        let manifest = self.json(&format!("/v2/{repository}/manifests/{digest}")).await;
        let id = manifest["config"]["digest"].as_str().expect("a digest").to_owned();
        let name = format!("{}/{repository}:stable", self.address).parse().expect("well formed");
        Pushed { name, digest: digest.parse().expect("well formed"), id }
    }

    async fn upload(&self, repository: &str, digest: &str, content: String) {
        let begin = format!("/v2/{repository}/blobs/uploads/");
        let (status, place, _) = self.ask(Method::POST, &begin, "text/plain", Bytes::new()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{begin}");
        let place = place.split_once(&self.address).map_or(place.as_str(), |(_, target)| target).to_owned();
        let target = format!("{place}&digest={digest}");
        let (status, _, _) = self.ask(Method::PUT, &target, "application/octet-stream", content.into()).await;
        assert_eq!(status, StatusCode::CREATED, "{target}");
    }

    async fn json(&self, target: &str) -> Value {
        let (status, _, body) = self.ask(Method::GET, target, "text/plain", Bytes::new()).await;
        assert_eq!(status, StatusCode::OK, "{target}");
        serde_json::from_slice(&body).expect("JSON")
    }

    /// Status, `Location` and body of an answer.
    async fn ask(&self, method: Method, target: &str, content: &str, body: Bytes) -> (StatusCode, String, Bytes) {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, &self.address)
            .header(header::ACCEPT, MANIFEST)
            .header(header::CONTENT_TYPE, content)
            .body(Full::new(body))
            .expect("a good request");
        let stream = TcpStream::connect(&self.address).await.expect("the registry is up");
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("it speaks HTTP");
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("it answers");
        let status = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|place| place.to_str().ok());
        let location = location.unwrap_or_default().to_owned();
        let body = response.into_body().collect().await.expect("it answers in full").to_bytes();
        (status, location, body)
    }
}
