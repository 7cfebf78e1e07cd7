//! A scripted coordinator with its own CA, and the program run against it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightshift_proto::pb::operator_service_server::{OperatorService, OperatorServiceServer};
use nightshift_proto::pb::{self};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::fixture;

/// How long a run of the program may take before the test fails: a loaded machine needs a second.
const RUN_DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const TOKEN: &str = "nst_correct-horse";

/// What the double says instead of its fixtures.
#[derive(Default)]
pub(crate) struct Script {
    /// Every call gets this answer.
    pub(crate) refusal: Option<Status>,
    /// What successive calls of `WatchRollout` stream.
    pub(crate) watches: Vec<Watch>,
    /// What successive calls of `ListEvents` stream.
    pub(crate) events: Vec<Vec<pb::Event>>,
    /// What successive calls of `GetRebuild` answer; when all are told, that it goes on.
    pub(crate) rebuilds: Vec<pb::Rebuild>,
    /// No apps, no nodes, nothing.
    pub(crate) empty: bool,
}

/// One stream of a rollout.
pub(crate) struct Watch {
    pub(crate) rollouts: Vec<pb::Rollout>,
    /// Whether the stream stays open after them.
    pub(crate) open: bool,
}

struct State {
    refusal: Option<Status>,
    watches: Mutex<VecDeque<Watch>>,
    events: Mutex<VecDeque<Vec<pb::Event>>>,
    rebuilds: Mutex<VecDeque<pb::Rebuild>>,
    empty: bool,
    seen: Mutex<Vec<String>>,
}

impl State {
    /// Writes down the call; refuses a wrong token, and all calls if the script says so.
    fn enter<T: Debug>(&self, request: &Request<T>) -> Result<(), Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("unknown token"));
        }
        self.seen.lock().expect("no panic").push(format!("{:?}", request.get_ref()));
        self.refusal.clone().map_or(Ok(()), Err)
    }
}

type Streamed<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

macro_rules! service {
    ($($call:ident: $request:ident => $answer:ident = $make:expr;)*) => {
        #[tonic::async_trait]
        impl OperatorService for State {
            $(async fn $call(&self, request: Request<pb::$request>) -> Result<Response<pb::$answer>, Status> {
                self.enter(&request)?;
                let make: fn(bool) -> pb::$answer = $make;
                Ok(Response::new(make(self.empty)))
            })*

            async fn get_rebuild(
                &self,
                request: Request<pb::GetRebuildRequest>,
            ) -> Result<Response<pb::Rebuild>, Status> {
                self.enter(&request)?;
                let mut next = self.rebuilds.lock().expect("no panic");
                Ok(Response::new(next.pop_front().unwrap_or_else(fixture::rebuilding)))
            }

            type WatchRolloutStream = Streamed<pb::Rollout>;
            async fn watch_rollout(
                &self,
                request: Request<pb::GetRolloutRequest>,
            ) -> Result<Response<Self::WatchRolloutStream>, Status> {
                self.enter(&request)?;
                let next = self.watches.lock().expect("no panic").pop_front();
                let watch = next.ok_or_else(|| Status::unimplemented("the script has no further watch"))?;
                let told = tokio_stream::iter(watch.rollouts.into_iter().map(Ok));
                let stream: Streamed<_> =
                    if watch.open { Box::pin(told.chain(tokio_stream::pending())) } else { Box::pin(told) };
                Ok(Response::new(stream))
            }

            type ListEventsStream = Streamed<pb::Event>;
            async fn list_events(
                &self,
                request: Request<pb::ListEventsRequest>,
            ) -> Result<Response<Self::ListEventsStream>, Status> {
                self.enter(&request)?;
                let next = self.events.lock().expect("no panic").pop_front();
                let events = next.ok_or_else(|| Status::unimplemented("the script has no further events"))?;
                Ok(Response::new(Box::pin(tokio_stream::iter(events.into_iter().map(Ok)))))
            }
        }
    };
}

service! {
    apply: ApplyRequest => ApplyResponse = |_| fixture::applied();
    list_apps: ListAppsRequest => ListAppsResponse = |empty| pb::ListAppsResponse { apps: fixture::apps(empty) };
    get_app: GetAppRequest => App = |_| fixture::app();
    app_history: GetAppRequest => AppHistoryResponse = |_| fixture::history();
    set_app_enabled: SetAppEnabledRequest => App = |_| pb::App { enabled: false, ..fixture::app() };
    remove_app: RemoveAppRequest => RemoveAppResponse = |_| pb::RemoveAppResponse {};
    list_releases: ListReleasesRequest => ListReleasesResponse = |empty| fixture::releases(empty);
    report_test: ReportTestRequest => Release = |_| fixture::tested();
    set_quarantine: SetQuarantineRequest => Release = |_| fixture::quarantined();
    list_job_logs: ListJobLogsRequest => ListJobLogsResponse = |empty| fixture::job_logs(empty);
    rebuild_app: RebuildAppRequest => Rebuild = |_| fixture::rebuilding();
    plan_rollout: StartRolloutRequest => RolloutPlan = |_| fixture::plan();
    start_rollout: StartRolloutRequest => Rollout = |_| fixture::waiting();
    rollback: RollbackRequest => Rollout = |_| fixture::waiting();
    list_rollouts: ListRolloutsRequest => ListRolloutsResponse = |empty| fixture::rollouts(empty);
    get_rollout: GetRolloutRequest => Rollout = |_| fixture::failed();
    change_rollout: ChangeRolloutRequest => Rollout = |_| fixture::rolling();
    quiet_windows: QuietRequest => QuietResponse = |_| fixture::quiet();
    list_nodes: ListNodesRequest => ListNodesResponse = |empty| pb::ListNodesResponse { nodes: fixture::nodes(empty) };
    set_availability: SetAvailabilityRequest => Node = |_| fixture::node();
    remove_node: RemoveNodeRequest => RemoveNodeResponse = |_| pb::RemoveNodeResponse {};
    create_token: CreateTokenRequest => CreateTokenResponse = |_| fixture::new_token();
    list_tokens: ListTokensRequest => ListTokensResponse = |empty| fixture::tokens(empty);
    revoke_token: RevokeTokenRequest => RevokeTokenResponse = |_| pb::RevokeTokenResponse {};
    adopt: AdoptRequest => AdoptResponse = |empty| fixture::adoption(empty);
    get_status: GetStatusRequest => Status = |empty| fixture::status(empty);
}

