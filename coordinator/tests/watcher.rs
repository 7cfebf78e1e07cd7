//! The watcher against a script, under paused time: when it asks, and what it says.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_coordinator::registry::{Error, ImageSource};
use nightshift_coordinator::watcher::{self, Checks, Followed, Observation, Options, Target, Unsigned, Watcher};
use nightshift_core::ids::SpecVersion;
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::release::Description;
use nightshift_core::signature::Signature;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

const MINUTE: Duration = Duration::from_secs(60);

/// Answers as scripted, the last answer for ever; notes when each question came.
#[derive(Default)]
struct Script {
    heads: Mutex<VecDeque<Result<Digest, Error>>>,
    ages: Mutex<VecDeque<Result<Option<DateTime<Utc>>, Error>>>,
    signatures: Mutex<VecDeque<Result<Vec<Signature>, Error>>>,
    lists: Mutex<VecDeque<Result<Vec<String>, Error>>>,
    asked: Mutex<Vec<(Instant, String)>>,
    /// How long an answer takes.
    latency: Duration,
}

fn next<T: Clone>(answers: &Mutex<VecDeque<T>>) -> T {
    let mut answers = answers.lock().unwrap();
    if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
}

#[async_trait]
impl ImageSource for Script {
    async fn head(&self, image: &ImageRef) -> Result<Digest, Error> {
        self.asked.lock().unwrap().push((Instant::now(), image.to_string()));
        tokio::time::sleep(self.latency).await;
        next(&self.heads)
    }

    async fn describe(&self, _: &Repository, _: &Digest) -> Result<Description, Error> {
        let created = next(&self.ages)?;
        Ok(Description { created, platforms: Vec::new() })
    }

    async fn tags(&self, repository: &Repository) -> Result<Vec<String>, Error> {
        self.asked.lock().unwrap().push((Instant::now(), repository.to_string()));
        next(&self.lists)
    }

    async fn signatures(&self, repository: &Repository, digest: &Digest) -> Result<Vec<Signature>, Error> {
        let question = Target::Signatures(repository.clone(), digest.clone()).to_string();
        self.asked.lock().unwrap().push((Instant::now(), question));
        next(&self.signatures)
    }
}

fn digest(number: u8) -> Digest {
    format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().unwrap()
}

