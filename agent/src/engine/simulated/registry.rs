//! A simulated registry, shared by simulated engines: images that say how their containers will behave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::image::{Digest, ImageRef, Repository};
use serde_json::{Value, json};

use super::hashed;
use crate::engine::{ExecOutcome, PullFailure, RegistryAuth};

/// What happens by itself in a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// Its health check passes from now on.
    Healthy,
    /// Its health check has failed too often.
    Unhealthy,
    /// Its main process ends with this code.
    Exit(i64),
}

/// How the containers of an image behave after each start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behaviour {
    /// What happens how long after the start.
    pub timeline: Vec<(Duration, Happening)>,
    /// The engine cannot start it, with this message.
    pub start_error: Option<String>,
    /// How long the main process takes to end after the stop signal; the grace period ends it in any case.
    pub stop_takes: Duration,
    /// What it writes at each start.
    pub log: Vec<String>,
    /// The commands that can be run inside, with what they do. `None` never ends.
    pub commands: BTreeMap<Vec<String>, Option<ExecOutcome>>,
    /// What those that never end write.
    pub spoken: BTreeMap<Vec<String>, String>,
}

impl Behaviour {
    /// One thing happens, some time after the start.
    #[must_use]
    pub fn of(happening: Happening, after: Duration) -> Self {
        Self { timeline: vec![(after, happening)], ..Self::default() }
    }
}

/// An image as it is pushed to the simulated registry.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedImage {
    /// `Config` as the engine shows it: `Env`, `Cmd`, `Labels`, `Healthcheck`, ...
    pub config: Value,
    /// When it was built.
    pub created: DateTime<Utc>,
    /// Its layers' sizes in bytes.
    pub layers: Vec<u64>,
    /// How long a pull takes.
    pub pull_takes: Duration,
    /// How its containers behave.
    pub behaviour: Behaviour,
}

impl SimulatedImage {
    /// A small web server's image: with a health check if the behaviour speaks of health.
    #[must_use]
    pub fn new(created: DateTime<Utc>, behaviour: Behaviour) -> Self {
        let speaks_of_health = |happening: &Happening| match happening {
            Happening::Healthy | Happening::Unhealthy => true,
            Happening::Exit(_) => false,
        };
        let mut config = json!({
            "Env": ["PATH=/bin"], "Cmd": ["serve"], "Entrypoint": null, "WorkingDir": "/", "User": "",
            "ExposedPorts": {"80/tcp": {}}, "Labels": {},
        });
        if behaviour.timeline.iter().any(|(_, happening)| speaks_of_health(happening)) {
            config["Healthcheck"] = json!({"Test": ["CMD", "check"], "Interval": 1_000_000_000, "Retries": 2});
        }
        Self { config, created, layers: vec![2 << 20, 1 << 10], pull_takes: Duration::ZERO, behaviour }
    }

    /// A container that becomes healthy.
    #[must_use]
    pub fn healthy(created: DateTime<Utc>, after: Duration) -> Self {
        Self::new(created, Behaviour::of(Happening::Healthy, after))
    }

    /// A container that becomes unhealthy.
    #[must_use]
    pub fn unhealthy(created: DateTime<Utc>, after: Duration) -> Self {
        Self::new(created, Behaviour::of(Happening::Unhealthy, after))
    }

    /// The engine's id of this image: made from its content, so that every engine gives the same.
    pub(super) fn id(&self) -> String {
        format!("sha256:{}", hashed(&format!("{self:?}")))
    }

    /// Its digest in a registry.
    fn digest(&self) -> Digest {
        format!("sha256:{}", hashed(&format!("manifest {self:?}"))).parse().expect("64 hexadecimal digits")
    }
}

#[derive(Debug, Default)]
struct Shelves {
    images: BTreeMap<(Repository, Digest), SimulatedImage>,
    tags: BTreeMap<ImageRef, Digest>,
    failure: Option<PullFailure>,
    logins: BTreeMap<String, RegistryAuth>,
    opened: BTreeSet<String>,
}

/// Why an engine gets nothing, in its words.
type Refused = (PullFailure, String);

fn unknown(name: &str) -> Refused {
    (PullFailure::NotFound, format!("manifest for {name} not found: manifest unknown: manifest unknown"))
}

