//! The driver's side of the sessions with agents: what it tells them, and what it does with what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use nightshift_core::catalog::Catalog;
use nightshift_core::ids::{JobId, NodeName};
use nightshift_core::instance::{Prepull, Survey, WatchedApp};
use nightshift_core::job::{JobOrder, JobReport};
use nightshift_core::labels::Labels;
use nightshift_core::step::{StepKey, StepOrder, StepReport};
use nightshift_proto::convert::{from_duration, from_timestamp};
use nightshift_proto::pb::{self, coordinator_message::Body};
use tokio::sync::mpsc;
use tonic::Status;

use crate::driver::handle::NodeSaid;
use crate::driver::{Driver, Error};
use crate::store::KeptLog;

/// The way to one agent.
struct Session {
    id: u64,
    outbox: mpsc::Sender<Result<pb::CoordinatorMessage, Status>>,
    /// What it was last told to look for.
    watched: Option<Vec<WatchedApp>>,
    /// The number of that Watch.
    revision: u64,
}

/// The ways to all agents.
pub(super) struct Sessions {
    open: BTreeMap<NodeName, Session>,
    heartbeat_interval: Duration,
    watch_revision: u64,
}

impl Sessions {
    pub(super) const fn new(heartbeat_interval: Duration) -> Self {
        Self { open: BTreeMap::new(), heartbeat_interval, watch_revision: 0 }
    }

    /// Tells every agent what to look for, where that has changed.
    pub(super) fn watch(&mut self, catalog: &Catalog) {
        let nodes: Vec<_> = self.open.keys().cloned().collect();
        for node in nodes {
            self.watch_on(&node, catalog);
        }
    }

    /// The same for one agent.
    pub(super) fn watch_on(&mut self, node: &NodeName, catalog: &Catalog) {
        let Some(labels) = catalog.node(node).map(|known| &known.labels) else { return };
        let Some(session) = self.open.get_mut(node) else { return };
        let apps = watched(catalog, labels);
        if session.watched.as_ref() != Some(&apps) {
            self.watch_revision += 1;
            let message = pb::Watch::of(&apps, self.watch_revision);
            session.watched = Some(apps);
            session.revision = self.watch_revision;
            self.send(node, Body::Watch(message));
        }
    }

    pub(super) fn prepull(&mut self, node: &NodeName, wanted: &Prepull) {
        self.send(node, Body::Prepull(wanted.into()));
    }

    pub(super) fn order(&mut self, node: &NodeName, order: &StepOrder) {
        self.send(node, Body::Step(order.into()));
    }

    fn acknowledge(&mut self, node: &NodeName, sequence: u64, forget: &[StepKey]) {
        let forget = forget.iter().map(pb::StepKey::from).collect();
        self.send(node, Body::Acknowledge(pb::Acknowledge { sequence, forget, forget_jobs: Vec::new() }));
    }

    pub(super) fn job(&mut self, order: &JobOrder) {
        self.send(&order.node, Body::Job(order.into()));
    }

    fn forget_job(&mut self, node: &NodeName, job: &JobId) {
        let forget_jobs = vec![job.to_string()];
        self.send(node, Body::Acknowledge(pb::Acknowledge { sequence: 0, forget: Vec::new(), forget_jobs }));
    }

    pub(super) fn say_goodbye(&mut self, reason: &str) {
        let nodes: Vec<_> = self.open.keys().cloned().collect();
        for node in nodes {
            self.send(&node, Body::Goodbye(pb::Goodbye { reason: reason.to_owned() }));
        }
        self.open.clear();
    }

    pub(super) fn close(&mut self, node: &NodeName, reason: &str) {
        self.send(node, Body::Goodbye(pb::Goodbye { reason: reason.to_owned() }));
        self.open.remove(node);
    }

    /// Every node that has a session.
    pub(super) fn connected(&self) -> impl Iterator<Item = &NodeName> {
        self.open.keys()
    }

    pub(super) fn survey(&mut self, node: &NodeName, id: u64, survey: &Survey) {
        self.send(node, Body::Survey(pb::Survey::of(id, survey)));
    }

    fn send(&mut self, node: &NodeName, body: Body) {
        let Some(session) = self.open.get(node) else { return };
        let message = pb::CoordinatorMessage { body: Some(body) };
        if session.outbox.try_send(Ok(message)).is_err() {
            // It reads nothing any more. Without its session it connects again and is told everything anew.
            tracing::warn!(node = %node, "an agent does not take its messages; its session is closed");
            self.open.remove(node);
        }
    }
}

