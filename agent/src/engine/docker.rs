//! The adapter for a real engine. The only file that knows `bollard`.
//!
//! Calls with one answer go through [`RawClient`], so that configurations pass untouched and all errors are sorted in one
//! place; `bollard` reads the streams (pull, logs, exec, events), whose framing it knows. Two of its faults (seen in
//! 0.21.1) are put right in [`corrected`]. Builds and pushes are in [`docker_build`].

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{CreateImageInfo, EventMessage};
use bollard::query_parameters::{CreateImageOptionsBuilder, EventsOptionsBuilder, LogsOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt};
use http::{HeaderValue, Uri};
use nightshift_core::ids::ContainerId;
use nightshift_core::image::Digest;
use nightshift_core::instance::PullProgress;
use nightshift_core::recreate::ApiVersion;
use serde_json::{Value, json};

use super::docker_raw::{Address, Call, RawClient, SharedVersion, container_part, encoded, image_part, refusal};
use super::docker_reply::{self as reply, Version};
use super::tail::Tail;
use super::{
    BuildContext, BuildOptions, CommandRun, Connection, ContainerSummary, Engine, EngineEvent, EngineInfo, Error,
    EventStream, ExecOutcome, ImageSummary, NetworkSummary, OnLine, RegistryAuth, Result, deadline, docker_build, pull,
    reach,
};

/// Longest output of a command that is kept (its end). Probes and hooks report a few lines.
const EXEC_OUTPUT_LIMIT_BYTES: usize = 64 << 10;

/// A real engine behind its API.
#[derive(Clone)]
pub struct DockerEngine {
    raw: RawClient,
    streams: Docker,
    version: SharedVersion,
}

impl fmt::Debug for DockerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerEngine").field("url", &self.raw.url()).field("api", &self.version.get()).finish()
    }
}

impl DockerEngine {
    /// Reads an engine's URL without asking anyone, and says it in its full form.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn check_url(url: &str) -> Result<String> {
        Address::parse(url).map(|address| address.url())
    }

    /// Asks the engine behind `url` for its version and agrees on one of the API.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`]; [`Error::Unreachable`] with a hint when nobody answers; [`Error::Unsupported`] when the
    /// engine is too old or too new.
    pub async fn connect(url: &str) -> Result<Self> {
        let address = Address::parse(url)?;
        let raw = RawClient::new(address.clone());
        let (_, version) = ask_version(&raw).await?;
        let version = SharedVersion::new(version);
        let seconds = deadline::READ.as_secs();
        let streams = match &address {
            Address::Unix(path) => Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION),
            Address::Tcp(authority) => Docker::connect_with_http(authority, seconds, API_DEFAULT_VERSION),
        };
        let streams = streams.map_err(|error| sorted("connect", &raw.url(), error))?;
        let shared = version.clone();
        let streams = streams.with_request_modifier(move |request| corrected(request, shared.get()));
        Ok(Self { raw, streams, version })
    }

    /// Where the engine listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.raw.url()
    }

    async fn json(&self, call: Call<'_>) -> Result<Value> {
        self.raw.json(Some(self.version.get()), call).await
    }

    async fn done(&self, call: Call<'_>) -> Result<()> {
        self.raw.call(Some(self.version.get()), call).await.map(drop)
    }

    fn sorted(&self, call: &'static str, error: bollard::errors::Error) -> Error {
        sorted(call, &self.raw.url(), error)
    }

    /// Reads a stream of output to its end.
    async fn output(
        &self,
        call: &'static str,
        mut stream: impl Stream<Item = Result<LogOutput, bollard::errors::Error>> + Unpin + Send,
        tail: &mut Tail,
    ) -> Result<()> {
        while let Some(output) = stream.next().await {
            let output = output.map_err(|error| self.sorted(call, error))?;
            tail.push(output.as_ref());
        }
        Ok(())
    }

    /// Runs a command to its end; what it writes is there also when this is given up in the middle.
    async fn ran(
        &self,
        container: &ContainerId,
        command: &[String],
        environment: &[String],
        tail: &mut Option<Tail>,
        limit_bytes: usize,
    ) -> Result<i64> {
        const CALL: &str = "POST /exec/{id}/start";
        let target = format!("/containers/{}/exec", container_part(&container.0)?);
        let body = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": command, "Env": environment });
        let made = self.json(Call::post("POST /containers/{id}/exec", target).body(&body)).await?;
        let id = container_part(made.get("Id").and_then(Value::as_str).unwrap_or(""))?;
        let started = self.streams.start_exec(&id, None::<StartExecOptions>).await;
        let started = started.map_err(|error| self.sorted(CALL, error))?;
        let tail = tail.insert(Tail::new(limit_bytes));
        match started {
            StartExecResults::Attached { output, input: _ } => self.output(CALL, output, tail).await?,
            StartExecResults::Detached => {}
        }
        let ended = self.json(Call::get("GET /exec/{id}/json", format!("/exec/{id}/json"))).await?;
        let exit_code = ended.get("ExitCode").and_then(Value::as_i64);
        exit_code.ok_or_else(|| Error::Malformed { call: CALL, reason: "no `ExitCode`".to_owned() })
    }
}

