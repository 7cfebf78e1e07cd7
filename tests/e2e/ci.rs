//! `examples/ci` at work: the script with a real `docker`, a real registry and a real `curl`, and the line of `docs/http.md`.

use serde_json::Value;

use crate::support::ci::{Job, said};
use crate::support::fleet::{Fleet, Hours, ROLLOUT};
use crate::support::repository_file;

#[test]
fn what_ci_has_tested_is_pushed_reported_and_rolled_out_and_what_failed_is_not() {
    let Some(fleet) = Fleet::start("ci") else { return };
    let job = Job::new(&fleet);
    fleet.apply(Hours::Always);
    job.commit("welcome");
    let good = job.release();
    let known = job.known(&good.digest);
    let report = &known["reports"][0];
    assert_eq!(report["by"], "pipeline", "{known:#}");
    assert_eq!((&report["suite"], &report["url"]), (&"ci".into(), &"https://ci.example/runs/7".into()), "{known:#}");
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&good);

    let before = job.releases();
    job.commit("under construction");
    let failed = job.script(&["release"], &[]);
    assert_eq!((failed.status.code(), failed.stdout.len()), (Some(1), 0), "{}", said(&failed));
    assert!(said(&failed).contains("a test failed: nothing is pushed"), "{}", said(&failed));
    assert_eq!(job.tagged(), good.digest, "the tag is as it was");
    assert_eq!(job.releases(), before);

    // The same source again, as in a night without news: nothing changes, and the job is green.
    job.commit("welcome");
    assert_eq!(job.release().digest, good.digest, "every layer is the same");
    assert_eq!(job.known(&good.digest)["reports"].as_array().expect("a list").len(), 1, "one report, however often");
    fleet.runs(&good);
}

#[test]
fn a_later_suite_bars_a_digest_and_a_report_that_is_not_taken_fails_the_job() {
    let Some(fleet) = Fleet::start("ci-suites") else { return };
    let job = Job::new(&fleet);
    fleet.apply(Hours::Never);
    let pushed = fleet.push("v2", &crate::support::fleet::GOOD);
    let with_suite = |result, token: &str| {
        job.script(&["report", &pushed.digest, result], &[("SUITE", "browser"), ("NIGHTSHIFT_TOKEN", token)])
    };
    let refused = with_suite("passed", "0123456789abcdef.wrong");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert!(said(&refused).contains("the token is not accepted"), "the log says why: {}", said(&refused));
    let barred = with_suite("failed", &job.token);
    assert_eq!(barred.status.code(), Some(0), "it was taken: {}", said(&barred));
    let known = job.known(&pushed.digest);
    assert_eq!((&known["eligible"], &known["reports"][0]["suite"]), (&false.into(), &"browser".into()), "{known:#}");
    let lifted = with_suite("passed", &job.token);
    assert_eq!(lifted.status.code(), Some(1), "{}", said(&lifted));
    assert!(said(&lifted).contains("immutable"), "{}", said(&lifted));

    // The line of the documentation, as it stands there.
    let page = std::fs::read_to_string(repository_file("docs/http.md")).expect("the page is there");
    let line = page.split("```\n").find(|block| block.starts_with("curl ")).expect("a line");
    let line = line.replace("https://control.example:7443", "\"$NIGHTSHIFT_SERVER\"").replace("apps/web", "apps/$APP");
    let line = line.replace("ca.pem", "\"$NIGHTSHIFT_CA\"").replace("sha256:…", &pushed.digest);
    let ran = job.command("sh").args(["-euc", &line]).env("APP", fleet.app()).output().expect("a shell");
    assert_eq!(ran.status.code(), Some(0), "{line}: {}", said(&ran));
    let answer: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!((&answer["by"], &answer["result"]), (&"pipeline".into(), &"passed".into()), "{answer:#}");
    assert_eq!(job.known(&pushed.digest)["reports"].as_array().expect("a list").len(), 2);

    // The command line says the same with the same token; the token can do nothing else.
    let cli = |arguments: &[&str]| {
        let ran = job.command(env!("CARGO_BIN_EXE_nightshift")).args(arguments).output().expect("the program");
        (ran.status.code(), said(&ran))
    };
    let app = fleet.app();
    let report = ["release", "report", &app, "--digest", &pushed.digest, "--suite", "cli", "--result"];
    assert_eq!(cli(&[&report[..], &["passed", "--url", "https://ci.example/runs/8"]].concat()).0, Some(0));
    let (code, words) = cli(&[&report[..], &["passed", "--url", "ftp://ci.example"]].concat());
    assert!(code == Some(2) && words.contains("https://"), "{code:?} {words}");
    assert_eq!(job.known(&pushed.digest)["reports"].as_array().expect("a list").len(), 3);
    let (code, words) = cli(&["release", "quarantine", &app, &pushed.digest, "--reason", "x"]);
    assert!(code == Some(1) && words.contains("may not"), "{code:?} {words}");
}
