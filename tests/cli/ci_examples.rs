//! `examples/ci`: the files of the hosted CIs are YAML and run the script with all that it needs; the script itself refuses
//! what it cannot do before it does anything. What it does with a real engine is in `tests/e2e/ci.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use yaml_rust2::{Yaml, YamlLoader};

/// What a job runs: the script at the place where the README says that it belongs.
const RUN: &str = "sh ci/nightshift-ci.sh release";
/// Set by the service itself, or by people in its settings, as the file's head says.
const IN_SETTINGS: [&str; 4] = ["NIGHTSHIFT_SERVER", "NIGHTSHIFT_TOKEN", "NIGHTSHIFT_CA", "NIGHTSHIFT_CA_PEM"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ci")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("the example is there")
}

fn yaml(name: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let [document] = &documents[..] else { panic!("{name} is one document") };
    document.clone()
}

fn words(list: &Yaml) -> Vec<&str> {
    list.as_vec().expect("a list").iter().map(|item| item.as_str().expect("text")).collect()
}

fn keys(table: &Yaml) -> Vec<&str> {
    table.as_hash().expect("a table").keys().map(|key| key.as_str().expect("text")).collect()
}

/// Checks that a job gives the script its variables: those of the file here, the others in the settings named by its head.
fn has_what_the_script_needs(name: &str, set: &[&str]) {
    let text = text(name);
    let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
    let given: BTreeSet<&str> =
        set.iter().copied().chain(IN_SETTINGS.into_iter().filter(|it| head.contains(it))).collect();
    for needed in ["APP", "IMAGE", "TEST", "BUILD_URL", "NIGHTSHIFT_SERVER", "NIGHTSHIFT_TOKEN"] {
        assert!(given.contains(needed), "{name} does not say where {needed} comes from: {given:?}");
    }
    assert!(given.contains("NIGHTSHIFT_CA") || given.contains("NIGHTSHIFT_CA_PEM"), "{name}: {given:?}");
    assert!(!text.contains("NIGHTSHIFT_TOKEN="), "{name}: a token stands in no file");
}

#[test]
fn the_job_for_github_is_yaml_and_runs_the_script_at_pushes_and_every_night() {
    let workflow = yaml("github.yml");
    assert_eq!(workflow["on"]["schedule"][0]["cron"].as_str(), Some("17 1 * * *"));
    assert_eq!(words(&workflow["on"]["push"]["branches"]), ["main"]);
    let job = &workflow["jobs"]["release"];
    let steps = job["steps"].as_vec().expect("steps");
    let runs: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert!(runs[0].contains("docker login ghcr.io") && runs[0].contains("--password-stdin"), "{runs:?}");
    assert_eq!(runs[1..], [RUN]);
    let last = steps.last().expect("a step");
    assert_eq!(last["env"]["NIGHTSHIFT_TOKEN"].as_str(), Some("${{ secrets.NIGHTSHIFT_TOKEN }}"));
    has_what_the_script_needs("github.yml", &keys(&job["env"]));
}

#[test]
fn the_job_for_gitlab_is_yaml_and_runs_the_script() {
    let job = &yaml("gitlab-ci.yml")["release"];
    assert_eq!(words(&job["script"]), [RUN]);
    assert_eq!(words(&job["before_script"])[0], "apk add --no-cache curl", "the docker image has no curl");
    assert_eq!(job["variables"]["TEST"]["expand"].as_bool(), Some(false), "$CANDIDATE is not GitLab's");
    has_what_the_script_needs("gitlab-ci.yml", &keys(&job["variables"]));
}

#[test]
fn the_job_for_travis_is_yaml_and_runs_the_script_but_not_for_strangers() {
    let file = yaml("travis.yml");
    assert_eq!(words(&file["script"]), [RUN]);
    assert_eq!(file["if"].as_str(), Some("type != pull_request"));
    let set = words(&file["env"]["global"]);
    let names: Vec<&str> = set.iter().map(|line| line.split_once('=').expect("NAME=VALUE").0).collect();
    has_what_the_script_needs("travis.yml", &names);
    // A shell reads these lines.
    let script = format!("{}\nprintf '%s' \"$TEST\"", set.join("\n"));
    let read = Command::new("sh").args(["-euc", &script]).env("TRAVIS_BUILD_WEB_URL", "x").output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "docker run --rm \"$CANDIDATE\" /app/self-test");
}

/// Runs the script where neither docker nor curl can be found.
fn script(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    for program in ["mktemp", "rm", "env", "sh", "cat", "sed", "head"] {
        let found = ["/usr/bin", "/bin"].map(|place| Path::new(place).join(program)).into_iter().find(|it| it.exists());
        std::os::unix::fs::symlink(found.expect("on every machine"), directory.path().join(program)).expect("a link");
    }
    let mut command = Command::new("/bin/sh");
    command.arg(folder().join("nightshift-ci.sh")).args(arguments).env_clear().env("PATH", directory.path());
    command.envs(environment.iter().copied()).output().expect("a shell")
}

#[test]
fn the_script_says_what_is_missing_before_it_does_anything() {
    let all = [
        ("APP", "web"),
        ("NIGHTSHIFT_SERVER", "https://localhost:1"),
        ("NIGHTSHIFT_TOKEN", "id.hunter2"),
        ("NIGHTSHIFT_CA", "ca.pem"),
        ("IMAGE", "registry.example/web"),
        ("TEST", "true"),
    ];
    let digest = format!("sha256:{}", "a".repeat(64));
    for (missing, arguments) in [
        ("APP", vec!["release"]),
        ("IMAGE", vec!["release"]),
        ("TEST", vec!["release"]),
        ("NIGHTSHIFT_SERVER", vec!["release"]),
        ("NIGHTSHIFT_TOKEN", vec!["report", &digest, "failed"]),
        ("NIGHTSHIFT_CA", vec!["report", &digest, "failed"]),
    ] {
        let others: Vec<_> = all.into_iter().filter(|(name, _)| *name != missing).collect();
        let ran = script(&arguments, &others);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "without {missing}: {said}");
        assert!(said.contains(missing) && said.contains("is not set"), "without {missing}: {said}");
    }
    for (arguments, words) in [
        (vec![], "usage"),
        (vec!["deploy"], "unknown verb"),
        (vec!["release", "now"], "usage"),
        (vec!["report", &digest], "usage"),
        (vec!["report", "latest", "passed"], "is no digest"),
        (vec!["report", &digest, "ok"], "is no result"),
    ] {
        let ran = script(&arguments, &all);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(2), 0), "{arguments:?}: {said}");
        assert!(said.contains(words) && !said.contains("hunter2"), "{arguments:?}: {said}");
    }
    let quoted: Vec<_> = all.into_iter().chain([("SUITE", "a\", \"result\": \"passed")]).collect();
    let ran = script(&["report", &digest, "failed"], &quoted);
    assert_eq!(ran.status.code(), Some(2), "nobody writes JSON by a suite's name");
}
