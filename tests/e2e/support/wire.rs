//! The wire between a node's network and the coordinator's, which can be cut: no packet comes through, and nobody says so.

use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::script;

/// How a wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Packets are lost, both ways.
    Both,
    /// What the coordinator sends is lost; what the node sends arrives.
    ToNode,
    /// What the node sends is lost; what the coordinator sends arrives.
    FromNode,
    /// The link is down, and the node sees that.
    Down,
}

impl Way {
    const fn word(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::ToNode => "in",
            Self::FromNode => "out",
            Self::Down => "down",
        }
    }
}

/// A wire from a node's network to the coordinator's. It is removed with this value.
#[derive(Debug)]
pub(crate) struct Wire {
    engine: Engine,
    name: String,
    /// Where the node reaches the coordinator.
    pub(crate) address: String,
    network: PathBuf,
}

impl Wire {
    /// Lays a wire to an engine's network.
    pub(super) fn lay(engine: &Engine) -> Self {
        let printed = engine.script(&["wire", "lay"], &[]);
        let (name, address) = printed.split_once(' ').expect("a name and an address");
        let (name, address) = (name.to_owned(), address.to_owned());
        let network = Path::new("/var/run/netns").join(engine.network());
        Self { engine: engine.clone(), name, address, network }
    }

    /// The network at its other end.
    pub(super) fn network(&self) -> &Path {
        &self.network
    }

    /// Cuts it.
    pub(crate) fn cut(&self, way: Way) {
        self.engine.script(&["wire", "cut"], &[&self.name, way.word()]);
    }

    /// Mends it.
    pub(crate) fn heal(&self) {
        self.engine.script(&["wire", "heal"], &[&self.name]);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        script(&["wire", "remove", &self.name]);
    }
}
