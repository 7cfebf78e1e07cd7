//! What the engines did, by their own histories: started, stopped, removed, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nightshift_agent::engine::EventKind;
use nightshift_agent::engine::simulated::Happened;
use nightshift_core::container::Health;
use nightshift_core::event::Event;
use nightshift_core::spec::UpdateOrder;
use nightshift_core::step::{Purpose, StepPhase};
use tokio::time::Instant;

use super::super::world::World;

/// What Nightshift puts into the names of containers that are being replaced, or replace.
const INFIX: &str = ".nightshift-";
const NEW_INFIX: &str = ".nightshift-new-";
/// Later than this after its order, no step may make a container: an agent counts 30 s from when it hears of it, whatever its
/// engine and its registry do; a message may be held for as long as a session survives silence.
const LATEST_START: Duration = Duration::from_secs(30 + 60);

/// How long a container may have been ill when its predecessor goes: a single failed probe is no verdict, and three of them, two
/// seconds apart, may not have been made yet.
const NO_VERDICT_YET: Duration = Duration::from_secs(6);

/// A container as its engine's history shows it so far.
#[derive(Debug, Clone)]
struct Seen {
    name: String,
    running_since: Option<Instant>,
    health: Option<Health>,
    /// When that was said.
    health_since: Option<Instant>,
    digest: Option<String>,
    /// Rollout and step that made it.
    step: Option<(String, String)>,
}

/// An order, when its step was found good, and when it ended, by the log.
#[derive(Debug, Clone)]
struct Order {
    at: Instant,
    verdict: Option<Instant>,
    ended: Option<Instant>,
    digest: Option<String>,
    rollback: bool,
}

pub(super) fn judge(world: &World) -> Vec<String> {
    let orders = orders(world);
    let rules = Rules::of(world);
    let mut wrong = Vec::new();
    let mut work: BTreeMap<String, Vec<(Instant, i32)>> = BTreeMap::new();
    for node in &world.nodes {
        let history = node.engine.history();
        let beside = world.originals.iter().filter(|one| one.beside.is_some()).map(|one| one.name.clone());
        let mut reader = Reader::new(node.name.as_str(), &orders, &rules, beside.collect());
        for original in world.originals.iter().filter(|one| world.nodes[one.node].name == node.name) {
            reader.begin(&original.id.0, &original.name, history.first().map(|first| first.at));
        }
        for happened in &history {
            reader.read(happened);
        }
        wrong.extend(reader.wrong);
        for (app, changes) in reader.work {
            work.entry(app).or_default().extend(changes);
        }
    }
    for (app, mut changes) in work {
        // What ends in an instant makes room for what begins in it.
        changes.sort_by_key(|(at, change)| (*at, *change));
        let limit = rules.parallelism.get(&app).copied().unwrap_or(1);
        let mut now = 0;
        for (at, change) in changes {
            now += change;
            if now > limit {
                wrong.push(format!("I1 is broken: {now} instances of {app} are in work at {at:?}, of {limit}"));
                break;
            }
        }
    }
    wrong
}

/// What the specs of a run ask for, in its most generous version.
#[derive(Debug, Default)]
struct Rules {
    parallelism: BTreeMap<String, i32>,
    monitor: BTreeMap<String, Duration>,
    start_first: BTreeSet<String>,
}

impl Rules {
    fn of(world: &World) -> Self {
        let mut rules = Self::default();
        for recorded in world.host.events.log() {
            let Event::AppApplied { spec, .. } = recorded.event else { continue };
            let app = spec.name.to_string();
            let parallelism = i32::try_from(spec.update.parallelism).unwrap_or(i32::MAX);
            let most = rules.parallelism.entry(app.clone()).or_default();
            *most = parallelism.max(*most);
            let monitor = spec.update.monitor.min(spec.update.canary_monitor);
            let least = rules.monitor.entry(app.clone()).or_insert(monitor);
            *least = monitor.min(*least);
            if spec.update.order == UpdateOrder::StartFirst {
                rules.start_first.insert(app);
            }
        }
        rules
    }
}

