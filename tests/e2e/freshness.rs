//! Freshness: an image that is too old is an alarm until a newer one runs, which has to be known for a while first.

use std::process::Command;

use serde_json::Value;

use crate::support::eventually;
use crate::support::fleet::{Fleet, GOOD, Hours, ROLLOUT, SOON};

/// Keys that follow those of the app file's `[update]`.
const RULES: &str = "[freshness]\nmax_age = \"1d\"\n[gate]\ncooldown = \"5s\"\n";

/// The app's alarms in the log, oldest first: their kinds and sentences.
fn alarms(fleet: &Fleet) -> Vec<(String, String)> {
    let events = fleet.cli.json(&["events", "--app", &fleet.app()]);
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let told = events.as_array().expect("a list").iter().map(|event| (text(event, "kind"), text(event, "message")));
    told.filter(|(kind, _)| kind.starts_with("alarm_")).collect()
}

/// The value of a series of `/metrics`, asked for as Prometheus does, with `curl`.
fn metric(fleet: &Fleet, series: &str) -> Option<f64> {
    let home = fleet.surroundings.directory.path().join("data");
    let context = std::fs::read_to_string(home.join("context.toml")).expect("written by `dev`");
    let server = context.lines().find_map(|line| line.strip_prefix("server = ")).expect("a server");
    let made = fleet.cli.run(&["token", "create", "viewer", "--name", "prometheus"]);
    let header = format!("Authorization: Bearer {}", made.out.trim());
    let url = format!("{}/metrics", server.trim().trim_matches('"'));
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--max-time", "20", "-H", &header, "--cacert"]).arg(home.join("ca.pem")).arg(url);
    let answer = curl.output().expect("scripts/test installs it");
    assert!(answer.status.success(), "{answer:?}");
    let text = String::from_utf8(answer.stdout).expect("text");
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn an_old_image_is_an_alarm_until_a_newer_one_runs_that_has_cooled_down() {
    let Some(fleet) = Fleet::start("freshness") else { return };
    fleet.apply_with(Hours::Always, RULES);
    let old: Vec<&str> = GOOD.iter().copied().chain(["--created", "2024-02-29T10:00:00Z"]).collect();
    let v2 = fleet.push("v2", &old);
    fleet.report_passed(&v2);
    fleet.waits_for("tests", "cooling down until");
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);

    eventually("the alarm is told", SOON, || {
        let status = fleet.cli.json(&["status"]);
        let raised = status["raised"].as_array().expect("a list").iter();
        let sentence = "3 of 3 instances of";
        let mut ours = raised.filter(|alarm| alarm["app"] == fleet.app().as_str());
        let found = ours.any(|alarm| alarm["kind"] == "stale" && alarm["message"].to_string().contains(sentence));
        if found { Ok(()) } else { Err(status.to_string()) }
    });
    let shown = fleet.shown();
    assert_eq!((&shown["freshness"]["stale"], &shown["freshness"]["oldest"]["state"]), (&3.into(), &"stale".into()));
    assert_eq!(shown["instances"][0]["age"]["since"], "2024-02-29T10:00:00Z", "{shown:#}");
    let text = fleet.cli.run(&["status"]).out;
    assert!(text.contains("stale: ") && text.contains(", at most 1 d"), "{text}");
    let series = format!("nightshift_app_image_age_seconds{{app=\"{}\"}}", fleet.app());
    assert!(metric(&fleet, &series).is_some_and(|age| age > 86_400.0 * 900.0));

    let v3 = fleet.push("v3", &GOOD);
    fleet.report_passed(&v3);
    eventually("the alarm is over", ROLLOUT, || {
        let told = alarms(&fleet);
        if told.len() >= 2 { Ok(()) } else { Err(format!("{told:?}")) }
    });
    fleet.runs(&v3);
    let kinds: Vec<_> = alarms(&fleet).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["alarm_raised", "alarm_cleared"], "once each");
    assert!(metric(&fleet, &series).is_some_and(|age| age < 3_600.0));
    assert_eq!(fleet.shown()["freshness"]["oldest"]["state"], "fresh");
}