async fn ask_version(raw: &RawClient) -> Result<(Version, ApiVersion)> {
    const CALL: &str = "GET /version";
    let version: Version = reply::read(CALL, raw.json(None, Call::get(CALL, "/version")).await?)?;
    let chosen = version.negotiate(&raw.url())?;
    Ok((version, chosen))
}

/// Puts right what `bollard` 0.21.1 does wrong with a request.
///
/// It never sends the version of the API (its issue 736), so that the engine would answer in its newest; and it encodes
/// credentials with the standard base64 alphabet where the engine wants the URL-safe one, and the engine then silently
/// pulls without credentials.
fn corrected(mut request: BollardRequest, version: ApiVersion) -> BollardRequest {
    const AUTH: &str = "x-registry-auth";
    let path = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    if !path.starts_with("/v1.") {
        let mut parts = request.uri().clone().into_parts();
        parts.path_and_query = format!("/v{version}{path}").parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    if let Some(auth) = request.headers().get(AUTH).and_then(|auth| auth.to_str().ok()) {
        let auth = auth.replace('+', "-").replace('/', "_");
        if let Ok(mut auth) = HeaderValue::from_str(&auth) {
            auth.set_sensitive(true);
            request.headers_mut().insert(AUTH, auth);
        }
    }
    request
}

/// Sorts an error of a stream. A connection that breaks in a stream had carried its request before.
fn sorted(call: &'static str, url: &str, error: bollard::errors::Error) -> Error {
    use bollard::errors::Error as Source;
    let broken = |reason: String| Error::Unreachable {
        url: url.to_owned(),
        reason,
        hint: "check whether the engine restarted or stopped",
        sent: true,
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows: what is unknown is malformed")]
    match error {
        Source::DockerResponseServerError { status_code, message } => refusal(call, status_code, &message),
        Source::DockerStreamError { error } => Error::Refused { call, status: 200, message: error },
        Source::RequestTimeoutError => Error::Timeout { call, after: deadline::READ },
        Source::IOError { err } => broken(err.to_string()),
        Source::HyperResponseError { err } => broken(err.to_string()),
        Source::HyperLegacyError { err } => broken(err.to_string()),
        Source::SocketNotFoundError(path) => broken(format!("no socket `{path}`")),
        other => Error::Malformed { call, reason: other.to_string() },
    }
}

fn credentials(auth: &RegistryAuth) -> DockerCredentials {
    match auth.clone() {
        RegistryAuth::Password { server, username, password } => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: Some(server),
            ..DockerCredentials::default()
        },
        RegistryAuth::IdentityToken { server, token } => DockerCredentials {
            identitytoken: Some(token),
            serveraddress: Some(server),
            ..DockerCredentials::default()
        },
    }
}

/// The failure of a pull; of the engine's own errors only those that tell about registry or disk.
fn pull_failed(reference: &str, error: Error) -> Error {
    let (status, message) = match error {
        Error::NotFound { message } => (Some(404), message),
        Error::Conflict { message } => (Some(409), message),
        Error::Refused { status, message, .. } => (Some(status), message),
        Error::Unreachable { .. }
        | Error::Timeout { .. }
        | Error::Malformed { .. }
        | Error::Pull { .. }
        | Error::Push { .. }
        | Error::Build { .. }
        | Error::InvalidUrl { .. }
        | Error::InvalidArgument { .. }
        | Error::Unsupported { .. } => return error,
    };
    Error::Pull { reference: reference.to_owned(), failure: pull::classify(status, &message), message }
}

fn take_progress(tracker: &mut pull::Tracker, message: &CreateImageInfo) -> PullProgress {
    let detail = message.progress_detail.as_ref();
    let number = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    let numbers = detail.and_then(|detail| number(detail.current).zip(number(detail.total).or(Some(0))));
    tracker.take(message.id.as_deref(), message.status.as_deref().unwrap_or(""), numbers)
}

fn read_event(message: EventMessage) -> Option<EngineEvent> {
    let actor = message.actor?;
    let at = DateTime::from_timestamp_nanos(message.time_nano?);
    reply::event(actor.id?, message.action.as_deref()?, actor.attributes.unwrap_or_default(), at)
}

#[async_trait]
impl Engine for DockerEngine {
    async fn info(&self) -> Result<EngineInfo> {
        let (version, api_version) = ask_version(&self.raw).await?;
        // An engine that was upgraded under us may not speak the old version any more.
        self.version.set(api_version);
        let info = self.json(Call::get("GET /info", "/info")).await?;
        reply::engine_info(version, api_version, info)
    }

    async fn list(&self) -> Result<Vec<ContainerSummary>> {
        reply::containers(self.json(Call::get("GET /containers/json", "/containers/json?all=1")).await?)
    }

    async fn inspect(&self, container: &str) -> Result<Value> {
        let target = format!("/containers/{}/json", container_part(container)?);
        self.json(Call::get("GET /containers/{id}/json", target)).await
    }

    async fn inspect_image(&self, reference: &str) -> Result<Value> {
        self.json(Call::get("GET /images/{name}/json", format!("/images/{}/json", image_part(reference)?))).await
    }

    async fn list_images(&self) -> Result<Vec<ImageSummary>> {
        reply::images(self.json(Call::get("GET /images/json", "/images/json?digests=1")).await?)
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: &mut (dyn FnMut(PullProgress) + Send),
    ) -> Result<()> {
        const CALL: &str = "POST /images/create";
        pull::require_digest(reference)?;
        let options = CreateImageOptionsBuilder::new().from_image(reference).build();
        let mut messages = self.streams.create_image(Some(options), None, auth.map(credentials));
        let mut tracker = pull::Tracker::default();
        let all = async {
            loop {
                let next = tokio::time::timeout(deadline::PULL_SILENCE, messages.next()).await;
                match next.map_err(|_| Error::Timeout { call: CALL, after: deadline::PULL_SILENCE })? {
                    Some(Ok(message)) => progress(take_progress(&mut tracker, &message)),
                    Some(Err(error)) => return Err(pull_failed(reference, self.sorted(CALL, error))),
                    None => return Ok(()),
                }
            }
        };
        let all = tokio::time::timeout(deadline::PULL, all).await;
        all.map_err(|_| Error::Timeout { call: CALL, after: deadline::PULL })?
    }

    async fn build(&self, context: BuildContext, options: &BuildOptions, lines: &mut OnLine<'_>) -> Result<String> {
        docker_build::build(&self.raw, self.version.get(), context, options, lines).await
    }

    async fn push(
        &self,
        repository: &str,
        tag: &str,
        auth: Option<&RegistryAuth>,
        deadline: Duration,
    ) -> Result<Digest> {
        docker_build::push(&self.raw, self.version.get(), (repository, tag), auth, deadline).await
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<()> {
        let image = image_part(image)?;
        let target = format!("/images/{image}/tag?repo={}&tag={}", encoded(repository), encoded(tag));
        self.done(Call::post("POST /images/{name}/tag", target)).await
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        let target = format!("/images/{}", image_part(reference)?);
        self.done(Call::delete("DELETE /images/{name}", target)).await
    }

    async fn create(&self, name: &str, body: &Value) -> Result<ContainerId> {
        const CALL: &str = "POST /containers/create";
        let target = format!("/containers/create?name={}", encoded(name));
        let reply = self.json(Call::post(CALL, target).body(body).within(deadline::CREATE)).await?;
        let id = reply.get("Id").and_then(Value::as_str);
        let id = id.ok_or_else(|| Error::Malformed { call: CALL, reason: "no `Id`".to_owned() })?;
        Ok(ContainerId(id.to_owned()))
    }

    async fn connect_network(&self, network: &str, body: &Value) -> Result<()> {
        // Observed on Engine 20.10: connecting a container that does not run to a network that does not exist is
        // accepted, and the start fails. By then the old container is stopped, so the network is looked up first.
        self.json(Call::get("GET /networks/{id}", format!("/networks/{}", encoded(network)))).await?;
        let target = format!("/networks/{}/connect", encoded(network));
        self.done(Call::post("POST /networks/{id}/connect", target).body(body)).await
    }

    async fn create_network(&self, body: &Value) -> Result<String> {
        const CALL: &str = "POST /networks/create";
        let made = self.json(Call::post(CALL, "/networks/create").body(body).within(deadline::CHANGE)).await?;
        let id = made.get("Id").and_then(Value::as_str);
        id.map(str::to_owned).ok_or_else(|| Error::Malformed { call: CALL, reason: "no `Id`".to_owned() })
    }

    async fn networks(&self, label: &str) -> Result<Vec<NetworkSummary>> {
        let filters = encoded(&json!({ "label": [label] }).to_string());
        reply::networks(self.json(Call::get("GET /networks", format!("/networks?filters={filters}"))).await?)
    }

    async fn remove_network(&self, network: &str) -> Result<()> {
        self.done(Call::delete("DELETE /networks/{id}", format!("/networks/{}", encoded(network)))).await
    }

    async fn set_restart_policy(&self, container: &ContainerId, policy: &Value) -> Result<()> {
        let target = format!("/containers/{}/update", container_part(&container.0)?);
        let body = json!({ "RestartPolicy": policy });
        self.done(Call::post("POST /containers/{id}/update", target).body(&body)).await
    }

    async fn start(&self, container: &ContainerId) -> Result<()> {
        let target = format!("/containers/{}/start", container_part(&container.0)?);
        self.done(Call::post("POST /containers/{id}/start", target).within(deadline::START)).await
    }

    async fn stop(&self, container: &ContainerId, grace_hint: Duration) -> Result<()> {
        let target = format!("/containers/{}/stop", container_part(&container.0)?);
        let within = grace_hint.min(deadline::STOP_GRACE_LIMIT) + deadline::STOP_MARGIN;
        self.done(Call::post("POST /containers/{id}/stop", target).within(within)).await
    }

    async fn pause(&self, container: &ContainerId) -> Result<()> {
        let target = format!("/containers/{}/pause", container_part(&container.0)?);
        self.done(Call::post("POST /containers/{id}/pause", target)).await
    }

    async fn unpause(&self, container: &ContainerId) -> Result<()> {
        let target = format!("/containers/{}/unpause", container_part(&container.0)?);
        self.done(Call::post("POST /containers/{id}/unpause", target)).await
    }

    async fn rename(&self, container: &ContainerId, name: &str) -> Result<()> {
        let target = format!("/containers/{}/rename?name={}", container_part(&container.0)?, encoded(name));
        self.done(Call::post("POST /containers/{id}/rename", target)).await
    }

    async fn remove(&self, container: &ContainerId) -> Result<()> {
        let target = format!("/containers/{}", container_part(&container.0)?);
        self.done(Call::delete("DELETE /containers/{id}", target)).await
    }

    async fn discard(&self, container: &ContainerId) -> Result<()> {
        let target = format!("/containers/{}?force=1", container_part(&container.0)?);
        self.done(Call::delete("DELETE /containers/{id}", target)).await
    }

    async fn discard_with_volumes(&self, container: &ContainerId) -> Result<()> {
        let target = format!("/containers/{}?force=1&v=1", container_part(&container.0)?);
        self.done(Call::delete("DELETE /containers/{id}", target)).await
    }

    async fn logs_tail(&self, container: &ContainerId, lines: u32, limit_bytes: usize) -> Result<String> {
        const CALL: &str = "GET /containers/{id}/logs";
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
        let stream = self.streams.logs(&container_part(&container.0)?, Some(options));
        let mut tail = Tail::new(limit_bytes);
        let output = tokio::time::timeout(deadline::READ, self.output(CALL, Box::pin(stream), &mut tail)).await;
        output.map_err(|_| Error::Timeout { call: CALL, after: deadline::READ })??;
        Ok(tail.into_text())
    }

    async fn exec(
        &self,
        container: &ContainerId,
        command: &[String],
        environment: &[String],
        deadline: Duration,
    ) -> Result<ExecOutcome> {
        const CALL: &str = "POST /exec/{id}/start";
        let mut tail = None;
        let whole = self.ran(container, command, environment, &mut tail, EXEC_OUTPUT_LIMIT_BYTES);
        let ended = tokio::time::timeout(deadline, whole).await;
        let exit_code = ended.map_err(|_| Error::Timeout { call: CALL, after: deadline })??;
        Ok(ExecOutcome { exit_code, output: tail.map(Tail::into_text).unwrap_or_default() })
    }

    async fn run_command(
        &self,
        container: &ContainerId,
        command: &[String],
        deadline: Duration,
        limit_bytes: usize,
    ) -> Result<CommandRun> {
        const CALL: &str = "POST /exec/{id}/start";
        let mut tail = None;
        let ended = tokio::time::timeout(deadline, self.ran(container, command, &[], &mut tail, limit_bytes)).await;
        let tail = tail.ok_or(Error::Timeout { call: CALL, after: deadline });
        let exit_code = match ended {
            Ok(ended) => Some(ended?),
            Err(_) => None,
        };
        let tail = tail?;
        Ok(CommandRun { exit_code, cut: tail.is_cut(), output: tail.into_text() })
    }

    async fn reach(&self, container: &ContainerId, port: u16) -> std::result::Result<Connection, String> {
        let inspect = self.inspect(&container.0).await.map_err(|error| error.to_string())?;
        reach::reach(&inspect, container, port).await
    }

    async fn events(&self, since: Option<DateTime<Utc>>) -> Result<EventStream> {
        const CALL: &str = "GET /events";
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let filters = HashMap::from([("type", words(&["container"])), ("event", words(&reply::ACTIONS))]);
        // The request is sent when the stream is first polled: without a start, what happens until then would be missed.
        let since = match since {
            Some(since) => since,
            None => self.info().await?.time,
        };
        let since = format!("{}.{:09}", since.timestamp(), since.timestamp_subsec_nanos());
        let options = EventsOptionsBuilder::new().filters(&filters).since(&since);
        let url = self.raw.url();
        let events = self.streams.events(Some(options.build())).filter_map(move |message| {
            let event = match message {
                Ok(message) => read_event(message).map(Ok),
                Err(error) => Some(Err(sorted(CALL, &url, error))),
            };
            std::future::ready(event)
        });
        Ok(events.boxed())
    }
}
