//! Where the kinds are tried: an engine with its registry, the images in all versions, and the company that options refer
//! to. Containers are made with the `docker` command line, as a person makes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use nightshift_agent::engine::{DockerEngine, Engine};
use nightshift_core::ids::ContainerId;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::fixture::Image;
use crate::kinds::{Family, Group, Kind, State};

/// Names the engines, separated by spaces; else the first one alone.
const VARIABLES: [&str; 2] = ["NIGHTSHIFT_TEST_ENGINES", "NIGHTSHIFT_TEST_ENGINE"];
/// Debian's client, which is as old as its engine; a newer one refuses a MAC address to an older engine.
const CLIENT: &str = "/usr/bin/docker";

/// The versions of an image, in the order in which a container gets them. The last one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    First,
    Second,
    Third,
    Bad,
}

impl Version {
    const ALL: [(Self, &str); 4] = [(Self::First, "1"), (Self::Second, "2"), (Self::Third, "3"), (Self::Bad, "bad")];
}

pub(crate) struct Stage {
    pub(crate) engine: Arc<DockerEngine>,
    pub(crate) group: Group,
    /// Begins every name of this run.
    pub(crate) prefix: String,
    images: BTreeMap<(Family, Version), Image>,
    files: TempDir,
}

impl Stage {
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    pub(crate) async fn from_environment(group: Group) -> Option<Self> {
        let Some(urls) = VARIABLES.iter().find_map(|name| std::env::var(name).ok()) else {
            eprintln!("SKIPPED on a real engine: fidelity, {group:?} (set {}, or run scripts/test)", VARIABLES[1]);
            return None;
        };
        let urls: Vec<&str> = urls.split_whitespace().collect();
        let url = urls[group as usize % urls.len()];
        let engine = Arc::new(DockerEngine::connect(url).await.expect("the engine of the environment is up"));
        let prefix = format!("{group:?}-{}-", std::process::id()).to_lowercase();
        let files = tempfile::tempdir().expect("a temporary directory");
        let mut stage = Self { engine, group, prefix, images: BTreeMap::new(), files };
        stage.write_files();
        stage.push_images().await;
        stage.gather_company().await;
        Some(stage)
    }

