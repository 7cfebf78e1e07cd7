//! `rehearse` is the one verb that does something by itself: its whole story is a golden file.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

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

/// Every way in which a file judges health.
const HEALTH: [&str; 6] = [
    "",
    "docker = true",
    "http = ':8080/healthz'",
    "tcp = 5432",
    "exec = ['/bin/check', '-q']",
    "http = { port = 80 }",
];

/// Hooks of every kind, at every point.
const HOOKS: &str = "[hooks]\nbefore = 'https://monitor.example/nightshift'\ndrain = { exec = ['/bin/drain'], timeout = '5m' }\n\
                     after = { http = 'http://balancer.example/ready', timeout = '5s' }\n";

#[test]
fn files_with_every_kind_of_hook_and_health_reach_their_target_and_fail_where_they_should() {
    let double = Double::new();
    let (rules, _) = WEB.split_once("[health]").expect("it has a health check");
    for health in HEALTH {
        for order in ["stop-first", "start-first"] {
            let text = format!("{rules}order = '{order}'\n[health]\n{health}\n{HOOKS}");
            let text = if health.is_empty() { text.replace("[health]", "") } else { text };
            fs::write(double.directory().join("web.toml"), text).expect("written");
            let arguments = ["rehearse", "web.toml", "--nodes", "2", "--at", FRIDAY, "-o", "json"];
            let good = double.run_with(&arguments, &[]);
            assert_eq!((good.exit, good.stderr.as_str()), (0, ""), "{health} {order}\n{}", good.stdout);
            let failing = [&arguments[..], &["--fail", "node2"]].concat();
            let bad = double.run_with(&failing, &[]);
            assert_eq!((bad.exit, bad.stderr.as_str()), (3, ""), "{health} {order}\n{}", bad.stdout);
            let told: Value = serde_json::from_str(&bad.stdout).expect("JSON");
            assert_eq!(told["apps"][0]["state"], "rolled_back", "{health} {order}\n{told:#}");
        }
    }
}

/// Quiet hours of single nodes, a person's word after the canary, a freeze, and an app that is on some nodes only.
const ZONES: &str = "name = 'web'\nimage = 'registry.example/shop/web:stable'\nnodes = 'role=web'\n\
                     [quiet_hours]\ntimezone = 'America/Moncton'\n\
                     [[quiet_hours.allow]]\nnodes = 'zone=north'\ndays = ['daily']\nstart = '22:00'\nduration = '1h'\n\
                     [[quiet_hours.allow]]\nnodes = 'zone=south'\ndays = ['daily']\nstart = '23:00'\nduration = '1h'\n\
                     [[quiet_hours.freeze]]\nname = 'exams'\nfrom = '2026-11-27'\nto = '2026-11-29'\n";

#[test]
fn labels_of_nodes_place_apps_and_choose_windows_and_the_canary() {
    let double = Double::new();
    let directory = double.directory();
    fs::write(directory.join("zones.toml"), format!("{ZONES}{HOOKS}")).expect("written");
    fs::write(directory.join("approve.toml"), format!("{ZONES}[update]\nmode = 'approve'\n")).expect("written");
    let labels = [
        "--label",
        "node1:role=web,zone=north",
        "--label",
        "node2:role=web,zone=south",
        "--label",
        "node3:role=web,zone=south",
        "--label",
        "node3:canary=yes",
        "--label",
        "node4:role=web",
        "--label",
        "node5:role=db",
    ];
    let mut text = String::new();
    for (arguments, expect) in [
        (&["rehearse", "zones.toml", "--at", FRIDAY, "--nodes", "5"][..], 0),
        (&["rehearse", "approve.toml", "--at", FRIDAY, "--nodes", "5"], 3),
    ] {
        let arguments = [arguments, &labels[..]].concat();
        let ran = double.run_with(&arguments, &[]);
        text.push_str(&settled(&ran.transcript(&arguments)));
        assert_eq!(ran.exit, expect, "{arguments:?}\n{text}");
    }
    for (arguments, expect) in [
        (&["rehearse", "zones.toml", "--at", FRIDAY][..], 3),
        (&["rehearse", "zones.toml", "--label", "node1:role=db"], 2),
        (&["rehearse", "zones.toml", "--label", "node4:role=web"], 2),
        (&["rehearse", "zones.toml", "--label", "node1"], 2),
    ] {
        let ran = double.run_with(arguments, &[]);
        text.push_str(&settled(&ran.transcript(arguments)));
        assert_eq!(ran.exit, expect, "{arguments:?}\n{text}");
    }
    insta::assert_snapshot!("rehearse_labels", text);
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
