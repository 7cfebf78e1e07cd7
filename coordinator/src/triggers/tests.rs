//! Triggers against a server that plays CI systems by their documented APIs: what arrives is looked at whole.

use std::sync::{Arc, Mutex};

use nightshift_core::config::read_app;
use nightshift_core::rebuild::RebuildBy;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::config;

const TOKEN: &str = "s3cr3t/t=k&n";

/// A CI system of one answer.
struct Ci {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Ci {
    async fn answering(answer: &'static str) -> Self {
        Self::with(answer, None).await
    }

    async fn with(answer: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => hear(stream, answer, &heard).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => hear(stream, answer, &heard).await,
                        Err(_) => heard.lock().expect("no panic").push("no TLS".to_owned()),
                    },
                }
            }
        });
        Self { address, seen, _task: AbortOnDropHandle::new(task) }
    }

    fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("no panic").clone();
        seen.into_iter().map(|request| request.replace(&self.address, "CI")).collect()
    }
}

async fn hear(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str, seen: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut part).await else { return };
        request.extend_from_slice(&part[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().expect("a number"));
        if body.len() >= length {
            seen.lock().expect("no panic").push(text.replace("\r\n", "\n"));
            break;
        }
    }
    // Whoever asked may have gone.
    drop(stream.write_all(answer.as_bytes()).await);
    drop(stream.shutdown().await);
}

