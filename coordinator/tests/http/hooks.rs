//! `POST /v1/hooks/registry/{name}`: a real registry that tells, everybody else who may, and those who may not.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nightshift_coordinator::config::Sender;
use nightshift_coordinator::http::{Key, Limits, Webhook};
use nightshift_coordinator::secret::Secret;
use serde_json::{Value, json};

use crate::scene::{Reply, Scene, digest};
use crate::support::{RegistryProcess, Scripted, response};

/// From the webhook to the candidate, as the product promises.
const PROMISE: Duration = Duration::from_secs(1);
/// Far beyond every wait here.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const NAMES: [&str; 6] = ["distribution", "docker-hub", "github", "harbor", "ecr", "generic"];

pub(crate) fn secret(name: &str) -> String {
    format!("the-secret-of-{name}")
}

/// One webhook of each kind, all for this registry.
pub(crate) fn webhooks(host: &str) -> Vec<Webhook> {
    let registry = || host.parse().unwrap();
    let sender = |name: &str| match name {
        "distribution" => Sender::Distribution { registry: registry() },
        "docker-hub" => Sender::DockerHub,
        "github" => Sender::Github { registry: registry() },
        "harbor" => Sender::Harbor { registry: registry() },
        "ecr" => Sender::Ecr { registry: registry() },
        _ => Sender::Generic,
    };
    let key = |name: &str| Key::new(&Secret::new(secret(name))).unwrap();
    NAMES.map(|name| Webhook { name: name.to_owned(), sender: sender(name), key: key(name) }).into()
}

/// What each kind sends of a push to `shop/web`.
pub(crate) fn body(name: &str, host: &str) -> String {
    match name {
        "distribution" => {
            let target = json!({"repository": "shop/web", "tag": "stable", "digest": digest('f')});
            json!({"events": [{"id": "1", "action": "push", "target": target}]})
        }
        "docker-hub" => json!({"push_data": {"tag": "stable"}, "repository": {"repo_name": "shop/web"}}),
        "github" => {
            json!({"action": "published", "package": {"name": "web", "namespace": "Shop", "package_type": "CONTAINER"}})
        }
        "harbor" => {
            json!({"type": "PUSH_ARTIFACT", "event_data": {"repository": {"repo_full_name": "shop/web"}}})
        }
        "ecr" => {
            let detail = json!({"action-type": "PUSH", "result": "SUCCESS", "repository-name": "shop/web"});
            json!({"source": "aws.ecr", "detail-type": "ECR Image Action", "detail": detail})
        }
        _ => json!({"image": format!("{host}/shop/web:stable")}),
    }
    .to_string()
}

