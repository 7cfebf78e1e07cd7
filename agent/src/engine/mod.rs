//! The engine port: everything that an agent asks of a Docker-compatible engine, in Nightshift's own words.
//!
//! [`Engine`] is used as `Arc<dyn Engine>`. There are two of them: [`DockerEngine`] talks to a real daemon, the
//! [`simulated`] one models what matters of a daemon. One list of checks (`tests/conformance`) runs on both and keeps the
//! model honest.
//!
//! Two rules hold for every call. It **has a deadline** ([`deadline`]): a daemon that hangs becomes [`Error::Timeout`].
//! And a failed call **may still have been done** ([`Error::may_have_been_done`]): whoever calls looks at what the engine
//! really holds before trying again. Configurations go through raw, as the engine's JSON: a typed model would silently
//! drop the fields that it does not know. What to do with them is decided elsewhere (`nightshift_core`).

mod api_version;
mod build;
pub mod deadline;
mod docker;
mod docker_build;
mod docker_raw;
mod docker_reply;
mod docker_stream;
mod error;
mod lines;
mod pull;
mod reach;
pub mod simulated;
pub(crate) mod tail;
mod types;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use nightshift_core::ids::ContainerId;
use nightshift_core::image::Digest;
use nightshift_core::instance::PullProgress;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

pub use api_version::{NEWEST_KNOWN, NoCommonVersion, OLDEST_KNOWN};
pub use build::{BuildContext, BuildOptions, OnLine};
pub use docker::DockerEngine;
pub use error::{BuildFailure, Error, PullFailure, Result};
pub use types::{
    CommandRun, ContainerSummary, EngineEvent, EngineInfo, EventKind, ExecOutcome, ImageSummary, NetworkSummary,
    RegistryAuth,
};

/// What [`Engine::events`] yields until the connection ends: one error says why it ended, then nothing more.
pub type EventStream = BoxStream<'static, Result<EngineEvent>>;

/// Bytes both ways, to and from a port of a container.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What [`Engine::reach`] gives.
pub type Connection = Box<dyn Stream>;

/// A Docker-compatible engine.
///
/// Where a container is given as text, its id and its name are both good; a container id is taken where a name could
/// mean another container by now.
///
/// # Errors
/// Every call may fail with [`Error::Unreachable`] and [`Error::Timeout`]; one that names a container, image or network
/// with [`Error::NotFound`]; a change that does not fit the present state with [`Error::Conflict`].
#[async_trait]
pub trait Engine: Send + Sync + fmt::Debug {
    /// Who the engine is, and what time it has.
    async fn info(&self) -> Result<EngineInfo>;

    /// All containers, also those that do not run.
    async fn list(&self) -> Result<Vec<ContainerSummary>>;

    /// A container's whole configuration and state, raw. A name is found with or without its leading `/`.
    async fn inspect(&self, container: &str) -> Result<Value>;

    /// An image, raw, by id, tag or digest.
    async fn inspect_image(&self, reference: &str) -> Result<Value>;

    /// Every image that the engine holds.
    async fn list_images(&self) -> Result<Vec<ImageSummary>>;

    /// Fetches exactly one image: `reference` is `repository@sha256:…`, or the call is refused (without a digest the
    /// engine would pull whatever the tag points to by then, and without a tag all of them).
    ///
    /// `progress` is called after each message of the engine. A pull that is dropped is cancelled by the engine.
    ///
    /// # Errors
    /// [`Error::Pull`] with the [`PullFailure`] when registry or disk are the reason.
    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<()>;

