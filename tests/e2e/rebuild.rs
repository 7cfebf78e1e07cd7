//! Rebuilds with a real listener as CI system: what it hears, what is tried again, and what nobody else ever sees.

use chrono::{TimeDelta, Utc};
use serde_json::Value;

use crate::support::clock::Clock;
use crate::support::fleet::{GOOD, SOON, report_passed};
use crate::support::listener::{Answer, Listener};
use crate::support::parts::Control;
use crate::support::{Outcome, Surroundings, eventually};

/// The secret of the CI system; it stands in a file, and in the requests to that system.
const TOKEN: &str = "glptt-5e1f0c9ab3d7";

/// A coordinator whose app is built by a listener.
struct Scene {
    control: Control,
    clock: Clock,
    ci: Listener,
    surroundings: Surroundings,
}

impl Scene {
    fn start(scenario: &str) -> Option<Self> {
        let surroundings = Surroundings::of(scenario)?;
        let home = surroundings.directory.path();
        let clock = Clock::in_directory(home, Utc::now())?;
        surroundings.registry.push_text("web:stable", "v1", &GOOD);
        let ci = Listener::start();
        let mut control = Control::start(home);
        std::fs::write(home.join("ci-token"), format!("{TOKEN}\n")).expect("the directory can be written");
        control
            .up_with(&format!("[[secret]]\nname = \"ci\"\nfile = \"ci-token\"\nhosts = [\"http://{}\"]\n", ci.address));
        let (app, image) = (surroundings.app(), surroundings.registry.repository("web"));
        let file = format!(
            "name = \"{app}\"\nimage = \"{image}:stable\"\n[rebuild]\ndeadline = \"10m\"\n[rebuild.trigger]\n\
             url = \"http://{}/build/{{app}}\"\nbody = '{{\"image\": \"{{image}}\"}}'\n\
             headers = {{ Content-Type = \"application/json\", X-Token = \"{{secret:ci}}\" }}\n",
            ci.address
        );
        std::fs::write(home.join("app.toml"), file).expect("the directory can be written");
        let scene = Self { control, clock, ci, surroundings };
        scene.must(&["apply", "app.toml"]);
        // A digest that is first seen after a rebuild began would count as brought by it.
        eventually("the first digest is known", SOON, || {
            let releases = scene.control.cli.json(&["release", "list", &scene.surroundings.app()]);
            if releases.as_array().is_some_and(|all| all.len() == 1) { Ok(()) } else { Err(releases.to_string()) }
        });
        Some(scene)
    }

    fn must(&self, arguments: &[&str]) -> Outcome {
        let ran = self.control.cli.run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    fn rebuild(&self) {
        self.must(&["release", "rebuild", &self.surroundings.app(), "--reason", "openssl is out"]);
    }

    fn later(&mut self, seconds: i64) {
        self.clock.set(self.clock.now() + TimeDelta::seconds(seconds));
    }

    /// The sentences about rebuilds and alarms in the log.
    fn told(&self) -> Vec<String> {
        let events = self.control.cli.json(&["events", "--app", &self.surroundings.app(), "--limit", "0"]);
        let about = |event: &&Value| {
            let kind = event["kind"].as_str().unwrap_or_default();
            kind.starts_with("rebuild_") || kind.starts_with("alarm_")
        };
        let words = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default().replace(&self.surroundings.app(), "APP");
            format!("{}: {message}", event["kind"].as_str().unwrap_or_default())
        };
        events.as_array().expect("a list").iter().filter(about).map(words).collect()
    }

    /// Waits until the log holds so many sentences; each begins as the wanted one does.
    fn tells(&self, wanted: &[&str]) {
        eventually(&format!("the log tells {wanted:#?}"), SOON, || {
            let told = self.told();
            let same = told.len() == wanted.len() && told.iter().zip(wanted).all(|(told, want)| told.starts_with(want));
            if same { Ok(()) } else { Err(format!("{told:#?}")) }
        });
    }

