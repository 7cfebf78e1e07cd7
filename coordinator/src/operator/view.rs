//! The domain as the wire shows it to people.

use nightshift_core::catalog::{App, Availability};
use nightshift_core::fleet::NodeImage;
use nightshift_core::ids::NodeName;
use nightshift_core::instance::InstanceView;
use nightshift_core::quiet::{QuietHours, WindowState};
use nightshift_core::release::{Release, TestResult};
use nightshift_core::rollout::{Candidate, Rollout, RolloutState, Step, StepState, WaitingOn, running_digest};
use nightshift_core::step::StepPhase;
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;
use tonic::Status;

use crate::driver::View;
use crate::operator::freshness;
use crate::store;

/// A failure of the coordinator itself: logged in full, told in brief.
pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error, "a request failed");
    Status::internal("the coordinator failed\nhint: its log says why")
}

/// The store's failure.
#[expect(clippy::needless_pass_by_value, reason = "it is the argument of `map_err`")]
pub(super) fn store_failed(error: store::Error) -> Status {
    internal(&error)
}

/// A reason to wait.
pub(super) fn wait(reason: &WaitingOn) -> pb::Wait {
    pb::Wait {
        kind: reason.kind().as_str().to_owned(),
        message: reason.to_string(),
        until: reason.until().map(from_timestamp),
    }
}

/// An app with its instances and why they run what they run.
pub(super) fn app(app: &App, view: &View<'_>) -> pb::App {
    let name = &app.spec.name;
    let target = app.target(view.now);
    let (current, _) = instances_current(app, view);
    let instances = members(app, view).map(|(node, instance)| {
        let at_target = target.filter(|target| instance.runs(&target.digest)).map(|target| target.digest.clone());
        let digest = at_target.or_else(|| running_digest(app, instance));
        pb::AppInstance {
            age: app.age_of(node, instance, view.now).map(|age| freshness::age(app, &age, view.now)),
            node: node.to_string(),
            instance: Some(instance.into()),
            node_connected: true,
            digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        }
    });
    let mut instances: Vec<_> = instances.collect();
    instances.extend(away(app, view));
    let mut waits: Vec<_> = view.control.app_waits(app, view.fleet, view.now).iter().map(wait).collect();
    if let Some(failure) = view.fleet.lookup(&app.lookup()).and_then(|lookup| lookup.failure.as_ref()) {
        let reason = WaitingOn::Registry { error: failure.error.clone(), retry_at: Some(failure.retry_at) };
        waits.push(wait(&reason));
    }
    pb::App {
        name: name.to_string(),
        image: image(app),
        version: app.version.0,
        enabled: app.enabled,
        instances,
        newest: app.releases.last().map(|newest| release(app, newest, view)),
        target: target.map(|target| release(app, target, view)),
        rollout: view.control.open_rollout(name).map(|open| open.id.to_string()).unwrap_or_default(),
        waiting_on: waits,
        spec_json: serde_json::to_string(&app.spec).unwrap_or_default(),
        instances_current: u32::try_from(current).unwrap_or(u32::MAX),
        window: app.spec.quiet_hours.as_ref().map(|quiet| window(quiet, view)),
        freshness: Some(freshness::freshness(app, view)),
        rebuilds: super::rebuilds::of(app, view.control.jobs()),
    }
}

/// Instances on connected nodes that the app selects.
fn members<'a>(app: &'a App, view: &'a View<'_>) -> impl Iterator<Item = (&'a NodeName, &'a InstanceView)> {
    let member = |node| view.control.catalog().node(node).is_some_and(|known| app.spec.nodes.matches(&known.labels));
    view.fleet.instances(&app.spec.name).filter(move |(node, _)| member(*node))
}

/// How many instances run what they should, and how many there are.
pub(crate) fn instances_current(app: &App, view: &View<'_>) -> (usize, usize) {
    // Where nothing may be a target yet, what the tag shows is what there is to be up to date with.
    let wanted = app.target(view.now).or_else(|| app.releases.last());
    let runs = |instance: &InstanceView| wanted.is_some_and(|wanted| instance.runs(&wanted.digest));
    let current = members(app, view).filter(|(_, instance)| runs(instance)).count();
    (current, members(app, view).count())
}

/// Instances whose node does not say anything: they are not forgotten, only unknown.
fn away<'a>(app: &'a App, view: &'a View<'_>) -> impl Iterator<Item = pb::AppInstance> + 'a {
    let silent = app
        .adopted
        .keys()
        .filter(|(node, _)| view.fleet.node(node).is_none_or(|connected| connected.instances.is_none()));
    silent.map(|(node, container)| pb::AppInstance {
        node: node.to_string(),
        instance: Some(pb::Instance {
            app: app.spec.name.to_string(),
            container: container.clone(),
            ..pb::Instance::default()
        }),
        node_connected: view.fleet.node(node).is_some(),
        digest: String::new(),
        age: None,
    })
}