pub(crate) fn sign(secret: &str, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, body.as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// A coordinator that follows `shop/web` of a registry whose answers are counted.
struct Told {
    scene: Scene,
    registry: Scripted,
}

impl Told {
    async fn new(limits: Limits) -> Self {
        let registry = Scripted::start(|_, _| {
            let tag = digest('a');
            response("200 OK", &[&format!("docker-content-digest: {tag}")], "{}")
        });
        let registry = registry.await;
        let mut scene = Scene::listening(webhooks(&registry.host), limits).await;
        scene.apply("shop", &format!("{}/shop/web:stable", registry.host)).await;
        let told = Self { scene, registry };
        told.looked(1).await;
        told
    }

    fn looks(&self) -> usize {
        self.registry.requests_with("head /v2/shop/web/manifests/stable")
    }

    /// Waits until the tag was looked at so often.
    async fn looked(&self, times: usize) {
        let looked = async {
            while self.looks() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("{} looks", self.looks()));
        assert_eq!(self.looks(), times);
    }

    fn request(&self, name: &str) -> reqwest::RequestBuilder {
        let url = self.scene.url(&format!("/v1/hooks/registry/{name}"));
        self.scene.http.post(url).header("content-type", "application/json")
    }

    /// A notification as its sender sends it, with this secret.
    fn sent(&self, name: &str, secret: &str, body: &str) -> reqwest::RequestBuilder {
        let request = match name {
            "distribution" | "ecr" => self.request(name).bearer_auth(secret),
            "harbor" => self.request(name).header("authorization", secret),
            "docker-hub" => self.request(&format!("{name}?token={secret}")),
            _ => self.request(name).header("x-hub-signature-256", sign(secret, body)),
        };
        request.header("x-github-event", "package").body(body.to_owned())
    }

    async fn send(&self, name: &str, secret: &str, body: &str) -> Reply {
        self.scene.send(self.sent(name, secret, body)).await
    }
}

#[tokio::test]
async fn a_push_to_a_real_registry_is_a_candidate_within_a_second() {
    let Some(mut registry) = RegistryProcess::start(false).await else { return };
    let host = registry.host();
    let mut scene = Scene::listening(webhooks(&host), Limits::default()).await;
    scene.apply("shop", &format!("{host}/shop/web:stable")).await;
    registry.kill().await;
    let url = scene.url("/v1/hooks/registry/distribution");
    registry.notify(&url, &format!("Bearer {}", secret("distribution")), &scene.ca_pem);
    registry.restart().await;
    for created in ["2026-11-24T02:00:00Z", "2026-11-25T02:00:00Z", "2026-11-26T02:00:00Z"] {
        let pushed = registry.push("shop/web", "stable", Some(created)).await;
        let began = Instant::now();
        let seen = loop {
            let events = scene.events("shop").await;
            if let Some(seen) =
                events.into_iter().find(|it| it["kind"] == "release_seen" && it["detail"]["digest"] == *pushed)
            {
                break seen;
            }
            assert!(began.elapsed() < PATIENCE, "the coordinator never hears of {pushed}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(began.elapsed() <= PROMISE, "known only after {:?}", began.elapsed());
        assert!(seen["detail"]["created"].is_string(), "{seen}");
    }
}

#[tokio::test]
async fn each_sender_is_heard_in_its_own_way_and_believed_in_nothing_else() {
    for name in NAMES {
        let told = Told::new(Limits::default()).await;
        let host = &told.registry.host;
        let reply = told.send(name, &secret(name), &body(name, host)).await;
        // Docker Hub speaks of docker.io alone, and no app here follows that.
        let ours = name != "docker-hub";
        let expect = if ours { json!([format!("{host}/shop/web:stable")]) } else { json!([]) };
        assert_eq!((reply.status, &reply.body), (200, &json!({"checks": expect})), "{name}");
        told.looked(1 + usize::from(ours)).await;
    }
    let mut told = Told::new(Limits::default()).await;
    let host = told.registry.host.clone();
    let other = json!({"image": format!("{host}/other:stable")}).to_string();
    assert_eq!(told.send("generic", &secret("generic"), &other).await.body, json!({"checks": []}));
    told.looked(1).await;
    let other_tag = json!({"image": format!("{host}/shop/web:next")}).to_string();
    let reply = told.send("generic", &secret("generic"), &other_tag).await;
    assert_eq!(reply.body["checks"].as_array().unwrap().len(), 1, "the repository counts, not the tag");
    told.looked(2).await;
    told.send("distribution", &secret("distribution"), &body("distribution", &host)).await;
    told.looked(3).await;
    let events = told.scene.events("shop").await;
    let seen: Vec<&Value> =
        events.iter().filter(|it| it["kind"] == "release_seen").map(|it| &it["detail"]["digest"]).collect();
    assert_eq!(seen, [&json!(digest('a'))], "the digest in the notification is nobody's word");
}

#[tokio::test]
async fn forged_webhooks_all_hear_the_same_and_nothing_is_looked_at() {
    let mut told = Told::new(Limits::default()).await;
    let host = told.registry.host.clone();
    let ci = told.scene.token("ci", "pipeline", &["shop"]).await;
    let unknown = told.send("nobody", &secret("generic"), &body("generic", &host)).await;
    assert!(unknown.refused(401).contains("docs/http.md"), "{unknown:?}");
    for name in NAMES {
        let body = body(name, &host);
        let right = secret(name);
        let other = NAMES[(NAMES.iter().position(|it| *it == name).unwrap() + 1) % NAMES.len()];
        for wrong in ["", "x", &right[1..], &format!("{right}x"), &right.to_uppercase(), &secret(other), &ci] {
            assert_eq!(told.send(name, wrong, &body).await, unknown, "{name} with `{wrong}`");
        }
        let without = told.request(name).header("x-github-event", "package").body(body.clone());
        assert_eq!(told.scene.send(without).await, unknown, "{name} without any proof");
        // Each proof at its own place alone.
        let elsewhere = match name {
            "docker-hub" => told.request(name).bearer_auth(&right),
            _ => told.request(&format!("{name}?token={right}")),
        };
        assert_eq!(told.scene.send(elsewhere.body(body.clone())).await, unknown, "{name} with its secret elsewhere");
        if matches!(name, "github" | "generic") {
            let signed = told.sent(name, &right, &body).body(body.replace("eb", "db"));
            assert_eq!(told.scene.send(signed).await, unknown, "{name}: the signature of another body");
        }
    }
    told.looked(1).await;
    told.send("generic", &secret("generic"), &body("generic", &host)).await;
    told.looked(2).await;
}

#[tokio::test]
async fn what_is_no_notification_is_refused_and_changes_nothing() {
    let told = Told::new(Limits::default()).await;
    for name in NAMES {
        let secret = secret(name);
        for wrong in
            ["", "{", "null", "[]", "{}", r#"{"events": 1, "repository": 1, "package": 1, "type": 1, "image": 1}"#]
        {
            told.send(name, &secret, wrong).await.refused(400);
        }
        let huge = format!(r#"{{"padding": "{}"}}"#, "x".repeat(1024 * 1024));
        assert!(told.send(name, &secret, &huge).await.refused(413).contains("1048576 bytes"), "{name}");
        let kind = told.sent(name, &secret, "{}").header("content-type", "text/plain");
        let kind = kind.build().map(|mut request| {
            request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
            reqwest::RequestBuilder::from_parts(told.scene.http.clone(), request)
        });
        told.scene.send(kind.unwrap()).await.refused(415);
        let get = told.scene.http.get(told.scene.url(&format!("/v1/hooks/registry/{name}")));
        told.scene.send(get).await.refused(405);
    }
    let ping = told.sent("github", &secret("github"), "{}");
    let ping = ping.build().map(|mut request| {
        request.headers_mut().insert("x-github-event", "ping".parse().unwrap());
        reqwest::RequestBuilder::from_parts(told.scene.http.clone(), request)
    });
    assert_eq!(told.scene.send(ping.unwrap()).await.body, json!({"checks": []}), "GitHub's ping is good, and no push");
    told.looked(1).await;
}

#[tokio::test]
async fn a_slow_notification_is_refused_and_changes_nothing() {
    let short = Duration::from_millis(200);
    let told = Told::new(Limits { body_deadline: short, ..Limits::default() }).await;
    for name in NAMES {
        let body = body(name, &told.registry.host);
        let first = Ok::<_, std::io::Error>(body.clone().into_bytes());
        let parts = futures::stream::once(std::future::ready(first));
        let parts = futures::StreamExt::chain(parts, futures::stream::pending());
        let slow = told.sent(name, &secret(name), &body).body(reqwest::Body::wrap_stream(parts));
        told.scene.send(slow).await.refused(408);
    }
    told.looked(1).await;
}

#[tokio::test]
async fn a_flood_of_notifications_is_no_flood_for_the_registry() {
    let told = Told::new(Limits::default()).await;
    let (secret, body) = (secret("generic"), body("generic", &told.registry.host));
    let began = Instant::now();
    let all = futures::future::join_all((0..100).map(|_| told.send("generic", &secret, &body)));
    assert!(all.await.iter().all(|reply| reply.status == 200));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let most = 2 + usize::try_from(began.elapsed().as_millis() / 200).unwrap();
    assert!((2..=most).contains(&told.looks()), "{} looks, at most {most}", told.looks());
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_ever_logged_answered_or_kept() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    // One thread runs the whole test.
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let mut told = Told::new(Limits::default()).await;
    let host = told.registry.host.clone();
    let ci = told.scene.token("ci", "pipeline", &["web"]).await;
    let mut answers = String::new();
    for name in NAMES {
        for (secret, body) in [
            (secret(name), body(name, &host)),
            (secret(name), "{".to_owned()),
            (format!("{}-not", secret(name)), "{}".to_owned()),
        ] {
            answers += &told.send(name, &secret, &body).await.body.to_string();
        }
    }
    let report = json!({"digest": digest('a'), "result": "passed", "url": "https://robot:hunter2-hunter2@ci.example/"});
    answers += &told.scene.post("web", &ci, &report).await.body.to_string();
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(
        logged.contains("registry told of a push") && logged.contains("webhook with a wrong secret refused"),
        "{logged}"
    );
    let ours: String = logged.lines().filter(|line| !is_of_the_client(line)).collect::<Vec<_>>().join("\n");
    let kept = told.scene.kept();
    for secret in NAMES.iter().map(|name| secret(name)).chain([ci, "hunter2-hunter2".to_owned()]) {
        for (place, text) in [("log", &ours), ("answers", &answers), ("disk", &kept)] {
            let line = text.lines().find(|line| line.contains(&secret)).map(|line| &line[..line.len().min(300)]);
            assert!(line.is_none(), "the {place} shows a secret: {line:?}");
        }
    }
}

/// The test's own clients log in the same process what they send.
fn is_of_the_client(line: &str) -> bool {
    ["reqwest::", "hyper_util::client", "hyper::client"].iter().any(|part| line.contains(part))
}
