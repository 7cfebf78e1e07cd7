//! A registry that is down, or does not let us in: nothing is touched, the reason is said, and it goes on by itself.

use std::fs;

use serde_json::json;

use crate::support::fleet::{Fleet, GOOD, Hours, ROLLOUT, SOON, in_seconds};
use crate::support::{Login, Surroundings, eventually};

#[test]
fn a_registry_that_is_down_touches_nothing_and_is_waited_for() {
    let Some(surroundings) = Surroundings::with_own_registry("registry-down", None) else { return };
    let fleet = Fleet::start_on(surroundings, &json!({}), &[]);
    fleet.apply(Hours::Always);
    let before = fleet.ids();
    let recording = fleet.record();
    // It is seen, and the registry goes before CI says that it is good: no node can fetch it.
    let v2 = fleet.push("v2", &GOOD);
    fleet.waits_for("tests", &v2.digest[..19]);
    fleet.registry().stop();
    fleet.report_passed(&v2);

    fleet.waits_for("image", "cannot fetch the image");
    assert_eq!(fleet.ids(), before);
    assert_eq!(recording.touched(), [], "nothing is touched");
    let release = fleet.cli.json(&["release", "show", &fleet.app(), &v2.digest]);
    assert!(release["quarantine"].is_null(), "a pull that fails is not the version's fault: {release:#}");

    fleet.registry().start();
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
}

#[test]
fn an_image_that_was_fetched_in_advance_is_installed_although_the_registry_went_down() {
    let Some(surroundings) = Surroundings::with_own_registry("pre-pulled", None) else { return };
    let fleet = Fleet::start_on(surroundings, &json!({}), &[]);
    let opening = in_seconds(20);
    fleet.apply(Hours::From(opening));
    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);
    eventually("all nodes have the image", SOON, || {
        let rollout = fleet.cli.try_json(&["rollout", "show", &fleet.app()]);
        let pulls = if rollout.code == 0 { rollout.value()["pulls"].clone() } else { json!([]) };
        let pulls = pulls.as_array().expect("a list");
        if pulls.len() == 3 && pulls.iter().all(|pull| pull["present"] == true) { Ok(()) } else { Err(rollout.out) }
    });
    fleet.registry().stop();

    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
    assert!(chrono::Utc::now() > opening, "not before the window opened");
}

#[test]
fn a_wrong_registry_password_is_said_and_is_never_written_down() {
    let right = Login { user: "robot", password: "r1ght-s3cret" };
    let wrong = Login { user: "robot", password: "wr0ng-s3cret" };
    let Some(surroundings) = Surroundings::with_own_registry("wrong-password", Some(right.clone())) else { return };
    let config = surroundings.directory.path().join("docker-config.json");
    let address = surroundings.registry.address().to_owned();
    fs::write(&config, wrong.docker_config(&address)).expect("the directory can be written");
    let options = ["--docker-config", config.to_str().expect("text")];
    let fleet = Fleet::start_on(surroundings, &json!({}), &options);
    fleet.apply(Hours::Always);
    let before = fleet.ids();
    let recording = fleet.record();

    let wait = fleet.waits_for("image", "the registry cannot be asked");
    assert!(
        wait["message"].as_str().is_some_and(|message| message.contains(&address)),
        "it names the registry: {wait}"
    );
    assert_eq!(fleet.ids(), before);
    assert_eq!(recording.touched(), [], "nothing is touched");

    fs::write(&config, right.docker_config(&address)).expect("the directory can be written");
    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);

    let told = [
        fleet.dev.log(),
        fleet.cli.run(&["status"]).out,
        fleet.cli.json(&["events", "--limit", "500"]).to_string(),
        fleet.cli.json(&["app", "show", &fleet.app()]).to_string(),
    ];
    for login in [right, wrong] {
        for secret in [login.password.to_owned(), login.basic()] {
            assert!(told.iter().all(|text| !text.contains(&secret)), "`{secret}` was written down");
        }
    }
}