fn window(quiet: &QuietHours, view: &View<'_>) -> pb::WindowState {
    let zone = quiet.timezone();
    let explained = quiet.explain(view.now);
    let open = matches!(explained.state, WindowState::Open { .. });
    let changes_at = explained.next_change;
    let text = match (open, changes_at) {
        (true, Some(until)) => format!("open until {}", zone.local(until)),
        (true, None) => "always open".to_owned(),
        (false, Some(opens)) => format!("opens {}", zone.local(opens)),
        (false, None) => "never opens".to_owned(),
    };
    pb::WindowState { open, changes_at: changes_at.map(from_timestamp), text }
}

/// What the app follows: a reference, or a repository with its rule while no tag has fitted.
fn image(app: &App) -> String {
    match (&app.spec.tags, app.followed()) {
        (_, Some(followed)) => followed.familiar(),
        (Some(policy), None) => format!("{} ({policy})", app.spec.image.repository.familiar()),
        (None, None) => app.spec.image.familiar(),
    }
}

/// A release with the gate's verdict.
pub(super) fn release(app: &App, release: &Release, view: &View<'_>) -> pb::Release {
    let verdict = app.spec.gate.judge(release, view.now);
    let report = |report: &nightshift_core::release::TestReport| pb::TestReport {
        kind: report.kind.to_string(),
        suite: report.suite.clone(),
        passed: report.result == TestResult::Passed,
        by: report.by.clone(),
        at: Some(from_timestamp(report.at)),
        url: report.url.clone().unwrap_or_default(),
        from: report.from.map(|from| from.to_string()).unwrap_or_default(),
    };
    let running = view.fleet.instances(&app.spec.name).filter(|(_, instance)| instance.runs(&release.digest)).count();
    let quarantine = release.quarantine.as_ref();
    pb::Release {
        app: app.spec.name.to_string(),
        digest: release.digest.to_string(),
        first_seen: Some(from_timestamp(release.first_seen)),
        created: release.created.map(from_timestamp),
        reports: release.reports.iter().map(report).collect(),
        quarantine_reason: quarantine.map(|barred| barred.reason.clone()).unwrap_or_default(),
        quarantine_by: quarantine.map(|barred| barred.by.clone()).unwrap_or_default(),
        quarantined_at: quarantine.map(|barred| from_timestamp(barred.since)),
        known_good_at: release.known_good.map(|(at, _)| from_timestamp(at)),
        eligible: verdict.is_ok(),
        denial: verdict.err().map(|denial| denial.to_string()).unwrap_or_default(),
        running: u32::try_from(running).unwrap_or(u32::MAX),
    }
}