/// The apps whose instances a node with these labels is asked for.
fn watched(catalog: &Catalog, labels: &Labels) -> Vec<WatchedApp> {
    let here = catalog.apps().filter(|app| app.spec.nodes.matches(labels));
    here.map(|app| WatchedApp::of(&app.spec)).collect()
}

impl Driver {
    pub(super) async fn node_said(&mut self, node: NodeName, said: NodeSaid) -> Result<(), Error> {
        let now = (self.clock)();
        match said {
            NodeSaid::Connected { session, facts, labels, steps, jobs, outbox } => {
                tracing::info!(node = %node, engine = %facts.engine_version, "node is connected");
                self.sessions.open.insert(node.clone(), Session { id: session, outbox, watched: None, revision: 0 });
                self.welcome(&node);
                if self.control.catalog().node(&node).is_none() {
                    let (request, by) = Self::enrolled(node.clone());
                    let events = self.control.request(request, &by, &self.fleet, now).unwrap_or_default();
                    self.store(events).await?;
                }
                self.fleet.connect(node.clone(), facts, now);
                let events = self.control.connected(&node, &labels, &steps, now);
                self.store(events).await?;
                let ended: Vec<_> =
                    steps.iter().filter(|step| step.phase.is_end()).map(|step| step.key.clone()).collect();
                self.sessions.acknowledge(&node, 0, &ended);
                let events = self.control.jobs_held(&node, &jobs, now);
                self.store(events).await?;
                self.sessions.watch_on(&node, self.control.catalog());
                self.publish();
            }
            NodeSaid::Gone { session } => {
                if self.sessions.open.get(&node).is_none_or(|open| open.id == session) {
                    tracing::warn!(node = %node, "node is no longer connected");
                    self.sessions.open.remove(&node);
                    self.surveys.gone(&node);
                    self.fleet.disconnect(&node, now);
                    self.publish();
                }
            }
            NodeSaid::Alive { skew } => {
                self.fleet.heard(&node, skew, now);
                self.sessions.send(&node, Body::Heartbeat(pb::HeartbeatReply { now: Some(from_timestamp(now)) }));
            }
            NodeSaid::Inventory { revision, instances } => {
                // One that answers an earlier Watch does not know of every app: it would look as if instances were gone.
                if self.sessions.open.get(&node).is_none_or(|session| session.revision != revision) {
                    return Ok(());
                }
                let usable = instances.is_ok();
                self.fleet.inventory(&node, instances);
                if usable {
                    self.node_events(&node).await?;
                }
                self.changes.send_modify(|count| *count += 1);
            }
            NodeSaid::Report { sequence, report } => self.step_said(&node, sequence, &report).await?,
            NodeSaid::Job(report) => self.job_said(&node, *report).await?,
            NodeSaid::Surveyed { id, found } => self.surveys.answered(id, &node, found),
            NodeSaid::Image(report) => {
                self.fleet.image(&node, report, now);
                self.changes.send_modify(|count| *count += 1);
            }
        }
        Ok(())
    }

    async fn step_said(&mut self, node: &NodeName, sequence: u64, report: &StepReport) -> Result<(), Error> {
        let now = (self.clock)();
        let events = self.control.reported(node, report, now);
        self.store(events).await?;
        // Stored, or no news: either way the agent need not say it again.
        let forget = if report.phase.is_end() { std::slice::from_ref(&report.key) } else { &[] };
        self.sessions.acknowledge(node, sequence, forget);
        Ok(())
    }

    /// A job has ended: its log is kept first, for once the end is stored, nobody asks for the log again.
    async fn job_said(&mut self, node: &NodeName, report: JobReport) -> Result<(), Error> {
        let now = (self.clock)();
        let events = self.control.job_reported(node, &report, now);
        if let Some(job) = self.control.jobs().job(&report.job).filter(|_| !events.is_empty()) {
            let log = KeptLog {
                job: report.job.to_string(),
                app: job.app.to_string(),
                node: node.to_string(),
                kind: job.subject.kind().to_owned(),
                digest: job.subject.digest().or(report.outcome.built()).map(ToString::to_string),
                result: report.outcome.as_str().to_owned(),
                reason: report.outcome.reason().map(str::to_owned),
                at: now,
                text: report.log.text,
                cut: report.log.cut,
            };
            self.log.keep_job_log(&log).await?;
        }
        self.store(events).await?;
        self.sessions.forget_job(node, &report.job);
        Ok(())
    }

    fn welcome(&mut self, node: &NodeName) {
        let welcome = pb::Welcome {
            epoch: self.control.epoch().0,
            now: Some(from_timestamp((self.clock)())),
            heartbeat_interval: Some(from_duration(self.sessions.heartbeat_interval)),
        };
        self.sessions.send(node, Body::Welcome(welcome));
    }
}
