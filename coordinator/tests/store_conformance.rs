//! What every store must do, written against the trait: a new store adds its [`Place`] and one line at the end.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_coordinator::data_dir::DataDir;
use nightshift_coordinator::store::{
    APPEND_LIMIT, BODY_LIMIT_BYTES, Batch, Certificate, Enrolment, Error, EventFilter, JOB_LOGS_KEPT, KeptLog,
    MemoryStore, NewEvent, Recorded, Revision, Role, Sequence, SqliteStore, Store, StreamId, Token,
};
use nightshift_core::ids::Epoch;
use serde_json::json;

/// Where a store keeps its data, so that a test can open it again.
#[async_trait]
trait Place: Send + Sync {
    /// Opens the store; the one opened before must be gone.
    async fn open(&self) -> Arc<dyn Store>;
    /// What a power cut now would leave, opened: the store itself stays open.
    async fn open_after_power_cut(&self) -> Arc<dyn Store>;
}

struct SqlitePlace {
    directory: tempfile::TempDir,
}

impl SqlitePlace {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

async fn open_sqlite(path: &Path) -> Arc<dyn Store> {
    let data_dir = DataDir::open(path).unwrap();
    Arc::new(SqliteStore::open(&data_dir).await.unwrap())
}

#[async_trait]
impl Place for SqlitePlace {
    async fn open(&self) -> Arc<dyn Store> {
        open_sqlite(&self.data()).await
    }

    async fn open_after_power_cut(&self) -> Arc<dyn Store> {
        let copy = self.directory.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        for file in std::fs::read_dir(self.data()).unwrap() {
            let file = file.unwrap();
            // The shared memory of the running process dies with it.
            if !file.file_name().to_string_lossy().ends_with("-shm") {
                std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
            }
        }
        open_sqlite(&copy).await
    }
}

/// A store in memory is what a simulation keeps of it: everything that was stored.
struct MemoryPlace(MemoryStore);

#[async_trait]
impl Place for MemoryPlace {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    async fn open_after_power_cut(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 123_456_000).unwrap()
}

fn event(number: i64) -> NewEvent {
    NewEvent {
        at: at(number),
        by: "tester".into(),
        kind: "counted".into(),
        app: (number % 2 == 0).then(|| "web".into()),
        node: Some("n1".into()),
        rollout: (number % 3 == 0).then(|| "r1".into()),
        body: json!({"number": number, "text": "ü \" \u{0} 'x'", "none": null}),
    }
}

fn batch(stream: &str, after: u64, numbers: &[i64]) -> Batch {
    let events = numbers.iter().copied().map(event).collect();
    Batch { stream: stream.into(), after: Revision(after), events }
}

fn numbers(events: &[Recorded]) -> Vec<i64> {
    events.iter().map(|event| event.body["number"].as_i64().unwrap()).collect()
}

fn sequences(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(|event| event.sequence.0).collect()
}

async fn logs_of_jobs_are_kept_by_app_and_digest_and_the_oldest_leave(place: &dyn Place) {
    let log = |app: &str, number: i64| KeptLog {
        job: format!("{app}-{number:03}"),
        app: app.to_owned(),
        node: "t1".into(),
        kind: "self-test".into(),
        digest: (number % 2 == 0).then(|| "sha256:even".to_owned()),
        result: "failed".into(),
        reason: (number % 2 == 0).then(|| "exit code 1".to_owned()),
        at: at(number),
        text: "ü \" \n".into(),
        cut: number % 2 == 0,
    };
    let store = place.open().await;
    let last = i64::from(JOB_LOGS_KEPT) + 5;
    store.keep_job_log(&log("api", 1)).await.unwrap();
    for number in 1..=last {
        store.keep_job_log(&log("web", number)).await.unwrap();
    }
    // Kept once, as it was first.
    store.keep_job_log(&KeptLog { text: "other".into(), ..log("web", last) }).await.unwrap();
    let kept = store.job_logs("web", None, 1_000).await.unwrap();
    let expect: Vec<_> = (6..=last).rev().map(|number| log("web", number)).collect();
    assert_eq!(kept, expect);
    let even = store.job_logs("web", Some("sha256:even"), 2).await.unwrap();
    assert_eq!(even, [log("web", last - 1), log("web", last - 3)]);
    assert_eq!(store.job_logs("api", None, 10).await.unwrap(), [log("api", 1)]);
    assert_eq!(store.job_logs("nobody", None, 10).await.unwrap(), []);
    drop(store);
    assert_eq!(place.open().await.job_logs("web", None, 1).await.unwrap(), [log("web", last)]);
}

async fn what_was_appended_is_read_back_whole_and_in_order(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.load(&"a".into()).await.unwrap(), []);
    let first = store.append(&[batch("a", 0, &[1, 2])]).await.unwrap();
    let second = store.append(&[batch("b", 0, &[3])]).await.unwrap();
    let third = store.append(&[batch("a", 2, &[4])]).await.unwrap();
    let expect = Recorded {
        sequence: Sequence(4),
        stream: "a".into(),
        revision: Revision(3),
        at: at(4),
        by: "tester".into(),
        kind: "counted".into(),
        app: Some("web".into()),
        node: Some("n1".into()),
        rollout: None,
        body: event(4).body,
    };
    assert_eq!(third, [expect]);
    let all = [first.clone(), second.clone(), third.clone()].concat();
    assert_eq!(store.load_all(Sequence(0), 100).await.unwrap(), all);
    assert_eq!(store.load_all(Sequence(1), 2).await.unwrap(), all[1..3]);
    assert_eq!(store.load(&"a".into()).await.unwrap(), [first, third].concat());
    assert_eq!(store.load(&"b".into()).await.unwrap(), second);
}

