//! What the fleet remembers apart from its rollouts: apps with their releases and adopted instances, and nodes.
//!
//! [`Catalog::apply`] folds stored events and never refuses one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::alarm::{Alarm, AlarmKey};
use crate::event::{Event, Recorded};
use crate::ids::{AppName, ContainerId, NodeName, RolloutId, SpecVersion};
use crate::image::{DEFAULT_TAG, Digest, ImageRef};
use crate::instance::InstanceView;
use crate::labels::Labels;
use crate::mutation::{Rule, broken};
use crate::platform::Platform;
use crate::rebuild::{OpenRebuild, RebuildCause, Rebuilds, TriggerState};
use crate::release::{KnownGoodBy, Quarantine, Release, TestReport};
use crate::rollout::{Rollout, Step, StepState};
use crate::signature::Signature;
use crate::spec::{AppSpec, TestKind};
use crate::step::StepPhase;

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

    fn release_mut(&mut self, digest: &Digest) -> Option<&mut Release> {
        self.releases.iter_mut().find(|release| release.digest == *digest)
    }

    /// The release, which is made known first where it is not: before the newest that is not younger.
    fn learn(&mut self, digest: &Digest, created: Option<DateTime<Utc>>, at: DateTime<Utc>) -> &mut Release {
        let place = match self.age_rank(digest) {
            Some(place) => place,
            None => {
                let place = self.place_for(created);
                let mut release = Release::new(digest.clone(), at);
                release.created = created;
                self.releases.insert(place, release);
                place
            }
        };
        let release = &mut self.releases[place];
        release.created = release.created.or(created);
        release
    }

    /// Where a digest belongs that was never seen at the tag: behind the last release that is known to be built earlier; where
    /// nothing can be compared, just before the one to which the tag points.
    fn place_for(&self, created: Option<DateTime<Utc>>) -> usize {
        let earlier = |release: &Release| matches!((release.created, created), (Some(a), Some(b)) if a < b);
        let behind = self.releases.iter().rposition(earlier).map(|place| place + 1);
        let tagged = self.tagged.as_ref().and_then(|tagged| self.age_rank(tagged));
        behind.or(tagged).unwrap_or(self.releases.len())
    }

    /// Forgets the oldest releases that nothing depends on.
    fn trim(&mut self) {
        while self.releases.len() > RELEASE_LIMIT {
            let idle = |release: &Release| release.known_good.is_none() && release.quarantine.is_none();
            let oldest = self.releases.iter().position(idle).unwrap_or(0);
            self.releases.remove(oldest);
        }
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

    /// Folds one fact.
    pub fn apply(&mut self, recorded: &Recorded) {
        let at = recorded.at;
        match &recorded.event {
            Event::AppApplied { spec, version, .. } => self.app_applied(spec, *version, at),
            Event::AppEnabled { app, enabled, .. } => self.with(app, |app| app.set_enabled(*enabled, at)),
            Event::AppRemoved { app, .. } => drop(self.apps.remove(app)),
            Event::TagChosen { app, tag } => self.with(app, |app| {
                app.tag = Some(tag.clone());
                app.tagged = None;
            }),
            Event::ReleaseSeen { app, digest, tag, created, platforms } => {
                self.with(app, |app| app.seen(digest, tag.as_deref(), *created, platforms, at));
            }
            Event::TestReported { app, digest, report, created, platforms, signatures } => self.with(app, |app| {
                app.reported(digest, report, (*created, platforms), signatures, at);
            }),
            Event::SignatureMissing { app, digest, reason } => self.with(app, |app| {
                if let Some(release) = app.release_mut(digest) {
                    release.unsigned = Some(reason.clone());
                }
            }),
            Event::ReleaseQuarantined { app, digest, reason } => self.with(app, |app| {
                let quarantine = Quarantine { since: at, reason: reason.clone(), by: recorded.by.0.clone() };
                app.learn(digest, None, at).quarantine = Some(quarantine);
            }),
            Event::QuarantineCleared { app, digest, .. } => self.with(app, |app| {
                if let Some(release) = app.release_mut(digest) {
                    release.quarantine = None;
                }
            }),
            Event::ReleaseKnownGood { app, digest, because } => self.with(app, |app| {
                app.known_good(digest, *because, at);
            }),
            Event::InstanceAdopted { app, node, container, digest } => self.with(app, |app| {
                let found = Adopted { at, digest: digest.clone(), replaced: None, left_behind: None };
                app.adopted.insert((node.clone(), container.clone()), found);
            }),
            Event::InstanceForgotten { app, node, container } => self.with(app, |app| {
                app.adopted.remove(&(node.clone(), container.clone()));
            }),
            Event::RebuildStarted { app, .. }
            | Event::RebuildTriggered { app, .. }
            | Event::RebuildTriggerFailed { app, .. }
            | Event::RebuildEnded { app, .. }
            | Event::RebuildMissed { app, .. } => self.with(app, |app| app.rebuild(&recorded.event, at)),
            Event::NodeEnrolled { node } => self.nodes.entry(node.clone()).or_default().enrolled_at = Some(at),
            Event::NodeLabelled { node, labels } => {
                self.nodes.entry(node.clone()).or_default().labels.clone_from(labels);
            }
            Event::NodeAvailabilitySet { node, availability, .. } => {
                self.nodes.entry(node.clone()).or_default().availability = *availability;
            }
            Event::NodeRemoved { node, .. } => self.node_removed(node),
            Event::AlarmRaised { alarm } => {
                self.alarms.insert(alarm.key(), Raised { alarm: alarm.clone(), at });
            }
            Event::AlarmCleared { alarm, .. } => drop(self.alarms.remove(&alarm.key())),
            Event::JobOrdered { .. }
            | Event::JobEnded { .. }
            | Event::RolloutPlanned { .. }
            | Event::RolloutMoved { .. }
            | Event::RolloutPromoted { .. }
            | Event::RolloutOverridden { .. }
            | Event::StepOrdered { .. }
            | Event::StepReported { .. }
            | Event::StepUnknown { .. }
            | Event::StepUnknownAlarm { .. }
            | Event::WindowNotUsed { .. }
            | Event::WindowMissed { .. }
            | Event::StepRequeued { .. }
            | Event::StepSkipped { .. }
            | Event::RollbackPlanned { .. } => {}
        }
    }

    /// Remembers of an instance how a step at its place ended.
    pub(crate) fn step_ended(&mut self, rollout: &Rollout, step: &Step, at: DateTime<Utc>) {
        let Some(app) = self.apps.get_mut(rollout.app()) else { return };
        let Some(adopted) = app.adopted.get_mut(&(step.node.clone(), step.container.clone())) else { return };
        if step.state == StepState::At(StepPhase::Committed) {
            let (old, new) = (step.container_id.clone(), step.new_container_id.clone());
            adopted.replaced = Some(Replaced { old, new, digest: step.to.clone() });
        }
        adopted.left_behind = (!step.is_at_target()).then(|| LeftBehind {
            rollout: rollout.id.clone(),
            to: step.to.clone(),
            container_id: step.container_id.clone(),
            at,
            reason: step.reason.clone().unwrap_or_default(),
            failed: step.has_failed(),
        });
    }

    /// Remembers when an app's last rollout was over.
    pub(crate) fn rollout_ended(&mut self, app: &AppName, at: DateTime<Utc>) {
        self.with(app, |app| app.rollout_ended_at = Some(at));
    }

    fn with(&mut self, name: &AppName, change: impl FnOnce(&mut App)) {
        if let Some(app) = self.apps.get_mut(name) {
            change(app);
        }
    }

    fn app_applied(&mut self, spec: &AppSpec, version: SpecVersion, at: DateTime<Utc>) {
        let before = self.apps.remove(&spec.name);
        let mut rebuilds = before.as_ref().map(|app| app.rebuilds.clone()).unwrap_or_default();
        // A schedule that stays keeps what is due; a new one counts from now on.
        let schedule = |spec: &AppSpec| spec.rebuild.as_ref().and_then(|rebuild| rebuild.schedule.clone());
        if before.as_ref().and_then(|app| schedule(&app.spec)) != schedule(spec) {
            rebuilds.schedule_from(spec.rebuild.as_ref(), at);
        }
        // Digests of one repository mean nothing in another: a new reference starts with an empty history.
        let same = before.filter(|app| app.spec.image.repository == spec.image.repository);
        let mut app = same.unwrap_or_else(|| App {
            spec: spec.clone(),
            version,
            applied_at: at,
            enabled: true,
            enabled_at: None,
            rollout_ended_at: None,
            releases: Vec::new(),
            tag: None,
            tagged: None,
            adopted: BTreeMap::new(),
            rebuilds: Rebuilds::default(),
        });
        app.rebuilds = rebuilds;
        if app.spec.image != spec.image || app.spec.tags != spec.tags {
            app.tagged = None;
        }
        if spec.tags.is_none() {
            // Every known digest of a repository may be a target where no rule chooses among its tags.
            app.tag = None;
            app.releases.iter_mut().for_each(|release| release.awaits_tag = false);
        }
        app.spec = spec.clone();
        app.version = version;
        app.applied_at = at;
        self.apps.insert(spec.name.clone(), app);
    }

    fn node_removed(&mut self, node: &NodeName) {
        self.nodes.remove(node);
        for app in self.apps.values_mut() {
            app.adopted.retain(|(adopted_on, _), _| adopted_on != node);
        }
    }
}

