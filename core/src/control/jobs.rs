//! Jobs: which are due, on which node, and what follows from their reports.
//!
//! A rebuild is built on a node where the app file says so, within the rebuild's deadline.
//! A newer digest that lacks nothing but a self-test is tested on a node that its app file chooses; so is one whose test grew
//! too old while it waited. One job for each app, and one on each node, at a time. What could not be done is tried again, on
//! another node where there is one, after growing pauses.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::automatic::runs_everywhere;
use crate::catalog::{App, Availability};
use crate::control::Control;
use crate::event::{Actor, Event, Recorded};
use crate::fleet::Fleet;
use crate::ids::{JobId, NodeName, RolloutId};
use crate::image::Digest;
use crate::job::{Job, JobOrder, JobOutcome, JobReport, JobSubject, JobWork, REPORT_MARGIN};
use crate::labels::Selector;
use crate::rebuild::{OpenRebuild, RebuildOutcome, RebuildSpec, TriggerState};
use crate::release::{DEFAULT_SUITE, Release, TestReport, TestResult};
use crate::rollout::{Action, Context, Decision, WaitingOn};
use crate::spec::TestKind;

/// A node that is away for this long has lost its job: an agent comes back within seconds, a host that boots within minutes.
/// Should it come back later with a verdict all the same, nobody waits for it any more.
const LOST_AFTER: Duration = Duration::from_secs(5 * 60);

/// What is due for an app, and where.
struct Due {
    node: NodeName,
    work: JobWork,
}

impl Control {
    /// Gives up jobs that nobody will end, and orders the first that is due.
    pub(super) fn order_jobs(&self, context: &Context<'_>, new_id: &RolloutId, decision: &mut Decision) {
        for job in self.jobs.in_flight() {
            match self.given_up_job(job, context) {
                Ok(reason) => decision.events.push(ended(job, JobOutcome::NotDone { reason }, context.now)),
                Err(look_again) => decision.wake(look_again, context.now),
            }
        }
        if !decision.events.is_empty() || context.now < context.settled_at {
            return;
        }
        for app in self.catalog.apps() {
            match self.due(app, context) {
                Ok(due) => return self.order_job(app, due, context, new_id, decision),
                Err(waits) => {
                    waits.iter().filter_map(WaitingOn::until).for_each(|until| decision.wake(until, context.now));
                }
            }
        }
    }

    fn order_job(&self, app: &App, due: Due, context: &Context<'_>, new_id: &RolloutId, decision: &mut Decision) {
        let Due { node, work } = due;
        let job = self.new_job(new_id);
        let event = Event::JobOrdered {
            job: job.clone(),
            app: app.spec.name.clone(),
            node: node.clone(),
            epoch: context.epoch,
            subject: work.subject(&app.spec.image),
            within: work.worst_case() + REPORT_MARGIN,
        };
        decision.events.push(Recorded { at: context.now, by: Actor::nightshift(), event });
        let signatures = match &work {
            JobWork::SelfTest { digest, .. } => self.catalog.signatures(&app.spec.name, digest).to_vec(),
            JobWork::Build { .. } => Vec::new(),
        };
        let (app, image) = (app.spec.name.clone(), app.spec.image.clone());
        let order = JobOrder { id: job, epoch: context.epoch, node, app, image, work, signatures };
        decision.actions.push(Action::Job { order: Box::new(order) });
    }

    /// The time that stands in a rollout's id, and a number that no other job has.
    fn new_job(&self, new_id: &RolloutId) -> JobId {
        let text = format!("{new_id}-{}", self.jobs.count() + 1);
        text.parse().unwrap_or_else(|_| {
            let number = self.jobs.count() + 1;
            number.to_string().parse().expect("digits are a legal name")
        })
    }

    /// Why a job in flight will not end by itself; else when to look again.
    fn given_up_job(&self, job: &Job, context: &Context<'_>) -> Result<String, DateTime<Utc>> {
        let now = context.now;
        if self.catalog.node(&job.node).is_none() {
            return Ok(format!("node {} left the fleet", job.node));
        }
        if now >= job.deadline {
            return Ok(format!("{} did not report its end in time", job.node));
        }
        if context.fleet.node(&job.node).is_some() {
            return Err(job.deadline);
        }
        let seen = context.fleet.last_seen(&job.node).unwrap_or(self.started_at).max(job.ordered_at);
        let lost_at = seen + TimeDelta::from_std(LOST_AFTER).unwrap_or(TimeDelta::MAX);
        if now >= lost_at {
            Ok(format!("{} is not connected any more", job.node))
        } else {
            Err(lost_at.min(job.deadline))
        }
    }

