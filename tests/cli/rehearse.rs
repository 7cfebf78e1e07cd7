//! `rehearse` is the one verb that does something by itself: its whole story is a golden file.

use std::fs;
use std::time::{Duration, Instant};

use crate::double::Double;
use crate::golden::check_documented;

const WEB: &str = "name = 'web'\nimage = 'registry.example/shop/web:stable'\nnodes = 'role=web'\n\n[gate]\ncooldown = '2h'\n\n\
                   [quiet_hours]\ntimezone = 'America/Moncton'\n[[quiet_hours.allow]]\ndays = ['mon-thu']\nstart = '22:00'\n\
                   duration = '40m'\n\n[update]\nfailure_action = 'rollback'\nmonitor = '2m'\n\n[health]\nhttp = ':8080/healthz'\n";

/// A Friday: the next window opens on Monday.
const FRIDAY: &str = "2026-11-27T12:00:00Z";

/// The text with digests that do not depend on what a simulated image is made of.
fn settled(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut settled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        settled.push_str("sha256:(digest)");
        settled.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    settled
}

#[test]
fn a_night_is_rehearsed_without_a_coordinator() {
    let double = Double::new();
    let directory = double.directory();
    fs::write(directory.join("web.toml"), WEB).expect("written");
    fs::write(directory.join("db.toml"), WEB.replace("web", "db").replace("\n\n[gate]", "\nafter = ['web']\n[gate]"))
        .expect("written");
    fs::write(directory.join("never.toml"), "name = 'web'\nimage = 'web'\n").expect("written");
    let mut text = String::new();
    for (arguments, expect) in [
        (&["rehearse", "web.toml", "db.toml", "--nodes", "2", "--at", FRIDAY][..], 0),
        (&["rehearse", "web.toml", "--nodes", "4", "--fail", "node3", "--at", FRIDAY], 3),
        (&["rehearse", "web.toml", "--nodes", "1", "--fail", "node1", "--at", FRIDAY, "-o", "json"], 3),
        (&["rehearse", "never.toml", "--at", FRIDAY], 3),
        (&["rehearse", "web.toml", "--fail", "node4"], 2),
        (&["rehearse", "web.toml", "web.toml"], 2),
        (&["rehearse", "absent.toml"], 2),
    ] {
        let ran = double.run_with(arguments, &[]);
        text.push_str(&settled(&ran.transcript(arguments)));
        assert_eq!(ran.exit, expect, "{arguments:?}\n{text}");
        if arguments.contains(&"json") {
            check_documented(&serde_json::from_str(&ran.stdout).expect("JSON"));
        }
    }
    insta::assert_snapshot!("rehearse", text);
    assert_eq!(double.seen(), Vec::<String>::new());
}

#[test]
fn days_of_waiting_pass_in_a_moment() {
    let double = Double::new();
    fs::write(double.directory().join("web.toml"), WEB).expect("written");
    let arguments = ["rehearse", "web.toml", "--nodes", "12", "--at", FRIDAY];
    let begun = Instant::now();
    assert_eq!(double.run_with(&arguments, &[]).exit, 0);
    // It takes a second in a debug build; the rest is for a machine that does other things as well.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
