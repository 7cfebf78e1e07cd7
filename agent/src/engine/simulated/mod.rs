//! A simulated engine: a model of what matters of a daemon, in memory, with faults on request.
//!
//! Names and host ports are exclusive; containers have states, restart policies, health over time and events with replay;
//! images come by digest from a [`SimulatedRegistry`], whose images say how their containers behave. Time is tokio's, so
//! that a test with paused time runs through hours at once. `nightshift rehearse` shows a fleet with it; the tests
//! of agent and product run on it; the conformance suite keeps it like a real engine.

mod act;
mod build;
mod container;
mod context;
mod dockerfile;
mod fault;
mod images;
mod registry;
mod world;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use nightshift_core::ids::ContainerId;
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::instance::PullProgress;
use nightshift_core::labels::Labels;
use nightshift_core::recreate::Product;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio::time::Instant;

pub use context::tar_of;
pub use fault::{Call, Fault};
pub use registry::{Behaviour, Happening, SimulatedImage, SimulatedRegistry};
pub use world::Happened;
use world::World;

use super::lines::Lines;
use super::tail::Tail;
use super::{
    BuildContext, BuildOptions, CommandRun, Connection, ContainerSummary, Engine, EngineEvent, EngineInfo, Error,
    EventStream, ExecOutcome, ImageSummary, NetworkSummary, OLDEST_KNOWN, OnLine, PullFailure, RegistryAuth, Result,
    deadline, pull,
};

/// What a connection to a simulated container holds before somebody reads it: a request and its answer fit.
const WIRE_BYTES: usize = 16 << 10;

/// Steps in which a simulated pull reports its progress.
const PULL_STEPS: u32 = 10;

/// A name for any text: 64 hexadecimal digits, the same each time.
fn hashed(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A simulated engine. Clones are the same engine.
#[derive(Clone)]
pub struct SimulatedEngine {
    world: Arc<Mutex<World>>,
    registry: SimulatedRegistry,
    /// Number of events and of daemon lifetimes: those who wait for events look again when it changes.
    changes: watch::Sender<(u64, u64)>,
    url: String,
}

impl fmt::Debug for SimulatedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedEngine").field("url", &self.url).finish_non_exhaustive()
    }
}

impl SimulatedEngine {
    /// An engine without containers and images, whose clock shows `time` now.
    #[must_use]
    pub fn new(name: &str, registry: SimulatedRegistry, time: DateTime<Utc>) -> Self {
        let world = Arc::new(Mutex::new(World::new(name.to_owned(), time)));
        Self { world, registry, changes: watch::Sender::default(), url: format!("simulated://{name}") }
    }

    /// Remembers everything that happens from now on, for [`Self::history`].
    pub fn keep_history(&self) {
        self.with(|world| world.history.get_or_insert_default().clear());
    }

    /// Everything that happened since [`Self::keep_history`], in order.
    #[must_use]
    pub fn history(&self) -> Vec<Happened> {
        self.with(|world| world.history.clone().unwrap_or_default())
    }

    /// The faults that have struck.
    #[must_use]
    pub fn struck(&self) -> Vec<(Call, Fault)> {
        self.with(|world| world.faults.struck.clone())
    }

    /// Faults that still wait for their call are forgotten.
    pub fn forgive(&self) {
        self.with(|world| world.faults.clear());
    }

