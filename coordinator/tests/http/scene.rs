//! A whole coordinator on a port of its own, an HTTP client, and its event log to look into.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use nightshift_coordinator::http::{Limits, Webhook};
use nightshift_coordinator::registry;
use nightshift_coordinator::service::{Coordinator, Options};
use nightshift_coordinator::triggers::Secrets;
use nightshift_proto::pb;
use nightshift_proto::pb::operator_service_client::OperatorServiceClient;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

/// Nothing listens there: the registry of apps that no test looks at.
const NO_REGISTRY: &str = "127.0.0.1:1";

/// A digest made of one digit.
pub(crate) fn digest(digit: char) -> String {
    format!("sha256:{}", String::from(digit).repeat(64))
}

/// A running coordinator that follows the apps `web` and `db`.
pub(crate) struct Scene {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    pub(crate) http: reqwest::Client,
    api: OperatorServiceClient<Channel>,
    admin: String,
    directory: tempfile::TempDir,
    end: DropGuard,
    run: AbortOnDropHandle<()>,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The refusal in words, hint included; it must be one, with this status.
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{:#}", self.body);
        let word = |key: &str| self.body[key].as_str().unwrap_or_default().to_owned();
        assert!(!word("error").is_empty(), "a refusal says why: {:#}", self.body);
        format!("{}\n{}", word("error"), word("hint"))
    }
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(http: Limits) -> Self {
        Self::listening(Vec::new(), http).await
    }

    /// With webhooks.
    pub(crate) async fn listening(webhooks: Vec<Webhook>, http: Limits) -> Self {
        // Another test of the same process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            data_dir: directory.path().join("data"),
            listen: "127.0.0.1:0".parse().unwrap(),
            names: Vec::new(),
            unknown_after: Duration::from_secs(120),
            heartbeat_interval: Duration::from_secs(5),
            // Longer than any test: what is seen early was not seen by patience.
            watch_interval: Duration::from_secs(3600),
            registry: registry::Options::default(),
            http,
            webhooks,
            secrets: Secrets::default(),
            trigger_ca: None,
        };
        let coordinator = Coordinator::open(options).await.unwrap();
        let (address, ca_pem) = (coordinator.address(), coordinator.ca_pem().to_owned());
        let admin = coordinator.admin_token("admin").await.unwrap().expose().to_owned();
        let end = CancellationToken::new();
        let run = coordinator.run(end.clone());
        let run = AbortOnDropHandle::new(tokio::spawn(async move { run.await.unwrap() }));
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca_pem));
        let endpoint = Channel::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
        let api = OperatorServiceClient::new(endpoint.connect().await.unwrap());
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).unwrap();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let end = end.drop_guard();
        let mut scene = Self { address, ca_pem, http, api, admin, directory, end, run };
        scene.apply("web", &format!("{NO_REGISTRY}/web:stable")).await;
        scene.apply("db", &format!("{NO_REGISTRY}/db:stable")).await;
        scene
    }

    pub(crate) async fn apply(&mut self, app: &str, image: &str) {
        let toml = format!("name = \"{app}\"\nimage = \"{image}\"\n");
        let files = vec![pb::AppFile { name: format!("{app}.toml"), toml }];
        let request = self.as_admin(pb::ApplyRequest { files, dry_run: false });
        self.api.apply(request).await.unwrap();
    }

    fn as_admin<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.admin).parse().unwrap());
        request
    }

    /// A token of this role; apps for `ci` alone.
    pub(crate) async fn token(&mut self, role: &str, name: &str, apps: &[&str]) -> String {
        let apps = apps.iter().map(|app| (*app).to_owned()).collect();
        let request = pb::CreateTokenRequest { role: role.into(), name: name.into(), lifetime: None, apps };
        let request = self.as_admin(request);
        self.api.create_token(request).await.unwrap().into_inner().token
    }

    /// The last events of an app, as JSON, the oldest first.
    pub(crate) async fn events(&mut self, app: &str) -> Vec<Value> {
        let request = pb::ListEventsRequest { app: app.into(), ..Default::default() };
        let request = self.as_admin(request);
        let stream = self.api.list_events(request).await.unwrap().into_inner();
        let event = |event: Result<pb::Event, tonic::Status>| {
            let event = event.unwrap();
            let detail: Value = serde_json::from_str(&event.detail_json).unwrap();
            json!({"kind": event.kind, "by": event.by, "detail": detail})
        };
        stream.map(event).collect().await
    }

    /// All that people can see: the whole event log, and the state of everything, as text.
    pub(crate) async fn everything(&mut self) -> String {
        let request = self.as_admin(pb::ListEventsRequest::default());
        let stream = self.api.list_events(request).await.unwrap().into_inner();
        let events: Vec<_> = stream.map(|event| event.unwrap()).collect().await;
        let request = self.as_admin(pb::GetStatusRequest::default());
        let mut status = self.api.get_status(request).await.unwrap().into_inner();
        status.now = None;
        let mut releases = Vec::new();
        for app in &status.apps {
            let request = self.as_admin(pb::ListReleasesRequest { app: app.name.clone() });
            releases.push(self.api.list_releases(request).await.unwrap().into_inner());
        }
        let request = self.as_admin(pb::ListTokensRequest::default());
        let tokens = self.api.list_tokens(request).await.unwrap().into_inner();
        format!("{events:#?}\n{status:#?}\n{releases:#?}\n{tokens:#?}")
    }

    /// Applies a file as who holds the token.
    pub(crate) async fn apply_as(&mut self, token: Option<&str>, toml: &str) -> Result<(), tonic::Status> {
        let files = vec![pb::AppFile { name: "app.toml".into(), toml: toml.into() }];
        let mut request = tonic::Request::new(pb::ApplyRequest { files, dry_run: false });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        self.api.apply(request).await.map(drop)
    }

    /// The number of stored test reports of an app.
    pub(crate) async fn reports(&mut self, app: &str) -> usize {
        self.events(app).await.iter().filter(|event| event["kind"] == "test_reported").count()
    }

    /// Reports by gRPC, as the command line does.
    pub(crate) async fn report_by_grpc(
        &mut self,
        token: &str,
        digest: &str,
        passed: bool,
    ) -> Result<(), tonic::Status> {
        let (app, suite, url) = ("web".to_owned(), String::new(), String::new());
        let message = pb::ReportTestRequest { app, digest: digest.to_owned(), passed, suite, url };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        self.api.report_test(request).await.map(drop)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(answer.headers()["content-type"], "application/json", "{status}");
        let text = answer.text().await.unwrap();
        Reply { status, body: serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: no JSON: {text}")) }
    }

    /// Posts a report of an app.
    pub(crate) async fn post(&self, app: &str, token: &str, body: &Value) -> Reply {
        let url = self.url(&format!("/v1/apps/{app}/reports"));
        self.send(self.http.post(url).bearer_auth(token).json(body)).await
    }

    /// Ends the coordinator, and waits until it has ended.
    pub(crate) async fn stop(self) {
        drop((self.end, self.api, self.http));
        self.run.await.unwrap();
    }

    /// Everything that the coordinator keeps on its disk, as text.
    pub(crate) fn kept(&self) -> String {
        let files = std::fs::read_dir(self.directory.path().join("data")).unwrap();
        let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()).collect()
    }
}
