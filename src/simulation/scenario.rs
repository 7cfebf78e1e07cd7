//! A fleet, its apps and their rules, drawn from a seed.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_agent::engine::ExecOutcome;
use nightshift_agent::engine::simulated::{Behaviour, Happening, SimulatedImage};
use nightshift_core::labels::Labels;
use nightshift_core::spec::AppSpec;
use serde_json::json;

use super::chance::Chance;
use super::night;
use super::notes::Notes;
use super::world::{AppPlan, Plan, app_of, good_image, image};

/// The evenings on which runs begin: an ordinary one, and those before a clock change in one of the zones.
const STARTS: [&str; 5] = [
    "2026-03-02T21:30:00Z",
    "2026-03-02T21:30:00Z",
    "2026-03-07T21:30:00Z",
    "2026-03-28T21:30:00Z",
    "2026-04-04T08:30:00Z",
];
/// What hooks call inside a container.
pub(crate) const HOOKS: [&str; 3] = ["announce", "drain", "ready"];
/// Exit code of a hook that says: not this time.
pub(crate) const NOT_NOW: i64 = 75;

/// The plan of a seed.
pub(crate) fn plan(chance: &Chance, notes: &Notes) -> Plan {
    let start = chance.pick(&STARTS).parse::<DateTime<Utc>>().expect("it is an instant");
    let count = chance.pick(&[2, 3, 3, 4]);
    let nodes = (1..=count).map(|number| {
        let role = if chance.permille(500) { "web" } else { "db" };
        let name = format!("n{number}").parse().expect("well formed");
        (name, [("role".to_owned(), role.to_owned())].into())
    });
    let nodes: Vec<_> = nodes.collect();
    let names: &[&str] = if chance.permille(350) { &["api", "web"] } else { &["web"] };
    let apps = names.iter().map(|name| {
        let nights = [0, 1].map(|_| night::draw(chance, start, notes));
        let after = *name == "api" && chance.permille(400);
        let fixed = fixed(chance, after.then_some("web"), notes);
        let spec = AppSpec { quiet_hours: nights[0].0.clone(), ..spec(chance, name, &fixed, notes) };
        // With one instance everywhere, but for an app here and there that is not.
        let on = (0..count).filter(|position| *position == 0 || chance.permille(900)).collect();
        let mut first = good_image(start - TimeDelta::days(3), Duration::from_secs(2));
        first.behaviour.commands = commands();
        let policy = chance.pick(&["unless-stopped", "unless-stopped", "always"]);
        let body = json!({
            "Env": ["COLOUR=green"],
            "HostConfig": {"RestartPolicy": {"Name": policy, "MaximumRetryCount": 0}},
        });
        let (container, labels) = labelled(name);
        let beside = chance.permille(300).then(|| format!("{name}-log"));
        if beside.is_some() {
            notes.reached("a container that depends on an instance");
        }
        AppPlan { spec, fixed, container, labels, on, nights: nights.into(), first, body, beside }
    });
    Plan {
        start,
        apps: apps.collect(),
        nodes,
        heartbeat_interval: Duration::from_secs(10),
        watch_interval: Duration::from_secs(60),
        unknown_after: Duration::from_secs(chance.pick(&[60, 120])),
        skew: true,
    }
}

/// A container of an app: its name, and the label by which it is found.
pub(crate) fn labelled(app: &str) -> (String, Labels) {
    (app.to_owned(), [("nightshift.app".to_owned(), app.to_owned())].into())
}

/// An app's rules drawn anew, but for those that hold for the whole run.
pub(crate) fn respec(chance: &Chance, app: &AppPlan, notes: &Notes) -> AppSpec {
    let quiet_hours = chance.pick(&app.nights).0;
    AppSpec { quiet_hours, ..spec(chance, app.spec.name.as_str(), &app.fixed, notes) }
}

/// What stays in an app's file for the whole run: for the checks it must not depend on when something happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fixed {
    /// Whether two containers of an instance may ever run at once.
    order: &'static str,
    /// Which apps go first, how health is judged, what is called.
    file: String,
}

impl Fixed {
    /// Whether a hook calls this.
    pub(crate) fn calls(&self, command: &str) -> bool {
        self.file.contains(command)
    }
}

