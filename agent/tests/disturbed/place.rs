//! The engines that the matrix runs on: those that all tests share, and those that may be killed.
//!
//! `scripts/test` names both kinds. Engines to kill belong to one batch of cells at a time: a lock beside the socket.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nightshift_agent::engine::DockerEngine;
use tokio::process::Command;

use crate::registry::Registry;

/// Engines that are never killed.
const SHARED: &str = "NIGHTSHIFT_TEST_ENGINES";
/// Engines that may be killed.
const TO_KILL: &str = "NIGHTSHIFT_TEST_ENGINES_TO_KILL";

/// One engine, with what the cells on it share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) engine: DockerEngine,
    pub(crate) socket: PathBuf,
    pub(crate) registry: Arc<Registry>,
    /// A network for all cells of this process: an engine has addresses for some thirty of them only.
    pub(crate) network: String,
}

impl Place {
    /// The engines that the environment names. Without them the test is skipped, and says so.
    pub(crate) async fn shared() -> Option<Vec<Self>> {
        Self::all(SHARED).await
    }

    /// Those that may be killed.
    pub(crate) async fn to_kill() -> Option<Vec<Self>> {
        Self::all(TO_KILL).await
    }

    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    async fn all(variable: &str) -> Option<Vec<Self>> {
        let Ok(urls) = std::env::var(variable) else {
            eprintln!("SKIPPED: no engine in {variable}; scripts/test has some");
            return None;
        };
        let mut places = Vec::new();
        let mut registry = None;
        for url in urls.split_whitespace() {
            let socket = PathBuf::from(url.strip_prefix("unix://").expect("a socket"));
            if registry.is_none() {
                let directory = socket.parent().expect("a socket lies in a directory");
                registry = Some(Arc::new(Registry::of(directory).await));
            }
            let registry = registry.clone().expect("just made");
            let engine = connected(url).await;
            let network = format!("crash-{}", std::process::id());
            let place = Self { engine, socket, registry, network };
            place.ask("POST", "networks/create", &format!(r#"{{"Name": "{}"}}"#, place.network)).await;
            places.push(place);
        }
        Some(places)
    }

    /// Removes what was made for all cells.
    pub(crate) async fn clean_up(&self) {
        self.ask("DELETE", &format!("networks/{}", self.network), "").await;
    }

    /// Waits until no other test works on this engine, and keeps it until the lock is dropped.
    pub(crate) async fn lock(&self) -> File {
        let path = self.socket.with_extension("lock");
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::create(path).expect("the engines' directory is ours");
            file.lock().expect("a lock");
            file
        });
        locked.await.expect("it does not panic")
    }

    /// Kills the engine and its containerd. Its containers live on without it.
    pub(crate) async fn kill(&self) {
        self.engines("kill").await;
    }

    /// Starts it again, and returns when it answers.
    pub(crate) async fn start(&self) {
        self.engines("start").await;
    }

    /// Takes the engine the room for what it downloads, until the answer is dropped.
    pub(crate) fn fill_disk(&self) -> FullDisk {
        let downloads = self.socket.with_extension("").join("data/tmp");
        // The kernel itself says that there is no space: not one file fits.
        let options = ["-t", "tmpfs", "-o", "nr_inodes=1", "tmpfs"];
        let mounted = std::process::Command::new("mount").args(options).arg(&downloads).status();
        assert!(mounted.expect("mount is there").success(), "nothing is mounted on {}", downloads.display());
        FullDisk(downloads)
    }

    async fn engines(&self, verb: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/engines");
        let name = self.socket.file_stem().and_then(|name| name.to_str()).expect("plain text");
        let number = name.strip_prefix("engine-").expect("named by scripts/lib/engines.sh");
        let directory = self.socket.parent().expect("a socket lies in a directory");
        let output = Command::new(script).arg(verb).arg(directory).arg(number).output().await;
        let output = output.expect("the script is there");
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the port of the agent has no call for.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) {
        let socket = self.socket.to_str().expect("plain text");
        let url = format!("http://engine/v1.41/{path}");
        let arguments = ["-sS", "--fail-with-body", "--unix-socket", socket, "-X", method];
        let json = ["-H", "Content-Type: application/json", "-d", body, &url];
        let output = Command::new("curl").args(arguments).args(json).output().await.expect("curl is there");
        assert!(output.status.success(), "{method} {path}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// An engine without room for downloads.
pub(crate) struct FullDisk(PathBuf);

impl Drop for FullDisk {
    fn drop(&mut self) {
        // What is still mounted in the end is found by scripts/lib/engines.sh.
        drop(std::process::Command::new("umount").arg(&self.0).status());
    }
}

async fn connected(url: &str) -> DockerEngine {
    // Another test may have killed it just now.
    let connected = async {
        loop {
            if let Ok(engine) = DockerEngine::connect(url).await {
                return engine;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(crate::boundary::PATIENCE, connected).await.expect("the engine is up")
}
