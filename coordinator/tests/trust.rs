//! Trust over real TLS connections: who gets in, who does not, and what each of them hears.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use futures::Stream;
use nightshift_coordinator::data_dir::DataDir;
use nightshift_coordinator::store::SqliteStore;
use nightshift_coordinator::trust::{
    ConnectInfo, EnrollError, JOIN_TOKEN_LIFETIME, NODE_CERTIFICATE_LIFETIME, Permission, Role,
    SERVER_CERTIFICATE_LIFETIME, TokenError, TokenRequest, Trust,
};
use nightshift_proto::pb;
use nightshift_proto::pb::agent_service_client::AgentServiceClient;
use nightshift_proto::pb::agent_service_server::{AgentService, AgentServiceServer};
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Server};
use tonic::{Code, Request, Response, Status, Streaming};

/// A coordinator's trust on a port of its own.
struct Scene {
    directory: tempfile::TempDir,
    trust: Arc<Trust>,
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

struct Agents(Arc<Trust>);

#[tonic::async_trait]
impl AgentService for Agents {
    async fn enroll(&self, request: Request<pb::EnrollRequest>) -> Result<Response<pb::EnrollResponse>, Status> {
        let pb::EnrollRequest { join_token, node, certificate_request } = request.into_inner();
        let enrolled = self.0.enroll(&join_token, &node, &certificate_request, Utc::now()).await?;
        let response = pb::EnrollResponse { certificate: enrolled.certificate, authority: enrolled.authority };
        Ok(Response::new(response))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let node = self.0.node(request.extensions().get::<ConnectInfo>())?;
        let certificate = self.0.renew(&node, &request.get_ref().certificate_request, Utc::now()).await?;
        Ok(Response::new(pb::RenewResponse { certificate }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<pb::CoordinatorMessage, Status>> + Send>>;

    async fn session(&self, _: Request<Streaming<pb::AgentMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not part of this test"))
    }
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let trust = open(&directory).await;
        Self::serve(directory, trust).await
    }

    async fn serve(directory: tempfile::TempDir, trust: Trust) -> Self {
        let trust = Arc::new(trust);
        let connections = trust.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = connections.local_addr();
        let service = AgentServiceServer::new(Agents(trust.clone()));
        let server = tokio::spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(connections).await.unwrap();
        });
        Self { directory, trust, address, _server: AbortOnDropHandle::new(server) }
    }

    async fn join_token(&self) -> String {
        token(&self.trust, Role::Node, &[]).await
    }

    async fn client(&self, identity: Option<(&str, &str)>) -> Result<AgentServiceClient<Channel>, String> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.trust.ca_pem()));
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let endpoint = Channel::from_shared(format!("https://{}", self.address)).unwrap().tls_config(tls).unwrap();
        let channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
        Ok(AgentServiceClient::new(channel))
    }

    /// A certificate for a node, with its key.
    async fn enrolled(&self, node: &str) -> (String, String) {
        let (request, key) = certificate_request();
        let enrolled = self.trust.enroll(&self.join_token().await, node, &request, Utc::now()).await.unwrap();
        (enrolled.certificate, key)
    }

    async fn renew(&self, identity: Option<(&str, &str)>) -> Result<String, Code> {
        // A refused certificate shows itself at the first call, or already in connecting.
        let mut client = self.client(identity).await.map_err(|_| Code::Unknown)?;
        let request = pb::RenewRequest { certificate_request: certificate_request().0 };
        match client.renew(request).await {
            Ok(response) => Ok(response.into_inner().certificate),
            Err(status) => Err(status.code()),
        }
    }
}

impl Scene {
    async fn is_refused_in_the_handshake(&self, certificate: &str, key: &str) {
        let refused = self.renew(Some((certificate, key))).await.unwrap_err();
        assert_ne!(refused, Code::Unauthenticated, "only the call was refused, not the connection");
    }
}

async fn open(directory: &tempfile::TempDir) -> Trust {
    let data_dir = DataDir::open(directory.path().join("data")).unwrap();
    let store = Arc::new(SqliteStore::open(&data_dir).await.unwrap());
    Trust::open(&data_dir, store, &["control.example".into()], Utc::now()).await.unwrap()
}

async fn token(trust: &Trust, role: Role, apps: &[&str]) -> String {
    let apps = apps.iter().map(|app| app.parse().unwrap()).collect();
    let request = TokenRequest { role, name: format!("the {role}"), lifetime: None, apps };
    trust.create_token(request, Utc::now()).await.unwrap().0.expose().to_owned()
}

