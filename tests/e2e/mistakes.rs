//! Bad input: a clear error that says what to do, and nothing lost by it.

use std::fs;

use crate::support::parts::Control;
use crate::support::{Cli, Role};

/// A directory and a coordinator in it. These need no engine.
fn control() -> (tempfile::TempDir, Control) {
    let home = tempfile::tempdir().expect("a directory");
    let control = Control::start(home.path());
    (home, control)
}

#[test]
fn a_file_with_mistakes_is_refused_with_all_of_them_at_their_places() {
    let (home, control) = control();
    let file = home.path().join("app.toml");
    let good = "name = \"web\"\nimage = \"r.example/web\"\n";
    fs::write(&file, good).expect("written");
    assert_eq!(control.cli.run(&["apply", file.to_str().expect("text")]).code, 0);
    let before = control.cli.json(&["app", "show", "web"])["spec"].clone();
    fs::write(&file, "name = \"web\"\nimage = \"r.example/web\"\n[update]\nparalellism = 2\norder = \"fast\"\n")
        .expect("written");
    let refused = control.cli.run(&["apply", file.to_str().expect("text")]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for part in ["app.toml:4:1", "paralellism", "did you mean `parallelism`", "app.toml:5", "stop-first"] {
        assert!(refused.err.contains(part), "`{part}` is not in: {}", refused.err);
    }
    assert_eq!(control.cli.json(&["app", "show", "web"])["spec"], before, "nothing was sent, nothing is lost");

    for (role, key) in [("coordinator", "listen"), ("agent", "coordinator")] {
        let file = home.path().join("broken.toml");
        fs::write(&file, format!("{key}s = \"x\"\n")).expect("written");
        let refused = control.cli.run(&[role, "--config", file.to_str().expect("text")]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains("broken.toml:1:1: unknown key") && refused.err.contains(key), "{refused:?}");
    }
}

#[test]
fn what_does_not_exist_or_is_malformed_is_named() {
    let (_home, control) = control();
    let digest = format!("sha256:{}", "a".repeat(64));
    let cases: [(&[&str], i32, &str); 6] = [
        (&["app", "show", "nosuch"], 1, "nosuch"),
        (&["rollout", "start", "nosuch"], 1, "nosuch"),
        (&["release", "report", "nosuch", "--digest", &digest, "--result", "passed"], 1, "nosuch"),
        (&["release", "report", "web", "--digest", "sha256:123", "--result", "passed"], 2, "sha256:123"),
        (&["rollout", "start", "web", "--digest", "latest"], 2, "latest"),
        (&["node", "show", "nosuch"], 1, "nosuch"),
    ];
    for (arguments, code, named) in cases {
        let refused = control.cli.run(arguments);
        assert_eq!(refused.code, code, "{arguments:?}: {refused:?}");
        assert!(refused.err.contains(named), "{arguments:?}: {refused:?}");
        assert_eq!(refused.out, "", "{arguments:?}: {refused:?}");
    }
}

/// Starts an agent that must end by itself; what it wrote.
fn agent_ends(home: &std::path::Path, control: &Control, node: &str, token: &str) -> String {
    let file = control.agent_file(node, "unix:///nosuch.sock", token);
    let mut agent = Role::start(home, node, &["agent", "--config", file.to_str().expect("text")]);
    let code = agent.ends();
    assert_ne!(code, 0, "{}", agent.log());
    agent.log()
}

#[test]
fn a_join_token_that_is_wrong_or_used_is_refused_and_never_written_down() {
    let (home, control) = control();
    let token = control.join_token();
    let file = control.agent_file("first", "unix:///nosuch.sock", &token);
    let mut first = Role::start(home.path(), "first", &["agent", "--config", file.to_str().expect("text")]);
    crate::support::eventually("the first one joins", crate::support::fleet::SOON, || {
        let nodes = control.cli.json(&["node", "list"]);
        if nodes[0]["name"] == "first" { Ok(()) } else { Err(nodes.to_string()) }
    });
    let used = agent_ends(home.path(), &control, "second", &token);
    assert!(used.contains("used"), "{used}");
    // Its last letters are the secret: the same token with another secret.
    let turned: String = token.chars().rev().collect();
    let wrong = format!("{}{}", &token[..token.len() - 8], &turned[..8]);
    let wrong_said = agent_ends(home.path(), &control, "third", &wrong);
    assert!(wrong_said.contains("token"), "{wrong_said}");
    let secret = &token[token.len() - 20..];
    let coordinator = control.coordinator.as_ref().expect("it is up").log();
    for text in [&used, &wrong_said, &first.log(), &coordinator] {
        assert!(!text.contains(secret), "the token was written down: {text}");
    }
    let nodes = control.cli.json(&["node", "list"]);
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "only the first one joined: {nodes:#}");
    first.says("nosuch.sock");
}

#[test]
fn an_engine_or_a_coordinator_that_is_not_there_is_named_with_what_to_do() {
    let home = tempfile::tempdir().expect("a directory");
    let nobody = Cli::new(home.path(), None);
    let dev = nobody.run(&["dev", "--listen", "127.0.0.1:0", "--engine", "unix:///nosuch.sock"]);
    assert_eq!(dev.code, 1, "{dev:?}");
    assert!(dev.err.contains("/nosuch.sock") && dev.err.contains("hint: "), "{dev:?}");
    let without = nobody.run(&["status"]);
    assert_eq!(without.code, 2, "{without:?}");

    let mut control = Control::start(home.path());
    control.crash();
    let gone = control.cli.run(&["status"]);
    assert_eq!(gone.code, 1, "{gone:?}");
    assert!(gone.err.contains(&control.address) && gone.err.contains("hint: "), "{gone:?}");
}