async fn times_come_back_as_append_returned_them(place: &dyn Place) {
    let store = place.open().await;
    let precise = at(0) + TimeDelta::nanoseconds(789);
    let events = vec![NewEvent { at: precise, ..event(1) }];
    let returned = store.append(&[Batch { stream: "a".into(), after: Revision(0), events }]).await.unwrap();
    assert_eq!(returned[0].at, at(0));
    assert_eq!(store.load(&"a".into()).await.unwrap(), returned);
}

async fn an_append_on_an_old_revision_conflicts_and_leaves_no_trace(place: &dyn Place) {
    let store = place.open().await;
    store.append(&[batch("a", 0, &[1, 2])]).await.unwrap();
    for wrong in [0, 1, 3] {
        // The first batch is fine; it must not stay when the second is not.
        let error = store.append(&[batch("b", 0, &[7]), batch("a", wrong, &[8])]).await.unwrap_err();
        let Error::Conflict { stream, expected, found } = error else { panic!("{error}") };
        assert_eq!((stream, expected, found), (StreamId("a".into()), Revision(wrong), Revision(2)));
    }
    assert_eq!(store.streams_with_prefix("").await.unwrap(), [("a".into(), Revision(2))]);
    // No number was used up either.
    let next = store.append(&[batch("b", 0, &[3]), batch("a", 2, &[4, 5])]).await.unwrap();
    assert_eq!(sequences(&next), [3, 4, 5]);
}

async fn an_append_beyond_the_limits_is_refused_whole(place: &dyn Place) {
    let store = place.open().await;
    let mut large = batch("a", 0, &[1, 2]);
    large.events[1].body = json!("x".repeat(BODY_LIMIT_BYTES));
    let many = Batch { events: vec![event(1); APPEND_LIMIT + 1], ..batch("a", 0, &[]) };
    for refused in [vec![large], vec![many], vec![batch("a", 0, &[1]), batch("a", 1, &[2])]] {
        let error = store.append(&refused).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
    }
    assert_eq!(store.load_all(Sequence(0), 10).await.unwrap(), []);
}

