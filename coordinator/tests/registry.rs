//! The registry client against a real registry, and against scripted servers for what a real one does not do on demand.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nightshift_coordinator::registry::{Error, ImageSource as _, Options, Registry, SetupError};
use nightshift_coordinator::watcher::{self, Followed, Observation, Target, Watcher};
use nightshift_core::docker_config::Credentials;
use nightshift_core::image::{Digest, ImageRef};
use nightshift_core::platform::Platform;
use nightshift_core::release::Description;
use nightshift_core::secret::Secret;
use nightshift_core::signature::{PublicKey, Unverified, verify};
use support::{PASSWORD, RegistryProcess, Scripted, response, sha256};
use tokio::sync::watch;
use tokio::time::timeout;

const WRONG_PASSWORD: &str = "hunter2-the-wrong-one";

fn image(host: &str, rest: &str) -> ImageRef {
    format!("{host}/{rest}").parse().unwrap()
}

fn login(password: &str) -> Credentials {
    Credentials::Login { username: "tester".into(), password: Secret::new(password) }
}

fn with_login(host: &str, password: &str) -> Options {
    Options { credentials: BTreeMap::from([(host.to_owned(), login(password))]), ..Options::default() }
}

fn client(options: Options) -> Registry {
    support::install_tls();
    Registry::new(options).unwrap()
}

#[tokio::test]
async fn a_tag_leads_to_its_digest_and_the_digest_to_the_time_of_building() {
    support::install_tls();
    let Some(process) = RegistryProcess::start(false).await else { return };
    let registry = client(Options::default());
    let host = process.host();
    let plain = process.push("acme/web", "stable", Some("2026-11-20T10:00:00.5Z")).await;
    let index = process.push_index("acme/web", "multi", "2026-11-21T10:00:00Z").await;
    let ageless = process.push("acme/web", "ageless", None).await;
    for (tag, digest, created) in [
        ("stable", plain, Some("2026-11-20T10:00:00.500Z")),
        ("multi", index, Some("2026-11-21T10:00:00Z")),
        ("ageless", ageless, None),
    ] {
        let image = image(&host, &format!("acme/web:{tag}"));
        let found = registry.head(&image).await.unwrap();
        assert_eq!(found.as_str(), digest);
        let built = registry.describe(&image.repository, &found).await.unwrap().created;
        assert_eq!(built, created.map(|created| created.parse().unwrap()), "{tag}");
    }
    // What it was built for: an image says it in its configuration, an index for all its images.
    let repository = image(&host, "acme/web").repository;
    let described =
        async |digest: &str| registry.describe(&repository, &digest.parse().unwrap()).await.unwrap().platforms;
    let platforms = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Platform>>();
    let arm = process.push_for("acme/web", "arm", "linux/arm/v7").await;
    assert_eq!(described(&arm).await, platforms(&["linux/arm/v7"]));
    let both = process.push_index_for("acme/web", "both", &["linux/amd64", "linux/arm64"]).await;
    assert_eq!(
        registry.head(&image(&host, "acme/web:both")).await.unwrap().as_str(),
        both,
        "the digest is the index's"
    );
    assert_eq!(described(&both).await, platforms(&["linux/amd64", "linux/arm64"]));
    // The tag moves.
    let moved = process.push("acme/web", "stable", Some("2026-11-22T10:00:00Z")).await;
    assert_eq!(registry.head(&image(&host, "acme/web:stable")).await.unwrap().as_str(), moved);
    for missing in ["acme/web:nothing", "acme/nothing:stable"] {
        let error = registry.head(&image(&host, missing)).await.unwrap_err();
        assert_eq!(error, Error::NotFound { reference: format!("{host}/{missing}") });
    }
    let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let repository = image(&host, "acme/web").repository;
    let error = registry.describe(&repository, &digest).await.unwrap_err();
    assert_eq!(error, Error::NotFound { reference: format!("{host}/acme/web@{digest}") });
}