fn fire(trigger: &str) -> Fire {
    let text = format!("name = 'web'\nimage = 'r.example/web:stable'\n[rebuild.trigger]\n{trigger}");
    let spec = read_app("web.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let RebuildBy::Http(trigger) = spec.rebuild.expect("it has one").by else { panic!("a node builds") };
    let started_at = DateTime::from_timestamp(1_800_000_000, 0).expect("in range");
    Fire { app: spec.name, image: spec.image, number: RebuildNumber(1), started_at, attempt: 0, trigger }
}

/// Secrets as a coordinator's file names them, and the file that holds the token.
fn secrets(directory: &Path, hosts: &str) -> Secrets {
    let file = directory.join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    let text = format!("[[secret]]\nname = 'ci'\nfile = '{}'\nhosts = [{hosts}]\n", file.display());
    Secrets::new(config::read("coordinator.toml", &text).unwrap_or_else(|problems| panic!("{problems}")).secrets)
}

async fn sent(secrets: Secrets, ca_file: Option<&Path>, trigger: &str) -> TriggerOutcome {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock: Clock = Arc::new(|| DateTime::from_timestamp(1_800_000_000, 0).expect("in range"));
    let fire = fire(trigger);
    let triggers = Triggers::new(secrets, ca_file).expect("they can be set up");
    let outcome = triggers.send(&fire, &clock).await;
    for shown in [format!("{outcome:?}"), format!("{fire:?}"), format!("{triggers:?}")] {
        assert!(!shown.contains("s3cr3t"), "a secret is shown: {shown}");
    }
    outcome
}

#[tokio::test]
async fn each_preset_sends_what_its_api_asks_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut all = String::new();
    for (preset, more) in [
        ("travis", "repository = 'acme/web'"),
        ("github", "repository = 'acme/web'\nworkflow = 'nightly.yml'"),
        ("gitlab", "repository = 'acme/shop/web'"),
    ] {
        let ci = Ci::answering("HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}").await;
        let server = format!("http://{}", ci.address);
        let trigger =
            format!("preset = '{preset}'\nserver = '{server}'\n{more}\nbranch = 'release/1.x'\nsecret = 'ci'\n");
        let outcome = sent(secrets(directory.path(), &format!("'{server}'")), None, &trigger).await;
        assert_eq!(outcome, TriggerOutcome::Answered { status: 202, retry_after: None }, "{preset}");
        all.push_str(&format!("{preset}\n{}\n\n", ci.seen().join("\n")));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn a_request_that_is_written_out_is_sent_as_it_stands_with_its_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let ci = Ci::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let server = format!("http://{}", ci.address);
    let trigger = format!(
        "method = 'PUT'\nurl = '{server}/jobs/{{app}}?token={{secret:ci}}&at={{time}}'\nbody = '{{\"image\": \"{{image}}\", \"t\": \"{{secret:ci}}\"}}'\n\
         headers = {{ X-Token = '{{secret:ci}}', Content-Type = 'application/json' }}\n"
    );
    let outcome = sent(secrets(directory.path(), &format!("'{server}'")), None, &trigger).await;
    assert_eq!(outcome, TriggerOutcome::Answered { status: 200, retry_after: None });
    insta::assert_snapshot!(ci.seen().join("\n"));
}

#[tokio::test]
async fn answers_are_passed_on_and_no_redirect_is_followed() {
    let elsewhere = Ci::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    for (answer, status, retry_after) in [
        ("HTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\n", 503, Some(120)),
        ("HTTP/1.1 429 Slow\r\nRetry-After: Fri, 15 Jan 2027 08:01:40 GMT\r\n\r\n", 429, Some(100)),
        ("HTTP/1.1 401 No\r\n\r\n", 401, None),
        ("HTTP/1.1 307 Over there\r\nLocation: http://ELSEWHERE/x\r\n\r\n", 307, None),
    ] {
        let answer: &'static str = answer.replace("ELSEWHERE", &elsewhere.address).leak();
        let ci = Ci::answering(answer).await;
        let outcome = sent(Secrets::default(), None, &format!("url = 'http://{}/x'\n", ci.address)).await;
        assert_eq!(outcome, TriggerOutcome::Answered { status, retry_after: retry_after.map(Duration::from_secs) });
    }
    assert_eq!(elsewhere.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_secret_goes_nowhere_but_where_the_coordinators_file_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let ci = Ci::answering("HTTP/1.1 200 OK\r\n\r\n").await;
    let trigger = format!("url = 'http://{}/x?t={{secret:ci}}'\n", ci.address);
    let refused = |outcome| match outcome {
        TriggerOutcome::Refused { reason } => reason.replace(&ci.address, "CI"),
        TriggerOutcome::Answered { .. } | TriggerOutcome::Lost { .. } => panic!("it was sent: {outcome:?}"),
    };
    let foreign = sent(secrets(directory.path(), "'api.github.com'"), None, &trigger).await;
    assert_eq!(
        refused(foreign),
        "secret `ci` may not be sent to http://CI: its `hosts` in the coordinator's file do not name it"
    );
    // The same host by TLS is not the same without.
    let by_tls = sent(secrets(directory.path(), &format!("'{}'", ci.address)), None, &trigger).await;
    assert!(refused(by_tls).contains("may not be sent"));
    let unknown = sent(Secrets::default(), None, &trigger).await;
    assert!(refused(unknown).starts_with("there is no secret `ci`"));
    let known = secrets(directory.path(), &format!("'http://{}'", ci.address));
    std::fs::remove_file(directory.path().join("token")).expect("it was there");
    let gone = refused(sent(known.clone(), None, &trigger).await);
    assert!(gone.starts_with("secret `ci` cannot be read"), "{gone}");
    std::fs::write(directory.path().join("token"), "a\u{1}b").expect("written");
    let header = format!("url = 'http://{}/x'\nheaders = {{ Authorization = 'token {{secret:ci}}' }}\n", ci.address);
    let odd = refused(sent(known, None, &header).await);
    assert!(odd.starts_with("its header `authorization` cannot be sent"), "{odd}");
    assert_eq!(ci.seen(), Vec::<String>::new(), "nothing was ever sent");
}

#[tokio::test]
async fn nobody_there_is_a_failure_that_may_pass_and_shows_no_url() {
    let directory = tempfile::tempdir().expect("a directory");
    let trigger = "url = 'http://127.0.0.1:1/x?t={secret:ci}'\n";
    let outcome = sent(secrets(directory.path(), "'http://127.0.0.1:1'"), None, trigger).await;
    let TriggerOutcome::Lost { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.to_lowercase().contains("refused"), "{reason}");
}

#[tokio::test]
async fn a_ci_system_behind_a_private_authority_is_trusted_only_with_its_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, ca.self_signed(&ca_key).expect("signed").pem()).expect("written");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = server.signed_by(&key, &issuer).expect("signed");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], key).expect("good");
    let ci = Ci::with("HTTP/1.1 204 No Content\r\n\r\n", Some(TlsAcceptor::from(Arc::new(config)))).await;
    let trigger = format!("url = 'https://{}/x'\nheaders = {{ Authorization = 'Bearer {{secret:ci}}' }}\n", ci.address);
    let known = secrets(directory.path(), &format!("'{}'", ci.address));
    let stranger = sent(known.clone(), None, &trigger).await;
    assert!(matches!(stranger, TriggerOutcome::Lost { .. }), "{stranger:?}");
    let trusted = sent(known, Some(&ca_file), &trigger).await;
    assert_eq!(trusted, TriggerOutcome::Answered { status: 204, retry_after: None });
    assert!(ci.seen().last().is_some_and(|request| request.contains(&format!("authorization: Bearer {TOKEN}"))));
    let none = Triggers::new(Secrets::default(), Some(&directory.path().join("none"))).expect_err("no such file");
    assert!(none.to_string().contains("none"), "{none}");
}
