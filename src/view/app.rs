//! Apps, their instances and their history.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use nightshift_proto::pb;
use serde::Serialize;

use super::age::{Age, Freshness};
use super::rebuild::Rebuilds;
use super::release::Release;
use super::{Wait, all, instant, json, json_outline, text, wait_lines, word};
use crate::output::table::{facts, or_nothing, parts, short_digest, table};
use crate::output::time::{NOTHING, when};
use crate::output::{Human, Page};

/// An app and what runs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) version: u64,
    pub(crate) enabled: bool,
    pub(crate) instances: Vec<Instance>,
    /// Instances that run the target.
    pub(crate) instances_current: u32,
    pub(crate) newest: Option<Release>,
    /// What the instances should run.
    pub(crate) target: Option<Release>,
    /// The open rollout.
    pub(crate) rollout: Option<String>,
    pub(crate) waiting_on: Vec<Wait>,
    /// The quiet hours now.
    pub(crate) window: Option<Window>,
    pub(crate) freshness: Freshness,
    /// How it is built again.
    pub(crate) rebuilds: Option<Rebuilds>,
    pub(crate) spec: serde_json::Value,
}

/// A container of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Instance {
    pub(crate) node: String,
    pub(crate) connected: bool,
    pub(crate) container: String,
    pub(crate) container_id: String,
    pub(crate) state: String,
    pub(crate) health: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) digest: Option<String>,
    pub(crate) image_created: Option<DateTime<Utc>>,
    pub(crate) age: Option<Age>,
    /// Why it would not be replaced.
    pub(crate) refusal: Option<String>,
}

/// Whether installing is allowed now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Window {
    pub(crate) open: bool,
    pub(crate) changes_at: Option<DateTime<Utc>>,
    pub(crate) text: String,
}

impl From<pb::App> for App {
    fn from(app: pb::App) -> Self {
        let window = |window: pb::WindowState| Window {
            open: window.open,
            changes_at: instant(window.changes_at),
            text: window.text,
        };
        Self {
            name: app.name,
            image: app.image,
            version: app.version,
            enabled: app.enabled,
            instances: all(app.instances),
            instances_current: app.instances_current,
            newest: app.newest.map(Release::from),
            target: app.target.map(Release::from),
            rollout: text(app.rollout),
            waiting_on: all(app.waiting_on),
            window: app.window.map(window),
            freshness: app.freshness.map(Freshness::from).unwrap_or_default(),
            rebuilds: app.rebuilds.map(Rebuilds::from),
            spec: json(&app.spec_json),
        }
    }
}

impl From<pb::AppInstance> for Instance {
    fn from(found: pb::AppInstance) -> Self {
        let instance = found.instance.unwrap_or_default();
        Self {
            node: found.node,
            connected: found.node_connected,
            state: word(instance.state().as_str_name(), "CONTAINER_STATE_"),
            health: word(instance.health().as_str_name(), "CONTAINER_HEALTH_"),
            digest: text(found.digest),
            age: found.age.map(Age::from),
            image_created: instant(instance.image_created),
            refusal: text(instance.refusal),
            container: instance.container,
            container_id: instance.container_id,
            image: instance.image,
            image_id: instance.image_id,
        }
    }
}

impl App {
    /// How many instances run the target, of how many.
    pub(crate) fn current(&self) -> String {
        format!("{}/{}", self.instances_current, self.instances.len())
    }

    /// The digests that run, short, one a line.
    pub(crate) fn running(&self) -> String {
        let digests: BTreeSet<_> =
            self.instances.iter().map(|instance| short_digest(instance.digest.as_deref())).collect();
        if digests.is_empty() { NOTHING.to_owned() } else { Vec::from_iter(digests).join("\n") }
    }

    /// The newest digest, short.
    pub(crate) fn newest(&self) -> String {
        short_digest(self.newest.as_ref().map(|release| release.digest.as_str()))
    }