fn orders(world: &World) -> BTreeMap<(String, String), Vec<Order>> {
    let mut orders: BTreeMap<(String, String), Vec<Order>> = BTreeMap::new();
    let mut targets: BTreeMap<(String, String), (String, bool)> = BTreeMap::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let times = world.host.events.all().into_iter().map(|(at, _)| at);
    for (at, recorded) in times.zip(world.host.events.log()) {
        let Some(rollout) = recorded.event.rollout().map(ToString::to_string) else { continue };
        if let Event::RolloutPlanned { steps, .. } | Event::RollbackPlanned { steps, .. } = &recorded.event {
            let back = !matches!(&recorded.event, Event::RolloutPlanned { purpose: Purpose::Update, .. });
            for step in steps {
                let count = counts.entry(rollout.clone()).or_default();
                targets.insert((rollout.clone(), count.to_string()), (step.to.to_string(), back));
                *count += 1;
            }
        }
        let Some(step) = recorded.event.step() else { continue };
        let key = (rollout, step.to_string());
        if matches!(recorded.event, Event::StepOrdered { .. }) {
            let target = targets.get(&key).cloned();
            let (digest, rollback) = target.map_or((None, false), |(to, back)| (Some(to), back));
            orders.entry(key).or_default().push(Order { at, verdict: None, ended: None, digest, rollback });
            continue;
        }
        let monitored =
            matches!(&recorded.event, Event::StepReported { report, .. } if report.phase == StepPhase::Monitored);
        if monitored && let Some(order) = orders.get_mut(&key).and_then(|orders| orders.last_mut()) {
            order.verdict.get_or_insert(at);
        }
        let reported = matches!(&recorded.event, Event::StepReported { report, .. } if report.phase.is_end());
        let end = reported || matches!(recorded.event, Event::StepRequeued { .. });
        if end && let Some(order) = orders.get_mut(&key).and_then(|orders| orders.last_mut()) {
            order.ended.get_or_insert(at);
        }
    }
    orders
}

/// Reads one engine's history.
struct Reader<'a> {
    node: &'a str,
    orders: &'a BTreeMap<(String, String), Vec<Order>>,
    rules: &'a Rules,
    /// Names of containers that are no instances, but are replaced with one.
    beside: BTreeSet<String>,
    containers: BTreeMap<String, Seen>,
    /// Instances in work, by base name.
    busy: BTreeSet<String>,
    work: BTreeMap<String, Vec<(Instant, i32)>>,
    wrong: Vec<String>,
}

/// The name that an instance has when nothing is done with it.
fn base(name: &str) -> &str {
    name.split_once(INFIX).map_or(name, |(base, _)| base)
}

impl<'a> Reader<'a> {
    fn new(
        node: &'a str,
        orders: &'a BTreeMap<(String, String), Vec<Order>>,
        rules: &'a Rules,
        beside: BTreeSet<String>,
    ) -> Self {
        let (containers, work) = (BTreeMap::new(), BTreeMap::new());
        Self { node, orders, rules, beside, containers, busy: BTreeSet::new(), work, wrong: Vec::new() }
    }

    /// A container that was there before.
    fn begin(&mut self, id: &str, name: &str, at: Option<Instant>) {
        let seen = Seen {
            name: name.to_owned(),
            running_since: at,
            health: Some(Health::Healthy),
            health_since: None,
            digest: None,
            step: None,
        };
        self.containers.insert(id.to_owned(), seen);
    }

    fn blame(&mut self, rule: &str, what: &str) {
        self.wrong.push(format!("{rule} is broken on {}: {what}", self.node));
    }

    fn read(&mut self, happened: &Happened) {
        let (at, event) = (happened.at, &happened.event);
        let id = event.id.0.clone();
        match &event.kind {
            EventKind::Create => self.created(happened),
            EventKind::Start => {
                self.started(happened);
                if let Some(seen) = self.containers.get_mut(&id) {
                    (seen.running_since, seen.health) = (Some(at), None);
                }
            }
            EventKind::Die { .. } => {
                if let Some(seen) = self.containers.get_mut(&id) {
                    seen.running_since = None;
                }
            }
            EventKind::Rename { .. } => {
                if let Some(seen) = self.containers.get_mut(&id) {
                    seen.name.clone_from(&event.name);
                }
            }
            EventKind::HealthStatus(health) => {
                if let Some(seen) = self.containers.get_mut(&id) {
                    (seen.health, seen.health_since) = (Some(*health), Some(at));
                }
            }
            EventKind::Destroy => self.destroyed(happened),
            EventKind::Stop
            | EventKind::Kill
            | EventKind::Update
            | EventKind::Pause
            | EventKind::Unpause
            | EventKind::OutOfMemory => {}
        }
    }

