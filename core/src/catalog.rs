//! What the fleet remembers apart from its rollouts: apps with their releases and adopted instances, and nodes.
//!
//! [`Catalog::apply`] folds stored events and never refuses one.

mod fold;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, AlarmKey};
use crate::ids::{AppName, ContainerId, NodeName, RolloutId, SpecVersion};
use crate::image::{DEFAULT_TAG, Digest, ImageRef};
use crate::instance::InstanceView;
use crate::labels::Labels;
use crate::mutation::{Rule, broken};
use crate::rebuild::Rebuilds;
use crate::release::Release;
use crate::signature::Signature;
use crate::spec::AppSpec;

/// Most releases remembered of one app: more than a year of nightly builds. The oldest that nobody needs go first.
pub const RELEASE_LIMIT: usize = 500;

/// Newest releases of an app whose signatures are looked for: an older one has long been replaced where it runs.
const UNSIGNED_LIMIT: usize = 3;

/// What a person lets a node do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Availability {
    /// Takes part.
    #[default]
    Active,
    /// No step starts there; its instances do not count as missing.
    Pause,
    /// The same, and it is about to leave.
    Drain,
}

/// A node that once joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// What it may do.
    pub availability: Availability,
    /// Its labels, as its agent last gave them.
    pub labels: Labels,
    /// When it last got a certificate.
    pub enrolled_at: Option<DateTime<Utc>>,
}

/// An instance that was once found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// When.
    pub at: DateTime<Utc>,
    /// What it ran then.
    pub digest: Option<Digest>,
    /// What the last committed step there did.
    pub replaced: Option<Replaced>,
    /// Why the last rollout left it behind, if it did.
    pub left_behind: Option<LeftBehind>,
}

/// What a committed step did: newer knowledge than an inventory that still shows the container which it replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The container that is gone.
    pub old: ContainerId,
    /// The one that runs.
    pub new: Option<ContainerId>,
    /// What it runs.
    pub digest: Digest,
}

/// An instance that a rollout did not bring to its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    /// The rollout.
    pub rollout: RolloutId,
    /// Its target.
    pub to: Digest,
    /// The container that stayed.
    pub container_id: ContainerId,
    /// When it was clear.
    pub at: DateTime<Utc>,
    /// Why.
    pub reason: String,
    /// Whether the target was tried there, and failed.
    pub failed: bool,
}

/// An app with all that is remembered of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// The spec in force.
    pub spec: AppSpec,
    /// Its version.
    pub version: SpecVersion,
    /// When that version came into force.
    pub applied_at: DateTime<Utc>,
    /// Whether it is followed.
    pub enabled: bool,
    /// When a person last decided on that.
    pub enabled_at: Option<DateTime<Utc>>,
    /// When its last rollout was over.
    pub rollout_ended_at: Option<DateTime<Utc>>,
    /// Digests in order: the last one is the newest. The order is that in which the tag moved to them.
    pub releases: Vec<Release>,
    /// The tag that its rule chose last.
    pub tag: Option<String>,
    /// The digest to which the tag pointed when it was last looked at.
    pub tagged: Option<Digest>,
    /// Instances by node and container name.
    pub adopted: BTreeMap<(NodeName, String), Adopted>,
    /// How it was and will be built again.
    pub rebuilds: Rebuilds,
}

impl App {
    /// What is known of a digest.
    #[must_use]
    pub fn release(&self, digest: &Digest) -> Option<&Release> {
        self.releases.iter().find(|release| release.digest == *digest)
    }

    /// The reference that is followed now; `None` while no tag has fitted the app's rule.
    #[must_use]
    pub fn followed(&self) -> Option<ImageRef> {
        match (&self.spec.tags, &self.tag) {
            (None, _) => Some(self.spec.image.clone()),
            (Some(_), Some(tag)) => Some(self.reference_of(tag)),
            (Some(_), None) => None,
        }
    }

    /// The reference under which looks at its registry are remembered.
    #[must_use]
    pub fn lookup(&self) -> ImageRef {
        self.followed().unwrap_or_else(|| self.reference_of(DEFAULT_TAG))
    }

