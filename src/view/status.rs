//! The status screen. It must answer at 3 a.m.: what runs, what waits, why, and until when.

use chrono::{DateTime, Utc};
use console::style;
use nightshift_proto::pb;
use serde::Serialize;

use super::app::App;
use super::node::Node;
use super::rollout::Rollout;
use super::{all, instant, text};
use crate::output::table::{heading, or_nothing, parts, short_digest, table, yes_no};
use crate::output::time::{NOTHING, local, when};
use crate::output::{Human, Page};

/// The whole fleet on one screen.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) now: Option<DateTime<Utc>>,
    pub(crate) version: String,
    pub(crate) epoch: u64,
    /// What someone must act on.
    alarms: Vec<String>,
    /// Those of them that are facts of the event log.
    raised: Vec<Alarm>,
    apps: Vec<App>,
    pub(crate) nodes: Vec<Node>,
    rollouts: Vec<Rollout>,
}

impl From<pb::Status> for Status {
    fn from(status: pb::Status) -> Self {
        Self {
            now: instant(status.now),
            version: status.version,
            epoch: status.epoch,
            alarms: status.alarms,
            raised: all(status.raised),
            apps: all(status.apps),
            nodes: all(status.nodes),
            rollouts: all(status.rollouts),
        }
    }
}

/// An alarm that has begun and not ended.
#[derive(Debug, Serialize)]
struct Alarm {
    kind: String,
    app: Option<String>,
    node: Option<String>,
    message: String,
    since: Option<DateTime<Utc>>,
}

impl From<pb::Alarm> for Alarm {
    fn from(alarm: pb::Alarm) -> Self {
        let since = instant(alarm.since);
        Self { kind: alarm.kind, app: text(alarm.app), node: text(alarm.node), message: alarm.message, since }
    }
}

impl Human for Status {
    fn human(&self, page: &Page) -> String {
        parts([
            self.head(),
            self.alarms(),
            self.apps(page),
            self.waits(page),
            self.rollouts(page),
            self.rebuilds(page),
            self.nodes(page),
        ])
    }
}

impl Status {
    fn head(&self) -> String {
        let connected = self.nodes.iter().filter(|node| node.connected).count();
        let at = self.now.map_or_else(|| NOTHING.to_owned(), local);
        let (version, nodes) = (&self.version, self.nodes.len());
        format!("{at}  nightshift {version}, {connected} of {nodes} nodes connected, epoch {}", self.epoch)
    }

    fn alarms(&self) -> String {
        if self.alarms.is_empty() {
            return "no alarms".to_owned();
        }
        let lines = self.alarms.iter().map(|alarm| format!("  ! {}", style(alarm).red()));
        [heading("ALARMS")].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
    }

    fn apps(&self, page: &Page) -> String {
        let row = |app: &App| {
            let enabled = if app.enabled { "" } else { " (disabled)" };
            [
                format!("{}{enabled}", app.name),
                app.current(),
                app.freshness.oldest(),
                app.running(),
                app.newest(),
                app.window(page),
            ]
        };
        let header = ["APP", "CURRENT", "AGE", "RUNNING", "NEWEST", "WINDOW"];
        table(page, header, self.apps.iter().map(row), "no apps: `nightshift apply FILE` adds one")
    }

    /// Why something is not rolled out: the reasons of an app, and of its open rollout.
    fn waits(&self, page: &Page) -> String {
        let of_apps = self.apps.iter().flat_map(|app| app.waiting_on.iter().map(move |wait| (&app.name, wait)));
        let of_rollouts =
            self.rollouts.iter().flat_map(|rollout| rollout.waiting_on.iter().map(move |wait| (&rollout.app, wait)));
        let mut seen = Vec::new();
        for found in of_apps.chain(of_rollouts) {
            if !seen.contains(&found) {
                seen.push(found);
            }
        }
        let row = |(app, wait): (&String, &super::Wait)| {
            [app.clone(), format!("{}: {}", wait.kind, wait.message), when(wait.until, page.now)]
        };
        table(page, ["APP", "WAITING ON", "UNTIL"], seen.into_iter().map(row), "nothing waits")
    }

    fn rollouts(&self, page: &Page) -> String {
        let row = |rollout: &Rollout| {
            let (done, total) = rollout.progress();
            let working = rollout.steps.iter().find(|step| step.in_flight());
            let work = working.map(|step| format!("{} on {}: {}", step.container, step.node, step.state));
            [
                rollout.id.clone(),
                rollout.app.clone(),
                rollout.state.clone(),
                format!("{done}/{total}"),
                short_digest(rollout.to.as_deref()),
                or_nothing(work.as_deref()),
            ]
        };
        let header = ["ROLLOUT", "APP", "STATE", "STEPS", "TO", "IN WORK"];
        table(page, header, self.rollouts.iter().map(row), "no rollout is open")
    }

    /// When apps are built again, and how that went the last time.
    fn rebuilds(&self, page: &Page) -> String {
        let built = self.apps.iter().filter_map(|app| Some((app, app.rebuilds.as_ref()?)));
        let rows = built.map(|(app, rebuilds)| [app.name.clone(), rebuilds.next(page), rebuilds.known(page)]);
        table(page, ["APP", "NEXT REBUILD", "LAST"], rows, "")
    }

    /// Nodes that someone may have to look after.
    fn nodes(&self, page: &Page) -> String {
        let troubled =
            self.nodes.iter().filter(|node| !node.connected || node.problem.is_some() || node.availability != "active");
        let row = |node: &Node| {
            [
                node.name.clone(),
                yes_no(node.connected),
                when(node.last_seen, page.now),
                node.availability.clone(),
                or_nothing(node.problem.as_deref()),
            ]
        };
        table(page, ["NODE", "CONNECTED", "LAST SEEN", "AVAILABILITY", "PROBLEM"], troubled.map(row), "")
    }
}
