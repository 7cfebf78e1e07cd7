//! Joining a fleet, and staying in it, against a scripted coordinator.

#![expect(clippy::unwrap_used, reason = "a test")]

mod scripted;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nightshift_agent::dial::Server;
use nightshift_agent::identity::{EnrolError, Identity, JoinToken, Membership, enrol};
use nightshift_core::ids::NodeName;
use scripted::logs::Logs;
use scripted::pki::Pki;
use scripted::{Coordinator, PATIENCE, Setup};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const SECRET: &str = "s3cret-word";

fn node() -> NodeName {
    "node-1".parse().unwrap()
}

async fn join(data_dir: &Path, coordinator: &Coordinator, token: &str) -> Result<Identity, EnrolError> {
    let server: Server = coordinator.address.to_string().parse().unwrap();
    let token: JoinToken = token.parse().unwrap();
    timeout(PATIENCE, enrol(data_dir, &node(), &server, &token)).await.unwrap()
}

fn start(pki: &Arc<Pki>) -> Coordinator {
    Coordinator::start(Setup { tokens: vec![SECRET.into()], ..Setup::new(pki) })
}

#[tokio::test]
async fn a_token_becomes_an_identity_that_the_next_start_finds() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let coordinator = start(&pki);
    assert!(Identity::load(data.path(), &node()).unwrap().is_none());
    let identity = join(data.path(), &coordinator, &pki.token(SECRET)).await.unwrap();
    let loaded = Identity::load(data.path(), &node()).unwrap().expect("it was stored");
    assert_eq!(loaded.not_after(), identity.not_after());
    let error = Identity::load(data.path(), &"other".parse().unwrap()).expect_err("another name").to_string();
    assert!(error.contains("it belongs to node `node-1`, and this node is `other`"), "{error}");
    assert!(error.ends_with("hint: remove the file and join again with a new token"), "{error}");
}

#[tokio::test]
async fn a_used_or_wrong_token_is_refused_with_a_hint_and_without_the_secret() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let coordinator = start(&pki);
    join(data.path(), &coordinator, &pki.token(SECRET)).await.unwrap();
    for (secret, expect) in [(SECRET, "the token was used already"), ("0ther-s3cret", "no such token `t1.[secret].")] {
        let error = join(data.path(), &coordinator, &pki.token(secret)).await.expect_err(expect);
        assert!(error.is_final());
        let (text, debug) = (error.to_string(), format!("{error:?}"));
        assert!(text.contains(&format!("refused join token `t1`: {expect}")), "{text}");
        assert!(text.ends_with("hint: make a new one with `nightshift token create node`"), "{text}");
        assert!(!text.contains(secret) && !debug.contains(secret), "{text} {debug}");
    }
}

#[tokio::test]
async fn the_token_is_not_shown_to_a_coordinator_of_another_authority() {
    let (ours, theirs) = (Pki::new("one"), Arc::new(Pki::new("two")));
    let data = tempfile::tempdir().unwrap();
    let coordinator = start(&theirs);
    let error = join(data.path(), &coordinator, &ours.token(SECRET)).await.expect_err("another authority");
    assert!(error.is_final());
    let text = error.to_string();
    let start =
        format!("cannot trust coordinator `{}`: the server's certificate does not come from", coordinator.address);
    assert!(text.starts_with(&start) && text.ends_with("hint: use a token of this coordinator"), "{text}");
    assert_eq!(coordinator.enrolments(), []);
    assert!(Identity::load(data.path(), &node()).unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_only_shows_the_right_authority_is_not_believed() {
    // It sends its own leaf, signed by itself, and the real authority's public certificate after it.
    let (real, imposter) = (Pki::new("one"), Arc::new(Pki::new("one")));
    let data = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(Setup { shown: Some(real.authority().to_owned()), ..Setup::new(&imposter) });
    let error = join(data.path(), &coordinator, &real.token(SECRET)).await.expect_err("an imposter");
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot trust coordinator `{}`: ", coordinator.address)), "{text}");
    assert_eq!(coordinator.enrolments(), []);
}

#[tokio::test]
async fn a_server_of_the_right_authority_under_another_name_is_not_believed() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let coordinator = start(&pki);
    let server: Server = format!("localhost:{}", coordinator.address.port()).parse().unwrap();
    let token: JoinToken = pki.token(SECRET).parse().unwrap();
    let error = enrol(data.path(), &node(), &server, &token).await.expect_err("another name").to_string();
    assert!(error.contains("certificate not valid for name \"localhost\""), "{error}");
    assert_eq!(coordinator.enrolments(), []);
}

#[tokio::test]
async fn a_coordinator_that_is_not_there_is_worth_another_attempt() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    let address = start(&pki).stop().await;
    let server: Server = address.to_string().parse().unwrap();
    let token: JoinToken = pki.token(SECRET).parse().unwrap();
    let error = timeout(PATIENCE, enrol(data.path(), &node(), &server, &token)).await.unwrap().expect_err("nobody");
    assert!(!error.is_final(), "{error}");
}

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_stored() {
    let (pki, data) = (Arc::new(Pki::new("one")), tempfile::tempdir().unwrap());
    // Valid from an hour ago for 80 minutes: three quarters of it are over.
    let setup = Setup { tokens: vec![SECRET.into()], lifetime: Duration::from_secs(80 * 60), ..Setup::new(&pki) };
    let coordinator = Coordinator::start(setup);
    let (logs, _listening) = Logs::listen();
    let first = join(data.path(), &coordinator, &pki.token(SECRET)).await.unwrap();
    assert!(first.renew_at() < chrono::Utc::now() && chrono::Utc::now() < first.not_after());
    let before = first.not_after();
    let membership = Arc::new(Membership::new(data.path(), first));
    let mut follow = membership.follow();
    let shutdown = CancellationToken::new();
    let keeping = tokio::spawn({
        let (membership, shutdown) = (Arc::clone(&membership), shutdown.clone());
        let server: Server = coordinator.address.to_string().parse().unwrap();
        async move { membership.keep(&server, shutdown).await }
    });
    timeout(PATIENCE, follow.changed()).await.expect("a renewal in time").unwrap();
    assert!(membership.current().not_after() > before);
    let stored = Identity::load(data.path(), &node()).unwrap().expect("stored");
    assert_eq!(stored.not_after(), membership.current().not_after());
    shutdown.cancel();
    timeout(PATIENCE, keeping).await.expect("an end in time").unwrap();

    let file = std::fs::read_to_string(data.path().join("identity.pem")).unwrap();
    let key_line = file.lines().nth(1).unwrap();
    let everything = format!("{} {:?} {:?}", logs.text(), membership, stored);
    assert!(!everything.contains(key_line) && !everything.contains(SECRET), "a secret was shown");
    assert!(everything.contains("certificate renewed"), "nothing was logged");
}
