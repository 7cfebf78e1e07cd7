//! The fold of stored events into a [`Catalog`]. It never refuses one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Adopted, App, Catalog, LeftBehind, RELEASE_LIMIT, Raised, Replaced};
use crate::event::{Event, Recorded};
use crate::ids::{AppName, NodeName, SpecVersion};
use crate::image::Digest;
use crate::job::JobSubject;
use crate::platform::Platform;
use crate::rebuild::{OpenRebuild, RebuildCause, Rebuilds, TriggerState};
use crate::release::{KnownGoodBy, Quarantine, Release, TestReport};
use crate::rollout::{Rollout, Step, StepState};
use crate::signature::{Signature, Unverified};
use crate::spec::{AppSpec, TestKind};
use crate::step::StepPhase;

impl Catalog {
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
            Event::SignatureMissing { app, digest, reason } => self.with(app, |app| app.unsigned_for(digest, reason)),
            Event::ReleaseQuarantined { app, digest, reason } => self.with(app, |app| {
                let quarantine = Quarantine { since: at, reason: reason.clone(), by: recorded.by.0.clone() };
                app.learn(digest, None, at).quarantine = Some(quarantine);
            }),
            Event::QuarantineCleared { app, digest, .. } => self.with(app, |app| app.clear_quarantine(digest)),
            Event::ReleaseKnownGood { app, digest, because } => {
                self.with(app, |app| app.known_good(digest, *because, at));
            }
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
            Event::JobEnded { app, subject: JobSubject::Build { rebuild, .. }, outcome, .. } => {
                self.with(app, |app| app.rebuilds.build_ended(*rebuild, outcome, at));
            }
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

    fn unsigned_for(&mut self, digest: &Digest, reason: &Unverified) {
        if let Some(release) = self.release_mut(digest) {
            release.unsigned = Some(reason.clone());
        }
    }

    fn clear_quarantine(&mut self, digest: &Digest) {
        if let Some(release) = self.release_mut(digest) {
            release.quarantine = None;
        }
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
                built: None,
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