    fn created(&mut self, happened: &Happened) {
        let event = &happened.event;
        let label = |key: &str| event.labels.get(key).cloned();
        let digest = label("nightshift.digest");
        let seen = Seen {
            name: event.name.clone(),
            running_since: None,
            health: None,
            health_since: None,
            digest: digest.clone(),
            step: label("nightshift.rollout").zip(label("nightshift.step")),
        };
        let made_by = seen.step.clone();
        self.containers.insert(event.id.0.clone(), seen);
        let Some((rollout, step)) = made_by else {
            return self.blame("I7", &format!("{} was made by nobody knows whom", event.name));
        };
        let app = label("nightshift.app").unwrap_or_default();
        let is_instance = !self.beside.contains(base(&event.name));
        if is_instance && self.busy.insert(base(&event.name).to_owned()) {
            self.work.entry(app).or_default().push((happened.at, 1));
        }
        let order = self.orders.get(&(rollout.clone(), step.clone()));
        let order = order.and_then(|orders| orders.iter().rfind(|order| order.at <= happened.at)).cloned();
        let name = format!("step {rollout}/{step}");
        let Some(order) = order else { return self.blame("I10", &format!("{name} was never ordered")) };
        if order.ended.is_some_and(|ended| ended < happened.at) {
            self.blame("I7", &format!("{name} acts after it has ended"));
        }
        if is_instance && order.digest != digest {
            self.blame("I7", &format!("{name} makes {digest:?} and was to make {:?}", order.digest));
        }
        if !order.rollback && happened.at.duration_since(order.at) > LATEST_START {
            self.blame("I4", &format!("{name} begins {:?} after its order", happened.at.duration_since(order.at)));
        }
    }

    fn started(&mut self, happened: &Happened) {
        let (id, app) = (&happened.event.id.0, happened.event.labels.get("nightshift.app"));
        let Some(seen) = self.containers.get(id) else { return };
        let instance = base(&seen.name).to_owned();
        let twin = self
            .containers
            .iter()
            .any(|(other, seen)| other != id && base(&seen.name) == instance && seen.running_since.is_some());
        // What lives in an instance's network says nothing of an app: it may overlap where any may.
        let any = self.beside.contains(&instance) && !self.rules.start_first.is_empty();
        let may_overlap = any || app.is_some_and(|app| self.rules.start_first.contains(app));
        if twin && !may_overlap {
            self.blame("I6", &format!("two containers of {instance} run at once"));
        }
    }

    fn destroyed(&mut self, happened: &Happened) {
        let event = &happened.event;
        let Some(gone) = self.containers.remove(&event.id.0) else { return };
        let instance = base(&gone.name).to_owned();
        let app = event.labels.get("nightshift.app").cloned().unwrap_or_default();
        if self.busy.remove(&instance) {
            self.work.entry(app.clone()).or_default().push((happened.at, -1));
        }
        if gone.name.contains(NEW_INFIX) {
            return;
        }
        // An old container goes: another one must have taken its place, and proved itself.
        let heir = self.containers.values().find(|seen| seen.name == instance).cloned();
        let Some(heir) = heir else {
            return self.blame("I5", &format!("{} was removed and nothing has its name", gone.name));
        };
        // For what is no instance it is enough to be up: it was started after the instance, and watched as long as that one.
        let monitor = self.rules.monitor.get(&app).copied().unwrap_or_default();
        // What happens after the verdict is not the step's: a removal that was begun may be carried out much later, when the agent
        // is back, and there is no way to take it back.
        let orders = heir.step.as_ref().and_then(|step| self.orders.get(step));
        let verdict = orders.and_then(|orders| orders.iter().filter_map(|order| order.verdict).next_back());
        let later = |at: Option<Instant>| verdict.zip(at).is_some_and(|(verdict, at)| verdict < at);
        let watched = heir.running_since.is_some_and(|since| happened.at.duration_since(since) >= monitor);
        let good = watched || later(heir.running_since);
        let just_now = heir.health_since.is_some_and(|since| happened.at.duration_since(since) < NO_VERDICT_YET);
        let ill = match heir.health {
            None | Some(Health::Healthy) => false,
            Some(Health::Unhealthy) => !just_now && !later(heir.health_since),
            Some(Health::None | Health::Starting) => !later(heir.health_since),
        };
        if !good || ill {
            let what = format!("{} was removed before its heir ({:?}) was good", gone.name, heir.digest);
            self.blame("I5", &what);
        }
    }
}

/// The phases in which a person has to act.
pub(super) fn needs_a_person(phase: StepPhase) -> bool {
    phase == StepPhase::Broken
}