/// A request for a certificate, and its key.
fn certificate_request() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    (request.pem().unwrap(), key.serialize_pem())
}

fn bearer(token: &str) -> MetadataMap {
    authorization(&format!("Bearer {token}"))
}

fn authorization(value: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", value.parse().unwrap());
    metadata
}

#[tokio::test]
async fn a_node_joins_by_token_and_renews_by_certificate() {
    let scene = Scene::new().await;
    let token = scene.join_token().await;
    assert!(token.ends_with(&format!(".{}", scene.trust.ca_hash())));
    let (certificate_request, key) = certificate_request();
    let request = pb::EnrollRequest { join_token: token, node: "n1".into(), certificate_request };
    let first = scene.client(None).await.unwrap().enroll(request).await.unwrap().into_inner();
    assert_eq!(first.authority, scene.trust.ca_pem());
    let second = scene.renew(Some((&first.certificate, &key))).await.unwrap();
    assert_ne!(second, first.certificate);
    assert_eq!(scene.renew(None).await, Err(Code::Unauthenticated), "nobody may renew without a certificate");
}

#[tokio::test]
async fn a_removed_node_is_kept_out_at_once_and_may_join_anew() {
    let scene = Scene::new().await;
    let (old, old_key) = scene.enrolled("n1").await;
    let (other, other_key) = scene.enrolled("n2").await;
    // This connection stays open over the removal.
    let mut open = scene.client(Some((&old, &old_key))).await.unwrap();
    let request = || pb::RenewRequest { certificate_request: certificate_request().0 };
    open.renew(request()).await.unwrap();

    // The first and the renewed one.
    assert_eq!(scene.trust.revoke_node(&"n1".parse().unwrap(), Utc::now()).await.unwrap(), 2);
    assert_eq!(open.renew(request()).await.unwrap_err().code(), Code::Unauthenticated);
    scene.is_refused_in_the_handshake(&old, &old_key).await;
    scene.renew(Some((&other, &other_key))).await.expect("the other node is not barred");
    let (new, new_key) = scene.enrolled("n1").await;
    scene.renew(Some((&new, &new_key))).await.expect("the node is in again");

    // A restart must not forget it.
    let Scene { directory, trust, _server, .. } = scene;
    drop((_server, open));
    let again = restart(&directory, trust).await;
    let scene = Scene::serve(directory, again).await;
    scene.is_refused_in_the_handshake(&old, &old_key).await;
    scene.renew(Some((&new, &new_key))).await.expect("still in after a restart");
}

