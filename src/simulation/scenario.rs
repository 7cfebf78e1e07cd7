//! A fleet, its apps and their rules, drawn from a seed.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use nightshift_agent::engine::simulated::{Behaviour, Happening, SimulatedImage};
use nightshift_core::labels::Labels;
use nightshift_core::spec::AppSpec;
use serde_json::json;

use super::chance::Chance;
use super::witness::Hours;
use super::world::{AppPlan, Plan, app_of, good_image, image};

/// How long a container may take to become healthy.
pub(crate) const HEALTHY_DEADLINE: Duration = Duration::from_secs(60);
/// How long it is watched.
const MONITOR: Duration = Duration::from_secs(10);
/// Days for which the windows are known to the checks: further than any run goes.
const DAYS: i64 = 60;

/// When steps may start, in words of the file and in words of the checks.
struct Night {
    file: String,
    hours: Hours,
}

/// The plan of a seed.
pub(crate) fn plan(chance: &Chance) -> Plan {
    let start = "2026-03-02T21:30:00Z".parse::<DateTime<Utc>>().expect("it is an instant");
    let night = night(chance, start);
    let count = chance.pick(&[2, 3, 3, 4]);
    let nodes = (1..=count).map(|number| {
        let role = if chance.permille(500) { "web" } else { "db" };
        let name = format!("n{number}").parse().expect("well formed");
        (name, [("role".to_owned(), role.to_owned())].into())
    });
    let nodes: Vec<_> = nodes.collect();
    let names: &[&str] = if chance.permille(300) { &["api", "web"] } else { &["web"] };
    let apps = names.iter().map(|name| {
        let after = *name == "api" && chance.permille(400);
        let spec = spec(chance, name, &night.file, after.then_some("web"));
        // With one instance everywhere, but for an app here and there that is not.
        let on = (0..count).filter(|position| *position == 0 || chance.permille(900)).collect();
        let first = good_image(start - TimeDelta::days(3), Duration::from_secs(2));
        let body = json!({
            "Env": ["COLOUR=green"],
            "HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
        });
        let (container, labels) = labelled(name);
        AppPlan { spec, container, labels, on, hours: night.hours.clone(), first, body }
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

/// An app's rules, all of them but its quiet hours drawn anew.
pub(crate) fn respec(chance: &Chance, old: &AppSpec) -> AppSpec {
    let drawn = spec(chance, old.name.as_str(), "", None);
    AppSpec { quiet_hours: old.quiet_hours.clone(), after: old.after.clone(), ..drawn }
}

fn night(chance: &Chance, start: DateTime<Utc>) -> Night {
    let (from, minutes): (&str, i64) = chance.pick(&[("00:00", 1440), ("21:40", 40), ("21:00", 60), ("22:00", 240)]);
    let mut file = format!(
        "[quiet_hours]\ntimezone = \"UTC\"\n[[quiet_hours.allow]]\ndays = [\"daily\"]\nstart = \"{from}\"\nduration = \"{minutes}m\"\n"
    );
    let first = NaiveTime::parse_from_str(from, "%H:%M").expect("it is a time");
    let day = start.date_naive() - TimeDelta::days(1);
    let opens = (0..DAYS).map(|number| (day + TimeDelta::days(number)).and_time(first).and_utc());
    let windows: Vec<_> = match minutes {
        // Windows that touch are one.
        1440 => vec![(day.and_time(first).and_utc(), start + TimeDelta::days(DAYS))],
        _ => opens.map(|opens| (opens, opens + TimeDelta::minutes(minutes))).collect(),
    };
    let mut freezes = Vec::new();
    if chance.permille(200) {
        let from = start + TimeDelta::minutes(20);
        let to = from + TimeDelta::minutes(15);
        let (a, b) = (from.to_rfc3339(), to.to_rfc3339());
        file.push_str(&format!("[[quiet_hours.freeze]]\nname = \"launch\"\nfrom = \"{a}\"\nto = \"{b}\"\n"));
        freezes.push((from, to));
    }
    let least_cutoff = HEALTHY_DEADLINE + MONITOR;
    Night { file, hours: Hours { windows, freezes, least_cutoff } }
}

fn spec(chance: &Chance, name: &str, night: &str, after: Option<&str>) -> AppSpec {
    let action = chance.pick(&["pause", "continue", "rollback", "rollback"]);
    let ratio = if action == "continue" {
        format!("max_failure_ratio = {}\n", chance.pick(&["0.34", "0.5"]))
    } else {
        String::new()
    };
    let after = after.map(|first| format!("after = [\"{first}\"]\n")).unwrap_or_default();
    let text = format!(
        "name = \"{name}\"\nimage = \"registry.example/shop/{name}:stable\"\n{after}\
         [gate]\ncooldown = \"{cooldown}\"\n\
         [update]\nmode = \"{mode}\"\nparallelism = {parallelism}\ndelay = \"{delay}\"\norder = \"{order}\"\n\
         monitor = \"10s\"\ncanary_monitor = \"20s\"\nfailure_action = \"{action}\"\n{ratio}\
         healthy_deadline = \"60s\"\nprogress_deadline = \"20m\"\nkeep_images = {keep}\nsupersede = \"{supersede}\"\n\
         pre_pull = {pre_pull}\n{night}",
        cooldown = chance.pick(&["0s", "0s", "5m"]),
        mode = chance.pick(&["auto", "auto", "auto", "approve"]),
        parallelism = chance.pick(&[1, 1, 2, 3]),
        delay = chance.pick(&["0s", "0s", "30s"]),
        order = "stop-first",
        keep = chance.pick(&[1, 2]),
        supersede = "after_completion",
        pre_pull = chance.pick(&["true", "true", "false"]),
    );
    app_of(&text)
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
        _ => Behaviour::of(Happening::Healthy, soon),
    };
    behaviour.stop_takes = seconds(0, 12);
    let mut image = image(created, behaviour);
    image.pull_takes = seconds(0, 40);
    image
}