#[tokio::test]
async fn all_tags_of_a_repository_are_read_page_by_page_and_never_without_end() {
    support::install_tls();
    let Some(process) = RegistryProcess::start(true).await else { return };
    let host = process.host();
    let registry = client(with_login(&host, PASSWORD));
    let web = image(&host, "acme/web").repository;
    for tag in ["1.0.0", "1.1.0", "stable"] {
        process.push("acme/web", tag, None).await;
    }
    // The registry gives them in no order.
    let mut tags = registry.tags(&web).await.unwrap();
    tags.sort();
    assert_eq!(tags, ["1.0.0", "1.1.0", "stable"]);
    let missing = registry.tags(&image(&host, "acme/nothing").repository).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");

    // Pages that link to the next one, and a registry whose list never ends.
    let page = |tag: &str, link: &str| response("200 OK", &[link], &format!(r#"{{"name": "w", "tags": ["{tag}"]}}"#));
    let server = Scripted::start(move |request, _| match request {
        _ if request.contains("last=1.0.0 ") => response("200 OK", &[], r#"{"name": "w", "tags": ["1.1.0"]}"#),
        _ if request.contains("/v2/endless/") => page("x", r#"Link: </v2/endless/tags/list?last=x>; rel="next""#),
        _ => page("1.0.0", r#"Link: <http://elsewhere.example/v2/w/tags/list?n=1000&last=1.0.0>; rel="next""#),
    })
    .await;
    let registry = client(Options::default());
    assert_eq!(registry.tags(&image(&server.host, "w").repository).await.unwrap(), ["1.0.0", "1.1.0"]);
    assert_eq!(server.lines(), ["GET /v2/w/tags/list?n=1000", "GET /v2/w/tags/list?n=1000&last=1.0.0"]);
    let endless = registry.tags(&image(&server.host, "endless").repository).await.unwrap_err();
    assert!(endless.to_string().contains("fill more than 100 pages"), "{endless}");
}

/// A new key pair of OpenSSL in this directory: the private key's file, and the public key.
fn key_pair(directory: &std::path::Path, name: &str) -> (PathBuf, PublicKey) {
    let file = directory.join(name);
    let openssl = |arguments: &[&str]| {
        let done = std::process::Command::new("openssl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let path = file.to_str().unwrap();
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path]);
    let public = openssl(&["pkey", "-in", path, "-pubout"]).parse().unwrap();
    (file, public)
}

#[tokio::test]
async fn signatures_are_found_where_cosign_puts_them_and_a_foreign_one_is_told_from_a_copied_one() {
    support::install_tls();
    let Some(process) = RegistryProcess::start(true).await else { return };
    let host = process.host();
    let registry = client(with_login(&host, PASSWORD));
    let directory = tempfile::tempdir().unwrap();
    let (ours, our_key) = key_pair(directory.path(), "ours");
    let (theirs, _) = key_pair(directory.path(), "theirs");
    let keys = [our_key.clone()];
    let web = image(&host, "web").repository;
    let digest = process.push("web", "stable", Some("2026-11-20T10:00:00Z")).await;
    let other = process.push("web", "stable", Some("2026-11-21T10:00:00Z")).await;
    let parsed: Digest = digest.parse().unwrap();
    let verdict = async || {
        let signatures = registry.signatures(&web, &parsed).await.unwrap();
        (signatures.len(), verify(&parsed, &keys, &signatures).cloned())
    };
    assert_eq!(verdict().await, (0, Err(Unverified::NotSigned)));
    let layers = process.sign("web", &digest, &digest, &theirs, "").await;
    assert_eq!(verdict().await, (1, Err(Unverified::UnknownKey)));
    let layers = process.sign("web", &digest, &other, &ours, &layers).await;
    assert_eq!(verdict().await, (2, Err(Unverified::OtherDigest { digest: other.parse().unwrap() })));
    process.sign("web", &digest, &digest, &ours, &layers).await;
    assert_eq!(verdict().await, (3, Ok(our_key)));
    // Another repository has signatures of its own.
    assert_eq!(registry.signatures(&image(&host, "db").repository, &parsed).await.unwrap(), []);
    let nobody = client(Options::default()).signatures(&web, &parsed).await;
    assert_eq!(nobody, Err(Error::Unauthorized { registry: host, repository: "web".into() }));
}

#[tokio::test]
async fn a_password_opens_a_registry_and_a_wrong_one_is_shown_to_nobody() {
    support::install_tls();
    let Some(process) = RegistryProcess::start(true).await else { return };
    let host = process.host();
    let digest = process.push("web", "latest", None).await;
    let image = image(&host, "web");
    let expect = Error::Unauthorized { registry: host.clone(), repository: "web".into() };

    assert_eq!(client(Options::default()).head(&image).await, Err(expect.clone()), "without a password");
    let registry = client(with_login(&host, WRONG_PASSWORD));
    let log =
        logged(async { assert_eq!(registry.head(&image).await, Err(expect.clone()), "with a wrong password") }).await;
    let shown = format!("{log} {registry:?} {expect} {expect:?}");
    assert!(!shown.contains(WRONG_PASSWORD) && !shown.contains(&base64(WRONG_PASSWORD)), "{shown}");
    let registry = client(with_login(&host, PASSWORD));
    assert_eq!(registry.head(&image).await.unwrap().as_str(), digest);
    assert!(!format!("{registry:?}").contains(&base64(PASSWORD)), "what was accepted is shown");

    // The same from Docker's own file, which is read anew: a corrected password needs no restart.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let write = |password: &str| {
        std::fs::write(&file, format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, base64(password))).unwrap();
    };
    write(WRONG_PASSWORD);
    let registry = client(Options { docker_config: Some(file.clone()), ..Options::default() });
    assert_eq!(registry.head(&image).await, Err(expect));
    write(PASSWORD);
    assert_eq!(registry.head(&image).await.unwrap().as_str(), digest);
}

fn base64(password: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(format!("tester:{password}"))
}

/// Everything that is logged meanwhile, at every level.
async fn logged(work: impl Future<Output = ()>) -> String {
    use tracing_subscriber::fmt::MakeWriter;
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone()).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(guard);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_credential_helper_is_asked_and_its_failures_are_told_without_its_words() {
    let Some(bin) = own_bin().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = Scripted::start(|request, _| {
        if request.to_lowercase().contains(&format!("authorization: basic {}", base64(PASSWORD)).to_lowercase()) {
            response("200 OK", &[&format!("docker-content-digest: {}", sha256(b"x"))], "")
        } else {
            response("401 Unauthorized", &["www-authenticate: Basic realm=\"x\""], "")
        }
    })
    .await;
    let host = server.host.clone();
    let image = image(&host, "web");
    let (name, helper) = ("test", bin.join("docker-credential-test"));
    let config = directory.path().join("config.json");
    std::fs::write(&config, format!(r#"{{"credHelpers": {{"{host}": "{name}"}}}}"#)).unwrap();
    let head = async |script: &str| {
        std::fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let registry = client(Options { docker_config: Some(config.clone()), ..Options::default() });
        registry.head(&image).await.map_err(|error| error.to_string())
    };
    let found = head(&format!(
        r#"read server; test "$1 $server" = "get {host}" && echo '{{"Username":"tester","Secret":"{PASSWORD}"}}'"#
    ))
    .await;
    assert_eq!(found.unwrap().as_str(), sha256(b"x"));
    let nothing = head("echo credentials not found in native keychain; exit 1").await.unwrap_err();
    assert!(nothing.starts_with(&format!("registry `{host}` does not let us read `web`")), "{nothing}");
    let told = format!("cannot read the credentials for registry `{host}`: `docker-credential-{name}`: ");
    assert_eq!(head("echo hunter2; exit 3").await, Err(format!("{told}failed (exit status: 3)")));
    assert_eq!(head("echo hunter2").await, Err(format!("{told}its answer is not understood")));
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
async fn debians_helper_for_ecr_is_spoken_to_as_docker_does() {
    let installed = std::process::Command::new("docker-credential-ecr-login").arg("version").output();
    if installed.is_err() {
        eprintln!("SKIPPED: `docker-credential-ecr-login` is not installed; scripts/test installs it");
        return;
    }
    let server =
        Scripted::start(|_, _| response("401 Unauthorized", &["www-authenticate: Basic realm=\"r\""], "")).await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.json");
    let host = server.host.clone();
    let head = async |helper: &str| {
        std::fs::write(&config, format!(r#"{{"credHelpers": {{"{host}": "{helper}"}}}}"#)).unwrap();
        let registry = client(Options { docker_config: Some(config.clone()), ..Options::default() });
        registry.head(&image(&host, "web")).await.unwrap_err()
    };
    // It has nothing for a registry that is not Amazon's, and says so in the way that is agreed on.
    assert_eq!(head("ecr-login").await, Error::Unauthorized { registry: host.clone(), repository: "web".into() });
    let missing = head("not-installed").await.to_string();
    assert!(missing.contains("`docker-credential-not-installed`: cannot be run"), "{missing}");
}

/// The first directory on PATH, made for this test: helpers are found by PATH, which only a new process can have anew. `None`
/// in the process that started that one and saw it succeed.
async fn own_bin() -> Option<PathBuf> {
    const MARK: &str = "NIGHTSHIFT_TEST_BIN";
    if let Some(bin) = std::env::var_os(MARK) {
        return Some(bin.into());
    }
    let directory = tempfile::tempdir().unwrap();
    let mut path = directory.path().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut again = tokio::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", HELPER_TEST]).env("PATH", path);
    let done = again.env(MARK, directory.path()).kill_on_drop(true).output();
    let done = timeout(Duration::from_secs(60), done).await.expect("it ends").unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"), "it did not run");
    None
}

const HELPER_TEST: &str = "a_credential_helper_is_asked_and_its_failures_are_told_without_its_words";

/// A registry that wants bearer tokens, with its token server on the same port.
async fn bearer_registry(expires_in: u64) -> Scripted {
    Scripted::start(move |request, own| {
        let lower = request.to_lowercase();
        if request.starts_with("GET /token?") || request.starts_with("POST /token") {
            let good = lower.contains(&format!("authorization: basic {}", base64(PASSWORD)).to_lowercase())
                || request.contains("refresh_token=the-identity");
            return if good {
                response("200 OK", &[], &format!(r#"{{"token": "opaque", "expires_in": {expires_in}}}"#))
            } else {
                response("401 Unauthorized", &[], r#"{"details": "incorrect username or password"}"#)
            };
        }
        if lower.contains("authorization: bearer opaque") {
            return response("200 OK", &[&format!("docker-content-digest: {}", sha256(b"x"))], "");
        }
        let challenge =
            format!(r#"www-authenticate: Bearer realm="http://{own}/token",service="the service",scope="*""#);
        response("401 Unauthorized", &[&challenge], "")
    })
    .await
}

#[tokio::test]
async fn a_bearer_token_is_fetched_once_and_used_until_it_ends() {
    let server = bearer_registry(300).await;
    let registry = client(with_login(&server.host, PASSWORD));
    let image = image(&server.host, "acme/web");
    registry.head(&image).await.unwrap();
    registry.head(&image).await.unwrap();
    let head = "HEAD /v2/acme/web/manifests/latest";
    let token = "GET /token?service=the+service&scope=repository%3Aacme%2Fweb%3Apull";
    assert_eq!(server.lines(), [head, token, head, head]);

    // One that ends at once is not used again.
    let server = bearer_registry(5).await;
    let registry = client(with_login(&server.host, PASSWORD));
    let image = crate::image(&server.host, "acme/web");
    registry.head(&image).await.unwrap();
    registry.head(&image).await.unwrap();
    assert_eq!(server.lines(), [head, token, head, head, token, head]);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = bearer_registry(300).await;
    let identity = Credentials::IdentityToken(Secret::new("the-identity"));
    let credentials = BTreeMap::from([(server.host.clone(), identity)]);
    let registry = client(Options { credentials, ..Options::default() });
    registry.head(&image(&server.host, "acme/web")).await.unwrap();
    assert_eq!(server.lines()[1], "POST /token");
}

#[tokio::test]
async fn a_token_server_that_refuses_is_unauthorized_with_or_without_password() {
    let server = bearer_registry(300).await;
    let expect = Error::Unauthorized { registry: server.host.clone(), repository: "web".into() };
    for options in [Options::default(), with_login(&server.host, WRONG_PASSWORD)] {
        assert_eq!(client(options).head(&image(&server.host, "web")).await, Err(expect.clone()));
    }
}

#[tokio::test]
async fn every_kind_of_failure_is_told_apart() {
    let large = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(5 * 1024 * 1024));
    let later = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let long = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 999999999\r\ncontent-length: 0\r\n\r\n";
    let past = "HTTP/1.1 429 Too Many\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n";
    let limited = |registry: &str, seconds: Option<u64>| Error::RateLimited {
        registry: registry.into(),
        retry_after: seconds.map(Duration::from_secs),
    };
    let failed = |registry: &str, status, seconds: Option<u64>| Error::Failed {
        registry: registry.into(),
        status,
        retry_after: seconds.map(Duration::from_secs),
    };
    let malformed =
        |registry: &str, problem: &str| Error::Malformed { registry: registry.into(), problem: problem.into() };
    type Expect<'a> = Box<dyn Fn(&str) -> Error + 'a>;
    let cases: Vec<(String, Expect<'_>)> = vec![
        (later.into(), Box::new(|registry| limited(registry, Some(7)))),
        (long.into(), Box::new(|registry| limited(registry, Some(3600)))),
        (past.into(), Box::new(|registry| limited(registry, Some(0)))),
        (response("429 Too Many Requests", &[], ""), Box::new(|registry| limited(registry, None))),
        (response("500 Oops", &[], ""), Box::new(|registry| failed(registry, 500, None))),
        (response("503 Busy", &["retry-after: 5"], ""), Box::new(|registry| failed(registry, 503, Some(5)))),
        (large, Box::new(|registry| malformed(registry, "more than 4194304 bytes"))),
        (
            response("302 Found", &["location: /again"], ""),
            Box::new(|registry| malformed(registry, "more than 5 redirects")),
        ),
        (response("302 Found", &[], ""), Box::new(|registry| malformed(registry, "a redirect to nowhere"))),
        (
            response("401 Unauthorized", &[r#"www-authenticate: Bearer realm="ftp://x""#], ""),
            Box::new(|registry| malformed(registry, "its token server does not use TLS")),
        ),
        (
            response("401 Unauthorized", &["www-authenticate: Negotiate"], ""),
            Box::new(|registry| Error::Unauthorized { registry: registry.into(), repository: "web".into() }),
        ),
        (
            response("403 Forbidden", &[], ""),
            Box::new(|registry| Error::Unauthorized { registry: registry.into(), repository: "web".into() }),
        ),
    ];
    for (answer, expect) in cases {
        let start: String = answer.chars().take(60).collect();
        // A body is read only of a GET.
        let head = if answer.len() > 1024 { response("405 Method Not Allowed", &[], "") } else { answer.clone() };
        let server =
            Scripted::start(move |request, _| if request.starts_with("HEAD") { head.clone() } else { answer.clone() })
                .await;
        let found = client(Options::default()).head(&image(&server.host, "web")).await.unwrap_err();
        assert_eq!(found, expect(&server.host), "{start}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unreachable() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = closed.local_addr().unwrap().to_string();
    drop(closed);
    let error = client(Options::default()).head(&image(&host, "web")).await.unwrap_err();
    let reason = "Connection refused (os error 111)".to_owned();
    assert_eq!(error, Error::Unreachable { registry: host, reason });
    // Accepts and never answers: `hold` keeps the socket open.
    let hold = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = hold.local_addr().unwrap().to_string();
    let error = client(Options::default()).head(&image(&host, "web")).await.unwrap_err();
    assert_eq!(error, Error::Unreachable { registry: host, reason: "no answer in time".into() });
}

#[tokio::test]
async fn a_digest_that_no_header_says_is_computed() {
    let server = Scripted::start(|request, _| {
        if request.starts_with("HEAD") { response("200 OK", &[], "") } else { response("200 OK", &[], "the manifest") }
    })
    .await;
    let found = client(Options::default()).head(&image(&server.host, "web")).await.unwrap();
    assert_eq!(found.as_str(), sha256(b"the manifest"));
}

#[tokio::test]
async fn content_that_is_not_what_its_digest_says_is_refused() {
    let server = Scripted::start(|_, _| response("200 OK", &[], r#"{"config": null}"#)).await;
    let digest: Digest = sha256(b"something else").parse().unwrap();
    let repository = image(&server.host, "web").repository;
    let error = client(Options::default()).describe(&repository, &digest).await.unwrap_err();
    let problem = format!("the content of `{digest}` has another digest");
    assert_eq!(error, Error::Malformed { registry: server.host.clone(), problem });
}

#[tokio::test]
async fn a_password_does_not_follow_a_redirect_to_another_server() {
    let other =
        Scripted::start(|_, _| response("200 OK", &[&format!("docker-content-digest: {}", sha256(b"x"))], "")).await;
    let target = format!("location: http://{}/elsewhere", other.host);
    let server = Scripted::start(move |request, _| {
        if request.to_lowercase().contains("authorization: basic") {
            response("307 Temporary Redirect", &[&target], "")
        } else {
            response("401 Unauthorized", &["www-authenticate: Basic"], "")
        }
    })
    .await;
    client(with_login(&server.host, PASSWORD)).head(&image(&server.host, "web")).await.unwrap();
    assert_eq!(other.requests_with("authorization"), 0);
    assert_eq!(other.lines(), ["HEAD /elsewhere"]);
}

#[tokio::test]
async fn a_registry_behind_tls_is_trusted_by_the_authority_that_is_named_for_it() {
    support::install_tls();
    let directory = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (good, bad) = (directory.path().join("good.pem"), directory.path().join("bad.pem"));
    std::fs::write(&good, own.cert.pem()).unwrap();
    std::fs::write(&bad, stranger.cert.pem()).unwrap();
    let Some(process) = RegistryProcess::start_tls(&own.cert.pem(), &own.signing_key.serialize_pem()).await else {
        return;
    };
    let host = process.host();
    let head = async |file: &PathBuf| {
        let ca_files = BTreeMap::from([(host.clone(), file.clone())]);
        client(Options { ca_files, ..Options::default() }).head(&image(&host, "web")).await
    };
    // It answers: there is no such image.
    assert_eq!(head(&good).await, Err(Error::NotFound { reference: format!("{host}/web:latest") }));
    let error = head(&bad).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_refused_at_the_start() {
    support::install_tls();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let options = Options { ca_files: BTreeMap::from([("r.example".into(), file.clone())]), ..Options::default() };
    assert!(matches!(Registry::new(options.clone()), Err(SetupError::CaFile { .. })));
    std::fs::write(&file, "no certificate").unwrap();
    assert!(matches!(Registry::new(options), Err(SetupError::NoCertificates(_))));
}

#[tokio::test]
async fn the_watcher_sees_pushes_and_recovers_when_a_killed_registry_is_back() {
    support::install_tls();
    let Some(mut process) = RegistryProcess::start(false).await else { return };
    let web = image(&process.host(), "web:stable");
    let first = process.push("web", "stable", Some("2026-11-20T10:00:00Z")).await;
    let tags = BTreeMap::from([("web".parse().unwrap(), web.clone())]);
    let followed = Followed { tags, ..Followed::default() };
    let (_keep, followed) = watch::channel(followed);
    let (_checks, asked) = watcher::checks();
    let often = watcher::Options::every(Duration::from_millis(100));
    let (_watcher, mut said) = Watcher::start(Arc::new(client(Options::default())), followed, often, asked);
    let mut next = async || timeout(Duration::from_secs(30), said.recv()).await.expect("an observation").unwrap();
    let seen = |digest: &str, created: &str| Observation::Seen {
        image: web.clone(),
        digest: digest.parse().unwrap(),
        about: Description { created: Some(created.parse().unwrap()), platforms: Vec::new() },
    };
    assert_eq!(next().await, seen(&first, "2026-11-20T10:00:00Z"));
    let second = process.push("web", "stable", Some("2026-11-21T10:00:00Z")).await;
    assert_eq!(next().await, seen(&second, "2026-11-21T10:00:00Z"));
    process.kill().await;
    assert!(matches!(next().await, Observation::Failed { .. }));
    process.restart().await;
    let third = process.push("web", "stable", Some("2026-11-22T10:00:00Z")).await;
    // It may have failed more often before the registry was back.
    let recovered = loop {
        let said = next().await;
        if !matches!(said, Observation::Failed { .. }) {
            break said;
        }
    };
    assert_eq!(recovered, Observation::Recovered { target: Target::Tag(web.clone()) });
    // Back before the new push, it says nothing of what it knew.
    assert_eq!(next().await, seen(&third, "2026-11-22T10:00:00Z"));
}
