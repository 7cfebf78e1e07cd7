//! A rehearsal: what would happen, in order, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::duration;
use nightshift_core::event::{Event, Recorded};
use nightshift_core::labels::{Labels, Selector};
use nightshift_core::quiet::{QuietHours, Zone};
use nightshift_core::rollout::{Rollout, RolloutState, WaitKind};
use nightshift_core::spec::AppSpec;
use nightshift_core::step::{Purpose, StepPhase};
use serde::Serialize;

use super::Wait;
use crate::output::table::{facts, heading, or_nothing, parts, short_digest, table};
use crate::output::time::{NOTHING, elapsed};
use crate::output::{Human, Page};
use crate::simulation::rehearsal::{HEALTHY, PULL, Rehearsed, STOP, Script, Waited};

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rehearsal {
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) ended_at: DateTime<Utc>,
    pub(crate) nodes: Vec<String>,
    /// Labels of the nodes that were given some.
    pub(crate) labels: BTreeMap<String, Labels>,
    pub(crate) failing: Vec<String>,
    pub(crate) timeline: Vec<Entry>,
    pub(crate) apps: Vec<App>,
    /// Whether every app came to its target everywhere.
    pub(crate) reached: bool,
    #[serde(skip)]
    zone: Option<Zone>,
    #[serde(skip)]
    endless: bool,
    /// Whether files say something of labels of nodes.
    #[serde(skip)]
    selective: bool,
    #[serde(skip)]
    hooks: bool,
}

/// Something that would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) at: DateTime<Utc>,
    pub(crate) kind: &'static str,
    pub(crate) app: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) message: String,
    /// For what is waited for: until when.
    pub(crate) until: Option<DateTime<Utc>>,
}

/// What came of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct App {
    pub(crate) app: String,
    /// The rollout's state; `null` where none came about.
    pub(crate) state: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// From the first step to the end.
    pub(crate) duration_ms: Option<u64>,
    pub(crate) downtime_ms: Option<u64>,
    pub(crate) committed: usize,
    pub(crate) total: usize,
    pub(crate) waiting_on: Vec<Wait>,
}

impl Rehearsal {
    /// The story of a rehearsal.
    pub(crate) fn of(script: &Script, rehearsed: &Rehearsed) -> Self {
        let mut timeline: Vec<Entry> = Vec::new();
        for recorded in &rehearsed.log {
            timeline.extend(entry(recorded, &rehearsed.rollouts));
        }
        timeline.extend(rehearsed.waited.iter().filter_map(waited));
        timeline.sort_by_key(|entry| entry.at);
        let apps: Vec<App> = script.specs.iter().map(|spec| app(spec.name.as_str(), rehearsed)).collect();
        let reached = |app: &App| app.state.as_deref() == Some(RolloutState::Completed.as_str());
        Self {
            started_at: script.start,
            ended_at: rehearsed.ended,
            nodes: script.nodes.iter().map(ToString::to_string).collect(),
            labels: script.labels.iter().map(|(node, labels)| (node.to_string(), labels.clone())).collect(),
            failing: script.fail.iter().map(ToString::to_string).collect(),
            timeline,
            reached: apps.iter().all(reached),
            apps,
            zone: script.specs.iter().find_map(|spec| Some(spec.quiet_hours.as_ref()?.timezone())),
            endless: rehearsed.endless,
            selective: script.specs.iter().any(selects),
            hooks: script.specs.iter().any(|spec| !spec.hooks.is_empty()),
        }
    }

    fn local(&self, at: DateTime<Utc>) -> String {
        let text = self.zone.map_or_else(|| at.format("%Y-%m-%d %H:%M:%S UTC").to_string(), |zone| zone.local(at));
        text.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>().join(" ")
    }

