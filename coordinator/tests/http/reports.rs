//! `POST /v1/apps/{app}/reports`: what is taken, what is refused, and what is changed by either.

use serde_json::{Value, json};

use crate::scene::{Scene, digest};

#[tokio::test]
async fn a_passed_report_makes_a_digest_eligible_and_is_audited() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let body = json!({"digest": digest('a'), "result": "passed", "suite": "unit", "url": "https://ci.example/7"});
    let reply = scene.post("web", &token, &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let mut answer = reply.body;
    let at = answer["at"].take();
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{at}");
    let expect = json!({"app": "web", "digest": digest('a'), "suite": "unit", "result": "passed", "by": "pipeline", "at": null,
        "url": "https://ci.example/7", "eligible": true, "denial": null});
    assert_eq!(answer, expect);
    let events = scene.events("web").await;
    let stored = events.iter().find(|event| event["kind"] == "test_reported").unwrap();
    assert_eq!(stored["by"], "pipeline");
    assert_eq!(stored["detail"]["report"]["url"], "https://ci.example/7");
    assert!(!scene.kept().contains(&token), "the token itself is kept nowhere");
}

#[tokio::test]
async fn the_same_report_again_gets_the_same_answer_and_a_contradiction_a_conflict() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let report = |digit, suite: &str, result: &str| json!({"digest": digest(digit), "suite": suite, "result": result});
    let first = scene.post("web", &token, &report('a', "unit", "passed")).await;
    let again = scene.post("web", &token, &report('a', "unit", "passed")).await;
    assert_eq!((first.status, &first.body), (200, &again.body));
    assert_eq!(scene.reports("web").await, 1);

    let second_suite = scene.post("web", &token, &report('a', "browser", "failed")).await;
    assert_eq!((second_suite.status, &second_suite.body["eligible"]), (200, &Value::Bool(false)));
    let denial = second_suite.body["denial"].as_str().unwrap();
    assert!(denial.contains("`browser`"), "a failed suite bars the digest: {denial}");
    let after = scene.post("web", &token, &report('a', "unit", "passed")).await;
    assert_eq!(after.body["eligible"], false, "another suite does not lift that");

    let contradiction = scene.post("web", &token, &report('a', "browser", "passed")).await;
    assert!(contradiction.refused(409).contains("immutable"), "{contradiction:?}");
    assert_eq!(scene.reports("web").await, 2);
    // A test that passed may still turn out to fail: that is news, and bars.
    let later = scene.post("web", &token, &report('a', "unit", "failed")).await;
    assert_eq!((later.status, &later.body["result"]), (200, &json!("failed")));
}

#[tokio::test]
async fn who_may_not_report_is_refused_and_changes_nothing() {
    let mut scene = Scene::new().await;
    let (ci, viewer) = (scene.token("ci", "pipeline", &["web"]).await, scene.token("viewer", "wall", &[]).await);
    let node = scene.token("node", "n1", &[]).await;
    let body = json!({"digest": digest('a'), "result": "passed"});
    let url = scene.url("/v1/apps/web/reports");

    let nobody = scene.send(scene.http.post(&url).json(&body)).await;
    assert!(nobody.refused(401).contains("nightshift token create"), "{nobody:?}");
    let answer = scene.http.post(&url).json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    for wrong in ["", "x", "a.b", &format!("{}x", &ci[..ci.len() - 1]), &node, &"t".repeat(5000)] {
        assert_eq!(scene.post("web", wrong, &body).await, nobody, "one answer for every cause: {wrong}");
    }
    let basic = scene.send(scene.http.post(&url).basic_auth("ci", Some(&ci)).json(&body)).await;
    assert_eq!(basic, nobody);

    let other_app = scene.post("db", &ci, &body).await;
    assert!(other_app.refused(403).contains("not bound to app `db`"), "{other_app:?}");
    let unknown_app = scene.post("nothing", &ci, &body).await;
    assert!(unknown_app.refused(403).contains("not bound"), "nobody learns which apps there are: {unknown_app:?}");
    let role = scene.post("web", &viewer, &body).await;
    assert!(role.refused(403).contains("`ci`, `operator` or `admin`"), "{role:?}");
    // Who may not is told so before anything of the body is looked at.
    let request = scene.http.post(scene.url("/v1/apps/db/reports")).bearer_auth(&ci).body("rubbish");
    assert_eq!(scene.send(request).await.status, 403);
    assert_eq!((scene.reports("web").await, scene.reports("db").await), (0, 0));
}