async fn of_concurrent_appends_to_one_stream_exactly_one_wins(place: &dyn Place) {
    let store = place.open().await;
    for round in 0..10 {
        let rivals = (0..8).map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.append(&[batch("a", round, &[number])]).await })
        });
        let mut won = 0;
        for result in futures::future::join_all(rivals).await {
            match result.unwrap() {
                Ok(_) => won += 1,
                Err(Error::Conflict { found, .. }) => assert_eq!(found, Revision(round + 1)),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
    assert_eq!(store.load(&"a".into()).await.unwrap().len(), 10);
}

async fn a_reader_never_sees_a_gap_or_half_an_append(place: &dyn Place) {
    let store = place.open().await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    let stream = format!("w{writer}");
                    store.append(&[batch(&stream, round * 3, &[1, 2, 3])]).await.unwrap();
                }
            })
        })
        .collect();
    loop {
        let ended = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let seen = store.load_all(Sequence(0), 1000).await.unwrap();
        assert_eq!(sequences(&seen), (1..=seen.len() as u64).collect::<Vec<_>>());
        assert_eq!(seen.len() % 3, 0, "half an append was visible");
        if ended {
            assert_eq!(seen.len(), 240);
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn events_are_found_by_what_they_are_about(place: &dyn Place) {
    let store = place.open().await;
    store.append(&[batch("a", 0, &[1, 2, 3, 4, 5, 6])]).await.unwrap();
    let all = EventFilter::default();
    let web = EventFilter { app: Some("web".into()), ..all.clone() };
    for (filter, expect) in [
        (all.clone(), vec![1, 2, 3, 4, 5, 6]),
        (web.clone(), vec![2, 4, 6]),
        (EventFilter { after: Sequence(2), ..web.clone() }, vec![4, 6]),
        (EventFilter { newest: Some(2), ..web.clone() }, vec![4, 6]),
        (EventFilter { newest: Some(0), ..web.clone() }, vec![]),
        (EventFilter { rollout: Some("r1".into()), ..web }, vec![6]),
        (EventFilter { rollout: Some("r1".into()), ..all.clone() }, vec![3, 6]),
        (EventFilter { app: Some("' OR 1=1".into()), ..all }, vec![]),
    ] {
        assert_eq!(numbers(&store.events(&filter).await.unwrap()), expect, "{filter:?}");
    }
}

async fn streams_are_found_by_their_exact_prefix(place: &dyn Place) {
    let store = place.open().await;
    let batches = ["app/web", "app/db", "apps", "rollout/1", "a%", "App/x"].map(|stream| batch(stream, 0, &[1]));
    store.append(&batches).await.unwrap();
    for (prefix, expect) in [
        ("app/", vec!["app/db", "app/web"]),
        ("a%", vec!["a%"]),
        ("_pp", vec![]),
        ("", vec!["App/x", "a%", "app/db", "app/web", "apps", "rollout/1"]),
    ] {
        let found = store.streams_with_prefix(prefix).await.unwrap();
        assert_eq!(found.iter().map(|(stream, _)| stream.0.as_str()).collect::<Vec<_>>(), expect, "{prefix}");
    }
}

async fn everything_is_there_after_a_restart(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.begin_epoch().await.unwrap(), Epoch(1));
    let events = store.append(&[batch("a", 0, &[1, 2])]).await.unwrap();
    store.insert_token(&token("t1", Role::Node)).await.unwrap();
    assert_eq!(store.enroll_node("t1", &certificate("01", "n1", 1, 10)).await.unwrap(), Enrolment::Done);
    drop(store);
    let store = place.open().await;
    assert_eq!(store.begin_epoch().await.unwrap(), Epoch(2));
    assert_eq!(store.load_all(Sequence(0), 10).await.unwrap(), events);
    assert_eq!(store.enroll_node("t1", &certificate("02", "n2", 2, 10)).await.unwrap(), Enrolment::TokenSpent);
    assert_eq!(sequences(&store.append(&[batch("a", 2, &[3])]).await.unwrap()), [3]);
}

async fn everything_that_returned_survives_a_power_cut(place: &dyn Place) {
    let store = place.open().await;
    assert_eq!(store.begin_epoch().await.unwrap(), Epoch(1));
    let events = store.append(&[batch("a", 0, &[1, 2]), batch("b", 0, &[3])]).await.unwrap();
    let rescued = place.open_after_power_cut().await;
    assert_eq!(rescued.load_all(Sequence(0), 10).await.unwrap(), events);
    assert_eq!(rescued.begin_epoch().await.unwrap(), Epoch(2));
    assert_eq!(store.load_all(Sequence(0), 10).await.unwrap(), events);
}

fn token(id: &str, role: Role) -> Token {
    Token {
        id: id.into(),
        role,
        name: "somebody".into(),
        secret_hash: "00ff".into(),
        created: at(0),
        expires: Some(at(60)),
        apps: vec!["web".parse().unwrap(), "db".parse().unwrap()],
        used_at: None,
        revoked_at: None,
    }
}

fn certificate(serial: &str, node: &str, issued: i64, expires: i64) -> Certificate {
    Certificate { serial: serial.into(), node: node.parse().unwrap(), issued: at(issued), expires: at(expires) }
}

async fn a_join_token_is_good_once(place: &dyn Place) {
    let store = place.open().await;
    for (id, role) in [("once", Role::Node), ("late", Role::Node), ("barred", Role::Node), ("person", Role::Admin)] {
        store.insert_token(&token(id, role)).await.unwrap();
    }
    assert!(store.insert_token(&token("once", Role::Admin)).await.is_err(), "an id was taken over");
    let rivals = (0..8).map(|number| {
        let store = store.clone();
        let certificate = certificate(&format!("0{number}"), &format!("n{number}"), 59, 100);
        tokio::spawn(async move { store.enroll_node("once", &certificate).await.unwrap() })
    });
    let outcomes: Vec<_> = futures::future::join_all(rivals).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Enrolment::Done).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Enrolment::TokenSpent).count(), 7, "{outcomes:?}");
    assert_eq!(store.token("once").await.unwrap(), Some(Token { used_at: Some(at(59)), ..token("once", Role::Node) }));
    assert!(store.revoke_token("barred", at(1)).await.unwrap());
    assert!(!store.revoke_token("barred", at(2)).await.unwrap());
    for (id, now, why) in [
        ("late", 60, "its time was over"),
        ("person", 1, "it is no join token"),
        ("nobody", 1, "there is none"),
        ("barred", 3, "it was barred"),
    ] {
        let outcome = store.enroll_node(id, &certificate("99", "late", now, 100)).await.unwrap();
        assert_eq!(outcome, Enrolment::TokenSpent, "{id}: {why}");
    }
    assert_eq!(store.token("nobody").await.unwrap(), None);
    let ids: Vec<_> = store.tokens().await.unwrap().into_iter().map(|token| token.id).collect();
    assert_eq!(ids, ["barred", "late", "once", "person"]);
}