impl Shelves {
    /// Whether there is a registry, and whether it talks to this engine.
    fn answers(&self, repository: &Repository, login: Option<&RegistryAuth>) -> Result<(), Refused> {
        let host = repository.registry();
        if let Some(failure) = self.failure {
            return Err((failure, format!("Get \"http://{host}/v2/\": simulated failure: {failure:?}")));
        }
        let known = self.opened.contains(host) || self.images.keys().any(|(other, _)| other.registry() == host);
        if !known {
            let message = format!("Get \"http://{host}/v2/\": dial tcp {host}: connect: connection refused");
            return Err((PullFailure::Unreachable, message));
        }
        let wanted = self.logins.get(host);
        if wanted.is_some() && wanted != login {
            return Err((PullFailure::Denied, format!("Get \"http://{host}/v2/\": no basic auth credentials")));
        }
        Ok(())
    }
}

/// A registry in memory. Clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct SimulatedRegistry(Arc<Mutex<Shelves>>);

impl SimulatedRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores an image and lets the tag point to it.
    pub fn push(&self, reference: &ImageRef, image: SimulatedImage) -> Digest {
        let digest = image.digest();
        let mut shelves = self.lock();
        shelves.images.insert((reference.repository.clone(), digest.clone()), image);
        shelves.tags.insert(reference.clone(), digest.clone());
        digest
    }

    /// Removes an image for good, as a clean-up of the registry does, with the tags that point to it. Whether it was there.
    pub fn remove(&self, repository: &Repository, digest: &Digest) -> bool {
        let mut shelves = self.lock();
        shelves.tags.retain(|tag, to| tag.repository != *repository || to != digest);
        shelves.images.remove(&(repository.clone(), digest.clone())).is_some()
    }

    /// Whether an image is there.
    #[must_use]
    pub fn has(&self, repository: &Repository, digest: &Digest) -> bool {
        self.lock().images.contains_key(&(repository.clone(), digest.clone()))
    }

    /// Where a tag points to.
    #[must_use]
    pub fn resolve(&self, reference: &ImageRef) -> Option<Digest> {
        self.lock().tags.get(reference).cloned()
    }

    /// When an image was built.
    #[must_use]
    pub fn created(&self, repository: &Repository, digest: &Digest) -> Option<DateTime<Utc>> {
        self.lock().images.get(&(repository.clone(), digest.clone())).map(|image| image.created)
    }

    /// From now on every pull and push fails for this reason, or none any more.
    pub fn set_failure(&self, failure: Option<PullFailure>) {
        self.lock().failure = failure;
    }

    /// From now on this host (`host[:port]`) gives images only to who shows these credentials.
    pub fn require_login(&self, host: &str, login: RegistryAuth) {
        self.lock().logins.insert(host.to_owned(), login);
    }

    /// From now on there is a registry at this host, though nothing was pushed to it yet.
    pub fn open(&self, host: &str) {
        self.lock().opened.insert(host.to_owned());
    }

    /// What an engine gets, or what it says instead. At a host to which nothing was ever pushed there is no registry.
    pub(super) fn fetch(
        &self,
        repository: &Repository,
        digest: &Digest,
        login: Option<&RegistryAuth>,
    ) -> Result<SimulatedImage, Refused> {
        let shelves = self.lock();
        shelves.answers(repository, login)?;
        let image = shelves.images.get(&(repository.clone(), digest.clone())).cloned();
        image.ok_or_else(|| unknown(&repository.at(digest)))
    }

    /// The same for what a tag points to.
    pub(super) fn fetch_tag(
        &self,
        name: &ImageRef,
        login: Option<&RegistryAuth>,
    ) -> Result<(Digest, SimulatedImage), Refused> {
        let shelves = self.lock();
        shelves.answers(&name.repository, login)?;
        let digest = shelves.tags.get(name);
        let found = digest.and_then(|digest| {
            let image = shelves.images.get(&(name.repository.clone(), digest.clone()));
            image.map(|image| (digest.clone(), image.clone()))
        });
        found.ok_or_else(|| unknown(&name.familiar()))
    }

    /// What an engine pushes.
    pub(super) fn receive(
        &self,
        name: &ImageRef,
        image: SimulatedImage,
        login: Option<&RegistryAuth>,
    ) -> Result<Digest, Refused> {
        self.lock().answers(&name.repository, login)?;
        Ok(self.push(name, image))
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