#[tokio::test]
async fn an_operator_may_report_and_an_app_must_exist() {
    let mut scene = Scene::new().await;
    let operator = scene.token("operator", "ann", &[]).await;
    let dangling = scene.token("ci", "early", &["later"]).await;
    let body = json!({"digest": digest('a'), "result": "passed"});
    assert_eq!(scene.post("web", &operator, &body).await.status, 200);
    for token in [&operator, &dangling] {
        let unknown = scene.post("later", token, &body).await;
        assert!(unknown.refused(404).contains("no app `later`"), "{unknown:?}");
    }
    assert!(scene.events("later").await.is_empty());
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_their_reason() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let good = digest('a');
    let (long_suite, long_url) = ("s".repeat(101), format!("https://{}", "u".repeat(2000)));
    for (body, words) in [
        (json!({}), "missing field `digest`"),
        (json!({"digest": good}), "missing field `result`"),
        (json!({"digest": "sha256:12", "result": "passed"}), "is no digest"),
        (json!({"digest": "latest", "result": "passed"}), "is no digest"),
        (json!({"digest": good.to_uppercase(), "result": "passed"}), "is no digest"),
        (json!({"digest": format!("{good}\n"), "result": "passed"}), "is no digest"),
        (json!({"digest": 7, "result": "passed"}), "expected a string"),
        (json!({"digest": good, "result": "ok"}), "unknown variant"),
        (json!({"digest": good, "result": true}), "the body cannot be used"),
        (json!({"digest": good, "result": "passed", "suit": "unit"}), "unknown field `suit`"),
        (json!({"digest": good, "result": "passed", "suite": long_suite}), "at most 100 bytes"),
        (json!({"digest": good, "result": "passed", "suite": "a\u{0}b"}), "without control characters"),
        (json!({"digest": good, "result": "passed", "url": long_url}), "at most 2000 bytes"),
        (json!({"digest": good, "result": "passed", "url": "javascript:alert(1)"}), "begins with `https://`"),
        (json!([good, "passed"]), "the body cannot be used"),
        (json!(null), "the body cannot be used"),
    ] {
        let reply = scene.post("web", &token, &body).await;
        assert!(reply.refused(400).contains(words), "{body}: {reply:?}");
    }
    let raw = |text: &'static str| {
        let request = scene.http.post(scene.url("/v1/apps/web/reports")).bearer_auth(&token);
        scene.send(request.header("content-type", "application/json").body(text))
    };
    for text in ["", "{", "digest=x", r#"{"digest": "a", "digest": "b"}"#, "{}{}"] {
        assert!(raw(text).await.refused(400).contains("the body cannot be used"), "{text}");
    }
    assert_eq!(scene.reports("web").await, 0);
}

#[tokio::test]
async fn wrong_kinds_methods_and_paths_are_refused_in_json() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    let (http, url) = (&scene.http, scene.url("/v1/apps/web/reports"));
    let body = json!({"digest": digest('a'), "result": "passed"}).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = http.post(&url).bearer_auth(&token).header("content-type", kind).body(body.clone());
        assert!(scene.send(request).await.refused(415).contains("application/json"), "{kind}");
    }
    let untyped = http.post(&url).bearer_auth(&token).body(body.clone());
    assert_eq!(scene.send(untyped).await.status, 415);
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let request = http.request(method.parse().unwrap(), &url).bearer_auth(&token).body(body.clone());
        assert!(scene.send(request).await.refused(405).contains("only POST"), "{method}");
    }
    let answer = http.get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["allow"], "POST");
    for path in [
        "/",
        "/v1",
        "/v1/apps",
        "/v1/apps/web",
        "/v1/apps/web/reports/",
        "/v1/apps/web/reports/1",
        "/v2/apps/web/reports",
    ] {
        let request = http.post(scene.url(path)).bearer_auth(&token).json(&json!({}));
        assert!(scene.send(request).await.refused(404).contains("/v1/apps/APP/reports"), "{path}");
    }
    for app in ["%ff", "we%00b", "..%2Fdb", "-web", &"w".repeat(64)] {
        let request = http.post(scene.url(&format!("/v1/apps/{app}/reports"))).bearer_auth(&token).json(&json!({}));
        scene.send(request).await.refused(400);
    }
    assert_eq!(scene.reports("web").await, 0);
}

#[tokio::test]
async fn grpc_and_https_are_one_way_in() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "pipeline", &["web"]).await;
    scene.report_by_grpc(&token, &digest('a'), false).await.unwrap();
    let failed = json!({"digest": digest('a'), "result": "failed"});
    assert_eq!(scene.post("web", &token, &failed).await.body["suite"], "default", "no suite is the default suite");
    assert_eq!(scene.reports("web").await, 1);
    let refused = scene.report_by_grpc(&token, &digest('a'), true).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Aborted);
}

#[tokio::test]
async fn the_documentation_shows_the_answer_as_it_is() {
    let mut scene = Scene::new().await;
    let token = scene.token("ci", "github", &["web"]).await;
    let answer = scene.post("web", &token, &json!({"digest": digest('a'), "result": "passed"})).await.body;
    let page = include_str!("../../../docs/http.md");
    let block = page.split("```").find(|block| block.trim_start().starts_with(r#"{"app""#)).expect("an example");
    let documented: Value = serde_json::from_str(block).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&documented), keys(&answer));
    assert_eq!(documented["denial"], answer["denial"]);
}
