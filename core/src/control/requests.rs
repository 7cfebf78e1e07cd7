//! What people and CI ask of the coordinator, as facts or as a refusal that says why and what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::catalog::{App, Availability};
use crate::control::Control;
use crate::event::{Actor, Event, Recorded};
use crate::fleet::Fleet;
use crate::ids::{AppName, NodeName, RolloutId, SpecVersion};
use crate::image::{Digest, ImageRef};
use crate::rebuild::RebuildNumber;
use crate::rebuild::trigger::TriggerOutcome;
use crate::release::{Description, REPORT_LIMIT, Release, TestReport, TestResult};
use crate::rollout::{Command, Overrides, Rejection, RejectionKind, Rollout};
use crate::signature::{SIGNATURE_LIMIT, Signature, verify};
use crate::spec::{AppSpec, TestKind, spec_differences};

/// How a person starts a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// The target; `None`: the newest release that the gate lets through.
    pub digest: Option<Digest>,
    /// What is set aside.
    pub overrides: Overrides,
    /// Why.
    pub reason: String,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Bring specs into force.
    Apply(Vec<AppSpec>),
    /// Follow an app again, or no longer.
    Enable {
        /// The app.
        app: AppName,
        /// Whether to follow it.
        enabled: bool,
        /// Why.
        reason: String,
    },
    /// Forget an app.
    Remove {
        /// The app.
        app: AppName,
        /// Why.
        reason: String,
    },
    /// The watcher saw the tag point to a digest.
    Seen {
        /// The app.
        app: AppName,
        /// The reference that was looked at: one that is no longer followed means nothing.
        image: ImageRef,
        /// The digest.
        digest: Digest,
        /// What the image says of itself, as far as the registry could be asked.
        about: Description,
    },
    /// The watcher has the tags of the repository of an app that chooses among them.
    Tags {
        /// The app.
        app: AppName,
        /// All of them.
        tags: Arc<[String]>,
    },
    /// A test report.
    Report {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// The suite.
        suite: String,
        /// What came out.
        result: TestResult,
        /// Where to read more.
        url: Option<String>,
        /// The network address from which it came.
        from: Option<IpAddr>,
        /// What the image says of itself, as far as the registry could be asked.
        about: Description,
    },
    /// The registry was asked for a digest's signatures.
    Signatures {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// All that it has, the newest last.
        signatures: Vec<Signature>,
    },
    /// Bar a digest, or no longer.
    Quarantine {
        /// The app.
        app: AppName,
        /// The digest.
        digest: Digest,
        /// Whether to bar it.
        quarantined: bool,
        /// Why.
        reason: String,
    },
    /// Have an app built again.
    Rebuild {
        /// The app.
        app: AppName,
        /// Why.
        reason: String,
    },
    /// What came of a request to a CI system.
    TriggerAnswered {
        /// The app.
        app: AppName,
        /// The rebuild.
        number: RebuildNumber,
        /// Which request of it.
        attempt: u32,
        /// What came.
        outcome: TriggerOutcome,
    },
    /// Start a rollout.
    Start {
        /// The app.
        app: AppName,
        /// How.
        options: StartOptions,
        /// The new rollout's identity.
        id: RolloutId,
    },
    /// Go back to a known-good digest.
    Rollback {
        /// The app.
        app: AppName,
        /// The target; `None`: the last known-good digest before the one that runs.
        digest: Option<Digest>,
        /// Why.
        reason: String,
        /// The new rollout's identity.
        id: RolloutId,
    },
    /// Pause, resume, abort, promote or retry a rollout.
    Change {
        /// Its id, the start of it, or an app's name.
        rollout: String,
        /// What to do.
        command: Command,
        /// Why.
        reason: String,
    },
    /// A node has a certificate now.
    Enrolled(NodeName),
    /// What a node may do.
    SetAvailability {
        /// The node.
        node: NodeName,
        /// What it may do.
        availability: Availability,
        /// Why.
        reason: String,
    },
    /// A node leaves the fleet.
    RemoveNode {
        /// The node.
        node: NodeName,
        /// Why.
        reason: String,
    },
}

fn not_found(what: &str, name: &impl std::fmt::Display, list: &str) -> Rejection {
    Rejection::new(RejectionKind::NotFound, format!("no {what} `{name}`"))
        .hint(format!("`nightshift {list}` shows them"))
}