    /// Nothing that people can look at, and nothing on the coordinator's disk, holds the token.
    fn keeps_the_secret(&self) {
        let app = self.surroundings.app();
        let mut seen = Vec::new();
        for arguments in [
            &["events", "--limit", "0"][..],
            &["status"],
            &["app", "show", &app],
            &["app", "history", &app],
            &["release", "list", &app],
        ] {
            seen.push((arguments.join(" "), self.must(arguments).out.into_bytes()));
            seen.push((arguments.join(" "), self.control.cli.try_json(arguments).out.into_bytes()));
        }
        let home = self.surroundings.directory.path();
        for directory in [home.to_owned(), home.join("coordinator")] {
            for entry in std::fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_file() && !path.ends_with("ci-token") {
                    seen.push((path.display().to_string(), std::fs::read(&path).expect("it can be read")));
                }
            }
        }
        assert!(
            seen.iter().any(|(name, bytes)| name.contains("coordinator-") && !bytes.is_empty()),
            "the log is there"
        );
        for (name, bytes) in seen {
            assert!(!bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()), "the token is in {name}");
        }
    }
}

#[test]
fn a_ci_system_gets_its_secret_and_a_second_try_and_a_late_digest_ends_the_alarm() {
    let Some(mut scene) = Scene::start("rebuild") else { return };
    let app = scene.surroundings.app();
    scene.ci.answers(Answer::Status(500));
    scene.rebuild();
    scene.tells(&[
        "rebuild_started: rebuild 1 of APP begins, openssl is out; a new tested digest must be there by ",
        "rebuild_trigger_failed: rebuild 1 of APP is not triggered yet, again at ",
    ]);
    scene.ci.answers(Answer::Status(202));
    scene.later(11);
    scene.ci.is_asked(2);
    for request in scene.ci.heard() {
        assert!(request.starts_with(&format!("POST /build/{app} HTTP/1.1\r\n")), "{request}");
        assert!(request.to_lowercase().contains(&format!("\r\nx-token: {TOKEN}\r\n")), "{request}");
        let image = scene.surroundings.registry.repository("web");
        assert!(request.ends_with(&format!("{{\"image\": \"{image}:stable\"}}")), "{request}");
    }
    let begun = ["rebuild_started", "rebuild_trigger_failed", "rebuild_triggered: rebuild 1 of APP is triggered"];
    scene.tells(&begun);

    scene.later(600);
    let overdue = "rebuild_ended: rebuild 1 of APP ended: overdue: no new digest came and no report";
    let alarm = "alarm_raised: alarm: rebuild 1 of APP, begun ";
    scene.tells(&[&begun[..], &[overdue, alarm]].concat());
    let status = scene.control.cli.run(&["status"]).out;
    assert!(status.contains("brought no new tested digest"), "{status}");

    let late = scene.surroundings.registry.push_text("web:stable", "v2", &GOOD);
    report_passed(&scene.control.cli, &app, &late);
    scene.tells(&[&begun[..], &[overdue, alarm, "alarm_cleared: no longer an alarm: rebuild 1 of APP"]].concat());
    let status = scene.control.cli.run(&["status"]).out;
    assert!(!status.contains("brought no new tested digest"), "{status}");
    scene.keeps_the_secret();
}

#[test]
fn a_coordinator_that_is_killed_before_it_heard_the_answer_asks_once_more() {
    let Some(mut scene) = Scene::start("rebuild-killed") else { return };
    scene.ci.answers(Answer::Silence);
    scene.rebuild();
    scene.ci.is_asked(1);
    scene.control.crash();
    scene.ci.answers(Answer::Status(202));
    scene.control.up();
    scene.ci.is_asked(2);
    let heard = scene.ci.heard();
    let body = |request: &str| request.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    assert_eq!(body(&heard[0]), body(&heard[1]), "the same request");
    scene.tells(&["rebuild_started: rebuild 1 of APP", "rebuild_triggered: rebuild 1 of APP"]);
    // What is told is told: one more death changes nothing.
    scene.control.crash();
    scene.control.up();
    scene.control.cli.json(&["status"]);
    scene.tells(&["rebuild_started: rebuild 1 of APP", "rebuild_triggered: rebuild 1 of APP"]);
    scene.ci.is_asked(2);
    scene.keeps_the_secret();
}