/// Opens the data directory again as soon as the last user of the old one is gone.
async fn restart(directory: &tempfile::TempDir, old: Arc<Trust>) -> Trust {
    let mut old = Some(old);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        drop(old.take());
        match DataDir::open(directory.path().join("data")) {
            Ok(free) => {
                drop(free);
                return open(directory).await;
            }
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_wrong_join_token_lets_nobody_in_and_a_failed_attempt_costs_no_token() {
    let scene = Scene::new().await;
    let trust = &scene.trust;
    let (request, _) = certificate_request();
    let good = scene.join_token().await;
    let now = Utc::now();
    let (id, rest) = good.split_once('.').unwrap();
    let (secret, hash) = rest.split_once('.').unwrap();
    let admin = token(trust, Role::Admin, &[]).await;
    for wrong in [
        String::new(),
        "x".repeat(100_000),
        format!("{id}.{secret}"),
        format!("{id}.{secret}.{}", "0".repeat(64)),
        format!("{id}.{secret}x.{hash}"),
        format!("{id}.{}.{hash}", "A".repeat(43)),
        format!("0000.{secret}.{hash}"),
        format!("0000..{hash}"),
        format!("{good}.x"),
        format!("{admin}.{hash}"),
        admin,
    ] {
        let error = trust.enroll(&wrong, "n1", &request, now).await.unwrap_err();
        assert!(matches!(error, EnrollError::Token), "{wrong}: {error}");
    }
    let error = trust.enroll(&good, "n1", &request, now + JOIN_TOKEN_LIFETIME).await.unwrap_err();
    assert!(matches!(error, EnrollError::Token), "{error}");
    let error = trust.enroll(&good, "no name", &request, now).await.unwrap_err();
    assert_eq!(Status::from(error).code(), Code::InvalidArgument);
    for bad in ["", "hello", &request.replace('M', "N"), &"x".repeat(20_000)] {
        let error = trust.enroll(&good, "n1", bad, now).await.unwrap_err();
        assert_eq!(Status::from(error).code(), Code::InvalidArgument);
    }
    // None of that used it up.
    trust.enroll(&good, "n1", &request, now).await.expect("still good");
    let error = trust.enroll(&good, "n2", &request, now).await.unwrap_err();
    assert!(matches!(error, EnrollError::Token), "a token worked twice: {error}");
    let error = trust.enroll(&scene.join_token().await, "n1", &request, now).await.unwrap_err();
    assert!(matches!(error, EnrollError::NameTaken(_)), "{error}");
}

#[tokio::test]
async fn a_certificate_says_what_the_coordinator_decided_and_nothing_that_was_asked() {
    let scene = Scene::new().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut hostile = rcgen::CertificateParams::new(vec!["control.example".to_owned()]).unwrap();
    hostile.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    hostile.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    hostile.distinguished_name.push(rcgen::DnType::CommonName, "coordinator");
    let request = hostile.serialize_request(&key).unwrap().pem().unwrap();
    let now = Utc::now();
    let pem = scene.trust.enroll(&scene.join_token().await, "n1", &request, now).await.unwrap().certificate;
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=n1");
    assert!(!certificate.is_ca());
    let names: Vec<_> = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.iter().collect();
    assert_eq!(names, [&x509_parser::extensions::GeneralName::URI("spiffe://nightshift/node/n1")]);
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert_eq!((usage.client_auth, usage.server_auth, usage.any), (true, false, false));
    let validity = certificate.validity();
    let expect = (now - TimeDelta::minutes(5), now + NODE_CERTIFICATE_LIFETIME);
    assert_eq!(
        (validity.not_before.timestamp(), validity.not_after.timestamp()),
        (expect.0.timestamp(), expect.1.timestamp())
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let scene = Scene::new().await;
    let stranger = Scene::new().await;
    let (certificate, key) = stranger.enrolled("n1").await;
    scene.is_refused_in_the_handshake(&certificate, &key).await;
}

#[tokio::test]
async fn the_server_shows_a_new_certificate_at_half_its_life_without_a_restart() {
    let scene = Scene::new().await;
    let (certificate, key) = scene.enrolled("n1").await;
    let mut before = scene.client(Some((&certificate, &key))).await.unwrap();
    let first = shown_certificate(scene.address, scene.trust.ca_pem()).await;
    let now = Utc::now();
    assert!(!scene.trust.renew_server_certificate(now).unwrap());
    assert!(
        !scene.trust.renew_server_certificate(now + SERVER_CERTIFICATE_LIFETIME / 2 - TimeDelta::hours(1)).unwrap()
    );
    assert!(scene.trust.renew_server_certificate(now + SERVER_CERTIFICATE_LIFETIME / 2).unwrap());
    // Set back to the real time, since the new one's life begins in two weeks.
    assert!(scene.trust.renew_server_certificate(now).unwrap());
    let second = shown_certificate(scene.address, scene.trust.ca_pem()).await;
    assert_ne!(first, second);
    let request = pb::RenewRequest { certificate_request: certificate_request().0 };
    before.renew(request).await.expect("the open connection lives on");
}

/// The chain that a client sees; it ends with the authority, so that a join token's hash can be compared.
async fn shown_certificate(address: SocketAddr, ca_pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut leaf = None;
    for name in ["control.example", "localhost", "127.0.0.1", "::1"] {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(name.try_into().unwrap(), stream).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap().to_vec();
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[1], ca);
        leaf = Some(chain[0].to_vec());
    }
    leaf.unwrap()
}

#[tokio::test]
async fn a_silent_client_keeps_nobody_else_out() {
    let scene = Scene::new().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(tokio::net::TcpStream::connect(scene.address).await.unwrap());
    }
    let (certificate, key) = scene.enrolled("n1").await;
    scene.renew(Some((&certificate, &key))).await.expect("served all the same");
}

#[tokio::test]
async fn a_bearer_is_known_by_a_good_token_and_every_bad_one_hears_the_same() {
    let scene = Scene::new().await;
    let trust = &scene.trust;
    let now = Utc::now();
    let ci = token(trust, Role::Ci, &["web"]).await;
    let principal = trust.principal(&bearer(&ci), now).await.unwrap();
    assert_eq!((principal.name.as_str(), principal.role, principal.apps.len()), ("the ci", Role::Ci, 1));
    assert!(ci.starts_with(&format!("{}.", principal.token_id)));

    let request = |lifetime| TokenRequest { role: Role::Admin, name: "a".into(), lifetime, apps: vec![] };
    let (expired, _) = trust.create_token(request(Some(TimeDelta::seconds(1))), now).await.unwrap();
    let (revoked, kept) = trust.create_token(request(None), now).await.unwrap();
    assert!(trust.revoke_token(&kept.id, now).await.unwrap());
    let join = scene.join_token().await;
    let mut answers = Vec::new();
    for wrong in [
        MetadataMap::new(),
        bearer(""),
        bearer("x.y"),
        bearer(&format!("{ci}x")),
        bearer(&format!("{ci}.{}", trust.ca_hash())),
        bearer(expired.expose()),
        bearer(revoked.expose()),
        bearer(&join),
        authorization(&format!("Basic {ci}")),
    ] {
        let status = trust.principal(&wrong, now + TimeDelta::seconds(1)).await.unwrap_err();
        answers.push((status.code(), status.message().to_owned()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, Code::Unauthenticated);
}

#[tokio::test]
async fn a_role_may_do_what_it_is_for_and_no_more() {
    let scene = Scene::new().await;
    let web = Permission::Report("web".parse().unwrap());
    let db = Permission::Report("db".parse().unwrap());
    let all = [Permission::View, Permission::Operate, Permission::Administer, web, db];
    for (role, apps, expect) in [
        (Role::Viewer, vec![], [true, false, false, false, false]),
        (Role::Operator, vec![], [true, true, false, true, true]),
        (Role::Admin, vec![], [true, true, true, true, true]),
        (Role::Ci, vec!["web"], [false, false, false, true, false]),
    ] {
        let token = token(&scene.trust, role, &apps).await;
        let principal = scene.trust.principal(&bearer(&token), Utc::now()).await.unwrap();
        let may = all.each_ref().map(|permission| principal.check(permission).is_ok());
        assert_eq!(may, expect, "{role}");
    }
}

#[tokio::test]
async fn a_token_that_contradicts_itself_is_not_made() {
    let scene = Scene::new().await;
    let good = TokenRequest { role: Role::Viewer, name: "n".into(), lifetime: None, apps: vec![] };
    let apps = vec!["web".parse().unwrap()];
    for (request, expect) in [
        (TokenRequest { name: String::new(), ..good.clone() }, TokenError::Name),
        (TokenRequest { name: "a\nb".into(), ..good.clone() }, TokenError::Name),
        (TokenRequest { name: "x".repeat(64), ..good.clone() }, TokenError::Name),
        (TokenRequest { lifetime: Some(TimeDelta::zero()), ..good.clone() }, TokenError::Lifetime),
        (TokenRequest { lifetime: Some(TimeDelta::MAX), ..good.clone() }, TokenError::Lifetime),
        (TokenRequest { role: Role::Ci, ..good.clone() }, TokenError::AppsMissing),
        (TokenRequest { apps, ..good }, TokenError::AppsNotAllowed(Role::Viewer)),
    ] {
        let error = scene.trust.create_token(request, Utc::now()).await.unwrap_err();
        assert_eq!(error.to_string(), expect.to_string());
    }
    assert_eq!(scene.trust.tokens().await.unwrap(), []);
}

#[tokio::test]
async fn the_authority_survives_a_restart_and_its_key_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data/authority.pem");
    let first = open(&directory).await.ca_hash().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(open(&directory).await.ca_hash(), first);

    let text = std::fs::read_to_string(&file).unwrap();
    let other_key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let certificate_only = text.split("-----BEGIN PRIVATE KEY-----").next().unwrap();
    let data_dir = DataDir::open(directory.path().join("data")).unwrap();
    for damaged in ["", "hello", certificate_only, &format!("{certificate_only}{other_key}")] {
        std::fs::write(&file, damaged).unwrap();
        let store = Arc::new(SqliteStore::open(&data_dir).await.unwrap());
        let error = Trust::open(&data_dir, store, &[], Utc::now()).await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("Damaged") && !text.contains("PRIVATE"), "{text}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), damaged, "a damaged authority was replaced");
    }
}

#[tokio::test]
async fn a_name_that_no_certificate_can_hold_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(directory.path()).unwrap();
    let store = Arc::new(SqliteStore::open(&data_dir).await.unwrap());
    let error = Trust::open(&data_dir, store, &["contröl".into()], Utc::now()).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "`contröl` is neither a host name nor an address");
}