async fn a_name_with_a_good_certificate_is_taken(place: &dyn Place) {
    let store = place.open().await;
    for id in ["t1", "t2", "t3", "t4"] {
        store.insert_token(&token(id, Role::Node)).await.unwrap();
    }
    assert_eq!(store.enroll_node("t1", &certificate("01", "n1", 1, 10)).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enroll_node("t2", &certificate("02", "n1", 9, 20)).await.unwrap(), Enrolment::NameTaken);
    assert_eq!(store.token("t2").await.unwrap(), Some(token("t2", Role::Node)), "the token was used up for nothing");
    // Free again when the certificate is over, and when it was barred.
    assert_eq!(store.enroll_node("t2", &certificate("02", "n1", 10, 20)).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enroll_node("t3", &certificate("03", "n1", 11, 20)).await.unwrap(), Enrolment::NameTaken);
    store.revoke_certificates(&"n1".parse().unwrap(), at(11)).await.unwrap();
    assert_eq!(store.enroll_node("t3", &certificate("03", "n1", 12, 20)).await.unwrap(), Enrolment::Done);
    assert!(store.enroll_node("t4", &certificate("03", "n4", 12, 20)).await.is_err(), "a serial number was taken over");
    assert_eq!(store.token("t4").await.unwrap(), Some(token("t4", Role::Node)));
}