    /// Date and time of day, with the seconds.
    fn date_and_clock(&self, at: DateTime<Utc>) -> (String, String) {
        let local = self.local(at);
        let (date, clock) = local.split_once(' ').unwrap_or(("", &local));
        let clock = if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() };
        (date.to_owned(), clock)
    }

    fn lines(&self) -> String {
        let nodes = self.timeline.iter().filter_map(|entry| entry.node.as_ref()).map(String::len).max().unwrap_or(0);
        let apps = self.apps.iter().map(|app| app.app.len()).max().unwrap_or(0);
        let mut lines = Vec::new();
        let mut day = String::new();
        for entry in &self.timeline {
            let (date, clock) = self.date_and_clock(entry.at);
            if date != day {
                lines.push(heading(&date));
                day = date;
            }
            let app = if self.apps.len() > 1 {
                format!("{:apps$}  ", entry.app.as_deref().unwrap_or_default())
            } else {
                String::new()
            };
            let node = entry.node.as_deref().unwrap_or_default();
            lines.push(format!("  {clock}  {app}{node:nodes$}  {}", entry.message).trim_end().to_owned());
        }
        lines.join("\n")
    }

    fn summary(&self, page: &Page) -> String {
        let row = |app: &App| {
            [
                app.app.clone(),
                app.state.as_deref().unwrap_or("not started").replace('_', " "),
                format!("{} of {}", app.committed, app.total),
                app.started_at.map_or_else(|| NOTHING.to_owned(), |at| self.local(at)),
                app.ended_at.map_or_else(|| NOTHING.to_owned(), |at| self.local(at)),
                app.duration_ms.map_or_else(|| NOTHING.to_owned(), elapsed),
                app.downtime_ms.map_or_else(|| NOTHING.to_owned(), elapsed),
            ]
        };
        let header = ["APP", "RESULT", "REPLACED", "FIRST STEP", "END", "TOOK", "LONGEST DOWNTIME"];
        table(page, header, self.apps.iter().map(row), "")
    }

    fn notes(&self) -> String {
        let mut notes = Vec::new();
        for app in &self.apps {
            if let Some(reason) = &app.reason {
                notes.push(format!("{}: {reason}", app.app));
            }
            // A pause has said its reason already.
            let paused = app.state.as_deref() == Some(RolloutState::Paused.as_str());
            let waits = app.waiting_on.iter().filter(|wait| !paused || wait.kind != WaitKind::Operator.as_str());
            notes.extend(waits.map(|wait| format!("{} would wait: {}", app.app, wait.message)));
        }
        if self.endless {
            notes.push("it was broken off here: it goes on for too long".to_owned());
        }
        notes.join("\n")
    }
}

impl Human for Rehearsal {
    fn human(&self, page: &Page) -> String {
        let zone = self.zone.map_or("UTC", Zone::name);
        let named = |(node, labels): (&String, &Labels)| {
            let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{node}: {}", labels.join(","))
        };
        let labels = self.labels.iter().map(named).collect::<Vec<_>>().join(" · ");
        let failing = self.failing.join(", ");
        let (pull, stop, healthy) = (duration::format(PULL), duration::format(STOP), duration::format(HEALTHY));
        let hooks = if self.hooks { "; hooks are not called, each is done at once" } else { "" };
        let assumed =
            format!("a pull takes {pull}, a stop {stop}, and a container is healthy {healthy} after its start{hooks}");
        let placed = match (self.labels.is_empty(), self.selective) {
            (true, false) => "with one instance of each app",
            (true, true) => {
                "without labels: each has one instance of each app, whatever selectors say; --label gives labels"
            }
            (false, _) => "with one instance of each app that selects them",
        };
        let nodes = self.nodes.len();
        let head = facts([
            ("rehearsed", format!("a new image, tested at {} ({zone})", self.local(self.started_at))),
            ("nodes", format!("{nodes} simulated, {placed}")),
            ("labels", labels),
            ("failing", if failing.is_empty() { failing } else { format!("the new container falls ill on {failing}") }),
            ("assumed", assumed),
        ]);
        parts([head, self.lines(), self.summary(page), self.notes()])
    }
}

/// Whether labels of nodes make a difference to an app.
fn selects(spec: &AppSpec) -> bool {
    spec.nodes != Selector::default() || spec.quiet_hours.as_ref().is_some_and(QuietHours::names_nodes)
}

