//! Signed images: the coordinator waits for a good signature, and the agents refuse for themselves what has none. OpenSSL signs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::events::Recording;
use crate::support::fleet::{self, Fleet, GOOD, Hours, ROLLOUT, SOON};
use crate::support::parts::Parts;
use crate::support::{Surroundings, eventually};

/// A new private key of OpenSSL; its public half lies beside it as `NAME.pub`.
fn key(home: &Path, name: &str) -> (PathBuf, String) {
    let (private, public) = (home.join(name), home.join(format!("{name}.pub")));
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().expect("openssl is there");
        assert!(done.status.success(), "{done:?}");
    };
    let [secret, open] = [&private, &public].map(|path| path.to_str().expect("text"));
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", secret]);
    openssl(&["pkey", "-in", secret, "-pubout", "-out", open]);
    (private, std::fs::read_to_string(public).expect("it was written"))
}

fn gate(public: &str) -> String {
    format!("[gate]\ntests = [\"ci\", \"signature\"]\nsignature_keys = ['''\n{public}''']\n")
}

#[test]
fn only_what_our_key_signed_for_this_very_digest_is_rolled_out() {
    let Some(surroundings) = Surroundings::of("signed") else { return };
    let fleet = Fleet::start_on(surroundings, &json!({}), &[]);
    let home = fleet.surroundings.directory.path();
    let (ours, public) = key(home, "ours");
    let (theirs, _) = key(home, "theirs");
    fleet::apply_tables(&fleet.surroundings, &fleet.cli, Hours::Always, "", &gate(&public));
    let before = fleet.ids();
    let recording = fleet.record();

    let v2 = fleet.push("v2", &GOOD);
    fleet.report_passed(&v2);
    fleet.waits_for("tests", "not signed");
    fleet.registry().sign(&v2, &theirs, &v2);
    fleet.waits_for("tests", "signed by an unknown key");
    fleet.registry().sign(&v2, &ours, &fleet.v1);
    fleet.waits_for("tests", &format!("the signature is for another digest, {}", &fleet.v1.digest[..19]));
    let shown = fleet.cli.json(&["release", "show", &fleet.app(), &v2.digest]);
    assert_eq!(shown["eligible"], false, "{shown:#}");
    assert_eq!(fleet.ids(), before);
    assert_eq!(recording.touched(), [], "nothing is touched");
    let refused =
        fleet.cli.run(&["rollout", "start", &fleet.app(), "--digest", &v2.digest, "--now", "--reason", "hurry"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("the signature is for another digest"), "{refused:?}");

    fleet.registry().sign(&v2, &ours, &v2);
    fleet.rollout_is(&["completed"], ROLLOUT);
    fleet.runs(&v2);
    let shown = fleet.cli.json(&["release", "show", &fleet.app(), &v2.digest]);
    let kinds: Vec<_> = shown["reports"].as_array().expect("a list").iter().map(|report| &report["kind"]).collect();
    assert_eq!(kinds, ["ci", "signature"], "{shown:#}");
    let events = fleet.cli.json(&["events", "--limit", "500"]);
    let about = |event: &&serde_json::Value| {
        event["kind"] == "signature_missing" && event["detail"]["digest"] == v2.digest.as_str()
    };
    let missing = events.as_array().into_iter().flatten().filter(about).count();
    assert_eq!(missing, 3, "each reason once: {events:#}");
}

#[test]
fn an_agent_refuses_what_its_own_key_has_not_signed_whatever_the_coordinator_orders() {
    let Some((mut parts, v1)) = Parts::start("agent-key", &GOOD, &json!({})) else { return };
    let home = parts.surroundings.directory.path().to_owned();
    let (ours, public) = key(&home, "ours");
    let (theirs, _) = key(&home, "theirs");
    parts.agents_with("[[limits.signed]]\nimages = [\"*\"]\nkey_files = [\"ours.pub\"]\n");
    let (cli, app) = (&parts.control.cli, parts.surroundings.app());
    let update = "pre_pull = false\n";
    // The coordinator does not ask for signatures: as one that was stolen would not.
    fleet::apply(&parts.surroundings, cli, Hours::Always, update);
    let before = fleet::ids(&parts.surroundings);
    let recording = Recording::start(&parts.surroundings);
    let v2 = parts.push_tested("v2", &GOOD);
    let refused = |words: &str| {
        eventually(&format!("a step is refused: {words}"), SOON, || {
            let events = cli.json(&["events", "--limit", "500"]).to_string();
            if events.contains(words) { Ok(()) } else { Err(events) }
        });
    };
    refused(&format!("this node does not run {} of", &v2.digest[..19]));
    refused("not signed; hint: sign it");
    let aborted = cli.run(&["rollout", "abort", &app, "--reason", "not signed"]);
    assert_eq!(aborted.code, 0, "{aborted:?}");

    // Nor does it run what another key has signed, though that is good enough for the coordinator.
    let stranger = std::fs::read_to_string(home.join("theirs.pub")).expect("written");
    let v3 = parts.push_tested("v3", &GOOD);
    parts.surroundings.registry.sign(&v3, &theirs, &v3);
    fleet::apply_tables(&parts.surroundings, cli, Hours::Always, update, &gate(&stranger));
    refused(&format!("this node does not run {} of", &v3.digest[..19]));
    refused("signed by an unknown key; hint:");
    let aborted = cli.run(&["rollout", "abort", &app, "--reason", "a stranger's"]);
    assert_eq!(aborted.code, 0, "{aborted:?}");
    assert_eq!(fleet::ids(&parts.surroundings), before);
    assert_eq!(recording.touched(), [], "nothing was touched");
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v1);
    }

    let v4 = parts.push_tested("v4", &GOOD);
    parts.surroundings.registry.sign(&v4, &ours, &v4);
    fleet::apply_tables(&parts.surroundings, cli, Hours::Always, update, &gate(&public));
    fleet::rollout_is(cli, &app, &["completed"], ROLLOUT);
    for engine in &parts.surroundings.engines {
        fleet::runs(engine, &v4);
    }
}
