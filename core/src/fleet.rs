//! The fleet as it is seen right now: which agents are connected and what they report.
//!
//! Nothing here is stored: after a restart of the coordinator every agent tells it again. What must outlive a restart is in
//! [`crate::catalog`] and in the rollouts.

mod lookups;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ids::{AppName, NodeName};
use crate::image::{Digest, ImageRef};
use crate::instance::{ImageReport, ImageState, InstanceView, PullProgress};
use crate::platform::Platform;
use crate::rebuild::RebuildNumber;
use lookups::Lookups;
pub use lookups::{Lookup, LookupFailure};

/// First pause after a failed pre-pull; doubles with each failure in a row.
const PULL_BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// Longest pause between two tries: a registry that came back is noticed within this time.
pub(crate) const PULL_BACKOFF_LIMIT: Duration = Duration::from_secs(300);

/// What is known of an image on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeImage {
    /// The agent was asked to fetch it.
    Requested,
    /// It is being fetched.
    Pulling(PullProgress),
    /// It is there.
    Present,
    /// The last try failed.
    Failed {
        /// The engine's words.
        error: String,
        /// When the next try is made.
        retry_at: DateTime<Utc>,
    },
}

/// What an agent says when it connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the engine.
    pub engine_version: String,
    /// API version that agent and engine agreed on.
    pub api_version: String,
    /// What its engine runs, if that can be told.
    pub platform: Option<Platform>,
    /// The agent's clock minus the coordinator's.
    pub clock_skew: TimeDelta,
}

/// A node whose agent is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectedNode {
    /// What it said at the start.
    pub facts: NodeFacts,
    /// Its instances; `None` until the first complete inventory of this connection.
    pub instances: Option<Vec<InstanceView>>,
    /// Set while its engine does not answer.
    pub engine_error: Option<String>,
    /// Images of releases.
    images: BTreeMap<AppName, BTreeMap<Digest, NodeImage>>,
    /// Failed pulls in a row, by app: a newer digest does not make a failing registry be asked more often.
    pull_failures: BTreeMap<AppName, u32>,
}

impl ConnectedNode {
    /// What is known of an image there.
    #[must_use]
    pub fn image(&self, app: &AppName, digest: &Digest) -> Option<&NodeImage> {
        self.images.get(app)?.get(digest)
    }

    /// An instance by the name of its container.
    #[must_use]
    pub fn instance(&self, app: &AppName, container: &str) -> Option<&InstanceView> {
        self.instances.iter().flatten().find(|instance| instance.app == *app && instance.container == container)
    }
}

/// Everything that agents and registries told since this coordinator started.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// The last request to a CI system for each app: which, and when it was sent.
    triggers: BTreeMap<AppName, (RebuildNumber, u32, DateTime<Utc>)>,
    connected: BTreeMap<NodeName, ConnectedNode>,
    /// Nodes with instances of an app: nobody walks over thousands of nodes for the three that matter.
    homes: BTreeMap<AppName, BTreeSet<NodeName>>,
    last_seen: BTreeMap<NodeName, DateTime<Utc>>,
    lookups: Lookups,
}

impl Fleet {
    /// A request that starts a build is on its way.
    pub fn trigger_requested(&mut self, app: AppName, number: RebuildNumber, attempt: u32, now: DateTime<Utc>) {
        self.triggers.insert(app, (number, attempt, now));
    }

    /// When this very request was sent, if it was since the coordinator started.
    #[must_use]
    pub fn trigger_sent(&self, app: &AppName, number: RebuildNumber, attempt: u32) -> Option<DateTime<Utc>> {
        let (of, which, at) = self.triggers.get(app)?;
        (*of == number && *which == attempt).then_some(*at)
    }

    /// A node's agent connected: what was known of it before no longer counts.
    pub fn connect(&mut self, node: NodeName, facts: NodeFacts, now: DateTime<Utc>) {
        self.last_seen.insert(node.clone(), now);
        self.leave_homes(&node);
        self.connected.insert(node, ConnectedNode { facts, ..ConnectedNode::default() });
    }

    /// A node's agent is gone.
    pub fn disconnect(&mut self, node: &NodeName, now: DateTime<Utc>) {
        self.leave_homes(node);
        if self.connected.remove(node).is_some() {
            self.last_seen.insert(node.clone(), now);
        }
    }

    /// A sign of life.
    pub fn heard(&mut self, node: &NodeName, skew: TimeDelta, now: DateTime<Utc>) {
        if let Some(connected) = self.connected.get_mut(node) {
            connected.facts.clock_skew = skew;
            self.last_seen.insert(node.clone(), now);
        }
    }

    /// A complete inventory, or the engine's error instead of one.
    pub fn inventory(&mut self, node: &NodeName, instances: Result<Vec<InstanceView>, String>) {
        if instances.is_ok() {
            self.leave_homes(node);
        }
        let Some(connected) = self.connected.get_mut(node) else { return };
        match instances {
            Ok(instances) => {
                for app in instances.iter().map(|instance| &instance.app) {
                    self.homes.entry(app.clone()).or_default().insert(node.clone());
                }
                connected.instances = Some(instances);
                connected.engine_error = None;
            }
            // The last list stays: an engine that does not answer has not lost its containers.
            Err(error) => connected.engine_error = Some(error),
        }
    }