    /// `open` or `closed`, and until when.
    pub(crate) fn window(&self, page: &Page) -> String {
        let Some(window) = &self.window else { return "none".to_owned() };
        let word = if window.open { "open" } else { "closed" };
        let change = if window.open { "closes" } else { "opens" };
        window.changes_at.map_or_else(|| word.to_owned(), |at| format!("{word}, {change} {}", when(Some(at), page.now)))
    }
}

/// Lines below each other behind the name of a fact.
fn indented(lines: &str) -> String {
    lines.replace('\n', "\n              ")
}

impl Human for App {
    fn human(&self, page: &Page) -> String {
        let release = |release: &Option<Release>| match release {
            Some(release) if release.eligible => release.digest.clone(),
            Some(release) => format!("{} ({})", release.digest, or_nothing(release.denial.as_deref())),
            None => NOTHING.to_owned(),
        };
        let window = self.window.as_ref().map_or_else(|| self.window(page), |window| window.text.clone());
        let head = facts([
            ("app", self.name.clone()),
            ("image", self.image.clone()),
            ("version", self.version.to_string()),
            ("enabled", if self.enabled { "yes" } else { "no: nothing starts automatically" }.to_owned()),
            ("newest", release(&self.newest)),
            ("target", release(&self.target)),
            ("current", format!("{} instances", self.current())),
            ("oldest", self.freshness.oldest()),
            ("last tested", self.freshness.last_tested()),
            ("window", window),
            ("rollout", or_nothing(self.rollout.as_deref())),
            ("next rebuild", self.rebuilds.as_ref().map_or_else(String::new, |rebuilds| rebuilds.next(page))),
            ("rebuilds", self.rebuilds.as_ref().map_or_else(String::new, |rebuilds| indented(&rebuilds.known(page)))),
            ("waiting on", wait_lines(&self.waiting_on, page, "            ")),
        ]);
        let row = |instance: &Instance| {
            let node = if instance.connected { "" } else { " (not connected)" };
            [
                format!("{}{node}", instance.node),
                instance.container.clone(),
                instance.state.clone(),
                instance.health.clone(),
                short_digest(instance.digest.as_deref()),
                self.freshness.words(instance.age.as_ref()),
                when(instance.image_created, page.now),
                or_nothing(instance.refusal.as_deref()),
            ]
        };
        let header = ["NODE", "CONTAINER", "STATE", "HEALTH", "DIGEST", "AGE", "BUILT", "REFUSAL"];
        let instances = table(page, header, self.instances.iter().map(row), "no instances");
        let spec = if self.spec.is_null() { String::new() } else { json_outline(&self.spec) };
        parts([head, instances, spec])
    }
}

impl Human for Vec<App> {
    fn human(&self, page: &Page) -> String {
        let row = |app: &App| {
            let enabled = if app.enabled { "" } else { " (disabled)" };
            [
                format!("{}{enabled}", app.name),
                app.image.clone(),
                app.current(),
                app.running(),
                app.newest(),
                app.version.to_string(),
            ]
        };
        let header = ["APP", "IMAGE", "CURRENT", "RUNNING", "NEWEST", "VERSION"];
        table(page, header, self.iter().map(row), "no apps: `nightshift apply FILE` adds one")
    }
}

/// A version of an app's spec.
#[derive(Debug, Serialize)]
pub(crate) struct Version {
    version: u64,
    at: Option<DateTime<Utc>>,
    by: Option<String>,
    differences: Vec<String>,
}

impl From<pb::app_history_response::Version> for Version {
    fn from(version: pb::app_history_response::Version) -> Self {
        Self {
            version: version.version,
            at: instant(version.at),
            by: text(version.by),
            differences: version.differences,
        }
    }
}

impl Human for Vec<Version> {
    fn human(&self, page: &Page) -> String {
        let row = |version: &Version| {
            let differences =
                if version.differences.is_empty() { NOTHING.to_owned() } else { version.differences.join("\n") };
            [version.version.to_string(), when(version.at, page.now), or_nothing(version.by.as_deref()), differences]
        };
        table(page, ["VERSION", "WHEN", "BY", "CHANGES"], self.iter().map(row), "no versions")
    }
}