    /// Builds an image with the engine's classic builder and gives it a name. The image's id (`sha256:…`).
    ///
    /// `lines` is called with each line of the builder's output: bounded, without control characters, and at the end the
    /// reason when the build failed. A build that is dropped, or that is over its deadline, is cancelled by the engine, which
    /// removes the container of the command that ran. Layers of a build that failed stay in the engine's store, without a name.
    ///
    /// # Errors
    /// [`Error::Build`] with the [`BuildFailure`]: only [`BuildFailure::Source`] is a verdict on the source.
    /// [`Error::InvalidArgument`] when the name is none.
    async fn build(&self, context: BuildContext, options: &BuildOptions, lines: &mut OnLine<'_>) -> Result<String>;

    /// Pushes exactly one tag that the engine has, and gives the digest that the registry knows the image by from now on.
    ///
    /// # Errors
    /// [`Error::Push`] with the [`PullFailure`] when registry or disk are the reason, [`Error::NotFound`] when the engine has no
    /// such tag. After [`Error::Timeout`] the registry may have it all the same.
    async fn push(
        &self,
        repository: &str,
        tag: &str,
        auth: Option<&RegistryAuth>,
        deadline: Duration,
    ) -> Result<Digest>;

    /// Gives an image one more name; a name that stood for another image moves here.
    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()>;

    /// Takes one name away from an image, and the image itself when it was the last one. Never forced.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a container uses the image (also a stopped one).
    async fn remove_image(&self, reference: &str) -> Result<()>;

    /// Makes a container and does not start it. `body` is the whole configuration, as the engine's API writes it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken, [`Error::NotFound`] when the image is not there,
    /// [`Error::Refused`] when the engine does not like the configuration.
    async fn create(&self, name: &str, body: &Value) -> Result<ContainerId>;

    /// Connects a container to one more network; `body` names the container and its settings there.
    async fn connect_network(&self, network: &str, body: &Value) -> Result<()>;

    /// Makes a network; `body` is its whole configuration. Its id.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken, [`Error::Refused`] when the engine has no addresses left for one more.
    async fn create_network(&self, body: &Value) -> Result<String>;

    /// The networks that have this label, whatever its value.
    async fn networks(&self, label: &str) -> Result<Vec<NetworkSummary>>;

    /// Removes a network, by id or name.
    ///
    /// # Errors
    /// [`Error::Refused`] while a container that runs is in it.
    async fn remove_network(&self, network: &str) -> Result<()>;

    /// Replaces the restart policy: `{"Name": "always", "MaximumRetryCount": 0}`. Nothing else changes.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container removes itself (`--rm`) and the policy is not `no`.
    async fn set_restart_policy(&self, container: &ContainerId, policy: &Value) -> Result<()>;

    /// Starts a container; one that runs already is left alone.
    ///
    /// # Errors
    /// [`Error::Refused`] when the engine cannot start it, as when a host port is taken. It then still exists, created
    /// but not running.
    async fn start(&self, container: &ContainerId) -> Result<()>;

    /// Stops a container with its own signal and grace period; one that is stopped already is left alone.
    ///
    /// `grace_hint` is the container's grace period, so that the deadline of this call can be longer.
    async fn stop(&self, container: &ContainerId, grace_hint: Duration) -> Result<()>;

    /// Freezes the container's processes.
    async fn pause(&self, container: &ContainerId) -> Result<()>;

    /// Lets frozen processes go on.
    async fn unpause(&self, container: &ContainerId) -> Result<()>;

    /// Gives a container another name, also while it runs.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken.
    async fn rename(&self, container: &ContainerId, name: &str) -> Result<()>;

    /// Removes a stopped container, never its volumes.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it runs.
    async fn remove(&self, container: &ContainerId) -> Result<()>;

    /// Kills and removes a container that failed and that nobody needs, never its volumes. Only for containers that
    /// Nightshift itself made and did not commit.
    async fn discard(&self, container: &ContainerId) -> Result<()>;

    /// Kills and removes a container together with the volumes that were made for it alone and have no name. Only for
    /// containers that were made for a job.
    async fn discard_with_volumes(&self, container: &ContainerId) -> Result<()>;

    /// The last lines of the container's output, at most `limit_bytes` of them (the end is kept).
    async fn logs_tail(&self, container: &ContainerId, lines: u32, limit_bytes: usize) -> Result<String>;

    /// Runs a command in a running container, with more variables (`KEY=value`) than the container's own, and waits for its
    /// end, at most for `deadline`.
    ///
    /// After the deadline the command still runs: the engine's API cannot end it.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container does not run, [`Error::Timeout`] when the command did not end in time.
    async fn exec(
        &self,
        container: &ContainerId,
        command: &[String],
        environment: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome>;

    /// The same, and what it wrote so far when it did not end in time; `limit_bytes` of it are kept.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the container does not run, [`Error::Timeout`] when the command was not even started in time.
    async fn run_command(
        &self,
        container: &ContainerId,
        command: &[String],
        deadline: Duration,
        limit_bytes: usize,
    ) -> Result<CommandRun>;

    /// Connects to a port of a running container, as who is in its network would.
    ///
    /// # Errors
    /// Nobody listens there, or there is no way to it, in words for people.
    async fn reach(&self, container: &ContainerId, port: u16) -> std::result::Result<Connection, String>;

    /// What happens to containers, from `since` (by the engine's clock, see [`EngineInfo::time`]) or from now on.
    ///
    /// The engine remembers only its last 256 events, of all kinds: whoever comes back after a break looks at
    /// the containers once and does not rely on the replay alone.
    async fn events(&self, since: Option<DateTime<Utc>>) -> Result<EventStream>;
}
