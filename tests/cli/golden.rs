//! The whole output of each verb, for people and for scripts.

use nightshift_proto::pb;

use crate::double::{Double, Script};
use crate::fixture;

/// Runs the verb for people and for scripts and compares both with the golden file.
fn check(name: &str, double: &Double, arguments: &[&str]) {
    let scripts: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
    let json = double.run(&scripts);
    check_documented(&serde_json::from_str(&json.stdout).expect("JSON"));
    let text = double.run(arguments).transcript(arguments) + "\n" + &json.transcript(&scripts);
    insta::assert_snapshot!(name, text);
}

/// Fails for a field that docs/cli.md does not name.
pub(crate) fn check_documented(value: &serde_json::Value) {
    // Specs, events and labels have keys of their own, which other pages name.
    const OPAQUE: [&str; 3] = ["spec", "detail", "labels"];
    let documented = include_str!("../../docs/cli.md");
    let words = || documented.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    match value {
        serde_json::Value::Array(list) => list.iter().for_each(check_documented),
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                assert!(words().any(|word| word == key), "docs/cli.md does not name `{key}`");
                if !OPAQUE.contains(&key.as_str()) {
                    check_documented(value);
                }
            }
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn every_verb_shows_its_answer() {
    let (a, b) = (fixture::digest('a'), &fixture::digest('b')[..12]);
    let double = Double::new();
    for (name, arguments) in [
        ("app_list", &["app", "list"][..]),
        ("app_show", &["app", "show", "web"]),
        ("app_history", &["app", "history", "web"]),
        ("app_enable", &["app", "enable", "web"]),
        ("app_disable", &["app", "disable", "web", "--reason", "audit"]),
        ("app_remove", &["app", "remove", "web"]),
        ("release_list", &["release", "list", "web"]),
        ("release_show", &["release", "show", "web"]),
        ("release_show_digest", &["release", "show", "web", &a]),
        ("release_show_prefix", &["release", "show", "web", b]),
        ("release_show_log", &["release", "show", "web", b, "--log"]),
        ("release_report", &["release", "report", "web", "--digest", &a, "--result", "passed"]),
        ("release_rebuild", &["release", "rebuild", "web", "--reason", "a fix is out"]),
        ("release_quarantine", &["release", "quarantine", "web", &a, "--reason", "leaks memory"]),
        ("release_clear", &["release", "clear", "web", &a, "--reason", "fixed"]),
        ("rollout_plan", &["rollout", "plan", "web"]),
        ("rollout_start", &["rollout", "start", "web"]),
        ("rollout_list", &["rollout", "list"]),
        ("rollout_show", &["rollout", "show", "web"]),
        ("rollout_pause", &["rollout", "pause", "web"]),
        ("rollback", &["rollback", "web"]),
        ("quiet_next", &["quiet", "next", "web"]),
        ("quiet_explain", &["quiet", "explain", "web"]),
        ("quiet_check", &["quiet", "check", "web"]),
        ("node_list", &["node", "list"]),
        ("node_show", &["node", "show", "n2"]),
        ("node_pause", &["node", "pause", "n1"]),
        ("node_remove", &["node", "remove", "n1"]),
        ("token_create", &["token", "create", "node"]),
        ("token_list", &["token", "list"]),
        ("token_revoke", &["token", "revoke", "t-1"]),
        ("adopt", &["adopt"]),
        ("status", &["status"]),
    ] {
        check(name, &double, arguments);
    }
}

#[test]
fn an_empty_fleet_says_what_to_do_next() {
    let double = Double::scripted(Script { empty: true, ..Script::default() });
    let mut text = String::new();
    for arguments in [
        &["app", "list"][..],
        &["release", "list", "web"],
        &["release", "show", "web"],
        &["rollout", "list"],
        &["node", "list"],
        &["token", "list"],
        &["adopt"],
        &["status"],
        &["app", "list", "-o", "json"],
    ] {
        text.push_str(&double.run(arguments).transcript(arguments));
    }
    insta::assert_snapshot!("empty_fleet", text);
}

#[test]
fn adopted_files_are_written_once_and_apply_takes_them() {
    let (double, directory) = (Double::new(), tempfile::tempdir().expect("a directory"));
    let out = directory.path().join("apps");
    let out_text = out.to_str().expect("text");
    let ended = double.run(&["adopt", "--out", out_text]);
    let said = ended.transcript(&["adopt", "--out", "DIR"]).replace(out_text, "DIR");
    insta::assert_snapshot!("adopt_out", said);
    let files: Vec<_> = ["db.toml", "web.toml"].iter().map(|name| out.join(name)).collect();
    let files: Vec<_> = files.iter().map(|file| file.to_str().expect("text")).collect();
    let applied = double.run(&["apply", "--dry-run", files[0], files[1]]);
    assert!(applied.transcript(&[]).contains("exit 0"), "{}", applied.transcript(&[]));
    std::fs::write(files[1], "mine").expect("writable");
    std::fs::remove_file(files[0]).expect("it is there");
    let refused = double.run(&["adopt", "--out", out_text]).transcript(&[]);
    assert!(refused.contains("web.toml` is there already") && refused.contains("exit 1"), "{refused}");
    assert_eq!(std::fs::read_to_string(files[1]).expect("there"), "mine");
    assert!(!std::path::Path::new(files[0]).exists(), "and nothing else was written");
}

#[test]
fn events_are_lines_for_people_and_an_array_for_scripts() {
    let double = Double::scripted(Script { events: vec![fixture::events(), fixture::events()], ..Script::default() });
    check("events", &double, &["events"]);
}

#[test]
fn each_verb_asks_exactly_what_was_typed() {
    let digest = &fixture::digest('a');
    let double = Double::new();
    for arguments in [
        &["rollout", "start", "web", "--digest", digest, "--now", "--reason", "fix", "--override-freeze"][..],
        &["rollout", "start", "web", "--override-quarantine", "--reason", "known"],
        &["rollout", "list", "--app", "web", "--open", "--limit", "3"],
        &["rollout", "pause", "019b", "--reason", "look"],
        &["rollout", "resume", "019b"],
        &["rollout", "promote", "019b"],
        &["rollout", "abort", "019b"],
        &["rollout", "retry", "019b"],
        &["rollback", "web", "--to", digest, "--reason", "slow"],
        &[
            "release",
            "report",
            "web",
            "--digest",
            digest,
            "--result",
            "failed",
            "--suite",
            "e2e",
            "--url",
            "https://ci",
        ],
        &["release", "rebuild", "web", "--reason", "openssl"],
        &["release", "quarantine", "web", digest, "--reason", "bad"],
        &["release", "clear", "web", digest, "--reason", "good"],
        &["token", "create", "ci", "--app", "web", "--app", "db", "--lifetime", "90d", "--name", "travis"],
        &["node", "drain", "n1", "--reason", "disk"],
        &["node", "activate", "n1"],
        &["app", "disable", "web", "--reason", "audit"],
        &["quiet", "next", "web", "--limit", "2", "--at", "2026-01-05T00:00:00Z"],
    ] {
        assert_eq!(double.run(arguments).exit, 0, "{arguments:?}");
    }
    insta::assert_snapshot!("requests", double.seen().join("\n"));
}

#[test]
fn whoever_waits_for_a_rebuild_is_told_how_it_ended() {
    let mut text = String::new();
    let wait = &["release", "rebuild", "web", "--reason", "a fix is out", "--wait"][..];
    let (told, ended) = (
        pb::Rebuild { state: "triggered".into(), message: "the CI system builds".into(), ..fixture::rebuilding() },
        true,
    );
    for (rebuilds, arguments) in [
        (vec![told.clone(), fixture::rebuilt()], wait),
        (vec![pb::Rebuild { number: 8, ended, ..fixture::overdue() }], wait),
        (vec![told], &[wait, &["1s"]].concat()),
    ] {
        let double = Double::scripted(Script { rebuilds, ..Script::default() });
        text.push_str(&double.run(arguments).transcript(arguments));
    }
    insta::assert_snapshot!("rebuild_wait", text);
}

#[test]
fn the_help_names_every_verb_and_flag() {
    let double = Double::new();
    insta::assert_snapshot!("help", double.run(&["--help"]).transcript(&["--help"]));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // More than a pipe holds, so that the program meets the closed end.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nightshift"));
    command.args(["completions", "bash"]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut program = command.spawn().expect("the program starts");
    drop(program.stdout.take());
    let output = program.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn completions_exist_for_each_shell() {
    let double = Double::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = double.run_with(&["completions", shell], &[]);
        assert_eq!((script.exit, script.stderr.as_str()), (0, ""));
        assert!(script.stdout.contains("quarantine"), "{shell} does not complete the verbs of release");
    }
}
