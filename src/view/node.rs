//! Nodes of the fleet.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::{instant, text, word};
use crate::output::table::{facts, or_nothing, table, yes_no};
use crate::output::time::{NOTHING, when};
use crate::output::{Human, Page};

/// A Docker host with its agent.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) availability: String,
    pub(crate) connected: bool,
    pub(crate) last_seen: Option<DateTime<Utc>>,
    pub(crate) engine_version: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) instances: u32,
    pub(crate) rollout: Option<String>,
    /// The agent's clock minus the coordinator's.
    pub(crate) clock_skew_ms: i64,
    pub(crate) problem: Option<String>,
}

impl From<pb::Node> for Node {
    fn from(node: pb::Node) -> Self {
        Self {
            availability: word(node.availability().as_str_name(), "AVAILABILITY_"),
            name: node.name,
            connected: node.connected,
            last_seen: instant(node.last_seen),
            engine_version: text(node.engine_version),
            api_version: text(node.api_version),
            agent_version: text(node.agent_version),
            labels: node.labels.into_iter().collect(),
            instances: node.instances,
            rollout: text(node.rollout),
            clock_skew_ms: node.clock_skew_ms,
            problem: text(node.problem),
        }
    }
}

impl Node {
    fn labels(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if labels.is_empty() { NOTHING.to_owned() } else { labels.join(" ") }
    }
}

impl Human for Node {
    fn human(&self, page: &Page) -> String {
        facts([
            ("node", self.name.clone()),
            ("availability", self.availability.clone()),
            ("connected", format!("{}, last seen {}", yes_no(self.connected), when(self.last_seen, page.now))),
            ("problem", self.problem.clone().unwrap_or_default()),
            ("engine", or_nothing(self.engine_version.as_deref())),
            ("engine API", or_nothing(self.api_version.as_deref())),
            ("agent", or_nothing(self.agent_version.as_deref())),
            ("labels", self.labels()),
            ("instances", self.instances.to_string()),
            ("rollout", or_nothing(self.rollout.as_deref())),
            ("clock skew", format!("{} ms", self.clock_skew_ms)),
        ])
    }
}

impl Human for Vec<Node> {
    fn human(&self, page: &Page) -> String {
        let row = |node: &Node| {
            [
                node.name.clone(),
                node.availability.clone(),
                yes_no(node.connected),
                when(node.last_seen, page.now),
                or_nothing(node.engine_version.as_deref()),
                node.instances.to_string(),
                node.labels(),
                or_nothing(node.problem.as_deref()),
            ]
        };
        let header = ["NODE", "AVAILABILITY", "CONNECTED", "LAST SEEN", "ENGINE", "INSTANCES", "LABELS", "PROBLEM"];
        table(page, header, self.iter().map(row), "no nodes: `nightshift token create node` lets one join")
    }
}
