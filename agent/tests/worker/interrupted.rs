//! An engine behind which, at one chosen change, something goes wrong.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_agent::engine::{
    BuildContext, BuildOptions, CommandRun, Connection, ContainerSummary, Engine, EngineInfo, Error, EventStream,
    ExecOutcome, ImageSummary, NetworkSummary, OnLine, RegistryAuth, Result,
};
use nightshift_core::ids::ContainerId;
use nightshift_core::image::Digest;
use nightshift_core::instance::PullProgress;
use serde_json::Value;
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// The agent dies before the engine hears of it.
    DiesBefore,
    /// The engine does it, and the agent dies before it hears so.
    DiesAfter,
    /// The engine does it, and the reply is lost.
    ReplyLost,
    /// The engine cannot be reached for a moment.
    NotSent,
    /// The engine says no, once.
    Refused,
    /// The engine never does it and never answers.
    Hangs,
    /// The engine does it and never answers.
    DoneButHangs,
}

/// After so long a call that hangs is given up: less than a container has to become healthy.
const HANGS_FOR: Duration = Duration::from_secs(10);

/// The engine, and the change at which it happens.
pub(crate) struct Interrupted {
    inner: Arc<dyn Engine>,
    at: usize,
    how: How,
    changes: AtomicUsize,
    /// Told when the agent shall die.
    pub(crate) dying: Notify,
}

impl fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupted").field("at", &self.at).field("how", &self.how).finish_non_exhaustive()
    }
}

impl Interrupted {
    pub(crate) fn new(inner: Arc<dyn Engine>, at: usize, how: How) -> Arc<Self> {
        Arc::new(Self { inner, at, how, changes: AtomicUsize::new(0), dying: Notify::new() })
    }

    /// How many changes were asked for.
    pub(crate) fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    async fn change<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        if self.changes.fetch_add(1, Ordering::Relaxed) != self.at {
            return call.await;
        }
        let away =
            |sent| Error::Unreachable { url: "test".to_owned(), reason: "interrupted".to_owned(), hint: "none", sent };
        match self.how {
            How::DiesBefore => {
                self.dying.notify_one();
                std::future::pending().await
            }
            How::DiesAfter => {
                call.await?;
                self.dying.notify_one();
                std::future::pending().await
            }
            How::ReplyLost => {
                call.await?;
                Err(away(true))
            }
            How::Hangs => hangs().await,
            How::DoneButHangs => {
                call.await?;
                hangs().await
            }
            How::NotSent => Err(away(false)),
            How::Refused => Err(Error::Refused { call: "test", status: 500, message: "refused once".to_owned() }),
        }
    }
}

async fn hangs<T>() -> Result<T> {
    tokio::time::sleep(HANGS_FOR).await;
    Err(Error::Timeout { call: "test", after: HANGS_FOR })
}

#[async_trait]
impl Engine for Interrupted {
    async fn info(&self) -> Result<EngineInfo> {
        self.inner.info().await
    }

    async fn list(&self) -> Result<Vec<ContainerSummary>> {
        self.inner.list().await
    }

    async fn inspect(&self, container: &str) -> Result<Value> {
        self.inner.inspect(container).await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Value> {
        self.inner.inspect_image(reference).await
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        self.inner.list_images().await
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<()> {
        self.change(self.inner.pull(reference, auth, progress)).await
    }

    async fn build(&self, context: BuildContext, options: &BuildOptions, lines: &mut OnLine<'_>) -> Result<String> {
        self.change(self.inner.build(context, options, lines)).await
    }

    async fn push(
        &self,
        repository: &str,
        tag: &str,
        auth: Option<&RegistryAuth>,
        deadline: Duration,
    ) -> Result<Digest> {
        self.change(self.inner.push(repository, tag, auth, deadline)).await
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        self.change(self.inner.tag(image, repository, tag)).await
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.change(self.inner.remove_image(reference)).await
    }

    async fn create(&self, name: &str, body: &Value) -> Result<ContainerId> {
        self.change(self.inner.create(name, body)).await
    }

    async fn connect_network(&self, network: &str, body: &Value) -> Result<()> {
        self.change(self.inner.connect_network(network, body)).await
    }

    async fn create_network(&self, body: &Value) -> Result<String> {
        self.change(self.inner.create_network(body)).await
    }

    async fn networks(&self, label: &str) -> Result<Vec<NetworkSummary>> {
        self.inner.networks(label).await
    }

    async fn remove_network(&self, network: &str) -> Result<()> {
        self.change(self.inner.remove_network(network)).await
    }

    async fn set_restart_policy(&self, container: &ContainerId, policy: &Value) -> Result<()> {
        self.change(self.inner.set_restart_policy(container, policy)).await
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        self.change(self.inner.start(container)).await
    }

    async fn stop(&self, container: &ContainerId, grace_hint: Duration) -> Result<()> {
        self.change(self.inner.stop(container, grace_hint)).await
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        self.change(self.inner.pause(container)).await
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        self.change(self.inner.unpause(container)).await
    }

    async fn rename(&self, container: &ContainerId, name: &str) -> Result<()> {
        self.change(self.inner.rename(container, name)).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        self.change(self.inner.remove(container)).await
    }

    async fn discard(&self, container: &ContainerId) -> Result<()> {
        self.change(self.inner.discard(container)).await
    }

    async fn discard_with_volumes(&self, container: &ContainerId) -> Result<()> {
        self.change(self.inner.discard_with_volumes(container)).await
    }

    async fn logs_tail(&self, container: &ContainerId, lines: u32, limit_bytes: usize) -> Result<String> {
        self.change(self.inner.logs_tail(container, lines, limit_bytes)).await
    }

    async fn exec(
        &self,
        container: &ContainerId,
        command: &[String],
        environment: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome> {
        self.change(self.inner.exec(container, command, environment, deadline)).await
    }

    async fn run_command(
        &self,
        container: &ContainerId,
        command: &[String],
        deadline: Duration,
        limit_bytes: usize,
    ) -> Result<CommandRun> {
        self.change(self.inner.run_command(container, command, deadline, limit_bytes)).await
    }

    async fn reach(&self, container: &ContainerId, port: u16) -> std::result::Result<Connection, String> {
        self.inner.reach(container, port).await
    }

    async fn events(&self, since: Option<DateTime<Utc>>) -> Result<EventStream> {
        self.inner.events(since).await
    }
}
