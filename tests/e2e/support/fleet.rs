//! A fleet to try things on: three nodes, one app with a container on each, and the program that keeps it fresh.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::events::Recording;
use super::program::{Cli, Role};
use super::registry::{Image, Registry};
use super::{Surroundings, eventually};

/// A rollout over three nodes with the times of [`Fleet::app`] takes 20 seconds; the rest is room for a busy machine.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(150);
/// What the coordinator learns by itself, or by looking at the registry once a second.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// When the app may be installed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hours {
    /// At all times.
    Always,
    /// Never by itself.
    Never,
    /// From this instant on, for two hours.
    From(DateTime<Utc>),
}

/// The containers' name within the scenario.
pub(crate) const CONTAINER: &str = "web";

/// A fleet with a coordinator and three agents in one process.
pub(crate) struct Fleet {
    /// The command line.
    pub(crate) cli: Cli,
    /// The process.
    pub(crate) dev: Role,
    /// Engines, registry, files. After the process: it ends first.
    pub(crate) surroundings: Surroundings,
    /// The digest that ran in the beginning.
    pub(crate) v1: Image,
    arguments: Vec<String>,
}

/// Options of an image that is healthy soon after its start. Its data is born with its volume.
pub(crate) const GOOD: [&str; 8] =
    ["--health", "web", "--health-interval", "0.5", "--volume", "/data", "--label", "kind=good"];
/// Options of an image that runs and never becomes healthy.
pub(crate) const SICK: [&str; 6] = ["--health", "false", "--health-interval", "0.5", "--volume", "/data"];

impl Fleet {
    /// Starts `nightshift dev` on three engines with one running container each; `None` without engines.
    pub(crate) fn start(scenario: &str) -> Option<Self> {
        Self::start_with(scenario, &json!({}))
    }

    /// The same; `more` is the rest of the containers' configuration.
    pub(crate) fn start_with(scenario: &str, more: &Value) -> Option<Self> {
        Some(Self::start_on(Surroundings::of(scenario)?, more, &[]))
    }

    /// The same in these surroundings, with more arguments for `nightshift dev`.
    pub(crate) fn start_on(surroundings: Surroundings, more: &Value, options: &[&str]) -> Self {
        Self::start_from(surroundings, &GOOD, more, options)
    }

    /// The same with a first image of these options.
    pub(crate) fn start_from(surroundings: Surroundings, image: &[&str], more: &Value, options: &[&str]) -> Self {
        let v1 = surroundings.registry.push_text("web:stable", "v1", image);
        run_everywhere(&surroundings, &v1, more);
        let home = surroundings.directory.path();
        let data = home.join("data");
        let mut arguments: Vec<String> =
            ["dev", "--listen", "127.0.0.1:0", "--watch-interval", "1s", "--data-dir"].map(String::from).to_vec();
        arguments.push(data.display().to_string());
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        for engine in &surroundings.engines {
            arguments.extend(["--engine".to_owned(), engine.url().to_owned()]);
        }
        let mut dev = Role::start(home, "dev", &arguments);
        dev.says("export NIGHTSHIFT_CONTEXT=");
        let cli = Cli::new(home, Some(data.join("context.toml")));
        let fleet = Self { cli, dev, surroundings, v1, arguments };
        nodes_connected(&fleet.cli, 3);
        fleet
    }

    /// Starts everything again after a crash of the process, on the same data.
    pub(crate) fn up_again(&self) -> Role {
        let mut dev = Role::start(self.surroundings.directory.path(), "dev-again", &self.arguments);
        dev.says("export NIGHTSHIFT_CONTEXT=");
        nodes_connected(&self.cli, 3);
        dev
    }

    /// The app's name.
    pub(crate) fn app(&self) -> String {
        self.surroundings.app()
    }

    /// The registry.
    pub(crate) fn registry(&self) -> &Registry {
        &self.surroundings.registry
    }

    /// Applies the app with these quiet hours.
    pub(crate) fn apply(&self, hours: Hours) {
        apply(&self.surroundings, &self.cli, hours, "");
    }