async fn barred_certificates_are_listed_until_they_end(place: &dyn Place) {
    let store = place.open().await;
    let node = "n1".parse().unwrap();
    for new in [certificate("01", "n1", 0, 10), certificate("02", "n1", 0, 20), certificate("03", "n2", 0, 20)] {
        store.insert_certificate(&new).await.unwrap();
    }
    assert!(store.insert_certificate(&certificate("03", "n1", 0, 20)).await.is_err(), "a serial number was taken over");
    assert_eq!(store.revoked_certificates(at(1)).await.unwrap(), Vec::<String>::new());
    let barred: BTreeSet<_> = store.revoke_certificates(&node, at(1)).await.unwrap().into_iter().collect();
    assert_eq!(barred, BTreeSet::from(["01".to_owned(), "02".to_owned()]));
    assert_eq!(store.revoke_certificates(&node, at(2)).await.unwrap(), Vec::<String>::new());
    // A node that enrols again gets a new one, which is good.
    store.insert_certificate(&certificate("04", "n1", 2, 30)).await.unwrap();
    assert_eq!(store.revoked_certificates(at(9)).await.unwrap(), ["01", "02"]);
    assert_eq!(store.revoked_certificates(at(10)).await.unwrap(), ["02"]);
}

macro_rules! conformance {
    ($module:ident, $place:expr, [$($test:ident),+ $(,)?]) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(&$place).await;
                }
            )+
        }
    };
}

macro_rules! every_test_on {
    ($module:ident, $place:expr) => {
        conformance!(
            $module,
            $place,
            [
                what_was_appended_is_read_back_whole_and_in_order,
                times_come_back_as_append_returned_them,
                an_append_on_an_old_revision_conflicts_and_leaves_no_trace,
                an_append_beyond_the_limits_is_refused_whole,
                of_concurrent_appends_to_one_stream_exactly_one_wins,
                a_reader_never_sees_a_gap_or_half_an_append,
                events_are_found_by_what_they_are_about,
                streams_are_found_by_their_exact_prefix,
                everything_is_there_after_a_restart,
                everything_that_returned_survives_a_power_cut,
                logs_of_jobs_are_kept_by_app_and_digest_and_the_oldest_leave,
                a_join_token_is_good_once,
                a_name_with_a_good_certificate_is_taken,
                barred_certificates_are_listed_until_they_end,
            ]
        );
    };
}

every_test_on!(sqlite, SqlitePlace::new());
every_test_on!(memory, MemoryPlace(MemoryStore::default()));

#[tokio::test]
async fn sqlite_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = SqlitePlace::new();
    let store = place.open().await;
    store.append(&[batch("a", 0, &[1])]).await.unwrap();
    let mut seen = Vec::new();
    for file in std::fs::read_dir(place.data()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
        seen.push(file.file_name().into_string().unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["lock", "nightshift.db", "nightshift.db-shm", "nightshift.db-wal"]);
}

#[tokio::test]
async fn sqlite_refuses_a_file_that_is_no_database() {
    let place = SqlitePlace::new();
    let data_dir = DataDir::open(place.data()).unwrap();
    std::fs::write(place.data().join("nightshift.db"), "this is no database, but long enough to be looked at").unwrap();
    let error = SqliteStore::open(&data_dir).await.unwrap_err();
    assert!(matches!(error, Error::Database(_)), "{error}");
}