    /// What an app is due now, or what it waits for. Nothing at all: no job is due.
    fn due(&self, app: &App, context: &Context<'_>) -> Result<Due, Vec<WaitingOn>> {
        if !app.enabled {
            return Err(Vec::new());
        }
        if let Some(job) = self.jobs.of_app(&app.spec.name) {
            return Err(vec![WaitingOn::Job { subject: job.subject.clone(), node: job.node.clone() }]);
        }
        // A build brings what is tested next: it goes first, and does not keep the other back where it cannot be done.
        let mut waits = match self.due_build(app, context) {
            Ok(due) => return Ok(due),
            Err(wait) => Vec::from_iter(wait),
        };
        self.due_test(app, context).map_err(|wait| {
            waits.extend(wait);
            waits
        })
    }

    /// The build of a rebuild that nobody has built yet.
    fn due_build(&self, app: &App, context: &Context<'_>) -> Result<Due, Option<WaitingOn>> {
        let builder = app.spec.rebuild.as_ref().and_then(RebuildSpec::builder);
        let wanted = |open: &&OpenRebuild| matches!(open.trigger, TriggerState::Due(_));
        let open = app.rebuilds.open.as_ref().filter(wanted);
        let Some(((builder, open), test)) = builder.zip(open).zip(app.spec.self_test.as_ref()) else {
            return Err(None);
        };
        let (rebuild, health) = (open.number, app.spec.health.clone());
        let work = JobWork::Build { rebuild, builder: builder.clone(), test: test.clone(), health };
        let node = self.place_for(app, &work.subject(&app.spec.image), &builder.build_nodes, |_| true, context)?;
        Ok(Due { node, work })
    }

    /// The self-test of a digest that lacks nothing else.
    fn due_test(&self, app: &App, context: &Context<'_>) -> Result<Due, Option<WaitingOn>> {
        let to_be_tested = to_be_tested(app, context.fleet, context.now);
        let Some((test, release)) = app.spec.self_test.as_ref().zip(to_be_tested) else { return Err(None) };
        let (digest, health) = (release.digest.clone(), app.spec.health.clone());
        let work = JobWork::SelfTest { digest, test: test.clone(), health };
        // On another platform than it was built for it could not even start, which would be taken for its fault.
        let fits = |node: &NodeName| release.fits(context.fleet.platform(node));
        let node = self.place_for(app, &work.subject(&app.spec.image), &test.test_nodes, fits, context)?;
        Ok(Due { node, work })
    }

    /// The node that does a job: one that has not failed at it, else the one that was idle for longest.
    fn place_for(
        &self,
        app: &App,
        subject: &JobSubject,
        nodes: &Selector,
        fits: impl Fn(&NodeName) -> bool,
        context: &Context<'_>,
    ) -> Result<NodeName, WaitingOn> {
        let subject = subject.clone();
        let put_off = self.jobs.put_off(&app.spec.name, &subject);
        if let Some(put_off) = put_off.filter(|put_off| put_off.until > context.now) {
            let (reason, until) = (put_off.reason.clone(), put_off.until);
            return Err(WaitingOn::JobPutOff { subject, reason, until });
        }
        let fitting: Vec<_> = self.catalog.nodes().filter(|(_, node)| nodes.matches(&node.labels)).collect();
        let known = fitting.len();
        let works = |name: &NodeName| {
            let connected = context.fleet.node(name);
            connected.is_some_and(|node| node.instances.is_some() && node.engine_error.is_none())
        };
        let active = fitting.into_iter().filter(|(_, node)| node.availability == Availability::Active);
        let working: Vec<&NodeName> = active.map(|(name, _)| name).filter(|name| works(name) && fits(name)).collect();
        if working.is_empty() {
            return Err(WaitingOn::NoJobNode { subject, nodes: nodes.clone(), known });
        }
        let tried = |name: &NodeName| put_off.is_some_and(|put_off| put_off.tried.contains(name));
        let idle = working.into_iter().filter(|name| self.jobs.on_node(name).is_none());
        let best = idle.min_by_key(|name| (tried(name), self.jobs.last_used(name), (*name).clone()));
        best.cloned().ok_or_else(|| WaitingOn::JobQueued { subject, nodes: nodes.clone() })
    }