    /// Applies the app with more keys in its `[update]` table.
    pub(crate) fn apply_with(&self, hours: Hours, update: &str) {
        apply(&self.surroundings, &self.cli, hours, update);
    }

    /// Pushes a version to the followed tag, without any test report.
    pub(crate) fn push(&self, text: &str, options: &[&str]) -> Image {
        self.registry().push_text("web:stable", text, options)
    }

    /// CI says that a digest passed its tests.
    pub(crate) fn report_passed(&self, image: &Image) {
        report_passed(&self.cli, &self.app(), image);
    }

    /// Waits until the newest rollout is in one of these states.
    pub(crate) fn rollout_is(&self, states: &[&str], deadline: Duration) -> Value {
        rollout_is(&self.cli, &self.app(), states, deadline)
    }

    /// Waits until `status` says that the app waits for this, in words that hold these.
    pub(crate) fn waits_for(&self, kind: &str, words: &str) -> Value {
        waits_for(&self.cli, &self.app(), kind, words)
    }

    /// What the app is now.
    pub(crate) fn shown(&self) -> Value {
        self.cli.json(&["app", "show", &self.app()])
    }

    /// Records what happens to the scenario's containers from now on.
    pub(crate) fn record(&self) -> Recording {
        Recording::start(&self.surroundings)
    }

    /// Checks on the engines themselves that each runs exactly the container of this image, and nothing else is left.
    pub(crate) fn runs(&self, image: &Image) {
        for engine in &self.surroundings.engines {
            runs(engine, image);
        }
    }

    /// The IDs of the app's containers, by engine.
    pub(crate) fn ids(&self) -> Vec<String> {
        ids(&self.surroundings)
    }
}

/// Starts the app's container on each engine, as a person does: by tag.
pub(crate) fn run_everywhere(surroundings: &Surroundings, image: &Image, more: &Value) {
    for engine in &surroundings.engines {
        let mut body = more.clone();
        body["Labels"]["nightshift.app"] = json!(surroundings.app());
        let name = format!("{}:stable", image.repository);
        engine.pull_as(&name, surroundings.registry.login());
        engine.run(CONTAINER, &name, body);
    }
}

/// Checks that an engine holds exactly one container of the scenario, under its own name, running this image.
pub(crate) fn runs(engine: &super::Engine, image: &Image) {
    let containers = engine.containers();
    assert_eq!(containers.len(), 1, "{} holds one container: {containers:#?}", engine.url());
    let inspect = engine.inspect(&engine.name(CONTAINER));
    assert_eq!(inspect["State"]["Running"], true, "{inspect:#}");
    let running =
        engine.call("GET", &format!("/images/{}/json", inspect["Image"].as_str().expect("an id")), &Value::Null);
    let digests = running["RepoDigests"].as_array().expect("a list");
    assert!(digests.contains(&json!(image.by_digest())), "{} runs {image:?}: {digests:?}", engine.url());
}

/// The IDs of the app's containers, by engine.
pub(crate) fn ids(surroundings: &Surroundings) -> Vec<String> {
    let id = |engine: &super::Engine| engine.inspect(&engine.name(CONTAINER))["Id"].as_str().expect("an id").to_owned();
    surroundings.engines.iter().map(id).collect()
}

/// Waits until so many nodes are connected.
pub(crate) fn nodes_connected(cli: &Cli, count: usize) {
    eventually(&format!("{count} nodes are connected"), SOON, || {
        let nodes = cli.json(&["node", "list"]);
        let connected = nodes.as_array().into_iter().flatten().filter(|node| node["connected"] == true).count();
        if connected == count { Ok(()) } else { Err(nodes.to_string()) }
    });
}

/// Waits until the coordinator knows that a node's engine does not answer.
pub(crate) fn engine_is_missed(cli: &Cli, node: &str) {
    eventually(&format!("the engine of {node} is missed"), SOON, || {
        let shown = cli.json(&["node", "show", node]);
        if shown["problem"].is_string() { Ok(()) } else { Err(shown.to_string()) }
    });
}

