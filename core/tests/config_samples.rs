//! App files as people write them, good and bad: each file in `config/valid` is read, each in `config/invalid` has its
//! problems beside it (`INSTA_UPDATE=always` writes them again), and the documentation names every key.
#![expect(clippy::disallowed_methods, reason = "tests read the samples from files; the library itself has none")]

use std::fs;
use std::path::{Path, PathBuf};

use nightshift_core::config::{app_keys, read_app};
use proptest::prelude::*;

fn samples(kind: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let entries = fs::read_dir(folder).expect("the folder of samples is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_name().expect("a file").to_string_lossy().into_owned()
}

#[test]
fn every_valid_sample_is_read_and_survives_being_stored() {
    let files = samples("valid", "toml");
    assert!(files.len() >= 5, "samples are missing: {files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        let spec = read_app(&name(&file), &text).unwrap_or_else(|problems| panic!("{problems}"));
        let stored = serde_json::to_string(&spec).expect("a spec can be stored");
        assert_eq!(serde_json::from_str::<nightshift_core::spec::AppSpec>(&stored).expect("read again"), spec);
        let snapshot = serde_json::to_string_pretty(&spec).expect("a spec can be stored");
        assert_file_snapshot("valid", &file, &snapshot);
    }
}

#[test]
fn every_invalid_sample_has_exactly_its_problems() {
    let files = samples("invalid", "toml");
    assert!(files.len() >= 10, "samples are missing: {files:?}");
    for file in &files {
        let text = fs::read_to_string(file).expect("readable");
        match read_app(&name(file), &text) {
            Ok(_) => panic!("{} was accepted", file.display()),
            Err(problems) => assert_file_snapshot("invalid", file, &problems.to_string()),
        }
    }
    let snapshots = samples("invalid", "snap").len();
    assert_eq!(snapshots, files.len(), "a snapshot in config/invalid has no sample");
}

fn assert_file_snapshot(kind: &str, file: &Path, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("config").join(kind));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let stem = file.file_stem().expect("a file").to_string_lossy().into_owned();
    settings.bind(|| insta::assert_snapshot!(stem, text));
}

#[test]
fn the_example_is_read() {
    let text = include_str!("../../examples/web.toml");
    let spec = read_app("web.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(spec.name.as_str(), "web");
    assert!(spec.quiet_hours.is_some_and(|quiet_hours| !quiet_hours.allow().is_empty()));
}

/// What mistakes and hostile files are made of.
const SCRAPS: [&str; 20] = [
    "",
    "=",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "\"\"\"",
    "'",
    "\n",
    ".",
    ",",
    "update",
    "[update]\n",
    "\u{e9}\u{1f600}",
    "\0",
    "#",
    "\\u",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_damaged_file_is_read_or_refused_at_a_place_that_exists(
        damages in prop::collection::vec((0..4_000_usize, 0..40_usize, prop::sample::select(&SCRAPS[..])), 1..6),
    ) {
        let mut text: Vec<char> = include_str!("config/valid/everything.toml").chars().collect();
        for (at, length, scrap) in damages {
            let at = at % (text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, scrap.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = read_app("damaged.toml", &text) {
            prop_assert!(!problems.as_slice().is_empty());
            for problem in problems {
                prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
                let line = text.split('\n').nth(problem.line - 1);
                prop_assert!(line.is_some_and(|line| problem.column <= line.chars().count() + 1), "{problem:?}");
                prop_assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
            }
        }
    }
}

#[test]
fn the_documentation_names_every_key_of_an_app_file() {
    let page = include_str!("../../docs/configuration.md");
    let keys = app_keys();
    assert!(keys.contains("quiet_hours.allow.start"), "{keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !page.contains(&format!("| `{key}` |"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md has no row for {missing:?}");
}