    /// What an app's jobs wait for, for people.
    pub(super) fn job_waits(&self, app: &App, context: &Context<'_>) -> Vec<WaitingOn> {
        self.due(app, context).err().unwrap_or_default()
    }

    /// A node said how a job ended. What nobody waits for any more brings nothing about.
    #[must_use]
    pub fn job_reported(&self, node: &NodeName, report: &JobReport, now: DateTime<Utc>) -> Vec<Recorded> {
        let Some(job) = self.jobs.job(&report.job).filter(|job| job.node == *node) else { return Vec::new() };
        let by = Actor::node(node);
        let mut events = vec![Recorded { by: by.clone(), ..ended(job, report.outcome.clone(), now) }];
        let follows = self.follows(job, &report.outcome, &by, now);
        events.extend(follows.map(|event| Recorded { at: now, by, event }));
        events
    }

    /// What a verdict brings about. None is left of a job that could not be done.
    fn follows(&self, job: &Job, outcome: &JobOutcome, by: &Actor, now: DateTime<Utc>) -> Option<Event> {
        let app = self.catalog.app(&job.app)?;
        match (&job.subject, outcome) {
            (_, JobOutcome::NotDone { .. }) | (JobSubject::SelfTest { .. }, JobOutcome::Built { .. }) => None,
            // The app may follow another repository by now, where the digest means nothing.
            (JobSubject::SelfTest { digest }, _) => {
                let passed = matches!(outcome, JobOutcome::Passed);
                let result = if passed { TestResult::Passed } else { TestResult::Failed };
                app.release(digest).map(|_| tested(job, digest, result, by, now))
            }
            (JobSubject::Build { image, .. }, JobOutcome::Built { digest }) => {
                let same = app.spec.image.repository == image.repository;
                same.then(|| tested(job, digest, TestResult::Passed, by, now))
            }
            // Source or test are bad, and stay so until somebody changes them: the night is over, and somebody is told.
            (JobSubject::Build { rebuild, .. }, _) => {
                app.rebuilds.open.as_ref().filter(|open| open.number == *rebuild)?;
                let reason = outcome.reason().unwrap_or("its node did not say what it has built");
                let outcome = RebuildOutcome::Failed { reason: format!("on {}: {reason}", job.node) };
                Some(Event::RebuildEnded { app: job.app.clone(), number: *rebuild, outcome })
            }
        }
    }

    /// A node's agent connected and has these jobs, in work or ended. One in flight that it knows nothing of never arrived, or
    /// is lost with the agent's disk.
    #[must_use]
    pub fn jobs_held(&self, node: &NodeName, held: &[JobId], now: DateTime<Utc>) -> Vec<Recorded> {
        let lost = self.jobs.in_flight().filter(|job| job.node == *node && !held.contains(&job.id));
        let reason = || "its agent knows nothing of it".to_owned();
        lost.map(|job| ended(job, JobOutcome::NotDone { reason: reason() }, now)).collect()
    }
}

/// The newest release that lacks nothing but a self-test. What runs everywhere, and what is older than something that may be
/// installed, is not tested: nothing would come of it.
fn to_be_tested<'a>(app: &'a App, fleet: &Fleet, now: DateTime<Utc>) -> Option<&'a Release> {
    let gate = &app.spec.gate;
    let current = |release: &Release| runs_everywhere(app, &release.digest, fleet) || gate.judge(release, now).is_ok();
    let newer = app.releases.iter().rev().take_while(|release| !current(release));
    newer.into_iter().find(|release| gate.lacks_only_self_test(release, now))
}

/// What a job's verdict says of a digest.
fn tested(job: &Job, digest: &Digest, result: TestResult, by: &Actor, now: DateTime<Utc>) -> Event {
    let (kind, suite, by) = (TestKind::SelfTest, DEFAULT_SUITE.to_owned(), by.0.clone());
    Event::TestReported {
        app: job.app.clone(),
        digest: digest.clone(),
        report: TestReport { kind, suite, result, by, at: now, url: None, from: None },
        created: None,
        platforms: Vec::new(),
        signatures: Vec::new(),
    }
}

fn ended(job: &Job, outcome: JobOutcome, now: DateTime<Utc>) -> Recorded {
    let (id, app, node, subject) = (job.id.clone(), job.app.clone(), job.node.clone(), job.subject.clone());
    let event = Event::JobEnded { job: id, app, node, subject, outcome };
    Recorded { at: now, by: Actor::nightshift(), event }
}
