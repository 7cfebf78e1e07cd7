//! Everything that comes from outside and is wrong, in one table: each refused with words that say why, and nothing is changed.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tonic::Code;

use crate::hooks::{NAMES, body, sign, webhooks};
use crate::limits::{connect, rest, short};
use crate::scene::{Scene, digest};

/// Nothing listens there: the webhooks' registry.
const HOST: &str = "127.0.0.1:1";

/// What somebody sends, the status that it gets, and words of the answer.
struct Bad {
    what: String,
    request: String,
    status: u16,
    words: &'static str,
}

fn bad(what: impl Into<String>, request: String, status: u16, words: &'static str) -> Bad {
    Bad { what: what.into(), request, status, words }
}

/// A request as it goes over the wire; headers are lines.
fn raw(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

const JSON: &str = "Content-Type: application/json";
const REPORTS: &str = "/v1/apps/web/reports";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn good_report() -> String {
    json!({"digest": digest('a'), "result": "passed"}).to_string()
}

/// Reports by those who may not.
fn by_strangers(ci: &str, viewer: &str) -> Vec<Bad> {
    let report = |path: &str, token: &str| raw("POST", path, &[&bearer(token), JSON], &good_report());
    vec![
        bad("a report without a token", raw("POST", REPORTS, &[JSON], &good_report()), 401, "nightshift token create"),
        bad("a report with a wrong token", report(REPORTS, "nobody.knows"), 401, "nightshift token create"),
        bad("a report with another app's token", report("/v1/apps/db/reports", ci), 403, "not bound to app `db`"),
        bad("a report for an unknown app", report("/v1/apps/nothing/reports", ci), 403, "not bound to app `nothing`"),
        bad("a report by a viewer", report(REPORTS, viewer), 403, "`ci`, `operator` or `admin`"),
    ]
}

/// Reports that are none, by those who may.
fn malformed(ci: &str, operator: &str) -> Vec<Bad> {
    let report = |body: &str| raw("POST", REPORTS, &[&bearer(ci), JSON], body);
    let with = |digest: &str| report(&json!({"digest": digest, "result": "passed"}).to_string());
    let unknown = raw("POST", "/v1/apps/nothing/reports", &[&bearer(operator), JSON], &good_report());
    vec![
        bad("a short digest", with("sha256:12"), 400, "is no digest"),
        bad("a tag for a digest", with("stable"), 400, "is no digest"),
        bad("an operator's report for an unknown app", unknown, 404, "no app `nothing`"),
        bad("half a body", report("{\"digest\": "), 400, "the body cannot be used"),
        bad("no body", report(""), 400, "the body cannot be used"),
        bad("an unknown key", report("{\"digest_of\": 1}"), 400, "unknown field `digest_of`"),
        bad(
            "a body that is no JSON by its own word",
            raw("POST", REPORTS, &[&bearer(ci), "Content-Type: text/plain"], &good_report()),
            415,
            "Content-Type: application/json",
        ),
        bad("an oversized body", report(&" ".repeat(16 * 1024 + 1)), 413, "larger than 16384 bytes"),
        bad("a body that never ends", report(&good_report()).replace("passed\"}", "pas"), 408, "did not come within"),
        bad("an app that is no name", raw("POST", "/v1/apps/..%2Fdb/reports", &[&bearer(ci)], ""), 400, "`../db`"),
        bad(
            "a long name",
            raw("POST", &format!("/v1/apps/{}/reports", "w".repeat(8_000)), &[&bearer(ci)], ""),
            400,
            "63",
        ),
        bad("another method", raw("GET", REPORTS, &[&bearer(ci)], ""), 405, "only POST"),
        bad("an unknown route", raw("POST", "/v1/apps/web/report", &[&bearer(ci)], ""), 404, "docs/http.md"),
        bad("numbers without a token", raw("GET", "/metrics", &[], ""), 401, "nightshift token create"),
        bad("numbers for CI", raw("GET", "/metrics", &[&bearer(ci)], ""), 403, "`ci`"),
        // What answers these does not know our routes: a status has to do.
        bad("a long URL", raw("POST", &format!("/{}", "x".repeat(70_000)), &[], ""), 431, ""),
        bad("a long header", raw("POST", REPORTS, &[&format!("X: {}", "x".repeat(40_000))], ""), 431, ""),
        bad("no HTTP", "EHLO x\r\n\r\n".into(), 400, ""),
    ]
}

/// A notification by somebody who does not know the secret of that webhook.
fn forged(name: &str) -> Bad {
    let body = body(name, HOST);
    let path = format!("/v1/hooks/registry/{name}");
    let request = match name {
        "docker-hub" => raw("POST", &format!("{path}?token=wrong"), &[JSON], &body),
        "harbor" => raw("POST", &path, &["Authorization: wrong", JSON], &body),
        "distribution" | "ecr" => raw("POST", &path, &[&bearer("wrong"), JSON], &body),
        _ => {
            let signature = format!("X-Hub-Signature-256: {}", sign("wrong", &body));
            raw("POST", &path, &[&signature, "X-GitHub-Event: package", JSON], &body)
        }
    };
    bad(format!("a forged notification of {name}"), request, 401, "docs/http.md")
}

#[tokio::test]
async fn bad_input_of_every_kind_is_refused_with_its_reason_and_changes_nothing() {
    let mut scene = Scene::listening(webhooks(HOST), short()).await;
    let ci = scene.token("ci", "pipeline", &["web"]).await;
    let viewer = scene.token("viewer", "wall", &[]).await;
    let operator = scene.token("operator", "ann", &[]).await;
    let before = scene.everything().await;

    let mut wrong = Vec::new();
    let hooks = NAMES.into_iter().map(forged);
    for Bad { what, request, status, words } in
        by_strangers(&ci, &viewer).into_iter().chain(malformed(&ci, &operator)).chain(hooks)
    {
        let mut stream = connect(&scene, b"http/1.1").await;
        // The other end may have enough before all is sent.
        drop(stream.write_all(request.as_bytes()).await);
        let answer = rest(&mut stream).await;
        let said = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let told = words.is_empty() || (said.starts_with("{\"error\":\"") && said.contains(words));
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) || !told {
            wrong.push(format!("{what} wants {status} and `{words}`: {answer}"));
        }
    }

    let good = "name = \"web\"\nimage = \"r.example/web:stable\"\n";
    for (what, token, toml, code, words) in [
        ("a file without a token", None, good, Code::Unauthenticated, "token"),
        ("a file by a viewer", Some(&viewer), good, Code::PermissionDenied, "`operator` or `admin`"),
        ("a file by CI", Some(&ci), good, Code::PermissionDenied, "`operator` or `admin`"),
        ("no TOML", Some(&operator), "name = ", Code::InvalidArgument, "app.toml:1:"),
        ("no name", Some(&operator), "image = \"web\"", Code::InvalidArgument, "`name` is missing"),
        ("an unknown key", Some(&operator), "names = \"web\"\n", Code::InvalidArgument, "did you mean `name`?"),
        ("a wrong type", Some(&operator), "name = 1\n", Code::InvalidArgument, "`name` is"),
        ("a large file", Some(&operator), &"#".repeat(5_000_000), Code::InvalidArgument, "allowed are up to 1048576"),
        ("a path for a name", Some(&operator), "name = \"../web\"\n", Code::InvalidArgument, "`../web`"),
    ] {
        let refused = scene.apply_as(token.map(String::as_str), toml).await.unwrap_err();
        if refused.code() != code || !refused.message().contains(words) {
            wrong.push(format!("{what} wants {code:?} and `{words}`: {refused:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    assert_eq!(scene.everything().await, before, "nothing has changed");
    // What is right is taken, and seen: the comparison above can fail.
    let report = json!({"digest": digest('a'), "result": "passed"});
    assert_eq!(scene.post("web", &ci, &report).await.status, 200);
    assert_ne!(scene.everything().await, before);
}