fn new_entry(recorded: &Recorded, kind: &'static str, message: String) -> Entry {
    Entry { at: recorded.at, kind, app: None, node: None, message, until: None }
}

/// What a fact means for somebody who looks on; much of it is of no interest here.
fn entry(recorded: &Recorded, rollouts: &[Rollout]) -> Option<Entry> {
    let event = &recorded.event;
    let rollout = event.rollout().and_then(|id| rollouts.iter().find(|rollout| rollout.id == *id));
    let step = event.step().and_then(|index| rollout?.step(index));
    let mut entry = match event {
        Event::TestReported { digest, .. } => {
            let digest = short_digest(Some(&digest.to_string()));
            new_entry(recorded, "tests", format!("new image {digest} has passed its tests"))
        }
        Event::RolloutPlanned { steps, .. } => {
            let count = steps.len();
            let words = if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") };
            new_entry(recorded, "planned", format!("rollout planned: {words}"))
        }
        Event::RolloutMoved { to, reason, .. } => new_entry(recorded, "state", moved(*to, reason)?),
        Event::StepOrdered { canary, .. } => {
            let back = step.is_some_and(|step| step.purpose == Purpose::Rollback);
            let words = match (back, *canary) {
                (true, _) => "is replaced by the version that was good before",
                (false, true) => "is replaced, as the canary",
                (false, false) => "is replaced",
            };
            new_entry(recorded, "step", words.to_owned())
        }
        Event::StepReported { report, .. } => new_entry(recorded, "step", reported(report.phase, step, recorded.at)?),
        Event::StepSkipped { reason, .. } => new_entry(recorded, "step", format!("left out: {reason}")),
        Event::ReleaseQuarantined { digest, .. } => {
            let digest = short_digest(Some(&digest.to_string()));
            new_entry(recorded, "quarantine", format!("{digest} is quarantined: no node starts it again"))
        }
        Event::WindowNotUsed { .. } | Event::WindowMissed { .. } => new_entry(recorded, "window", event.to_string()),
        Event::ReleaseSeen { .. }
        | Event::TagChosen { .. }
        | Event::SignatureMissing { .. }
        | Event::StepUnknownAlarm { .. }
        | Event::ReleaseKnownGood { .. }
        | Event::AppApplied { .. }
        | Event::AppEnabled { .. }
        | Event::AppRemoved { .. }
        | Event::QuarantineCleared { .. }
        | Event::InstanceAdopted { .. }
        | Event::InstanceForgotten { .. }
        | Event::NodeEnrolled { .. }
        | Event::NodeLabelled { .. }
        | Event::NodeAvailabilitySet { .. }
        | Event::NodeRemoved { .. }
        | Event::RolloutPromoted { .. }
        | Event::RolloutOverridden { .. }
        | Event::StepUnknown { .. }
        | Event::StepRequeued { .. }
        | Event::JobOrdered { .. }
        | Event::JobEnded { .. }
        | Event::RebuildStarted { .. }
        | Event::RebuildTriggered { .. }
        | Event::RebuildTriggerFailed { .. }
        | Event::RebuildEnded { .. }
        | Event::RebuildMissed { .. }
        | Event::AlarmRaised { .. }
        | Event::AlarmCleared { .. }
        | Event::RollbackPlanned { .. } => return None,
    };
    entry.app = event.app().or_else(|| rollout.map(Rollout::app)).map(ToString::to_string);
    entry.node = step.map(|step| step.node.to_string());
    // What is not about an app that is rehearsed is how the fleet came about.
    entry.app.is_some().then_some(entry)
}