    fn leave_homes(&mut self, node: &NodeName) {
        let instances = self.connected.get(node).and_then(|connected| connected.instances.as_deref());
        for app in instances.into_iter().flatten().map(|instance| &instance.app) {
            if let Some(nodes) = self.homes.get_mut(app) {
                nodes.remove(node);
            }
        }
    }

    /// A node was asked for an image, once more after a failure.
    pub fn requested(&mut self, node: &NodeName, app: AppName, digest: Digest, now: DateTime<Utc>) {
        let Some(connected) = self.connected.get_mut(node) else { return };
        let image = connected.images.entry(app).or_default().entry(digest).or_insert(NodeImage::Requested);
        if let NodeImage::Failed { retry_at, .. } = image {
            // Its answer sets the next instant; without one it is asked again at the slowest pace. From now on: after a clock was
            // set back, the instant of before may be so far ahead that it would be due for ever.
            *retry_at = now + PULL_BACKOFF_LIMIT;
        }
    }

    /// A node says how far an image is.
    pub fn image(&mut self, node: &NodeName, report: ImageReport, now: DateTime<Utc>) {
        let Some(connected) = self.connected.get_mut(node) else { return };
        let ImageReport { app, digest, state } = report;
        let known = connected.image(&app, &digest);
        let image = match state {
            ImageState::Pulling(_) if known == Some(&NodeImage::Present) => return,
            ImageState::Pulling(progress) => NodeImage::Pulling(progress),
            ImageState::Present => NodeImage::Present,
            ImageState::Failed(error) => {
                let before = connected.pull_failures.get(&app).copied().unwrap_or(0);
                connected.pull_failures.insert(app.clone(), before.saturating_add(1));
                let pause = PULL_BACKOFF_FIRST.saturating_mul(1 << before.min(10)).min(PULL_BACKOFF_LIMIT);
                NodeImage::Failed { error, retry_at: now + pause }
            }
        };
        if image == NodeImage::Present {
            connected.pull_failures.remove(&app);
        }
        connected.images.entry(app).or_default().insert(digest, image);
    }

    /// A tag was looked at; where that failed, why, and when it is tried again.
    pub fn looked_up(&mut self, image: ImageRef, failed: Option<(String, DateTime<Utc>)>, now: DateTime<Utc>) {
        self.lookups.ended(image, failed, now);
    }

    /// Forgets the looks at tags that nobody follows any more.
    pub fn follow_only(&mut self, followed: &BTreeSet<ImageRef>) {
        self.lookups.retain(followed);
    }

    /// What the last look at a tag came to; `None` before the first one.
    #[must_use]
    pub fn lookup(&self, image: &ImageRef) -> Option<&Lookup> {
        self.lookups.get(image)
    }

    /// Whether a node has told all its instances.
    #[must_use]
    pub fn is_inventoried(&self, node: &NodeName) -> bool {
        self.connected.get(node).is_some_and(|connected| connected.instances.is_some())
    }

    /// The connected node of that name.
    #[must_use]
    pub fn node(&self, node: &NodeName) -> Option<&ConnectedNode> {
        self.connected.get(node)
    }

    /// What a node runs, if it is connected and says so.
    #[must_use]
    pub fn platform(&self, node: &NodeName) -> Option<&Platform> {
        self.connected.get(node)?.facts.platform.as_ref()
    }

    /// Every connected node.
    pub fn connected(&self) -> impl Iterator<Item = (&NodeName, &ConnectedNode)> {
        self.connected.iter()
    }

    /// When a node was last heard of since this coordinator started.
    #[must_use]
    pub fn last_seen(&self, node: &NodeName) -> Option<DateTime<Utc>> {
        self.last_seen.get(node).copied()
    }

    /// The instances of an app on connected nodes, by node.
    pub fn instances<'a>(&'a self, app: &'a AppName) -> impl Iterator<Item = (&'a NodeName, &'a InstanceView)> {
        self.located(app).map(|(node, _, instance)| (node, instance))
    }

    /// The same with what else is known of the node.
    pub fn located<'a>(
        &'a self,
        app: &'a AppName,
    ) -> impl Iterator<Item = (&'a NodeName, &'a ConnectedNode, &'a InstanceView)> {
        let homes = self.homes.get(app).into_iter().flatten();
        homes.filter_map(|node| self.connected.get_key_value(node)).flat_map(move |(node, connected)| {
            let instances = connected.instances.iter().flatten();
            instances.filter(move |instance| instance.app == *app).map(move |instance| (node, connected, instance))
        })
    }

    /// One instance by node and container name.
    #[must_use]
    pub fn instance(&self, app: &AppName, node: &NodeName, container: &str) -> Option<&InstanceView> {
        self.connected.get(node)?.instance(app, container)
    }

    /// What is known of an image on a node.
    #[must_use]
    pub fn image_on(&self, node: &NodeName, app: &AppName, digest: &Digest) -> Option<&NodeImage> {
        self.connected.get(node)?.image(app, digest)
    }
}