    /// Lets the next call of this kind fail. Several faults for one kind strike one after another.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        self.with(|world| world.faults.add(call, fault));
    }

    /// From now on there is no space for images and containers, or there is again.
    pub fn set_disk_full(&self, full: bool) {
        self.with(|world| world.disk_full = full);
    }

    /// Ends the daemon with all its containers; it comes back after `downtime` and restarts by their policies.
    pub fn restart_daemon(&self, downtime: Duration) {
        self.with(|world| world.daemon_stops(downtime));
    }

    /// The containers that are there, also while no daemon answers.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<ContainerId> {
        self.with(|world| world.containers.keys().cloned().map(ContainerId).collect())
    }

    /// From now on this command says this in every container, whatever the images say; `None` never ends.
    pub fn answer_command(&self, command: &[&str], outcome: Option<ExecOutcome>) {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        self.with(|world| world.commands.insert(command, outcome));
    }

    /// Commands do again what the images say.
    pub fn forget_commands(&self) {
        self.with(|world| world.commands.clear());
    }

    /// Containers that are created from now on become unhealthy this long after each start and stay so, whatever their images
    /// say; `None`: as the images say.
    pub fn set_allergy(&self, falls_ill_after: Option<Duration>) {
        self.with(|world| world.allergy = falls_ill_after);
    }

    /// Makes a network, as `docker network create` does.
    pub fn add_network(&self, name: &str) {
        self.with(|world| world.networks.insert(name.to_owned(), Labels::new()));
    }

    /// Lets something happen to a running container now, whatever its image says.
    pub fn let_happen(&self, container: &ContainerId, what: Happening) {
        self.with(|world| world.strike_now(&container.0, what));
    }

    /// From now on the engine says that it is this one. Nothing else of it changes.
    pub fn set_product(&self, product: Product) {
        self.with(|world| world.product = product);
    }

    /// Looks at the world, after what is due has happened, and tells those who wait if there are new events.
    fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.settle(Instant::now());
        let out = look(&mut world);
        let seen = (world.event_count(), world.session);
        self.changes.send_if_modified(|last| std::mem::replace(last, seen) != seen);
        out
    }

    /// A call: only while the daemon is up, and with the fault that waits for it.
    async fn call<T>(&self, call: Call, after: Duration, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let (up, fault) = self.with(|world| (world.daemon_is_up, world.faults.take(call)));
        if !up {
            return Err(self.unreachable("connection refused", false));
        }
        let name = "simulated call";
        let timeout = Error::Timeout { call: name, after };
        match fault {
            None => work.await,
            Some(Fault::Refused { status, message }) => Err(super::docker_raw::refusal(name, status, &message)),
            Some(Fault::NotSent) => Err(self.unreachable("connection refused", false)),
            Some(Fault::DoneButReplyLost) => {
                work.await?;
                Err(self.unreachable("connection closed before the answer", true))
            }
            Some(Fault::Hang) => {
                tokio::time::sleep(after).await;
                Err(timeout)
            }
            Some(Fault::DoneButHangs) => {
                let end = Instant::now() + after;
                work.await?;
                tokio::time::sleep_until(end).await;
                Err(timeout)
            }
        }
    }

    async fn within<T>(
        &self,
        call: &'static str,
        after: Duration,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        tokio::time::timeout(after, work).await.unwrap_or(Err(Error::Timeout { call, after }))
    }

    fn unreachable(&self, reason: &str, sent: bool) -> Error {
        let hint = "the engine is simulated: wait for its daemon";
        Error::Unreachable { url: self.url.clone(), reason: reason.to_owned(), hint, sent }
    }

    /// A call that is one look at the world.
    async fn change<T: Send>(
        &self,
        call: Call,
        after: Duration,
        look: impl FnOnce(&mut World) -> Result<T> + Send,
    ) -> Result<T> {
        self.call(call, after, async { self.with(look) }).await
    }

    async fn fetch(
        &self,
        reference: &str,
        login: Option<&RegistryAuth>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<()> {
        let failed = |(failure, message)| Error::Pull { reference: reference.to_owned(), failure, message };
        let wrong = || failed((PullFailure::Other, "invalid reference format".to_owned()));
        let (repository, digest) = reference.split_once('@').ok_or_else(wrong)?;
        let (Ok(repository), Ok(digest)) = (repository.parse::<Repository>(), digest.parse::<Digest>()) else {
            return Err(wrong());
        };
        let image = self.registry.fetch(&repository, &digest, login).map_err(failed)?;
        let layers_total = u32::try_from(image.layers.len()).unwrap_or(u32::MAX);
        let bytes_total: u64 = image.layers.iter().sum();
        for step in 1..=PULL_STEPS {
            tokio::time::sleep(image.pull_takes / PULL_STEPS).await;
            let bytes_done = bytes_total * u64::from(step) / u64::from(PULL_STEPS);
            let layers_done = layers_total * step / PULL_STEPS;
            progress(PullProgress { layers_done, layers_total, bytes_done, bytes_total });
        }
        self.with(|world| {
            if world.disk_full {
                let message = "failed to register layer: write /layer: no space left on device".to_owned();
                return Err(failed((PullFailure::DiskFull, message)));
            }
            world.images.add(reference, image);
            Ok(())
        })
    }

    /// Puts an image into the store under a tag, as if it had been pulled before.
    ///
    /// # Errors
    /// The registry does not have it, or its name cannot be used.
    pub async fn hold(&self, reference: &ImageRef, digest: &Digest) -> Result<()> {
        self.fetch(&reference.repository.at(digest), None, &mut |_| ()).await?;
        let repository = reference.repository.familiar();
        self.with(|world| world.images.tag(&reference.repository.at(digest), &repository, &reference.tag))
    }

    /// The next event from `number` on for a stream that was opened in `session`; none when that has ended.
    async fn next_event(&self, number: u64, session: u64) -> Option<(u64, EngineEvent)> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let (event, over, due) =
                self.with(|world| (world.event(number), world.session != session, world.next_due()));
            if event.is_some() || over {
                return event.filter(|_| !over);
            }
            let due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = changes.changed() => {}
                () = due => {}
            }
        }
    }
}

