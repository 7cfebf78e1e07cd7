//! The page of a small fleet, read by a parser that takes nothing but what the format allows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nightshift_core::config::read_app;
use nightshift_core::container::{Health, RunState};
use nightshift_core::control::{Control, Request};
use nightshift_core::event::{Actor, Recorded};
use nightshift_core::fleet::{Fleet, NodeFacts};
use nightshift_core::ids::{ContainerId, Epoch, NodeName};
use nightshift_core::image::Digest;
use nightshift_core::instance::InstanceView;
use nightshift_core::labels::Labels;
use nightshift_core::release::{Description, TestResult};

use super::*;
use crate::store::Sequence;

const DAY: i64 = 86_400;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).expect("in range")
}

fn digest(number: u8) -> Digest {
    format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().expect("well formed")
}

fn instance(container: &str, runs: u8, built: i64) -> InstanceView {
    InstanceView {
        app: "web".parse().expect("well formed"),
        container_id: ContainerId(container.to_owned()),
        container: container.to_owned(),
        image: "r.example/web:stable".into(),
        image_id: format!("sha256:image{runs}"),
        digests: vec![digest(runs)],
        state: RunState::Running,
        health: Health::Healthy,
        refusal: None,
        image_created: Some(at(built)),
        after: Vec::new(),
        start_first_obstacles: Vec::new(),
    }
}

/// A coordinator with the app `web` on two nodes, of which one is away, and `db` of which nothing is known.
struct Scene {
    control: Control,
    fleet: Fleet,
    now: i64,
}

impl Scene {
    fn new() -> Self {
        let (control, fleet) = (Control::new(Epoch(1), at(-60), Duration::from_secs(120)), Fleet::default());
        let mut scene = Self { control, fleet, now: 0 };
        let web = "name = \"web\"\nimage = \"r.example/web:stable\"\n[freshness]\nmax_age = \"7d\"\n";
        let db = "name = \"db\"\nimage = \"r.example/db:1\"\n";
        let specs = [("web.toml", web), ("db.toml", db)].map(|(name, text)| read_app(name, text).expect("a good file"));
        scene.ask(Request::Apply(specs.to_vec()));
        for (node, runs) in [("n1", 1), ("n2", 2)] {
            let name: NodeName = node.parse().expect("well formed");
            scene.ask(Request::Enrolled(name.clone()));
            scene.fleet.connect(name.clone(), NodeFacts::default(), at(0));
            scene
                .fleet
                .inventory(&name, Ok(vec![instance(&format!("web-{node}"), runs, -8 * DAY + 100 * i64::from(runs))]));
            let mut events = scene.control.connected(&name, &Labels::new(), &[], at(0));
            events.extend(scene.control.inventoried(&name, &scene.fleet, at(0)));
            scene.store(events);
        }
        let (app, digest) = ("web".parse().expect("well formed"), digest(2));
        let (suite, result, url, from) = ("default".to_owned(), TestResult::Passed, None, None);
        let about = Description { created: Some(at(-200)), platforms: Vec::new() };
        scene.ask(Request::Report { app, digest, suite, result, url, from, about });
        scene.fleet.looked_up("r.example/web:stable".parse().expect("well formed"), None, at(0));
        let failed = Some(("no such host".to_owned(), at(60)));
        scene.fleet.looked_up("r.example/db:1".parse().expect("well formed"), failed, at(0));
        scene.decide();
        scene
    }

    fn ask(&mut self, request: Request) {
        let events = self.control.request(request, &Actor("ann".into()), &self.fleet, at(self.now)).expect("accepted");
        self.store(events);
    }

    fn store(&mut self, events: Vec<Recorded>) {
        events.iter().for_each(|event| self.control.apply(event));
    }

    fn decide(&mut self) {
        let id = "r1".parse().expect("well formed");
        let events = self.control.tick(&self.fleet, at(self.now), &id).events;
        self.store(events);
    }

    fn page(&self) -> String {
        render(&View { control: &self.control, fleet: &self.fleet, now: at(self.now), sequence: Sequence(42) })
    }
}