fn image(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn built() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn about(created: Option<DateTime<Utc>>) -> Description {
    Description { created, platforms: Vec::new() }
}

fn seen(number: u8) -> Observation {
    Observation::Seen { image: image("r.example/web"), digest: digest(number), about: about(Some(built())) }
}

fn down() -> Error {
    Error::Unreachable { registry: "r.example".into(), reason: "down".into() }
}

struct Scene {
    script: Arc<Script>,
    followed: watch::Sender<Followed>,
    checks: Checks,
    _watcher: Watcher,
    observations: mpsc::Receiver<Observation>,
}

fn follow(apps: &[(&str, &str)]) -> Followed {
    let tags = apps.iter().map(|(app, reference)| (app.parse().unwrap(), image(reference))).collect();
    Followed { tags, ..Followed::default() }
}

impl Scene {
    fn new(heads: &[Result<Digest, Error>], apps: &[(&str, &str)]) -> Self {
        let script = Script { heads: Mutex::new(heads.to_vec().into()), ..Script::default() };
        script.ages.lock().unwrap().push_back(Ok(Some(built())));
        Self::of(script, apps)
    }

    fn of(script: Script, apps: &[(&str, &str)]) -> Self {
        let script = Arc::new(script);
        let (followed, receiver) = watch::channel(follow(apps));
        let (checks, asked) = watcher::checks();
        let (watcher, observations) = Watcher::start(script.clone(), receiver, Options::every(MINUTE), asked);
        Self { script, followed, checks, _watcher: watcher, observations }
    }

    async fn next(&mut self) -> Observation {
        timeout(Duration::from_secs(24 * 3600), self.observations.recv()).await.expect("an observation").unwrap()
    }

    /// Nothing is said for this long.
    async fn silence(&mut self, time: Duration) {
        if let Ok(said) = timeout(time, self.observations.recv()).await {
            panic!("said {said:?}");
        }
    }

    fn asked(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut *self.script.asked.lock().unwrap())
    }

    /// The pauses between the questions so far, in seconds.
    fn pauses(&self) -> Vec<f64> {
        let asked = self.asked();
        asked.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_digest_is_said_when_it_is_first_seen_and_when_it_changes() {
    let heads = [Ok(digest(1)), Ok(digest(1)), Ok(digest(2)), Ok(digest(1)), Ok(digest(1))];
    let mut scene = Scene::new(&heads, &[("web", "r.example/web")]);
    for number in [1, 2, 1] {
        assert_eq!(scene.next().await, seen(number));
    }
    scene.silence(10 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn checks_come_at_a_jittered_interval() {
    let mut scene = Scene::new(&[Ok(digest(1))], &[("web", "r.example/web")]);
    scene.next().await;
    scene.silence(100 * MINUTE).await;
    let pauses = scene.pauses();
    assert!((90..=112).contains(&pauses.len()), "{} checks", pauses.len());
    assert!(pauses.iter().all(|pause| (53.9..=66.1).contains(pause)), "{pauses:?}");
    let spread = pauses.iter().copied().fold(0.0, f64::max) - pauses.iter().copied().fold(f64::MAX, f64::min);
    assert!(spread > 3.0, "no jitter: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reference_that_two_apps_follow_is_checked_once() {
    let mut scene = Scene::new(&[Ok(digest(1))], &[("web", "r.example/web"), ("web2", "r.example/web:latest")]);
    assert_eq!(scene.next().await, seen(1));
    scene.silence(MINUTE / 2).await;
    assert_eq!(scene.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_reference_is_checked_at_once_and_a_dropped_one_no_more() {
    let mut scene = Scene::new(&[Ok(digest(1))], &[("web", "r.example/web")]);
    assert_eq!(scene.next().await, seen(1));
    let start = Instant::now();
    scene.followed.send(follow(&[("db", "r.example/db")])).unwrap();
    let Observation::Seen { image: found, .. } = scene.next().await else { panic!("not seen") };
    assert_eq!(found, image("r.example/db"));
    assert_eq!(Instant::now(), start);
    scene.asked();
    scene.silence(10 * MINUTE).await;
    assert!(scene.asked().iter().all(|(_, reference)| reference == "r.example/db:latest"));
    // Followed again: known anew.
    scene.followed.send(follow(&[("web", "r.example/web")])).unwrap();
    assert_eq!(scene.next().await, seen(1));
}

#[tokio::test(start_paused = true)]
async fn a_check_can_be_asked_for() {
    let mut scene = Scene::new(&[Ok(digest(1)), Ok(digest(2))], &[("web", "r.example/web")]);
    assert_eq!(scene.next().await, seen(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    scene.checks.ask(Target::Tag(image("r.example/nobody"))).await;
    scene.checks.ask(Target::Tag(image("r.example/web"))).await;
    assert_eq!(scene.next().await, seen(2));
    assert_eq!(Instant::now(), start);
    assert!(scene.asked().iter().all(|(_, reference)| reference == "r.example/web:latest"));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_is_told_before_the_tag_moves_is_found_by_looking_again() {
    for late in 1..=3 {
        let mut heads = vec![Ok(digest(1)); 1 + late];
        heads.push(Ok(digest(2)));
        let mut scene = Scene::new(&heads, &[("web", "r.example/web")]);
        assert_eq!(scene.next().await, seen(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        scene.checks.ask(Target::Tag(image("r.example/web"))).await;
        assert_eq!(scene.next().await, seen(2));
        assert_eq!(start.elapsed().as_millis(), [250, 1000, 5000][late - 1]);
        // Then as always.
        scene.silence(2 * MINUTE).await;
        let pauses = scene.pauses();
        assert_eq!(pauses[1..4], [0.25, 0.75, 4.0], "{pauses:?}");
        assert!(pauses[4..].iter().all(|pause| (54.0..=66.0).contains(pause)), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn looking_again_and_again_for_what_is_not_there_is_one_failure() {
    let missing = || Err(Error::NotFound { reference: "r.example/web:latest".into() });
    let mut scene = Scene::new(
        &[missing(), missing(), missing(), missing(), missing(), Ok(digest(1))],
        &[("web", "r.example/web")],
    );
    assert!(matches!(scene.next().await, Observation::Failed { .. }));
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.checks.ask(Target::Tag(image("r.example/web"))).await;
    for delay in [0.25, 0.75, 4.0] {
        let now = Utc::now();
        let Observation::Failed { retry_at, .. } = scene.next().await else { panic!("not failed") };
        let said = (retry_at - now).as_seconds_f64();
        assert!((said - delay).abs() < 0.2, "says when it looks again: {said}, {delay}");
    }
    let Observation::Failed { .. } = scene.next().await else { panic!("not failed") };
    assert_eq!(scene.next().await, Observation::Recovered { target: Target::Tag(image("r.example/web")) });
    assert_eq!(scene.next().await, seen(1));
    let pauses = scene.pauses();
    let last = pauses.last().unwrap() / 60.0;
    assert!((1.8..=2.2).contains(&last), "the second failure, so twice the interval: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_all_the_time_is_answered_five_times_in_a_second() {
    let mut scene = Scene::new(&[Ok(digest(1))], &[("web", "r.example/web")]);
    assert_eq!(scene.next().await, seen(1));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        scene.checks.ask(Target::Tag(image("r.example/web"))).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pauses = scene.pauses();
    assert!(pauses.iter().all(|pause| *pause >= 0.2), "{pauses:?}");
    assert!((45..=50).contains(&pauses.len()), "{} checks", pauses.len());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_asked_for_during_a_check_comes_after_it() {
    let latency = Duration::from_secs(1);
    let script = Script { heads: Mutex::new([Ok(digest(1)), Ok(digest(2))].into()), latency, ..Script::default() };
    script.ages.lock().unwrap().push_back(Ok(Some(built())));
    let mut scene = Scene::of(script, &[("web", "r.example/web")]);
    let start = Instant::now();
    tokio::time::sleep(latency / 2).await;
    scene.checks.ask(Target::Tag(image("r.example/web"))).await;
    assert_eq!(scene.next().await, seen(1));
    assert_eq!(scene.next().await, seen(2));
    assert_eq!(start.elapsed(), latency * 2);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_while_a_registry_is_down_and_shrink_when_it_is_back() {
    let mut heads = vec![Err(down()); 8];
    heads.push(Ok(digest(1)));
    let mut scene = Scene::new(&heads, &[("web", "r.example/web")]);
    for _ in 0..8 {
        let before = Utc::now();
        let Observation::Failed { error, retry_at, .. } = scene.next().await else { panic!("not failed") };
        assert_eq!(error, "registry `r.example` cannot be reached: down");
        assert!(retry_at > before);
    }
    assert_eq!(scene.next().await, Observation::Recovered { target: Target::Tag(image("r.example/web")) });
    assert_eq!(scene.next().await, seen(1));
    scene.silence(2 * MINUTE).await;
    let pauses = scene.pauses();
    for (pause, expect) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 1.0]) {
        assert!((pause / 60.0 / expect - 1.0).abs() < 0.11, "{pauses:?}");
    }
    assert!(pauses.len() >= 9);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_asks_for_rest_is_left_alone_with_all_its_references() {
    let limited = Error::RateLimited { registry: "r.example".into(), retry_after: Some(Duration::from_secs(1000)) };
    let mut scene = Scene::new(&[Err(limited), Ok(digest(1))], &[("web", "r.example/web")]);
    let start = Instant::now();
    assert!(matches!(scene.next().await, Observation::Failed { .. }));
    // Neither a new reference nor a request hurries it.
    scene.followed.send(follow(&[("web", "r.example/web"), ("db", "r.example/db")])).unwrap();
    scene.checks.ask(Target::Tag(image("r.example/web"))).await;
    scene.silence(Duration::from_secs(999)).await;
    assert_eq!(scene.script.asked.lock().unwrap().len(), 1);
    let mut said = vec![scene.next().await, scene.next().await, scene.next().await];
    said.retain(|one| matches!(one, Observation::Seen { .. }));
    assert_eq!(said.len(), 2);
    assert!((1000..=1100).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let asked: Vec<Instant> = scene.script.asked.lock().unwrap().iter().map(|(at, _)| *at).collect();
    assert!(asked[1] >= start + Duration::from_secs(1000) && asked[2] > asked[1], "one by one: {asked:?}");
    let start = Instant::now();
    // Another registry is not concerned.
    scene.followed.send(follow(&[("x", "other.example/x")])).unwrap();
    scene.next().await;
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_digest_is_said_at_once_and_again_when_its_age_is_known() {
    let script = Script { heads: Mutex::new([Ok(digest(1))].into()), ..Script::default() };
    script.ages.lock().unwrap().extend([Err(down()), Err(down()), Ok(Some(built()))]);
    let mut scene = Scene::of(script, &[("web", "r.example/web")]);
    let unknown = Observation::Seen { image: image("r.example/web"), digest: digest(1), about: about(None) };
    assert_eq!(scene.next().await, unknown);
    assert_eq!(scene.next().await, seen(1));
    assert_eq!(scene.asked().len(), 3);
    scene.silence(10 * MINUTE).await;
}

/// A missed signature of this digest.
fn missed(number: u8) -> Unsigned {
    let repository = image("r.example/web").repository;
    Unsigned { app: "web".parse().unwrap(), version: SpecVersion(1), repository, digest: digest(number) }
}

fn signed(text: &str) -> Vec<Signature> {
    vec![Signature { payload: text.into(), signature: "c2ln".into() }]
}

#[tokio::test(start_paused = true)]
async fn a_missed_signature_is_looked_for_ever_less_and_at_once_when_its_registry_tells() {
    let script = Script::default();
    script.signatures.lock().unwrap().push_back(Ok(Vec::new()));
    let mut scene = Scene::of(script, &[]);
    let unsigned = [missed(1)].into();
    scene.followed.send(Followed { unsigned, ..Followed::default() }).unwrap();
    let shown = |signatures: Vec<Signature>| Observation::Signatures {
        repository: image("r.example/web").repository,
        digest: digest(1),
        signatures,
    };
    for _ in 0..8 {
        assert_eq!(scene.next().await, shown(Vec::new()));
    }
    assert_eq!(scene.script.asked.lock().unwrap()[0].1, format!("r.example/web:sha256-{}.sig", "01".repeat(32)));
    let minutes: Vec<f64> = scene.pauses().iter().map(|pause| (pause / 60.0).round()).collect();
    assert_eq!(minutes[..3], [1.0, 2.0, 4.0], "{minutes:?}");
    assert!(minutes[4..].iter().all(|pause| (13.0..=17.0).contains(pause)), "{minutes:?}");

    // cosign pushes, the registry tells.
    scene.script.signatures.lock().unwrap().push_back(Ok(signed("it")));
    scene.script.signatures.lock().unwrap().pop_front();
    let start = Instant::now();
    scene.checks.ask(Target::Signatures(image("r.example/web").repository, digest(1))).await;
    assert_eq!(scene.next().await, shown(signed("it")));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());

    // Nobody misses it any more.
    scene.followed.send(Followed::default()).unwrap();
    scene.silence(60 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_asked_too_often_is_left_alone_by_tags_and_signatures_alike() {
    let limited = || Error::RateLimited { registry: "r.example".into(), retry_after: Some(10 * MINUTE) };
    let script =
        Script { heads: Mutex::new([Ok(digest(1)), Err(limited()), Ok(digest(2))].into()), ..Script::default() };
    script.ages.lock().unwrap().push_back(Ok(Some(built())));
    script.signatures.lock().unwrap().push_back(Ok(Vec::new()));
    let mut scene = Scene::of(script, &[("web", "r.example/web")]);
    assert_eq!(scene.next().await, seen(1));
    let Observation::Failed { .. } = scene.next().await else { panic!("not failed") };
    let start = Instant::now();
    let followed = Followed { unsigned: [missed(1)].into(), ..follow(&[("web", "r.example/web")]) };
    scene.followed.send(followed).unwrap();
    assert!(matches!(scene.next().await, Observation::Recovered { .. } | Observation::Signatures { .. }));
    assert!(start.elapsed() >= 10 * MINUTE, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_list_serves_every_app_that_chooses_among_its_tags_and_a_webhook_hurries_it() {
    let script = Script::default();
    script
        .lists
        .lock()
        .unwrap()
        .extend([Ok(vec!["1.0.0".to_owned()]), Ok(vec!["1.0.0".to_owned(), "1.1.0".to_owned()])]);
    let mut scene = Scene::of(script, &[]);
    let repository = image("r.example/web").repository;
    let lists = ["a", "b"].map(|app| (app.parse().unwrap(), (repository.clone(), SpecVersion(1)))).into();
    scene.followed.send(Followed { lists, ..Followed::default() }).unwrap();
    let listed = |tags: &[&str]| Observation::Tags {
        repository: repository.clone(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    };
    assert_eq!(scene.next().await, listed(&["1.0.0"]));
    let start = Instant::now();
    scene.checks.ask(Target::Tags(repository.clone())).await;
    assert_eq!(scene.next().await, listed(&["1.0.0", "1.1.0"]));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(scene.script.asked.lock().unwrap().len(), 2, "once for both apps");
}

#[tokio::test(start_paused = true)]
async fn apps_with_one_tag_share_one_check() {
    let mut scene =
        Scene::new(&[Ok(digest(1))], &[("a", "r.example/web"), ("b", "r.example/web"), ("c", "r.example/web")]);
    assert_eq!(scene.next().await, seen(1));
    scene.silence(10 * MINUTE).await;
    let checks = scene.script.asked.lock().unwrap().len();
    assert!((10..=12).contains(&checks), "{checks} checks in ten minutes");
}