/// Applies the app, watched shortly, so that tests are short.
pub(crate) fn apply(surroundings: &Surroundings, cli: &Cli, hours: Hours, update: &str) {
    apply_tables(surroundings, cli, hours, update, "");
}

/// The same with more tables.
pub(crate) fn apply_tables(surroundings: &Surroundings, cli: &Cli, hours: Hours, update: &str, tables: &str) {
    apply_image(surroundings, cli, "web:stable", hours, update, tables);
}

/// The same for an image, `NAME` or `NAME:TAG`.
pub(crate) fn apply_image(
    surroundings: &Surroundings,
    cli: &Cli,
    image: &str,
    hours: Hours,
    update: &str,
    tables: &str,
) {
    let name = surroundings.app();
    let image = surroundings.registry.repository(image);
    let mut file = format!("name = \"{name}\"\nimage = \"{image}\"\n");
    let window = |start: &str, duration: &str| {
        format!(
            "[quiet_hours]\ntimezone = \"UTC\"\n[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"{start}\"\nduration = \"{duration}\"\n"
        )
    };
    match hours {
        Hours::Never => {}
        Hours::Always => file.push_str(&window("00:00", "24h")),
        Hours::From(instant) => file.push_str(&window(&instant.format("%H:%M:%S").to_string(), "2h")),
    }
    writeln!(
        file,
        "[update]\nmonitor = \"1s\"\ncanary_monitor = \"1s\"\nhealthy_deadline = \"30s\"\nprogress_deadline = \"10m\"\n{update}\n{tables}"
    )
    .expect("text grows");
    let path = surroundings.directory.path().join("app.toml");
    std::fs::write(&path, file).expect("the directory can be written");
    let applied = cli.run(&["apply", path.to_str().expect("text")]);
    assert_eq!(applied.code, 0, "{applied:?}");
}

/// CI says that a digest passed its tests.
pub(crate) fn report_passed(cli: &Cli, app: &str, image: &Image) {
    let arguments = ["release", "report", app, "--digest", &image.digest, "--result", "passed", "--suite", "all"];
    let reported = cli.run(&arguments);
    assert_eq!(reported.code, 0, "{reported:?}");
}

/// Waits until the app's newest rollout is in one of these states.
pub(crate) fn rollout_is(cli: &Cli, app: &str, states: &[&str], deadline: Duration) -> Value {
    eventually(&format!("the rollout is {states:?}"), deadline, || {
        let shown = cli.try_json(&["rollout", "show", app]);
        if shown.code != 0 {
            return Err(format!("{shown:?}\n{}", cli.run(&["status"]).out));
        }
        let rollout = shown.value();
        if states.contains(&rollout["state"].as_str().unwrap_or_default()) {
            Ok(rollout)
        } else {
            Err(format!("{rollout:#}"))
        }
    })
}

/// Waits until `status` says that the app, or its open rollout, waits for this. Returns the wait.
pub(crate) fn waits_for(cli: &Cli, app: &str, kind: &str, words: &str) -> Value {
    eventually(&format!("{app} waits for {kind}: …{words}…"), SOON, || {
        let status = cli.json(&["status"]);
        let lists = [(&status["apps"], "name"), (&status["rollouts"], "app")];
        let of_app = lists
            .iter()
            .flat_map(|(list, key)| list.as_array().into_iter().flatten().filter(move |item| item[key] == app));
        let mut waits = of_app.flat_map(|item| item["waiting_on"].as_array().into_iter().flatten());
        let found = waits.find(|wait| {
            wait["kind"] == kind && wait["message"].as_str().is_some_and(|message| message.contains(words))
        });
        found.cloned().ok_or_else(|| format!("{status:#}"))
    })
}

/// The next whole second that is at least so far away: windows start on seconds.
pub(crate) fn in_seconds(seconds: i64) -> DateTime<Utc> {
    use chrono::SubsecRound as _;
    (Utc::now() + TimeDelta::seconds(seconds + 1)).trunc_subsecs(0)
}