impl Control {
    /// The facts that a request brings about; none when everything is as asked already.
    ///
    /// # Errors
    /// The request names what is not there, does not fit, or is forbidden by a rule.
    pub fn request(
        &self,
        request: Request,
        by: &Actor,
        fleet: &Fleet,
        now: DateTime<Utc>,
    ) -> Result<Vec<Recorded>, Rejection> {
        let events = match request {
            Request::Apply(specs) => self.apply_specs(specs)?,
            Request::Enable { app, enabled, reason } => {
                let known = self.must_know(&app)?.enabled;
                if known == enabled { Vec::new() } else { vec![Event::AppEnabled { app, enabled, reason }] }
            }
            Request::Remove { app, reason } => self.remove_app(app, reason)?,
            Request::Seen { app, image, digest, about } => self.seen(app, &image, digest, about),
            Request::Tags { app, tags } => self.tags(app, &tags),
            Request::Report { app, digest, suite, result, url, from, about } => {
                let report = TestReport { kind: TestKind::Ci, suite, result, by: by.0.clone(), at: now, url, from };
                self.report(app, digest, report, about)?
            }
            Request::Signatures { app, digest, signatures } => self.signatures(app, digest, signatures, by, now),
            Request::Quarantine { app, digest, quarantined, reason } => {
                self.quarantine(app, digest, quarantined, reason)?
            }
            Request::Rebuild { app, reason } => self.rebuild(app, reason, now)?,
            Request::TriggerAnswered { app, number, attempt, outcome } => {
                self.trigger_answered(&app, number, attempt, &outcome, now)
            }
            Request::Start { app, options, id } => {
                self.with_context(fleet, now, |context| self.start(&app, &options, &id, context))?
            }
            Request::Rollback { app, digest, reason, id } => self.roll_back(&app, digest, &reason, &id, fleet)?,
            Request::Change { rollout, command, reason } => {
                let rollout = self.find_rollout(&rollout)?;
                return self.with_context(fleet, now, |context| rollout.command(command, by, &reason, context));
            }
            Request::Enrolled(node) => vec![Event::NodeEnrolled { node }],
            Request::SetAvailability { node, availability, reason } => {
                let known = self.catalog.node(&node).ok_or_else(|| not_found("node", &node, "node list"))?;
                let same = known.availability == availability;
                if same { Vec::new() } else { vec![Event::NodeAvailabilitySet { node, availability, reason }] }
            }
            Request::RemoveNode { node, reason } => {
                self.catalog.node(&node).ok_or_else(|| not_found("node", &node, "node list"))?;
                vec![Event::NodeRemoved { node, reason }]
            }
        };
        Ok(events.into_iter().map(|event| Recorded { at: now, by: by.clone(), event }).collect())
    }

    pub(super) fn must_know(&self, app: &AppName) -> Result<&App, Rejection> {
        self.catalog.app(app).ok_or_else(|| not_found("app", app, "app list"))
    }

    fn apply_specs(&self, specs: Vec<AppSpec>) -> Result<Vec<Event>, Rejection> {
        let mut names = BTreeSet::new();
        if let Some(twice) = specs.iter().find(|spec| !names.insert(&spec.name)) {
            let message = format!("app `{}` is given twice", twice.name);
            return Err(Rejection::new(RejectionKind::Usage, message).hint("an app has one file"));
        }
        self.must_not_wait_in_a_circle(&specs)?;
        let mut events = Vec::new();
        for spec in specs {
            let (version, differences) = match self.catalog.app(&spec.name) {
                None => (SpecVersion(1), Vec::new()),
                Some(known) if known.spec == spec => continue,
                Some(known) => (known.version.next(), spec_differences(&known.spec, &spec)),
            };
            let elsewhere = |open: &&Rollout| open.spec.image != spec.image || open.spec.tags != spec.tags;
            if let Some(open) = self.open_rollout(&spec.name).filter(elsewhere) {
                let message = format!("rollout `{}` still moves app `{}` to the image it followed", open.id, spec.name);
                let hint = format!("wait for it, or `nightshift rollout abort {}`", open.id);
                return Err(Rejection::new(RejectionKind::Conflict, message).hint(hint));
            }
            events.push(Event::AppApplied { spec: Box::new(spec), version, differences });
        }
        Ok(events)
    }

    /// Apps that wait for each other would wait for ever.
    fn must_not_wait_in_a_circle(&self, specs: &[AppSpec]) -> Result<(), Rejection> {
        let mut after: BTreeMap<&AppName, &[AppName]> =
            self.catalog.apps().map(|app| (&app.spec.name, app.spec.after.as_slice())).collect();
        after.extend(specs.iter().map(|spec| (&spec.name, spec.after.as_slice())));
        for spec in specs {
            let mut reached = BTreeSet::new();
            let mut next: Vec<_> = spec.after.iter().collect();
            while let Some(name) = next.pop() {
                if *name == spec.name {
                    let message = format!("app `{name}` would wait for itself by way of `after`");
                    return Err(Rejection::new(RejectionKind::Usage, message).hint("take one app out of the circle"));
                }
                if reached.insert(name) {
                    next.extend(after.get(name).copied().unwrap_or_default());
                }
            }
        }
        Ok(())
    }

    fn remove_app(&self, app: AppName, reason: String) -> Result<Vec<Event>, Rejection> {
        self.must_know(&app)?;
        self.must_not_be_in_work(&app)?;
        Ok(vec![Event::AppRemoved { app, reason }])
    }

