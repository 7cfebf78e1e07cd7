//! A coordinator and its agents as processes of their own, so that one of them can crash alone.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::fleet::{self, GOOD};
use super::wire::Wire;
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

/// Hears on all addresses: those of the wires, too.
const EVERYWHERE: &str = "0.0.0.0";
/// Hears nobody outside.
const LOOPBACK: &str = "127.0.0.1";

impl Control {
    /// Starts a coordinator in the directory.
    pub(crate) fn start(home: &Path) -> Self {
        Self::start_on(LOOPBACK, home, &[])
    }

    /// The same on an address, with more names in its certificate.
    fn start_on(listen: &str, home: &Path, names: &[String]) -> Self {
        // Free a moment ago; a port that is not free is an error that names it.
        let port = TcpListener::bind(format!("{listen}:0")).and_then(|listener| listener.local_addr());
        let port = port.expect("there are free ports").port();
        let config = format!(
            "data_dir = \"coordinator\"\nlisten = \"{listen}:{port}\"\nnames = {names:?}\nheartbeat_interval = \"1s\"\n\
             unknown_after = \"10s\"\n[watch]\ninterval = \"1s\"\n\
             [log]\nfilter = \"debug,h2=info,hyper=info,rustls=info\"\n"
        );
        fs::write(home.join("coordinator.toml"), config).expect("the directory can be written");
        let cli = Cli::new(home, Some(home.join("coordinator/context.toml")));
        let address = format!("{LOOPBACK}:{port}");
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

    /// Writes more into its file and starts it again.
    pub(crate) fn up_with(&mut self, more: &str) {
        drop(self.coordinator.take());
        let file = self.home.join("coordinator.toml");
        let config = fs::read_to_string(&file).expect("it is there") + more;
        fs::write(&file, config).expect("the directory can be written");
        self.up();
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
        self.agent_file_at(&self.address, node, engine, token)
    }

    /// The same for an agent that reaches the coordinator at another address.
    fn agent_file_at(&self, address: &str, node: &str, engine: &str, token: &str) -> PathBuf {
        let config = format!(
            "coordinator = \"https://{address}\"\nnode = \"{node}\"\nengine = \"{engine}\"\ndata_dir = \"{node}\"\n\
             join_token = \"{token}\"\n[log]\nfilter = \"debug,h2=info,hyper=info,rustls=info\"\n"
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
    /// The agents' wires to the coordinator; none where they share its network.
    pub(crate) wires: Vec<Wire>,
    /// Engines, registry, files.
    pub(crate) surroundings: Surroundings,
}

impl Parts {
    /// Starts coordinator, agents, and one container on each engine; `None` without engines.
    pub(crate) fn start(scenario: &str, image_options: &[&str], more: &Value) -> Option<(Self, Image)> {
        Some(Self::start_on(Surroundings::of(scenario)?, Network::Shared, image_options, more))
    }

    /// The same on these engines, with the agents in this network or their own ones.
    pub(crate) fn start_on(
        surroundings: Surroundings,
        network: Network,
        image_options: &[&str],
        more: &Value,
    ) -> (Self, Image) {
        let v1 = surroundings.registry.push_text("web:stable", "v1", image_options);
        fleet::run_everywhere(&surroundings, &v1, more);
        let home = surroundings.directory.path();
        let (wires, control) = match network {
            Network::Shared => (Vec::new(), Control::start(home)),
            Network::Wired => {
                let wires: Vec<Wire> = surroundings.engines.iter().map(Wire::lay).collect();
                // Also when a wire is cut, our end of it is an address of this machine, where people are.
                let names: Vec<String> = wires.iter().map(|wire| wire.address.clone()).collect();
                (wires, Control::start_on(EVERYWHERE, home, &names))
            }
        };
        for (number, engine) in surroundings.engines.iter().enumerate() {
            let port = control.address.rsplit(':').next().expect("it has a port");
            let address = wires.get(number).map(|wire| format!("{}:{port}", wire.address));
            let address = address.unwrap_or_else(|| control.address.clone());
            control.agent_file_at(&address, &node(number), engine.url(), &control.join_token());
        }
        let mut parts = Self { agents: vec![None, None, None], control, wires, surroundings };
        for number in 0..3 {
            parts.agent_up(number);
        }
        fleet::nodes_connected(&parts.control.cli, 3);
        (parts, v1)
    }

    /// Writes more into the agents' files and starts them again.
    pub(crate) fn agents_with(&mut self, more: &str) {
        for number in 0..self.agents.len() {
            drop(self.agents[number].take());
            let file = self.surroundings.directory.path().join(format!("{}.toml", node(number)));
            let config = fs::read_to_string(&file).expect("it is there") + more;
            fs::write(&file, config).expect("the directory can be written");
            self.agent_up(number);
        }
        fleet::nodes_connected(&self.control.cli, self.agents.len());
    }

    /// Starts an agent (again).
    pub(crate) fn agent_up(&mut self, number: usize) {
        let home = self.surroundings.directory.path();
        let config = home.join(format!("{}.toml", node(number)));
        let arguments = ["agent", "--config", config.to_str().expect("text")];
        let network = self.wires.get(number).map(Wire::network);
        self.agents[number] = Some(Role::start_in(network, home, &node(number), &arguments));
    }

    /// Takes an agent away as a crash does.
    pub(crate) fn agent_crash(&mut self, number: usize) {
        self.agents[number].take().expect("it was up").kill();
    }

    /// Pushes a tested version that needs some seconds to become healthy, so that there is a middle of a step.
    pub(crate) fn push_slow(&self) -> Image {
        let mut options = GOOD.to_vec();
        options[3] = "3";
        self.push_tested("v2", &options)
    }

    /// Pushes a tested version.
    pub(crate) fn push_tested(&self, text: &str, options: &[&str]) -> Image {
        let image = self.surroundings.registry.push_text("web:stable", text, options);
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

/// Where agents run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// In the coordinator's network.
    Shared,
    /// Each in its engine's, with a wire to the coordinator.
    Wired,
}

/// Nodes in the order in which a rollout goes.
pub(crate) fn node(number: usize) -> String {
    format!("n{}", number + 1)
}