    /// The reference under which a digest is known: by the tag that pointed to it.
    #[must_use]
    pub fn reference(&self, digest: &Digest) -> ImageRef {
        let tag = self.release(digest).and_then(|release| release.tag.as_deref());
        // A digest that was known before there was a rule, or found running: the tag of now is as good a name as any.
        let tag = tag.or(self.tag.as_deref()).filter(|_| self.spec.tags.is_some());
        tag.map_or_else(|| self.spec.image.clone(), |tag| self.reference_of(tag))
    }

    fn reference_of(&self, tag: &str) -> ImageRef {
        ImageRef { repository: self.spec.image.repository.clone(), tag: tag.to_owned() }
    }

    /// How new a digest is among the known ones; greater is newer.
    #[must_use]
    pub fn age_rank(&self, digest: &Digest) -> Option<usize> {
        self.releases.iter().position(|release| release.digest == *digest)
    }

    /// The newest release that may be a target now.
    #[must_use]
    pub fn target(&self, now: DateTime<Utc>) -> Option<&Release> {
        self.releases.iter().rev().find(|release| self.spec.gate.judge(release, now).is_ok())
    }

    /// Releases whose signature the gate misses, the newest of them: the registry is to be asked for it. Those that may not
    /// run anyway are left alone.
    pub fn unsigned(&self) -> impl Iterator<Item = &Release> {
        let newest = self.releases.iter().rev().take(UNSIGNED_LIMIT);
        let possible = |release: &&Release| release.quarantine.is_none() && release.failed_test().is_none();
        newest.filter(possible).filter(|release| self.spec.gate.asks_for_signature_of(release))
    }

    /// The newest known-good digest that is not barred and older than this one; the newest of all where this one is unknown.
    #[must_use]
    pub fn known_good_before(&self, digest: Option<&Digest>) -> Option<&Release> {
        let end = digest.and_then(|digest| self.age_rank(digest)).unwrap_or(self.releases.len());
        let good = |release: &&Release| {
            (release.known_good.is_some() || broken(Rule::KnownGood)) && release.quarantine.is_none()
        };
        self.releases[..end].iter().rev().filter(|release| Some(&release.digest) != digest).find(good)
    }

    /// The places of its instances on a node.
    pub(crate) fn adopted_on(&self, node: &NodeName) -> impl Iterator<Item = &(NodeName, String)> {
        let first = (node.clone(), String::new());
        self.adopted.range(first..).map(|(place, _)| place).take_while(move |(on, _)| on == node)
    }

    /// What the last step did to an instance of which the inventory still shows the container that was replaced: an agent's
    /// report and its inventory do not arrive at the same time.
    #[must_use]
    pub fn replaced(&self, node: &NodeName, instance: &InstanceView) -> Option<&Replaced> {
        let adopted = self.adopted.get(&(node.clone(), instance.container.clone()))?;
        adopted.replaced.as_ref().filter(|replaced| replaced.old == instance.container_id)
    }

    /// Whether no allow window names this node, though the quiet hours name some: nothing ever starts there by itself.
    #[must_use]
    pub fn has_no_window(&self, node: &Node) -> bool {
        let quiet = self.spec.quiet_hours.as_ref();
        quiet.is_some_and(|quiet| quiet.names_nodes() && quiet.entries_for(&node.labels).is_empty())
    }
}

/// An alarm that began and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// What, as it was known then.
    pub alarm: Alarm,
    /// When.
    pub at: DateTime<Utc>,
}

/// Everything that is remembered apart from the rollouts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    apps: BTreeMap<AppName, App>,
    nodes: BTreeMap<NodeName, Node>,
    alarms: BTreeMap<AlarmKey, Raised>,
}

impl Catalog {
    /// The app of that name.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&App> {
        self.apps.get(name)
    }

    /// The signatures of a digest of an app, as far as they are known.
    #[must_use]
    pub fn signatures(&self, app: &AppName, digest: &Digest) -> &[Signature] {
        let release = self.app(app).and_then(|app| app.release(digest));
        release.map_or(&[], |release| &release.signatures)
    }

    /// Every app.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Every node.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.nodes.iter()
    }

    /// The alarms that have not ended.
    pub fn alarms(&self) -> impl Iterator<Item = (&AlarmKey, &Raised)> {
        self.alarms.iter()
    }

    /// The alarm of that key, if it was raised and has not ended.
    #[must_use]
    pub fn alarm(&self, key: &AlarmKey) -> Option<&Raised> {
        self.alarms.get(key)
    }
}

#[cfg(test)]
mod tests;