    fn write_files(&self) {
        let write = |name: &str, text: &str| std::fs::write(self.files.path().join(name), text).expect("ours");
        write("env", "FILE=own\n# comment\nLEVEL=file\n");
        write("seccomp", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    }

    /// The directory of `scripts/engines`, in which the engine's socket lies.
    fn directory(&self) -> PathBuf {
        let socket = self.engine.url().replace("unix://", "");
        Path::new(&socket).parent().expect("a socket lies in a directory").to_owned()
    }

    async fn push_images(&mut self) {
        let directory = self.directory();
        let port = std::fs::read_to_string(directory.join("registry/port")).expect("scripts/engines made a registry");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/engines");
        for family in [Family::App, Family::Bare, Family::Committed] {
            for (version, tag) in Version::ALL {
                let tagged = format!("{}{family:?}:{tag}", self.prefix).to_lowercase();
                let text = format!("{tag} {tagged}");
                let config = configuration(family, version).to_string();
                let mut push = Command::new(&script);
                push.arg("push").arg(&directory).args([&tagged, "--text", &text, "--config", &config]);
                let digest =
                    run(&mut push).await.expect("the registry takes it").parse().expect("it prints the digest");
                let name = format!("127.0.0.1:{}/{tagged}", port.trim()).parse().expect("well formed");
                let image = Image { name, digest };
                self.engine.pull(&image.reference(), None, &mut |_| ()).await.expect("it was pushed");
                let repository = image.name.repository.familiar();
                self.engine.tag(&image.reference(), &repository, tag).await.expect("it is there");
                self.images.insert((family, version), image);
            }
        }
    }

    pub(crate) fn image(&self, family: Family, version: Version) -> &Image {
        &self.images[&(family, version)]
    }

    /// What the options refer to.
    async fn gather_company(&self) {
        let image = self.image(Family::Bare, Version::First).name.familiar();
        for command in [
            "network create --subnet %v4.0/24 --ipv6 --subnet %v6::/64 @front",
            "network create --subnet %other.0/24 @back",
            "network create @plain",
            "run -d --name @db IMAGE",
            "run -d --name @store --network @front -v /theirs -v @shared:/shared -v /data IMAGE",
            "run -d --name @shareable --ipc shareable IMAGE",
        ] {
            self.docker(&self.words(&command.replace("IMAGE", &image))).await.expect("nothing unusual");
        }
    }

    /// Options as the client gets them.
    fn words(&self, options: &str) -> Vec<String> {
        // Each group has subnets of its own: there may be one engine for all of them.
        let number = 80 + 2 * (self.group as u8);
        let files = self.files.path().to_str().expect("plain text");
        let put_in = [
            ("@", self.prefix.clone()),
            ("%dir", files.to_owned()),
            ("%v4", format!("10.{number}.0")),
            ("%v6", format!("fd00:{number}")),
            ("%other", format!("10.{}.0", number + 1)),
            ("~", " ".to_owned()),
        ];
        let word = |word: &str| put_in.iter().fold(word.to_owned(), |word, (from, to)| word.replace(from, to));
        options.split_whitespace().map(word).collect()
    }

    /// Runs the client. What it says on standard error is returned when it fails, and its warnings when it does not.
    pub(crate) async fn docker(&self, arguments: &[String]) -> Result<String, String> {
        let client = if Path::new(CLIENT).exists() { CLIENT } else { "docker" };
        let client = std::env::var("DOCKER").unwrap_or_else(|_| client.to_owned());
        let path = std::env::var("PATH").unwrap_or_default();
        // `-e NAME` reads the client's own variables.
        run(Command::new(client).env_clear().env("PATH", path).arg("-H").arg(self.engine.url()).args(arguments)).await
    }

    /// Makes a container of a kind by hand, without starting it.
    pub(crate) async fn make(&self, kind: &Kind, version: Version) -> Result<ContainerId, String> {
        let _ = std::fs::remove_file(self.files.path().join("cid"));
        let name = self.name(kind);
        if let Some(body) = kind.body {
            let mut body: Value = serde_json::from_str(body).expect("JSON");
            body["Image"] = Value::from(self.image(kind.family, version).name.familiar());
            return self.engine.create(&name, &body).await.map_err(|error| error.to_string());
        }
        let mut create = vec!["create".to_owned(), "--name".to_owned(), name.clone()];
        create.extend(self.words(kind.options));
        create.push(self.image(kind.family, version).name.familiar());
        create.extend(self.words(kind.arguments));
        self.docker(&create).await?;
        for connect in kind.connects {
            let mut words = vec!["network".to_owned(), "connect".to_owned()];
            words.extend(self.words(connect));
            words.push(name.clone());
            self.docker(&words).await?;
        }
        let inspect = self.engine.inspect(&name).await.map_err(|error| error.to_string())?;
        Ok(ContainerId(inspect["Id"].as_str().expect("an id").to_owned()))
    }

    /// Brings a container into the state that its kind is about.
    pub(crate) async fn begin(&self, kind: &Kind, id: &ContainerId) -> Result<(), String> {
        if kind.state == State::Created {
            return Ok(());
        }
        self.engine.start(id).await.map_err(|error| error.to_string())?;
        if kind.state == State::Paused {
            self.engine.pause(id).await.map_err(|error| error.to_string())?;
        }
        while kind.state == State::Exited && self.inspect(id).await["State"]["Status"] != "exited" {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(())
    }

    pub(crate) async fn inspect(&self, id: &ContainerId) -> Value {
        self.engine.inspect(&id.0).await.expect("it exists")
    }

    pub(crate) fn name(&self, kind: &Kind) -> String {
        format!("{}{}", self.prefix, kind.name.replace('_', "-"))
    }

    /// Names of the containers of one kind, with their ids.
    pub(crate) async fn all_of(&self, kind: &Kind) -> Vec<(String, ContainerId)> {
        let all = self.engine.list().await.expect("the engine is up").into_iter();
        let name = self.name(kind);
        all.filter(|found| is_of(&found.name, &name)).map(|found| (found.name, found.id)).collect()
    }

    /// Removes the containers of one kind, whatever a replacement calls them.
    pub(crate) async fn remove_kind(&self, kind: &Kind) {
        let name = self.name(kind);
        self.remove(|found| is_of(found, &name)).await;
    }

    async fn remove(&self, chosen: impl Fn(&str) -> bool) {
        for container in self.engine.list().await.expect("the engine is up") {
            if chosen(&container.name) {
                self.engine.discard(&container.id).await.expect("it can be removed");
            }
        }
    }

    pub(crate) async fn clear(self) {
        self.remove(|name| name.starts_with(&self.prefix)).await;
        for network in ["front", "back", "plain"] {
            let words = ["network", "rm", &format!("{}{network}", self.prefix)].map(str::to_owned);
            self.docker(&words).await.expect("nobody is connected");
        }
    }
}

/// Whether a container's name is this one, or a temporary one made of it.
fn is_of(found: &str, name: &str) -> bool {
    found == name || found.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

async fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().await.expect("the program is there");
    let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
    if status.success() { Ok(String::from_utf8_lossy(&stdout).trim().to_owned()) } else { Err(stderr) }
}

/// What an image says of itself. The versions of `App` differ in every default that a container takes from its image.
fn configuration(family: Family, version: Version) -> Value {
    let seconds = format!("{}00", version as u8 + 6);
    let bare = json!({"Env": ["PATH=/bin"], "Cmd": ["rest", seconds]});
    match family {
        Family::Bare => bare,
        // As `docker commit` makes them of a container that has all this.
        Family::Committed => json!({
            "Env": ["PATH=/bin"], "Cmd": ["rest", seconds], "Tty": true, "OpenStdin": true, "Hostname": "model",
            "Domainname": "model.test", "StopTimeout": 9, "AttachStdout": true,
        }),
        Family::App => {
            let check = |seconds: u64, start: u64, retries: u64, test: &[&str]| {
                json!({
                    "Test": test, "Interval": seconds * 1_000_000_000, "Timeout": 7_000_000_000_u64,
                    "StartPeriod": start * 1_000_000_000, "Retries": retries,
                })
            };
            match version {
                Version::First => json!({
                    "Env": ["PATH=/bin", "GREETING=hello", "COLOR=red", "LEVEL=1"],
                    "Labels": {"version": "1", "vendor": "acme", "tier": "web"},
                    "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}, "/old": {}},
                    "WorkingDir": "/srv", "User": "1000", "StopSignal": "SIGQUIT",
                    "Healthcheck": check(31, 3, 4, &["CMD", "true"]), "Entrypoint": ["rest"], "Cmd": [seconds],
                }),
                Version::Second | Version::Bad => json!({
                    "Env": ["SHAPE=round", "PATH=/bin:/sbin", "GREETING=salut", "COLOR=blue"],
                    "Labels": {"version": "2", "vendor": "acme", "region": "east"},
                    "ExposedPorts": {"81/tcp": {}, "53/udp": {}}, "Volumes": {"/data": {}, "/new": {}},
                    "WorkingDir": "/app", "User": "1001", "StopSignal": "SIGINT",
                    "Healthcheck": check(29, 5, 5, &["CMD", "true", "2"]),
                    "Entrypoint": ["sh", "/bin/rest"], "Cmd": [seconds],
                }),
                Version::Third => json!({
                    "Env": ["COLOR=red", "PATH=/bin", "LEVEL=3"], "Labels": {"version": "3", "tier": "web"},
                    "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "User": "1000", "StopSignal": "SIGTERM",
                    "Healthcheck": check(37, 3, 4, &["CMD", "true"]), "Entrypoint": ["/bin/rest"], "Cmd": [seconds],
                }),
            }
        }
    }
}
