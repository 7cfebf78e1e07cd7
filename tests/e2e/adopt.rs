//! Adoption: containers as `docker run` beside Watchtower and as Compose start them become app files that `apply` takes.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::Engine;
use crate::support::fleet::{CONTAINER, Fleet};

/// What Compose started on an engine; taken down in the end, also when the test fails.
struct Project<'a> {
    engine: &'a Engine,
    directory: &'a Path,
    name: String,
}

impl<'a> Project<'a> {
    fn up(engine: &'a Engine, directory: &'a Path, name: &str, image: &str) -> Self {
        let file = format!(
            "version: \"3\"\nservices:\n  back:\n    image: {image}\n  front:\n    image: {image}\n    depends_on: [back]\n"
        );
        std::fs::write(directory.join("docker-compose.yml"), file).expect("the directory can be written");
        let project = Self { engine, directory, name: name.to_owned() };
        assert!(project.compose(&["up", "-d"]), "`docker-compose up` is good");
        project
    }

    fn compose(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", &self.name]).args(arguments).current_dir(self.directory);
        command.env("DOCKER_HOST", self.engine.url()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("scripts/test installs it").success()
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        // What it cannot take away goes with the engine.
        let _ = self.compose(&["down", "--timeout", "0"]);
    }
}

/// Id, state and name of each container of the scenario on an engine; others come and go meanwhile.
fn state(engine: &Engine, project: &Project<'_>) -> Vec<Value> {
    let list = engine.call("GET", "/containers/json?all=1", &Value::Null);
    let ours = |container: &&Value| {
        let name = container["Names"].to_string();
        name.contains(&engine.name("")) || name.contains(&project.name)
    };
    let one = |container: &Value| json!([container["Id"], container["State"], container["Names"]]);
    list.as_array().expect("a list").iter().filter(ours).map(one).collect()
}

#[test]
fn what_runs_is_proposed_as_files_that_apply_takes_and_nothing_is_touched() {
    let Some(fleet) = Fleet::start("adopt") else { return };
    let engine = &fleet.surroundings.engines[0];
    let image = format!("{}:stable", fleet.v1.repository);
    let other = fleet.registry().push_text("tool:1", "tool", &[]);
    let other = format!("{}:1", other.repository);
    engine.pull(&other);
    let label = |key: &str, value: &str| json!({format!("com.centurylinklabs.watchtower.{key}"): value});
    let mut watched = label("monitor-only", "true");
    watched["com.centurylinklabs.watchtower.lifecycle.pre-update"] = json!("echo 'about to go'");
    watched["secret.of.another.tool"] = json!("hunter2");
    engine.run("watched", &other, json!({"Labels": watched}));
    engine.run("off", &other, json!({"Labels": label("enable", "false")}));
    engine.run("passing", &other, json!({"HostConfig": {"AutoRemove": true}}));
    let directory = tempfile::tempdir().expect("a directory");
    // Compose's names are lower case, without punctuation.
    let project: String = engine.name("shop").chars().filter(char::is_ascii_alphanumeric).collect();
    let project = Project::up(engine, directory.path(), &project, &image);
    let before = state(engine, &project);

    let out = directory.path().join("apps");
    let adopted = fleet.cli.json(&["adopt", "--out", out.to_str().expect("text")]);

    let of = |container: &str| {
        let proposals = adopted["proposals"].as_array().expect("a list").iter();
        let mut proposals = proposals.filter(|proposal| {
            let containers = proposal["containers"].as_array().expect("a list");
            containers.iter().any(|one| one["container"] == container)
        });
        proposals.next().unwrap_or_else(|| panic!("{container} is proposed: {adopted:#}")).clone()
    };
    let web = of(&engine.name(CONTAINER));
    assert_eq!(web["app"], json!(fleet.app()), "its label names it");
    assert_eq!(web["containers"].as_array().expect("a list").len(), 3, "on three nodes: {web:#}");
    let back = of(&format!("{}_back_1", project.name));
    let front = of(&format!("{}_front_1", project.name));
    assert_eq!((&back["image"], &front["image"]), (&json!(image), &json!(image)));
    let text = front["toml"].as_str().expect("text");
    assert!(text.contains("docker = true"), "the image has a health check: {text}");
    let watched = of(&engine.name("watched"));
    let text = watched["toml"].as_str().expect("text");
    assert!(text.contains("mode = \"manual\"") && text.contains("[hooks.before]"), "{text}");
    assert!(!adopted.to_string().contains("hunter2"), "other tools' labels stay on the node");
    for (container, words) in [("off", "watchtower.enable=false"), ("passing", "--rm")] {
        let container = engine.name(container);
        let left = adopted["left_out"].as_array().expect("a list").iter().find(|left| left["container"] == container);
        let reason = left.unwrap_or_else(|| panic!("{container} is left out: {adopted:#}"))["reason"].to_string();
        assert!(reason.contains(words), "{container}: {reason}");
    }
    assert_eq!(adopted["silent"], json!([]));

    // All of it is taken, also what comes from scenarios that run at the same time.
    let files = std::fs::read_dir(&out).expect("written").map(|entry| entry.expect("readable").path());
    let files: Vec<_> = files.map(|file| file.display().to_string()).collect();
    let mut arguments = vec!["apply".to_owned(), "--dry-run".to_owned()];
    arguments.extend(files);
    let applied = fleet.cli.run(&arguments);
    assert_eq!(applied.code, 0, "{applied:?}");
    let again = fleet.cli.run(&["adopt", "--out", out.to_str().expect("text")]);
    assert_eq!(again.code, 1, "nothing is overwritten: {again:?}");

    // Applied in earnest, the containers belong to it, and are no longer proposed.
    let file = out.join(format!("{}.toml", watched["app"].as_str().expect("text")));
    let applied = fleet.cli.run(&["apply", file.to_str().expect("text")]);
    assert_eq!(applied.code, 0, "{applied:?}");
    crate::support::eventually("the container belongs to its app", crate::support::fleet::SOON, || {
        let adopted = fleet.cli.json(&["adopt", "--node", "node1"]);
        let mut left = adopted["left_out"].as_array().expect("a list").iter();
        let ours = left
            .any(|left| left["container"] == engine.name("watched") && left["reason"].to_string().contains("already"));
        if ours { Ok(()) } else { Err(adopted.to_string()) }
    });
    assert_eq!(state(engine, &project), before, "nothing was touched");
}