/// A running double.
pub(crate) struct Double {
    runtime: Option<Runtime>,
    state: Arc<State>,
    address: String,
    identity: Identity,
    directory: tempfile::TempDir,
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The whole of it, as a golden file keeps it.
    pub(crate) fn transcript(&self, arguments: &[&str]) -> String {
        let Self { exit, stdout, stderr } = self;
        let mut text = format!("$ nightshift {}\n{stdout}", arguments.join(" "));
        if !stderr.is_empty() {
            text.push_str(&format!("--- stderr\n{stderr}"));
        }
        text.push_str(&format!("--- exit {exit}\n"));
        text
    }
}

impl Double {
    /// Starts a double that answers from the fixtures.
    pub(crate) fn new() -> Self {
        Self::scripted(Script::default())
    }

    /// Starts a double with a script.
    pub(crate) fn scripted(script: Script) -> Self {
        // Another test of this process may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().expect("a directory");
        let (ca, identity) = certificates();
        std::fs::write(directory.path().join("ca.pem"), &ca).expect("written");
        let (runtime, state, address) = serve(script, "127.0.0.1:0", identity.clone());
        let context = format!("server = 'https://{address}'\ntoken = '{TOKEN}'\nca_pem = '''{ca}'''\n");
        std::fs::write(directory.path().join("context.toml"), context).expect("written");
        Self { runtime: Some(runtime), state, address, identity, directory }
    }

    /// Ends at once, all connections with it, and comes back at the same address with another script.
    pub(crate) fn restart(&mut self, script: Script) {
        let runtime = self.runtime.take().expect("it runs");
        runtime.shutdown_timeout(RUN_DEADLINE);
        let (runtime, state, address) = serve(script, &self.address, self.identity.clone());
        assert_eq!(address, self.address);
        (self.runtime, self.state) = (Some(runtime), state);
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A directory of this test's own, with `ca.pem` and `context.toml` in it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Every request so far, as `Debug` writes it.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// Runs the program with the double's context file.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let context = self.directory.path().join("context.toml");
        self.run_with(arguments, &[("NIGHTSHIFT_CONTEXT", context.to_str().expect("text"))])
    }

    /// The program in the double's directory, in UTC, without any variable of ours.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nightshift"));
        command.args(arguments).env_clear().env("TZ", "UTC").current_dir(self.directory()).stdin(Stdio::null());
        command
    }

    /// Runs the program with these variables alone. What differs between runs is replaced by words.
    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        let mut command = tokio::process::Command::from(self.command(arguments));
        command.envs(environment.iter().copied()).kill_on_drop(true);
        let runtime = self.runtime.as_ref().expect("it runs");
        let output = runtime
            .block_on(async { tokio::time::timeout(RUN_DEADLINE, command.output()).await })
            .expect("the program ends in time")
            .expect("the program starts");
        let place = self.directory().to_str().expect("text");
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("the program writes UTF-8");
            text.replace(&self.address, "ADDRESS").replace(place, "DIRECTORY")
        };
        let exit = output.status.code().expect("it ended by itself");
        Ran { exit, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A server on its own thread.
fn serve(script: Script, address: &str, identity: Identity) -> (Runtime, Arc<State>, String) {
    let state = Arc::new(State {
        refusal: script.refusal,
        watches: Mutex::new(script.watches.into()),
        events: Mutex::new(script.events.into()),
        rebuilds: Mutex::new(script.rebuilds.into()),
        empty: script.empty,
        seen: Mutex::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("made");
    let listener = runtime.block_on(TcpListener::bind(address)).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).expect("good identity");
    let router = server.add_service(OperatorServiceServer::from_arc(Arc::clone(&state)));
    runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    (runtime, state, address)
}

/// A CA and a server's identity for 127.0.0.1.
pub(crate) fn certificates() -> (String, Identity) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "nightshift test");
    let ca_pem = ca.self_signed(&ca_key).expect("signed").pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = server.signed_by(&key, &issuer).expect("signed");
    (ca_pem, Identity::from_pem(certificate.pem(), key.serialize_pem()))
}