#[async_trait]
impl Engine for SimulatedEngine {
    async fn info(&self) -> Result<EngineInfo> {
        self.change(Call::Info, deadline::READ, |world| {
            Ok(EngineInfo {
                name: world.name.clone(),
                version: "20.10.24-simulated".to_owned(),
                api_version: OLDEST_KNOWN,
                product: world.product,
                os: "linux".to_owned(),
                arch: "amd64".to_owned(),
                time: world.time(),
                insecure_registries: vec!["127.0.0.0/8".to_owned()],
            })
        })
        .await
    }

    async fn list(&self) -> Result<Vec<ContainerSummary>> {
        self.change(Call::List, deadline::READ, |world| Ok(world.list())).await
    }

    async fn inspect(&self, container: &str) -> Result<Value> {
        self.change(Call::Inspect, deadline::READ, |world| Ok(world.find(container)?.inspect())).await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Value> {
        self.change(Call::InspectImage, deadline::READ, |world| world.images.inspect(reference)).await
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        self.change(Call::ListImages, deadline::READ, |world| Ok(world.images.summaries())).await
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<()> {
        pull::require_digest(reference)?;
        self.call(Call::Pull, deadline::PULL_SILENCE, self.fetch(reference, auth, progress)).await
    }

    async fn build(&self, context: BuildContext, options: &BuildOptions, lines: &mut OnLine<'_>) -> Result<String> {
        options.check()?;
        let mut lines = Lines::new(lines);
        let work = self.within("POST /build", options.deadline, self.built(context, options, &mut lines));
        self.call(Call::Build, options.deadline, work).await
    }

    async fn push(
        &self,
        repository: &str,
        tag: &str,
        auth: Option<&RegistryAuth>,
        deadline: Duration,
    ) -> Result<Digest> {
        let work = self.within("POST /images/{name}/push", deadline, self.pushed(repository, tag, auth));
        self.call(Call::Push, deadline, work).await
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        self.change(Call::Tag, deadline::CHANGE, |world| world.images.tag(image, repository, tag)).await
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.change(Call::RemoveImage, deadline::REMOVE, |world| world.remove_image(reference)).await
    }

    async fn create(&self, name: &str, body: &Value) -> Result<ContainerId> {
        self.change(Call::Create, deadline::CREATE, |world| world.create(name, body)).await
    }

    async fn connect_network(&self, network: &str, body: &Value) -> Result<()> {
        self.change(Call::ConnectNetwork, deadline::CHANGE, |world| world.connect(network, body)).await
    }

    async fn create_network(&self, body: &Value) -> Result<String> {
        self.change(Call::CreateNetwork, deadline::CHANGE, |world| world.create_network(body)).await
    }

    async fn networks(&self, label: &str) -> Result<Vec<NetworkSummary>> {
        self.change(Call::Networks, deadline::READ, |world| Ok(world.labelled_networks(label))).await
    }

    async fn remove_network(&self, network: &str) -> Result<()> {
        self.change(Call::RemoveNetwork, deadline::CHANGE, |world| world.remove_network(network)).await
    }

    async fn set_restart_policy(&self, container: &ContainerId, policy: &Value) -> Result<()> {
        self.change(Call::SetRestartPolicy, deadline::CHANGE, |world| world.set_restart_policy(&container.0, policy))
            .await
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        self.change(Call::Start, deadline::START, |world| world.start(&container.0)).await
    }

    async fn stop(&self, container: &ContainerId, grace_hint: Duration) -> Result<()> {
        let after = grace_hint.min(deadline::STOP_GRACE_LIMIT) + deadline::STOP_MARGIN;
        let work = async {
            let ends =
                self.with(|world| world.find(&container.0).map(|_| ()).map(|()| world.begin_stop(&container.0)))?;
            if let Some(ends) = ends {
                tokio::time::sleep_until(ends).await;
                self.with(|_| ());
            }
            Ok(())
        };
        self.call(Call::Stop, after, work).await
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        self.change(Call::Pause, deadline::CHANGE, |world| world.pause(&container.0)).await
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        self.change(Call::Unpause, deadline::CHANGE, |world| world.resume(&container.0)).await
    }

    async fn rename(&self, container: &ContainerId, name: &str) -> Result<()> {
        self.change(Call::Rename, deadline::CHANGE, |world| world.rename(&container.0, name)).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        self.change(Call::Remove, deadline::REMOVE, |world| world.remove(&container.0)).await
    }

    async fn discard(&self, container: &ContainerId) -> Result<()> {
        self.change(Call::Discard, deadline::REMOVE, |world| world.discard(&container.0)).await
    }

    /// Volumes are no things of their own here: they go with their container in any case.
    async fn discard_with_volumes(&self, container: &ContainerId) -> Result<()> {
        self.change(Call::DiscardWithVolumes, deadline::REMOVE, |world| world.discard(&container.0)).await
    }

    async fn logs_tail(&self, container: &ContainerId, lines: u32, limit_bytes: usize) -> Result<String> {
        self.change(Call::LogsTail, deadline::READ, |world| world.log(&container.0, lines, limit_bytes)).await
    }

    /// The variables make no difference here: a simulated command does nothing with them.
    async fn exec(
        &self,
        container: &ContainerId,
        command: &[String],
        _environment: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome> {
        let work = async {
            if let Some(outcome) = self.with(|world| world.command(&container.0, command))? {
                return Ok(outcome);
            }
            tokio::time::sleep(deadline).await;
            Err(Error::Timeout { call: "POST /exec/{id}/start", after: deadline })
        };
        self.call(Call::Exec, deadline, work).await
    }

    async fn run_command(
        &self,
        container: &ContainerId,
        command: &[String],
        deadline: Duration,
        limit_bytes: usize,
    ) -> Result<CommandRun> {
        let work = async {
            let ended = self.with(|world| world.command(&container.0, command))?;
            let mut tail = Tail::new(limit_bytes);
            let exit_code = match ended {
                Some(ended) => {
                    tail.push(ended.output.as_bytes());
                    Some(ended.exit_code)
                }
                None => {
                    tokio::time::sleep(deadline).await;
                    tail.push(self.with(|world| world.says_meanwhile(&container.0, command)).as_bytes());
                    None
                }
            };
            Ok(CommandRun { exit_code, cut: tail.is_cut(), output: tail.into_text() })
        };
        self.call(Call::RunCommand, deadline, work).await
    }

    /// Every port is served by whoever is up, and healthy where it has a health check.
    async fn reach(&self, container: &ContainerId, port: u16) -> std::result::Result<Connection, String> {
        if !self.with(|world| world.serves(&container.0)) {
            return Err(format!("port {port}: Connection refused (os error 111)"));
        }
        let (here, there) = tokio::io::duplex(WIRE_BYTES);
        tokio::spawn(welcome(there));
        Ok(Box::new(here))
    }

    async fn events(&self, since: Option<DateTime<Utc>>) -> Result<EventStream> {
        let opened = self.change(Call::Events, deadline::READ, |world| {
            let first = since.map_or(world.event_count(), |since| world.first_event_since(since));
            Ok((first, world.session))
        });
        let (first, session) = opened.await?;
        let engine = self.clone();
        let events = futures::stream::unfold(Some(first), move |number| {
            let engine = engine.clone();
            async move {
                match engine.next_event(number?, session).await {
                    Some((number, event)) => Some((Ok(event), Some(number + 1))),
                    None => Some((Err(engine.unreachable("connection closed", true)), None)),
                }
            }
        });
        Ok(events.boxed())
    }
}

/// Answers one HTTP request well; who says nothing is heard out.
async fn welcome(mut connection: DuplexStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match connection.read_buf(&mut request).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // Who has gone away meanwhile needs no answer.
    drop(connection.write_all(answer).await);
}
