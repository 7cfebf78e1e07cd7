//! Images that test themselves: from the push to the rollout, or to the log that says why not.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fleet::{self, GOOD, ROLLOUT, SOON};
use crate::support::parts::{Parts, node};
use crate::support::{Image, eventually};

/// The node that may launch untested images.
const TESTER: usize = 2;
/// A word that no log of coordinator or agent may hold.
const SECRET: &str = "s3cret-word";

/// A fleet whose third node may test, and whose app asks for tests.
fn start(scenario: &str, self_test: &str) -> Option<(Parts, Image)> {
    let (mut parts, v1) = Parts::start(scenario, &GOOD, &json!({}))?;
    parts.agent_crash(TESTER);
    let file = parts.surroundings.directory.path().join(format!("{}.toml", node(TESTER)));
    let mut file = OpenOptions::new().append(true).open(file).expect("written before");
    write!(file, "[labels]\nrole = \"test\"\n").expect("the directory can be written");
    parts.agent_up(TESTER);
    fleet::nodes_connected(&parts.control.cli, 3);
    let (app, image) = (parts.surroundings.app(), parts.surroundings.registry.repository("web"));
    let text = format!(
        "name = \"{app}\"\nimage = \"{image}:stable\"\n[quiet_hours]\ntimezone = \"UTC\"\n[[quiet_hours.allow]]\n\
         days = [\"daily\"]\nstart = \"00:00\"\nduration = \"24h\"\n[update]\nmonitor = \"1s\"\ncanary_monitor = \"1s\"\n\
         healthy_deadline = \"30s\"\nprogress_deadline = \"10m\"\n[gate]\ntests = [\"self-test\"]\n[self_test]\n\
         test_nodes = \"role=test\"\nenv = {{ NIGHTSHIFT_TEST = \"1\", PASSPHRASE = \"{SECRET}\" }}\n{self_test}\n"
    );
    let path = parts.surroundings.directory.path().join("app.toml");
    std::fs::write(&path, text).expect("the directory can be written");
    let applied = parts.control.cli.run(&["apply", path.to_str().expect("text")]);
    assert_eq!(applied.code, 0, "{applied:?}");
    parts.knows_what_runs();
    Some((parts, v1))
}

impl Parts {
    fn push(&self, text: &str, options: &[&str]) -> Image {
        self.surroundings.registry.push_text("web:stable", text, &[&GOOD[..], options].concat())
    }

    /// Waits until every instance is known, and nothing is tested: what runs in the beginning may be, if its tag was seen before
    /// any node had told of its instances.
    fn knows_what_runs(&self) {
        eventually("what runs is known, and nothing is tested", ROLLOUT, || {
            let events = self.control.cli.json(&["events", "--app", &self.surroundings.app(), "--limit", "0"]);
            let count = |kind: &str| events.as_array().expect("a list").iter().filter(|it| it["kind"] == kind).count();
            let known = count("instance_adopted") == 3 && count("job_ordered") == count("job_ended");
            if known { Ok(()) } else { Err(format!("{events:#}")) }
        });
    }

    /// The first report of a digest.
    fn tested(&self, image: &Image) -> Value {
        let app = self.surroundings.app();
        eventually("the image is tested", ROLLOUT, || {
            let shown = self.control.cli.try_json(&["release", "show", &app, &image.digest]);
            let report = if shown.code == 0 { shown.value()["reports"][0].clone() } else { Value::Null };
            if report.is_object() { Ok(report) } else { Err(self.control.cli.run(&["status"]).out) }
        })
    }

    /// What was written in the tests of a digest, the newest first.
    fn logs(&self, image: &Image) -> Vec<Value> {
        let app = self.surroundings.app();
        let logs = self.control.cli.json(&["release", "show", &app, &image.digest, "--log"]);
        logs.as_array().expect("a list").clone()
    }

    /// Containers and networks of tests of this app, on the node that tests.
    fn left(&self) -> Vec<String> {
        let engine = &self.surroundings.engines[TESTER];
        let app_image = self.surroundings.registry.repository("web");
        let containers = engine.call("GET", "/containers/json?all=1", &Value::Null);
        let containers = containers.as_array().expect("a list").iter().filter(|container| {
            let ours = container["Image"].as_str().is_some_and(|image| image.starts_with(&app_image));
            ours && container["Labels"]["nightshift.job"].is_string()
        });
        let containers: Vec<String> = containers.map(|container| container["Names"][0].to_string()).collect();
        let filter = "%7B%22label%22%3A%5B%22nightshift.job%22%5D%7D";
        let networks = engine.call("GET", &format!("/networks?filters={filter}"), &Value::Null);
        let networks = networks.as_array().expect("a list").iter().filter(|network| {
            // Another scenario's test may run on the same engine.
            self.jobs().iter().any(|job| network["Labels"]["nightshift.job"] == **job)
        });
        containers.into_iter().chain(networks.map(|network| network["Name"].to_string())).collect()
    }

    /// Every job that was ordered for the app, as the log tells it.
    fn ordered(&self) -> Vec<Value> {
        let events = self.control.cli.json(&["events", "--app", &self.surroundings.app()]);
        let ordered = events.as_array().expect("a list").iter().filter(|event| event["kind"] == "job_ordered");
        ordered.map(|event| event["detail"].clone()).collect()
    }

    fn jobs(&self) -> Vec<String> {
        self.ordered().iter().map(|job| job["job"].as_str().expect("an id").to_owned()).collect()
    }

