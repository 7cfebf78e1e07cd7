//! Finding the coordinator, and being told plainly when that fails.

use std::net::TcpListener;

use crate::double::{Double, Ran, TOKEN, certificates};

/// A port at which nobody listens: it was free a moment ago and is held by nobody.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").to_string()
}

fn check(name: &str, ran: &Ran, expect: i32) {
    assert_eq!((ran.exit, ran.stdout.as_str()), (expect, ""));
    assert!(!ran.stderr.contains(TOKEN), "the token is shown: {}", ran.stderr);
    insta::assert_snapshot!(name, ran.stderr);
}

#[test]
fn without_a_context_it_says_how_to_get_one() {
    let double = Double::new();
    check("no_context", &double.run_with(&["status"], &[]), 2);
    let server = [("NIGHTSHIFT_SERVER", "https://127.0.0.1:1")];
    check("no_token", &double.run_with(&["status"], &server), 2);
    check("no_ca", &double.run_with(&["status", "--token", TOKEN], &server), 2);
}

#[test]
fn flags_and_variables_work_without_a_context_file() {
    let double = Double::new();
    let server = format!("https://{}", double.address());
    let arguments = ["--server", &server, "node", "show", "n1", "--ca", "ca.pem"];
    assert_eq!(double.run_with(&arguments, &[("NIGHTSHIFT_TOKEN", TOKEN)]).exit, 0);
    let left_over = [("NIGHTSHIFT_TOKEN", TOKEN), ("NIGHTSHIFT_CONTEXT", "absent.toml")];
    assert_eq!(double.run_with(&arguments, &left_over).exit, 0);
    let variables = [("NIGHTSHIFT_SERVER", server.as_str()), ("NIGHTSHIFT_TOKEN", TOKEN), ("NIGHTSHIFT_CA", "ca.pem")];
    assert_eq!(double.run_with(&["status"], &variables).exit, 0);
}

#[test]
fn a_coordinator_that_is_not_there_is_named() {
    let double = Double::new();
    let port = closed_port();
    let ran = double.run(&["status", "--server", &format!("https://{port}")]);
    let ran = Ran { stderr: ran.stderr.replace(&port, "CLOSED"), ..ran };
    check("no_coordinator", &ran, 1);
}

#[test]
fn a_wrong_token_is_said_to_be_wrong() {
    let double = Double::new();
    check("wrong_token", &double.run(&["status", "--token", "nst_wrong"]), 1);
    check("no_such_token", &double.run(&["status", "--token", "two\nlines"]), 2);
}

#[test]
fn a_coordinator_of_another_ca_is_not_trusted() {
    let double = Double::new();
    std::fs::write(double.directory().join("other.pem"), certificates().0).expect("written");
    std::fs::write(double.directory().join("none.pem"), "no certificate\n").expect("written");
    check("wrong_ca", &double.run(&["status", "--ca", "other.pem"]), 1);
    check("no_certificate", &double.run(&["status", "--ca", "none.pem"]), 2);
    check("absent_ca", &double.run(&["status", "--ca", "absent.pem"]), 2);
    let localhost = double.address().replace("127.0.0.1", "https://localhost");
    let ran = double.run(&["status", "--server", &localhost]);
    check("other_name", &Ran { stderr: ran.stderr.replace(&localhost, "https://OTHER"), ..ran }, 1);
}

#[test]
fn there_is_no_way_without_tls() {
    let double = Double::new();
    check("plaintext", &double.run(&["status", "--server", "http://127.0.0.1:1"]), 2);
}

#[test]
fn a_broken_context_file_is_shown_without_its_token() {
    let double = Double::new();
    let file = double.directory().join("broken.toml");
    for (name, text) in [
        ("context_unknown_key", format!("server = 'https://a:1'\ntoken = '{TOKEN}'\ntokn = '{TOKEN}'\n")),
        ("context_wrong_type", format!("server = 7\ntoken = ['{TOKEN}']\n")),
        ("context_no_toml", format!("token = '{TOKEN}\n")),
    ] {
        std::fs::write(&file, text).expect("written");
        check(name, &double.run(&["status", "--context", "broken.toml"]), 2);
    }
    check("context_absent", &double.run(&["status", "--context", "absent.toml"]), 2);
    check("context_directory", &double.run(&["status", "--context", "."]), 2);
}

#[test]
fn the_doctor_finds_what_is_wrong() {
    let double = Double::new();
    let absent = "unix:///nonexistent/engine.sock";
    let mut text = String::new();
    for (arguments, expect) in [
        (&["doctor"][..], 0),
        (&["doctor", "--token", "nst_wrong"], 1),
        (&["doctor", "--server", "ftp://x"], 1),
        (&["doctor", "--engine", absent, "-o", "json"], 1),
    ] {
        let ran = double.run(arguments);
        assert_eq!(ran.exit, expect, "{arguments:?}: {}", ran.stdout);
        // The fixture's clock stands still: how far it is behind grows.
        let lines = ran.stdout.lines().map(|line| match (line.find("clock is "), line.find(" s behind")) {
            (Some(from), Some(to)) => format!("{}SECONDS{}\n", &line[..from + 9], &line[to..]),
            _ => format!("{line}\n"),
        });
        text.push_str(&Ran { stdout: lines.collect(), ..ran }.transcript(arguments));
    }
    insta::assert_snapshot!("doctor", text);
}
