//! What is followed beyond a fixed tag of one platform: rules for tags, and images for several platforms.

use serde_json::json;

use crate::support::fleet::{self, Fleet, GOOD, Hours, ROLLOUT, SOON};
use crate::support::{Surroundings, eventually};

#[test]
fn the_greatest_version_in_the_range_is_rolled_out_and_named_by_the_containers() {
    let Some(surroundings) = Surroundings::of("semver") else { return };
    let fleet = Fleet::start_on(surroundings, &json!({}), &[]);
    let rule = "[tags]\nsemver = \"^1.4\"\n[gate]\ntests = []\n";
    fleet::apply_image(&fleet.surroundings, &fleet.cli, "web", Hours::Always, "", rule);
    fleet.waits_for("tests", "no tag of the repository fits the app's rule: semver ^1.4");
    let before = fleet.ids();

    // Others of the same repository do not concern it.
    fleet.registry().push_text("web:2.0.0", "two", &GOOD);
    fleet.registry().push_text("web:1.4.0-rc.1", "candidate", &GOOD);
    let first = fleet.registry().push_text("web:1.4.0", "first", &GOOD);
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&first);
    assert_ne!(fleet.ids(), before);
    let second = fleet.registry().push_text("web:v1.10.0", "second", &GOOD);
    eventually("the newer version runs", ROLLOUT, || {
        let shown = fleet.cli.try_json(&["rollout", "show", &fleet.app()]);
        let rollout = shown.value();
        let done = rollout["to"] == second.digest.as_str() && rollout["state"] == "completed";
        if done { Ok(()) } else { Err(shown.out) }
    });
    fleet.runs(&second);
    let engine = &fleet.surroundings.engines[0];
    let named = engine.inspect(&engine.name(fleet::CONTAINER))["Config"]["Image"].clone();
    assert_eq!(named, format!("{}:v1.10.0@{}", second.repository, second.digest));

    let events = fleet.cli.json(&["events", "--limit", "500"]);
    let chosen: Vec<_> =
        events.as_array().into_iter().flatten().filter(|event| event["kind"] == "tag_chosen").collect();
    let tags: Vec<_> = chosen.iter().map(|event| event["detail"]["tag"].as_str().unwrap_or_default()).collect();
    assert_eq!(tags, ["1.4.0", "v1.10.0"], "{events:#}");
    let shown = fleet.shown();
    assert!(shown["image"].as_str().is_some_and(|image| image.ends_with("/web:v1.10.0")), "{shown:#}");
}

#[test]
fn an_image_for_another_platform_touches_nothing_and_an_index_with_ours_is_followed_by_its_own_digest() {
    let Some(surroundings) = Surroundings::of("platforms") else { return };
    let fleet = Fleet::start_on(surroundings, &json!({}), &[]);
    fleet::apply_tables(&fleet.surroundings, &fleet.cli, Hours::Always, "", "[gate]\ntests = []\n");
    let node = fleet.cli.json(&["node", "list"])[0]["name"].as_str().expect("a name").to_owned();
    let before = fleet.ids();
    let recording = fleet.record();
    let mut options = GOOD.to_vec();
    options.extend(["--platform", "linux/s390x"]);
    let foreign = fleet.push("foreign", &options);
    let wait = fleet.waits_for("image", "has only linux/s390x");
    let message = wait["message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("{node}: the node is linux/")), "{message}");
    assert!(message.contains(&foreign.digest[..19]), "{message}");
    let started = fleet.cli.run(&["rollout", "start", &fleet.app(), "--now", "--reason", "hurry"]);
    assert_ne!(started.code, 0, "{started:?}");
    assert!(started.err.contains("has only linux/s390x"), "{started:?}");
    assert_eq!(fleet.ids(), before);
    assert_eq!(recording.touched(), [], "nothing is touched");

    let ours = message.split('/').nth(1).and_then(|rest| rest.split(',').next()).expect("an architecture").to_owned();
    let native = fleet.registry().push_text("web:native", "native", &GOOD);
    let index = fleet.registry().index("web:stable", &[(&foreign, "linux/s390x"), (&native, &format!("linux/{ours}"))]);
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&index);
    let shown = eventually("the release is known", SOON, || {
        let shown = fleet.cli.try_json(&["release", "show", &fleet.app(), &index.digest]);
        if shown.code == 0 { Ok(shown.value()) } else { Err(format!("{shown:?}")) }
    });
    assert_eq!(shown["running"], 3, "{shown:#}");
}
