//! A coordinator and its agents as processes of their own, so that one of them can crash alone.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fleet::{self, GOOD};
use super::{Cli, Image, Role, Surroundings};

/// A coordinator in a process of its own.
pub(crate) struct Control {
    /// The command line of the first person.
    pub(crate) cli: Cli,
    /// The process; `None` while it is down.
    pub(crate) coordinator: Option<Role>,
    /// Where it listens.
    pub(crate) address: String,
    home: PathBuf,
}

impl Control {
    /// Starts a coordinator in the directory.
    pub(crate) fn start(home: &Path) -> Self {
        // Free a moment ago; a port that is not free is an error that names it.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = port.expect("there are free ports").to_string();
        let config = format!(
            "data_dir = \"coordinator\"\nlisten = \"{address}\"\nheartbeat_interval = \"1s\"\nunknown_after = \"10s\"\n\
             [watch]\ninterval = \"1s\"\n[log]\nfilter = \"debug,h2=info,hyper=info,rustls=info\"\n"
        );
        fs::write(home.join("coordinator.toml"), config).expect("the directory can be written");
        let cli = Cli::new(home, Some(home.join("coordinator/context.toml")));
        let mut control = Self { cli, coordinator: None, address, home: home.to_owned() };
        control.up();
        control
    }

    /// Starts it (again).
    pub(crate) fn up(&mut self) {
        let config = self.home.join("coordinator.toml");
        let name = format!("coordinator-{}", fs::read_dir(&self.home).expect("a directory").count());
        let mut role = Role::start(&self.home, &name, &["coordinator", "--config", config.to_str().expect("text")]);
        role.says("coordinator is ready");
        self.coordinator = Some(role);
    }

    /// Takes it away as a crash does.
    pub(crate) fn crash(&mut self) {
        self.coordinator.take().expect("it was up").kill();
    }

    /// A join token for a node.
    pub(crate) fn join_token(&self) -> String {
        let created = self.cli.run(&["token", "create", "node"]);
        assert_eq!(created.code, 0, "{created:?}");
        created.out.trim().to_owned()
    }

    /// Writes an agent's file; its path.
    pub(crate) fn agent_file(&self, node: &str, engine: &str, token: &str) -> PathBuf {
        let config = format!(
            "coordinator = \"https://{}\"\nnode = \"{node}\"\nengine = \"{engine}\"\ndata_dir = \"{node}\"\n\
             join_token = \"{token}\"\n[log]\nfilter = \"debug,h2=info,hyper=info,rustls=info\"\n",
            self.address
        );
        let file = self.home.join(format!("{node}.toml"));
        fs::write(&file, config).expect("the directory can be written");
        file
    }
}

/// The fleet of a scenario with every part in a process of its own.
pub(crate) struct Parts {
    /// The agents, by node; `None` while one is down. Before the coordinator: they end first.
    pub(crate) agents: Vec<Option<Role>>,
    /// The coordinator.
    pub(crate) control: Control,
    /// Engines, registry, files.
    pub(crate) surroundings: Surroundings,
}

impl Parts {
    /// Starts coordinator, agents, and one container on each engine; `None` without engines.
    pub(crate) fn start(scenario: &str, image_options: &[&str], more: &Value) -> Option<(Self, Image)> {
        let surroundings = Surroundings::of(scenario)?;
        let v1 = surroundings.registry.push_text("web:stable", "v1", image_options);
        fleet::run_everywhere(&surroundings, &v1, more);
        let control = Control::start(surroundings.directory.path());
        for (number, engine) in surroundings.engines.iter().enumerate() {
            control.agent_file(&node(number), engine.url(), &control.join_token());
        }
        let mut parts = Self { agents: vec![None, None, None], control, surroundings };
        for number in 0..3 {
            parts.agent_up(number);
        }
        fleet::nodes_connected(&parts.control.cli, 3);
        Some((parts, v1))
    }

    /// Starts an agent (again).
    pub(crate) fn agent_up(&mut self, number: usize) {
        let home = self.surroundings.directory.path();
        let config = home.join(format!("{}.toml", node(number)));
        let arguments = ["agent", "--config", config.to_str().expect("text")];
        self.agents[number] = Some(Role::start(home, &node(number), &arguments));
    }

    /// Takes an agent away as a crash does.
    pub(crate) fn agent_crash(&mut self, number: usize) {
        self.agents[number].take().expect("it was up").kill();
    }

    /// Pushes a tested version that needs some seconds to become healthy, so that there is a middle of a step.
    pub(crate) fn push_slow(&self) -> Image {
        let mut options = GOOD.to_vec();
        options[3] = "3";
        let image = self.surroundings.registry.push_text("web:stable", "v2", &options);
        fleet::report_passed(&self.control.cli, &self.surroundings.app(), &image);
        image
    }

    /// Waits until a node's step is in one of these states.
    pub(crate) fn step_is(&self, number: usize, states: &[&str]) {
        let what = format!("the step on {} is {states:?}", node(number));
        super::eventually(&what, fleet::ROLLOUT, || {
            let shown = self.control.cli.try_json(&["rollout", "show", &self.surroundings.app()]);
            if shown.code != 0 {
                return Err(format!("{shown:?}"));
            }
            let state = shown.value()["steps"][number]["state"].as_str().unwrap_or_default().to_owned();
            if states.contains(&state.as_str()) { Ok(()) } else { Err(shown.out) }
        });
    }
}

/// Nodes in the order in which a rollout goes.
fn node(number: usize) -> String {
    format!("n{}", number + 1)
}
