//! App files are read before anything is sent.

use std::fs;

use crate::double::Double;

const GOOD: &str = "name = 'web'\nimage = '127.0.0.1:5000/web:stable'\n\n[quiet_hours]\ntimezone = 'America/Moncton'\n\n\
                    [[quiet_hours.allow]]\ndays = ['mon-thu']\nstart = '22:00'\nduration = '6h'\n";

#[test]
fn apply_sends_the_files_as_they_were_written() {
    let double = Double::new();
    fs::write(double.directory().join("web.toml"), GOOD).expect("written");
    fs::write(double.directory().join("db.toml"), GOOD.replace("'web'", "'db'")).expect("written");
    let arguments = ["apply", "web.toml", "db.toml", "--dry-run"];
    insta::assert_snapshot!("apply", double.run(&arguments).transcript(&arguments));
    let arguments = ["apply", "web.toml", "-o", "json"];
    insta::assert_snapshot!("apply_json", double.run(&arguments).transcript(&arguments));
    let seen = double.seen();
    assert!(seen[0].contains(&format!("{GOOD:?}")) && seen[0].contains("dry_run: true"), "{seen:?}");
    assert!(seen[1].contains("dry_run: false"), "{seen:?}");
}

#[test]
fn one_broken_file_and_nothing_is_sent() {
    let double = Double::new();
    let directory = double.directory();
    fs::write(directory.join("web.toml"), GOOD).expect("written");
    fs::write(directory.join("again.toml"), GOOD).expect("written");
    fs::write(directory.join("broken.toml"), "name = 'db'\nimag = 'x'\n\n[update]\nparallelism = 0\n")
        .expect("written");
    fs::write(directory.join("binary.toml"), [0xff, 0xfe, 0x00]).expect("written");
    let arguments = ["apply", "web.toml", "broken.toml", "again.toml", ".", "absent.toml", "binary.toml"];
    let ran = double.run(&arguments);
    assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""));
    insta::assert_snapshot!("apply_broken", ran.transcript(&arguments));
    assert_eq!(double.seen(), Vec::<String>::new());
}

#[test]
fn quiet_hours_of_a_file_need_no_coordinator() {
    let double = Double::new();
    fs::write(double.directory().join("web.toml"), GOOD).expect("written");
    fs::write(double.directory().join("never.toml"), "name = 'web'\nimage = 'web'\n").expect("written");
    let mut text = String::new();
    for (verb, file, expect) in [
        ("next", "web.toml", 0),
        ("explain", "web.toml", 0),
        ("check", "web.toml", 0),
        ("check", "never.toml", 1),
        ("next", "absent.toml", 2),
    ] {
        let arguments = ["quiet", verb, "--file", file, "--at", "2026-01-06T03:00:00Z", "-o", "json"];
        let ran = double.run_with(&arguments, &[]);
        assert_eq!(ran.exit, expect, "{arguments:?}");
        text.push_str(&ran.transcript(&arguments));
        let arguments = &arguments[..6];
        text.push_str(&double.run_with(arguments, &[]).transcript(arguments));
    }
    insta::assert_snapshot!("quiet_file", text);
    assert_eq!(double.seen(), Vec::<String>::new());
}