    /// These were tested, and no other. How often says nothing: a job that a busy engine could not do is done again. What ran
    /// in the beginning may be among them: see [`Self::knows_what_runs`].
    fn tested_only(&self, first: &Image, images: &[&Image]) {
        let digest = |job: &Value| job["subject"]["digest"].as_str().expect("a digest").to_owned();
        let tested: BTreeSet<String> =
            self.ordered().iter().map(digest).filter(|digest| *digest != first.digest).collect();
        assert_eq!(tested, images.iter().map(|image| image.digest.clone()).collect());
    }

    fn nothing_is_left(&self) {
        eventually("nothing of a test is left", SOON, || {
            let left = self.left();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }

    fn runs(&self, image: &Image) {
        self.surroundings.engines.iter().for_each(|engine| fleet::runs(engine, image));
    }

    /// No log of a process, and no event, holds the secret variable's value.
    fn told_nobody(&self) {
        let home = self.surroundings.directory.path();
        for entry in std::fs::read_dir(home).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|end| end == "log") {
                let text = std::fs::read_to_string(&path).expect("text");
                assert!(!text.contains(SECRET), "{} holds the value of a variable", path.display());
            }
        }
    }
}

#[test]
fn an_image_that_passes_its_own_test_is_rolled_out_and_one_that_fails_is_barred_with_its_log() {
    let command = "command = [\"sh\", \"-c\", \"echo testing $NIGHTSHIFT_TEST; grep -q good /www/index.html\"]";
    let Some((parts, v1)) = start("self-test", command) else { return };
    let good = parts.push("good v2", &[]);
    let report = parts.tested(&good);
    assert_eq!(
        (&report["kind"], &report["result"], &report["by"]),
        (&json!("self-test"), &json!("passed"), &json!("node/n3"))
    );
    fleet::rollout_is(&parts.control.cli, &parts.surroundings.app(), &["completed"], ROLLOUT);
    parts.runs(&good);
    let logs = parts.logs(&good);
    assert_eq!(logs.len(), 1, "{logs:#?}");
    assert!(logs[0]["log"].as_str().expect("text").ends_with("--- command ---\ntesting 1\n"), "{logs:#?}");

    let bad = parts.push("bad v3", &[]);
    let report = parts.tested(&bad);
    assert_eq!(report["result"], "failed", "{report:#}");
    let shown = parts.control.cli.run(&["release", "show", &parts.surroundings.app(), &bad.digest, "--log"]);
    assert!(shown.out.contains("failed: the test command ended with exit code 1"), "{shown:?}");
    assert!(shown.out.contains("testing 1"), "{shown:?}");
    let known = parts.control.cli.json(&["release", "show", &parts.surroundings.app(), &bad.digest]);
    assert_eq!(known["eligible"], false, "{known:#}");
    parts.nothing_is_left();
    parts.runs(&good);
    parts.tested_only(&v1, &[&good, &bad]);
    parts.told_nobody();
}

#[test]
fn a_test_of_the_image_itself_that_crashes_or_takes_too_long_bars_it() {
    let Some((parts, v1)) = start("self-test-image", "timeout = \"6s\"\n") else { return };
    // The web server takes no notice of the variable, and serves for ever.
    let serves = parts.push("serves", &[]);
    assert_eq!(parts.tested(&serves)["result"], "failed");
    assert_eq!(parts.logs(&serves)[0]["reason"], "it did not end within 6s");
    let crashes = parts.push("crashes", &["--cmd", "echo panic; exit 101"]);
    assert_eq!(parts.tested(&crashes)["result"], "failed");
    let log = &parts.logs(&crashes)[0];
    let expect = (&json!("its container ended with exit code 101"), &json!("panic\n"));
    assert_eq!((&log["reason"], &log["log"]), expect, "{log:#}");
    // One that looks at the variable tests itself when it is told to, and serves else.
    let looks = "[ -z \"$NIGHTSHIFT_TEST\" ] || exit 0; exec httpd -f -p 80 -h /www";
    let tests_itself = parts.push("tests itself", &["--cmd", looks, "--stop-signal", "KILL"]);
    assert_eq!(parts.tested(&tests_itself)["result"], "passed");
    fleet::rollout_is(&parts.control.cli, &parts.surroundings.app(), &["completed"], ROLLOUT);
    parts.runs(&tests_itself);
    parts.nothing_is_left();
    parts.tested_only(&v1, &[&serves, &crashes, &tests_itself]);
}

#[test]
fn an_agent_and_a_coordinator_that_are_killed_in_the_middle_of_a_test_leave_nothing_and_it_is_tried_again() {
    let command = "command = [\"sh\", \"-c\", \"[ -e /tmp/again ] || sleep 20; echo tested\"]";
    let Some((mut parts, v1)) = start("self-test-killed", command) else { return };
    let good = parts.push("good v2", &[]);
    let running = |parts: &Parts| {
        eventually("a test runs", ROLLOUT, || match parts.left().len() {
            2.. => Ok(()),
            _ => Err(parts.control.cli.run(&["status"]).out),
        });
    };
    running(&parts);
    // The coordinator first: the test goes on without it.
    parts.control.crash();
    parts.control.up();
    fleet::nodes_connected(&parts.control.cli, 3);
    parts.agent_crash(TESTER);
    parts.runs_untested(&v1);
    parts.agent_up(TESTER);
    let report = parts.tested(&good);
    assert_eq!(report["result"], "passed", "{report:#}");
    let results: Vec<String> = parts.logs(&good).iter().map(|log| log["result"].to_string()).collect();
    assert_eq!(results, ["\"passed\"", "\"not-done\""]);
    fleet::rollout_is(&parts.control.cli, &parts.surroundings.app(), &["completed"], ROLLOUT);
    parts.nothing_is_left();
    parts.runs(&good);
}

impl Parts {
    /// Nothing was installed, though a test was begun.
    fn runs_untested(&self, image: &Image) {
        std::thread::sleep(Duration::from_millis(200));
        self.runs(image);
    }
}