impl App {
    fn seen(
        &mut self,
        digest: &Digest,
        tag: Option<&str>,
        created: Option<DateTime<Utc>>,
        platforms: &[Platform],
        at: DateTime<Utc>,
    ) {
        let release = self.learn(digest, created, at);
        release.is_for(platforms);
        release.tag = tag.map(str::to_owned);
        release.awaits_tag = false;
        self.tagged = Some(digest.clone());
        if let Some(place) = self.age_rank(digest) {
            let release = self.releases.remove(place);
            self.releases.push(release);
        }
        self.trim();
    }

    fn reported(
        &mut self,
        digest: &Digest,
        report: &TestReport,
        (created, platforms): (Option<DateTime<Utc>>, &[Platform]),
        signatures: &[Signature],
        at: DateTime<Utc>,
    ) {
        let unseen = self.spec.tags.is_some() && self.release(digest).is_none();
        let release = self.learn(digest, created, at);
        release.awaits_tag |= unseen;
        release.is_for(platforms);
        release.remember(report.clone());
        if report.kind == TestKind::Signature {
            release.signatures = signatures.to_vec();
            release.unsigned = None;
        }
        self.trim();
    }

    fn set_enabled(&mut self, enabled: bool, at: DateTime<Utc>) {
        self.enabled = enabled;
        self.enabled_at = Some(at);
        self.rebuilds.schedule_from(self.spec.rebuild.as_ref(), at);
    }