    fn seen(&self, app: AppName, image: &ImageRef, digest: Digest, about: Description) -> Vec<Event> {
        let Description { created, platforms } = about;
        let known = self.catalog.app(&app).filter(|known| known.followed().as_ref() == Some(image));
        let Some(known) = known else { return Vec::new() };
        // What the registry could not say at first is news when it can.
        let learned = |release: &Release| {
            release.created.is_none() && created.is_some() || release.platforms.is_empty() && !platforms.is_empty()
        };
        if known.tagged.as_ref() == Some(&digest) && !known.release(&digest).is_some_and(learned) {
            return Vec::new();
        }
        let tag = Some(image.tag.clone());
        vec![Event::ReleaseSeen { app, digest, tag, created, platforms }]
    }

    fn tags(&self, app: AppName, tags: &[String]) -> Vec<Event> {
        let Some(known) = self.catalog.app(&app) else { return Vec::new() };
        let Some(policy) = &known.spec.tags else { return Vec::new() };
        let chosen = policy.choose(tags.iter().map(String::as_str), known.tag.as_deref());
        chosen.map(|tag| Event::TagChosen { app, tag: tag.to_owned() }).into_iter().collect()
    }

    fn report(
        &self,
        app: AppName,
        digest: Digest,
        report: TestReport,
        Description { created, platforms }: Description,
    ) -> Result<Vec<Event>, Rejection> {
        let known = self.must_know(&app)?;
        let max_age = known.spec.gate.max_age.and_then(|age| TimeDelta::from_std(age).ok());
        let reports = known.release(&digest).map_or(&[][..], |release| release.reports.as_slice());
        let same = |old: &&TestReport| old.kind == report.kind && old.suite == report.suite;
        // Where reports grow too old, one that says the same again is news in time; else it is a repetition.
        // While a rebuild is under way, so is one about a digest that was built just the same again.
        let rebuilt_since = known.rebuilds.open.as_ref().map(|open| open.started_at);
        let still_counts = |old: &TestReport| {
            old.result == TestResult::Failed
                || (max_age.is_none_or(|age| report.at - old.at < age / 2)
                    && rebuilt_since.is_none_or(|since| old.at >= since))
        };
        if reports.iter().filter(same).any(|old| old.result == report.result && still_counts(old)) {
            return Ok(Vec::new());
        }
        if let Some(old) = reports.iter().find(|old| same(old) && old.result == TestResult::Failed) {
            let message =
                format!("suite `{}` of {} has failed already, and reports are immutable", old.suite, digest.short());
            return Err(
                Rejection::new(RejectionKind::Conflict, message).hint("build again: a new digest gets new tests")
            );
        }
        // Repeated reports of a suite are trimmed where they are kept.
        let suites: BTreeSet<_> = reports.iter().map(|old| (old.kind, &old.suite)).collect();
        if suites.len() >= REPORT_LIMIT && !reports.iter().any(|old| same(&old)) {
            let message = format!("{} has test reports of {REPORT_LIMIT} suites already", digest.short());
            return Err(Rejection::new(RejectionKind::Conflict, message));
        }
        Ok(vec![Event::TestReported { app, digest, report, created, platforms, signatures: Vec::new() }])
    }

    /// What signatures are worth by the keys of the app as it is now.
    fn signatures(
        &self,
        app: AppName,
        digest: Digest,
        mut signatures: Vec<Signature>,
        by: &Actor,
        now: DateTime<Utc>,
    ) -> Vec<Event> {
        let Some(known) = self.catalog.app(&app) else { return Vec::new() };
        let Some(release) = known.release(&digest).filter(|release| known.spec.gate.asks_for_signature_of(release))
        else {
            return Vec::new();
        };
        signatures.drain(..signatures.len().saturating_sub(SIGNATURE_LIMIT));
        match verify(&digest, &known.spec.gate.signature_keys, &signatures) {
            Ok(key) => {
                let (kind, suite, result) = (TestKind::Signature, key.id().as_str().to_owned(), TestResult::Passed);
                let report = TestReport { kind, suite, result, by: by.0.clone(), at: now, url: None, from: None };
                vec![Event::TestReported { app, digest, report, created: None, platforms: Vec::new(), signatures }]
            }
            Err(reason) if release.unsigned.as_ref() == Some(&reason) => Vec::new(),
            Err(reason) => vec![Event::SignatureMissing { app, digest, reason }],
        }
    }

    fn quarantine(
        &self,
        app: AppName,
        digest: Digest,
        quarantined: bool,
        reason: String,
    ) -> Result<Vec<Event>, Rejection> {
        let release = self.must_know(&app)?.release(&digest);
        let Some(release) = release else {
            return Err(not_found("release", &digest.short(), &format!("release list {app}")));
        };
        Ok(match (release.quarantine.is_some(), quarantined) {
            (false, true) => vec![Event::ReleaseQuarantined { app, digest, reason }],
            (true, false) => vec![Event::QuarantineCleared { app, digest, reason }],
            (true, true) | (false, false) => Vec::new(),
        })
    }
}
