//! A real engine as a fixture: one of those that `scripts/engines up` starts, with the registry beside it.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use nightshift_agent::engine::{DockerEngine, Engine, RegistryAuth};
use nightshift_core::ids::ContainerId;
use nightshift_core::image::{Digest, ImageRef};
use tokio::process::Command;

use crate::fixture::{Fixture, Image, Kind, PASSWORD, login};

/// Names the socket of the engine: `unix://DIR/engine-K.sock`, with DIR as `scripts/engines` made it.
const VARIABLE: &str = "NIGHTSHIFT_TEST_ENGINE";

/// A label of every network of a check.
const NETWORK_LABEL: &str = "check";

/// How often a container that must go is tried again, and the pause between two tries.
const DISCARD_TRIES: u32 = 50;
const DISCARD_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct DockerFixture {
    engine: DockerEngine,
    directory: PathBuf,
    registry: String,
    unique: String,
    counter: AtomicU16,
}

impl DockerFixture {
    /// The engine that the environment names; without one the check is skipped, and says so.
    pub(crate) async fn from_environment(check: &str) -> Option<Self> {
        Self::named(VARIABLE, check).await
    }

    /// The same for the engine of another variable.
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    pub(crate) async fn named(variable: &str, check: &str) -> Option<Self> {
        let Ok(url) = std::env::var(variable) else {
            eprintln!("SKIPPED on a real engine: {check} (set {variable}, or run scripts/test)");
            return None;
        };
        let engine = DockerEngine::connect(&url).await.expect("the engine of the environment is up");
        let socket = url.strip_prefix("unix://").unwrap_or(&url);
        let directory = Path::new(socket).parent().expect("a socket lies in a directory").to_owned();
        let port = std::fs::read_to_string(directory.join("registry/port")).expect("scripts/engines made a registry");
        let registry = format!("127.0.0.1:{}", port.trim());
        // Other checks run at the same time, in this process and in others.
        let unique = format!("{}-{}", check.get(..24).unwrap_or(check).replace('_', "-"), std::process::id());
        Some(Self { engine, directory, registry, unique, counter: AtomicU16::new(0) })
    }

    /// Removes this check's containers.
    pub(crate) async fn clean_up(self) {
        for container in self.engine.list().await.expect("the engine is up") {
            if container.name.starts_with(&self.unique) {
                self.discard(&container.id).await;
            }
        }
        // An engine has addresses for about thirty.
        for network in self.engine.networks(NETWORK_LABEL).await.expect("the engine is up") {
            if network.name.starts_with(&self.unique) {
                self.engine.remove_network(&network.id).await.expect("nobody is in it");
            }
        }
    }

    /// Podman does not remove a container between two starts, so it may take a few tries.
    async fn discard(&self, id: &ContainerId) {
        let mut outcome = self.engine.discard(id).await;
        for _ in 0..DISCARD_TRIES {
            if outcome.is_ok() {
                break;
            }
            tokio::time::sleep(DISCARD_PAUSE).await;
            outcome = self.engine.discard(id).await;
        }
        outcome.expect("it can be removed");
    }

    fn next(&self) -> u16 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }
}

/// Runs `scripts/engines` for one of the registries.
async fn engines(registry: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/engines");
    run(Command::new(script).env("REGISTRY", registry).args(arguments)).await
}

async fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().await.expect("the program is there");
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(status.success(), "{command:?}: {stderr}");
    String::from_utf8(stdout).expect("plain text").trim().to_owned()
}

fn options(kind: Kind) -> &'static [&'static str] {
    const SERVE: &str =
        "trap 'exit 0' TERM; echo starting; httpd -p 80 -h /www; echo serving; while :; do sleep 0.1; done";
    match kind {
        Kind::Web | Kind::NoProgram => &["--cmd", SERVE, "--health", "web", "--health-interval", "0.5"],
        Kind::Sick => &["--cmd", SERVE, "--health", "false", "--health-interval", "0.5"],
        Kind::Short => &["--cmd", "echo starting; echo serving; sleep 0.2; exit 7"],
        Kind::Passing => &["--cmd", "echo starting; echo serving; sleep 0.2; exit 0"],
        Kind::Stubborn => &["--cmd", "trap '' TERM; while :; do sleep 0.1; done"],
    }
}

#[async_trait]
impl Fixture for DockerFixture {
    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(self.engine.clone())
    }

    fn name(&self, base: &str) -> String {
        format!("{}-{base}-{}", self.unique, self.next())
    }

    fn port(&self) -> u16 {
        // Below the ports that the kernel gives away by itself. Several processes share the engine's network, and with
        // `cargo test` all checks are in one process: the count is the process's, not the fixture's.
        static GIVEN: AtomicU32 = AtomicU32::new(0);
        let place = std::process::id().wrapping_mul(16).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        2_000 + u16::try_from(place % 24_000).expect("small")
    }

    async fn push(&self, kind: Kind) -> Image {
        let repository = self.name("web");
        let tagged = format!("{repository}:v1");
        let directory = self.directory.to_str().expect("plain text");
        let mut arguments = vec!["push", directory, &tagged, "--text", &repository, "--volume", "/data"];
        arguments.extend(options(kind));
        let digest = engines("registry", &arguments).await.parse().expect("it prints the digest");
        Image { name: format!("{}/{tagged}", self.registry).parse().expect("well formed"), digest }
    }

    async fn push_private(&self) -> (Image, RegistryAuth) {
        let directory = self.directory.to_str().expect("plain text");
        let registry = self.name("registry");
        let address = engines(&registry, &["registry", "start", directory, "ann", PASSWORD]).await;
        let who = format!("ann:{PASSWORD}");
        let digest = engines(&registry, &["push", directory, "private:v1", "--text", &registry, "--login", &who]).await;
        let name = format!("{address}/private:v1").parse().expect("well formed");
        (Image { name, digest: digest.parse().expect("it prints the digest") }, login(&address, PASSWORD))
    }

    async fn served(&self, name: &ImageRef) -> Option<Digest> {
        let (host, path) = (name.repository.registry(), name.repository.path());
        let url = format!("http://{host}/v2/{path}/manifests/{}", name.tag);
        let kind = "Accept: application/vnd.docker.distribution.manifest.v2+json";
        let headers = run(Command::new("curl").args(["-sS", "-I", "-H", kind, &url])).await;
        let digest = headers.lines().find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
        digest.map(|digest| digest.trim().parse().expect("a digest"))
    }

    fn containers_of_a_run(&self) -> usize {
        1
    }

    async fn network(&self) -> String {
        let name = self.name("network");
        let socket = self.engine.url().replace("unix://", "");
        let body = format!(r#"{{"Name": "{name}", "CheckDuplicate": true, "Labels": {{"{NETWORK_LABEL}": ""}}}}"#);
        let json = "Content-Type: application/json";
        let url = "http://engine/networks/create";
        let arguments = ["-sS", "--fail-with-body", "--unix-socket", &socket, "-H", json, "-d", &body, url];
        run(Command::new("curl").args(arguments)).await;
        name
    }

    async fn has_volume(&self, name: &str) -> bool {
        let socket = self.engine.url().replace("unix://", "");
        let url = format!("http://engine/volumes/{name}");
        let arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", &socket, &url];
        match run(Command::new("curl").args(arguments)).await.as_str() {
            "200" => true,
            "404" => false,
            other => panic!("status {other} for a volume"),
        }
    }
}