/// A rollout's state in words; that its canary begins is said by the canary itself.
fn moved(to: RolloutState, reason: &str) -> Option<String> {
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match to {
        RolloutState::Planned | RolloutState::Canary => None,
        RolloutState::Prepulling => Some("the nodes fetch the image".to_owned()),
        RolloutState::Waiting => Some("the rollout is ready to begin".to_owned()),
        RolloutState::Rolling => Some("the canary is good, the others follow".to_owned()),
        RolloutState::RollingBack => Some(format!("what was replaced goes back{why}")),
        RolloutState::Paused
        | RolloutState::Completed
        | RolloutState::CompletedWithLaggards
        | RolloutState::RolledBack
        | RolloutState::Aborted
        | RolloutState::Superseded => Some(format!("the rollout is {}{why}", to.as_str().replace('_', " "))),
    }
}

/// How far a step is, where that is worth a line.
fn reported(phase: StepPhase, step: Option<&nightshift_core::rollout::Step>, at: DateTime<Utc>) -> Option<String> {
    let step = step?;
    let took = step.started_at.and_then(|start| (at - start).to_std().ok());
    let took = took.map(|took| elapsed(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))).unwrap_or_default();
    let down = step.downtime_ms.map(|down| format!(", down for {}", elapsed(down))).unwrap_or_default();
    let why = step.failure.as_ref().map(|failure| failure.reason.clone()).unwrap_or_default();
    match phase {
        StepPhase::Healthy => Some("the new container is healthy, and is watched".to_owned()),
        StepPhase::RollingBack => Some(format!("goes back: {why}")),
        StepPhase::Committed => Some(format!("done in {took}{down}")),
        StepPhase::RolledBack => Some(format!("the old container runs again, after {took}{down}")),
        StepPhase::Untouched => Some(format!("nothing was touched: {why}")),
        StepPhase::Broken => Some(format!("could not be brought back: {why}")),
        StepPhase::Assigned
        | StepPhase::Preflight
        | StepPhase::Pulled
        | StepPhase::Created
        | StepPhase::OldStopped
        | StepPhase::Started
        | StepPhase::Monitored => None,
    }
}

/// What was waited for. Steps in flight have lines of their own, and so has a pause.
fn waited(waited: &Waited) -> Option<Entry> {
    let Waited { at, app, wait } = waited;
    let told = match wait.kind() {
        WaitKind::Window | WaitKind::Tests | WaitKind::Delay | WaitKind::App | WaitKind::Health => true,
        WaitKind::Operator => !matches!(wait, nightshift_core::rollout::WaitingOn::Paused { .. }),
        WaitKind::Image | WaitKind::Step | WaitKind::Node => false,
    };
    let (app, message) = (Some(app.to_string()), format!("waits: {wait}"));
    told.then(|| Entry { at: *at, kind: "wait", app, node: None, message, until: wait.until() })
}

fn app(name: &str, rehearsed: &Rehearsed) -> App {
    let rollout = rehearsed.rollouts.iter().rfind(|rollout| rollout.app().as_str() == name);
    let steps = rollout.map(|rollout| rollout.current_steps().collect::<Vec<_>>()).unwrap_or_default();
    let all = rollout.map(|rollout| rollout.steps.as_slice()).unwrap_or_default();
    let started_at = all.iter().filter_map(|step| step.started_at).min();
    let last = all.iter().filter_map(|step| step.ended_at).max();
    let ended_at = rollout.and_then(|rollout| rollout.ended_at).or(last);
    let took = started_at.zip(ended_at).and_then(|(start, end)| (end - start).to_std().ok());
    let waits = rehearsed.left.iter().filter(|(app, _)| app.as_str() == name);
    let reason = rollout.map(|rollout| rollout.state_reason.clone()).filter(|reason| !reason.is_empty());
    App {
        app: name.to_owned(),
        state: rollout.map(|rollout| rollout.state.to_string()),
        reason: reason.map(|reason| or_nothing(Some(&reason))),
        started_at,
        ended_at,
        duration_ms: took.map(|took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        downtime_ms: all.iter().filter_map(|step| step.downtime_ms).max(),
        committed: steps.iter().filter(|step| step.phase == Some(StepPhase::Committed)).count(),
        total: steps.len(),
        waiting_on: waits.map(|(_, wait)| Wait::of(wait)).collect(),
    }
}