    /// Folds a fact about its rebuilds.
    fn rebuild(&mut self, event: &Event, at: DateTime<Utc>) {
        let spec = self.spec.rebuild.as_ref();
        if let Event::RebuildStarted { number, image, cause, deadline_at, .. } = event {
            if let RebuildCause::Schedule { due } = cause {
                self.rebuilds.schedule_from(spec, *due);
            }
            self.rebuilds.started(OpenRebuild {
                number: *number,
                cause: cause.clone(),
                image: image.clone(),
                started_at: at,
                deadline_at: *deadline_at,
                trigger: TriggerState::Due(at),
                failures: 0,
                last_failure: None,
            });
        } else if let Event::RebuildTriggered { number, .. } = event {
            self.rebuilds.triggered(*number, at);
        } else if let Event::RebuildTriggerFailed { number, reason, retry_at, .. } = event {
            self.rebuilds.trigger_failed(*number, reason, *retry_at);
        } else if let Event::RebuildEnded { number, outcome, .. } = event {
            self.rebuilds.ended(*number, outcome, at);
        } else if let Event::RebuildMissed { last, .. } = event {
            self.rebuilds.schedule_from(spec, *last);
        }
    }

    fn known_good(&mut self, digest: &Digest, because: KnownGoodBy, at: DateTime<Utc>) {
        let fresh = self.age_rank(digest).is_none();
        let release = self.learn(digest, None, at);
        release.known_good = Some((at, because));
        if fresh {
            // What was found running is older than anything that the tag has shown since.
            if let Some(place) = self.age_rank(digest) {
                let release = self.releases.remove(place);
                self.releases.insert(0, release);
            }
        }
    }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