#[test]
fn the_page_says_what_status_says_in_the_format_of_prometheus() {
    let mut scene = Scene::new();
    scene.fleet.disconnect(&"n2".parse().expect("well formed"), at(0));
    scene.now = 300;
    scene.decide();
    let families = parse(&scene.page());
    let value = |family: &str, labels: &[(&str, &str)]| {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        families.get(family).unwrap_or_else(|| panic!("{family} is there")).1.get(&labels).copied()
    };
    let web = ("app", "web");
    for (family, labels, expect) in [
        ("nightshift_build_info", &[("version", env!("CARGO_PKG_VERSION"))][..], Some(1.0)),
        ("nightshift_events_total", &[], Some(42.0)),
        ("nightshift_nodes", &[("connected", "true")], Some(1.0)),
        ("nightshift_nodes", &[("connected", "false")], Some(1.0)),
        ("nightshift_app_enabled", &[web], Some(1.0)),
        ("nightshift_app_instances", &[web, ("state", "current")], Some(0.0)),
        ("nightshift_app_instances", &[web, ("state", "behind")], Some(1.0)),
        ("nightshift_app_image_age_seconds", &[web], Some(691_400.0)),
        ("nightshift_app_image_age_seconds", &[("app", "db")], None),
        ("nightshift_app_image_age_limit_seconds", &[web], Some(604_800.0)),
        ("nightshift_app_image_age_limit_seconds", &[("app", "db")], None),
        ("nightshift_app_tested_image_age_seconds", &[web], Some(500.0)),
        ("nightshift_registry_check_failures_total", &[web], Some(0.0)),
        ("nightshift_registry_check_failures_total", &[("app", "db")], Some(1.0)),
        ("nightshift_instance_image_age_seconds", &[web, ("node", "n1"), ("container", "web-n1")], Some(691_400.0)),
        ("nightshift_instances_left_out", &[], Some(0.0)),
        ("nightshift_rollouts_open", &[("state", "paused")], Some(0.0)),
        ("nightshift_alarms", &[("kind", "stale")], Some(1.0)),
        ("nightshift_alarms", &[("kind", "node_away")], Some(1.0)),
        ("nightshift_alarms", &[("kind", "registry_silent")], Some(0.0)),
        ("nightshift_alarm_raised_timestamp_seconds", &[("kind", "stale"), web, ("node", "")], Some(1_800_000_000.0)),
    ] {
        assert_eq!(value(family, labels), expect, "{family} {labels:?}");
    }
}

#[test]
fn every_family_is_documented() {
    let documented = include_str!("../../../docs/metrics.md");
    let rules = include_str!("../../../examples/prometheus/nightshift.rules.yml");
    let families = parse(&Scene::new().page());
    for name in families.keys() {
        assert!(documented.contains(&format!("`{name}`")), "docs/metrics.md does not name `{name}`");
    }
    let words = |text: &'static str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named = words(documented).chain(words(rules)).filter(|word| word.starts_with("nightshift_"));
    let named: BTreeSet<_> = named.collect();
    assert!(named.len() > 10, "the rules and the page name some");
    for name in named {
        assert!(families.contains_key(name), "`{name}` is named and not there");
    }
}

#[test]
fn a_fleet_that_is_too_large_is_told_by_its_apps() {
    let mut scene = Scene::new();
    let many: Vec<_> = (0..INSTANCE_LIMIT).map(|number| instance(&format!("web-{number}"), 1, 0)).collect();
    scene.fleet.inventory(&"n1".parse().expect("well formed"), Ok(many));
    let families = parse(&scene.page());
    assert_eq!(families["nightshift_instance_image_age_seconds"].1.len(), INSTANCE_LIMIT);
    assert_eq!(families["nightshift_instances_left_out"].1[&BTreeMap::new()], 1.0);
    assert_eq!(families["nightshift_app_instances"].1.len(), 4, "each app is there all the same");
}

type Samples = BTreeMap<BTreeMap<String, String>, f64>;

/// Reads a page, and panics at whatever the format, or Prometheus' rules for names, do not allow.
fn parse(text: &str) -> BTreeMap<String, (String, Samples)> {
    assert!(text.ends_with('\n'), "the last line ends, too");
    let mut families: BTreeMap<String, (String, Samples)> = BTreeMap::new();
    let mut current = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("the type follows the help");
            let (typed, kind) = kind.split_once(' ').expect("a type");
            assert_eq!(typed, name, "the type is that of the same family");
            assert!(matches!(kind, "counter" | "gauge"), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            current = name.to_owned();
            let twice = families.insert(current.clone(), (kind.to_owned(), Samples::new()));
            assert!(twice.is_none(), "{name} comes twice");
            continue;
        }
        let end = line.find(['{', ' ']).expect("a value");
        assert_eq!(&line[..end], current, "each family in one place");
        let (labels, value) = sample(&line[end..]);
        let value: f64 = value.parse().expect("a number");
        assert!(value.is_finite(), "{line}");
        let twice = families.get_mut(&current).expect("begun").1.insert(labels, value);
        assert!(twice.is_none(), "a series comes twice: {line}");
    }
    families
}

fn is_name(name: &str) -> bool {
    name.starts_with("nightshift_") && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The labels and the value of a sample, without its name.
fn sample(text: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return (labels, text.strip_prefix(' ').expect("one space before the value"));
    };
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.is_empty(), "{text}");
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next().expect("the quotes end") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().expect("an escaped character").1 {
                    'n' => value.push('\n'),
                    other @ ('"' | '\\') => value.push(other),
                    other => panic!("no escape: {other}"),
                },
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "a label comes twice: {text}");
        rest = &after[end + 1..];
        match rest.strip_prefix("} ") {
            Some(value) => return (labels, value),
            None => rest = rest.strip_prefix(',').expect("another label or the end"),
        }
    }
}