/// A step of a plan.
pub(super) fn planned_step(candidate: &Candidate, canary: bool) -> pb::rollout_plan::Step {
    pb::rollout_plan::Step {
        node: candidate.step.node.to_string(),
        container: candidate.step.container.clone(),
        from: candidate.step.from.as_ref().map(ToString::to_string).unwrap_or_default(),
        canary,
        skipped: candidate.skipped.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A rollout as it stands.
pub(super) fn rollout(rollout: &Rollout, view: &View<'_>) -> pb::Rollout {
    let waits = view.control.rollout_waits(rollout, view.fleet, view.now);
    // What is shown first is why it stands as it does; else why it came about.
    let reason = if rollout.state_reason.is_empty() { &rollout.reason } else { &rollout.state_reason };
    pb::Rollout {
        id: rollout.id.to_string(),
        app: rollout.app().to_string(),
        state: rollout_state(rollout.state).into(),
        from: rollout.from.as_ref().map(ToString::to_string).unwrap_or_default(),
        to: rollout.to.to_string(),
        reason: reason.clone(),
        started_by: rollout.by.to_string(),
        waiting_on: waits.iter().map(wait).collect(),
        steps: rollout.steps.iter().map(step).collect(),
        created_at: Some(from_timestamp(rollout.created_at)),
        ended_at: rollout.ended_at.map(from_timestamp),
        pulls: if rollout.state.is_end() { Vec::new() } else { pulls(rollout, view) },
        ended: rollout.state.is_end(),
    }
}

fn pulls(rollout: &Rollout, view: &View<'_>) -> Vec<pb::rollout::Pull> {
    let nodes: std::collections::BTreeSet<_> = rollout.steps.iter().map(|step| (&step.node, &step.to)).collect();
    let pull = |(node, digest)| {
        let image = view.fleet.image_on(node, rollout.app(), digest)?;
        let (progress, present, failure) = match image {
            NodeImage::Requested => (None, false, String::new()),
            NodeImage::Pulling(progress) => (Some((*progress).into()), false, String::new()),
            NodeImage::Present => (None, true, String::new()),
            NodeImage::Failed { error, .. } => (None, false, error.clone()),
        };
        Some(pb::rollout::Pull { node: node.to_string(), progress, present, failure })
    };
    nodes.into_iter().filter_map(pull).collect()
}

fn step(step: &Step) -> pb::rollout::Step {
    pb::rollout::Step {
        index: step.index.0,
        node: step.node.to_string(),
        container: step.container.clone(),
        state: step_state(step.state).into(),
        from: step.from.as_ref().map(ToString::to_string).unwrap_or_default(),
        to: step.to.to_string(),
        reason: step.reason.clone().unwrap_or_default(),
        old_container_id: step.container_id.to_string(),
        new_container_id: step.new_container_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        downtime_ms: step.downtime_ms,
        started_at: step.started_at.map(from_timestamp),
        ended_at: step.ended_at.map(from_timestamp),
        canary: step.canary,
        purpose: pb::Purpose::from(step.purpose).into(),
        log: step.failure.as_ref().map(|failure| failure.log.clone()).unwrap_or_default(),
    }
}

const fn rollout_state(state: RolloutState) -> pb::RolloutState {
    match state {
        RolloutState::Planned => pb::RolloutState::Planned,
        RolloutState::Prepulling => pb::RolloutState::Prepulling,
        RolloutState::Waiting => pb::RolloutState::Waiting,
        RolloutState::Canary => pb::RolloutState::Canary,
        RolloutState::Rolling => pb::RolloutState::Rolling,
        RolloutState::Paused => pb::RolloutState::Paused,
        RolloutState::RollingBack => pb::RolloutState::RollingBack,
        RolloutState::Completed => pb::RolloutState::Completed,
        RolloutState::CompletedWithLaggards => pb::RolloutState::CompletedWithLaggards,
        RolloutState::RolledBack => pb::RolloutState::RolledBack,
        RolloutState::Aborted => pb::RolloutState::Aborted,
        RolloutState::Superseded => pb::RolloutState::Superseded,
    }
}

const fn step_state(state: StepState) -> pb::StepState {
    match state {
        StepState::Pending => pb::StepState::Pending,
        StepState::Ordered | StepState::At(StepPhase::Assigned) => pb::StepState::Assigned,
        StepState::Unknown => pb::StepState::Unknown,
        StepState::Skipped(_) => pb::StepState::Skipped,
        StepState::At(StepPhase::Preflight) => pb::StepState::Preflight,
        StepState::At(StepPhase::Pulled) => pb::StepState::Pulled,
        StepState::At(StepPhase::Created) => pb::StepState::Created,
        StepState::At(StepPhase::OldStopped) => pb::StepState::OldStopped,
        StepState::At(StepPhase::Started) => pb::StepState::Started,
        StepState::At(StepPhase::Healthy) => pb::StepState::Healthy,
        StepState::At(StepPhase::Monitored) => pb::StepState::Monitored,
        StepState::At(StepPhase::RollingBack) => pb::StepState::RollingBack,
        StepState::At(StepPhase::Untouched) => pb::StepState::Untouched,
        StepState::At(StepPhase::Committed) => pb::StepState::Committed,
        StepState::At(StepPhase::RolledBack) => pb::StepState::RolledBack,
        StepState::At(StepPhase::Broken) => pb::StepState::Broken,
    }
}

/// Every node, connected or not.
pub(super) fn nodes(view: &View<'_>) -> Vec<pb::Node> {
    let node = |(name, known): (&nightshift_core::ids::NodeName, &nightshift_core::catalog::Node)| {
        let connected = view.fleet.node(name);
        let facts = connected.map(|connected| connected.facts.clone()).unwrap_or_default();
        let instances = connected.and_then(|connected| connected.instances.as_ref()).map_or(0, Vec::len);
        let busy = view.control.rollouts().into_iter().find(|one| one.in_flight().any(|step| step.node == *name));
        pb::Node {
            name: name.to_string(),
            availability: match known.availability {
                Availability::Active => pb::Availability::Active,
                Availability::Pause => pb::Availability::Pause,
                Availability::Drain => pb::Availability::Drain,
            }
            .into(),
            connected: connected.is_some(),
            last_seen: view.fleet.last_seen(name).map(from_timestamp),
            engine_version: facts.engine_version,
            api_version: facts.api_version,
            agent_version: facts.agent_version,
            labels: known.labels.clone().into_iter().collect(),
            instances: u32::try_from(instances).unwrap_or(u32::MAX),
            rollout: busy.map(|rollout| rollout.id.to_string()).unwrap_or_default(),
            clock_skew_ms: facts.clock_skew.num_milliseconds(),
            problem: connected.and_then(|connected| connected.engine_error.clone()).unwrap_or_default(),
        }
    };
    view.control.catalog().nodes().map(node).collect()
}