fn fixed(chance: &Chance, after: Option<&str>, notes: &Notes) -> Fixed {
    let order = chance.pick(&["stop-first", "stop-first", "start-first"]);
    let mut file = String::new();
    if let Some(first) = after {
        file.push_str(&format!("after = [\"{first}\"]\n"));
    }
    let health = chance.pick(&["", "", "http = \":80/ready\"", "tcp = 80", "exec = [\"check\"]"]);
    if !health.is_empty() {
        notes.reached(format!("health by {}", health.split(' ').next().unwrap_or_default()));
        file.push_str(&format!("[health]\n{health}\n"));
    }
    if chance.permille(500) {
        file.push_str("[hooks]\n");
        for (point, command) in ["before", "drain", "after"].iter().zip(HOOKS) {
            let (kind, call) = chance.pick(&[
                ("exec", format!("exec = [\"{command}\"]")),
                ("http", format!("http = \"{}\"", hook_url(command))),
            ]);
            if chance.permille(800) {
                notes.reached(format!("hooks by {kind}"));
                file.push_str(&format!("{point} = {{ {call}, timeout = \"10s\" }}\n"));
            }
        }
    }
    Fixed { order, file }
}

fn spec(chance: &Chance, name: &str, fixed: &Fixed, notes: &Notes) -> AppSpec {
    let Fixed { order, file } = fixed;
    let action = chance.pick(&["pause", "continue", "rollback", "rollback"]);
    let ratio = if action == "continue" {
        format!("max_failure_ratio = {}\n", chance.pick(&["0.34", "0.5"]))
    } else {
        String::new()
    };
    let supersede = chance.pick(&["after_completion", "at_step_boundary", "if_paused"]);
    for about in [format!("order {order}"), format!("failure_action {action}"), format!("supersede {supersede}")] {
        notes.reached(about);
    }
    let text = format!(
        "name = \"{name}\"\nimage = \"registry.example/shop/{name}:stable\"\n{file}\
         [gate]\ncooldown = \"{cooldown}\"\n{max_age}\
         [update]\nmode = \"{mode}\"\nparallelism = {parallelism}\ndelay = \"{delay}\"\norder = \"{order}\"\n\
         monitor = \"10s\"\ncanary_monitor = \"20s\"\nfailure_action = \"{action}\"\n{ratio}\
         healthy_deadline = \"60s\"\nprogress_deadline = \"20m\"\nkeep_images = {keep}\nsupersede = \"{supersede}\"\n\
         pre_pull = {pre_pull}\n",
        cooldown = chance.pick(&["0s", "0s", "5m"]),
        max_age = chance.pick(&["", "", "max_age = \"10m\"\n"]),
        mode = chance.pick(&["auto", "auto", "auto", "approve"]),
        parallelism = chance.pick(&[1, 1, 2, 3]),
        delay = chance.pick(&["0s", "0s", "30s"]),
        keep = chance.pick(&[1, 2]),
        pre_pull = chance.pick(&["true", "true", "false"]),
    );
    app_of(&text)
}

/// Where a hook is called by HTTP.
pub(crate) fn hook_url(command: &str) -> String {
    format!("http://balancer.example/{command}")
}

/// Every hook works.
pub(crate) fn commands() -> std::collections::BTreeMap<Vec<String>, Option<ExecOutcome>> {
    let works = ExecOutcome { exit_code: 0, output: String::new() };
    HOOKS.iter().map(|command| (vec![(*command).to_owned()], Some(works.clone()))).collect()
}

/// A new version of an app's image. Most are good.
pub(crate) fn version(chance: &Chance, created: DateTime<Utc>) -> SimulatedImage {
    let seconds = |from, to| chance.between(Duration::from_secs(from), Duration::from_secs(to));
    let healthy = |after| (after, Happening::Healthy);
    let soon = seconds(1, 20);
    let mut behaviour = match chance.below(20) {
        0 => Behaviour::of(Happening::Unhealthy, soon),
        1 => Behaviour::of(Happening::Exit(1), seconds(0, 10)),
        2 => Behaviour {
            start_error: Some("exec: \"serve\": executable file not found".to_owned()),
            ..Behaviour::default()
        },
        // Never healthy, never unhealthy: the deadline decides.
        3 => Behaviour::default(),
        // Healthy at first, and then not, while it is still watched.
        4 => Behaviour {
            timeline: vec![healthy(soon), (soon + seconds(1, 9), Happening::Unhealthy)],
            ..Behaviour::default()
        },
        // It fails long after it was good, and recovers.
        5 => {
            let late = soon + seconds(60, 600);
            let timeline =
                vec![healthy(soon), (late, Happening::Unhealthy), (late + seconds(10, 200), Happening::Healthy)];
            Behaviour { timeline, ..Behaviour::default() }
        }
        // It ends while it is still watched, and never comes back well.
        6 => Behaviour {
            timeline: vec![healthy(soon), (soon + seconds(1, 9), Happening::Exit(1))],
            ..Behaviour::default()
        },
        _ => Behaviour::of(Happening::Healthy, soon),
    };
    behaviour.commands = commands();
    behaviour.stop_takes = seconds(0, 12);
    let mut image = image(created, behaviour);
    image.pull_takes = seconds(0, 40);
    image
}
