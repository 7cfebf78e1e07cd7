//! The whole fleet on one screen, and what someone must act on.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use nightshift_core::alarm::{Alarm, AlarmKey, AlarmKind};
use nightshift_core::catalog::App;
use nightshift_core::ids::{AppName, NodeName};
use nightshift_core::rollout::{RolloutState, StepState, WaitingOn};
use nightshift_core::step::StepPhase;
use nightshift_proto::convert::from_timestamp;
use nightshift_proto::pb;
use tonic::{Request, Response};

use crate::driver::View;
use crate::operator::{Answer, Operator, view};

/// A clock that is wrong by more than this is an alarm: windows are judged by the coordinator's, logs are read by both.
const SKEW_LIMIT_MS: i64 = 5_000;

impl Operator {
    pub(super) async fn status(&self, request: Request<pb::GetStatusRequest>) -> Answer<pb::Status> {
        self.may_view(request).await?;
        Ok(Response::new(self.driver.ask(status).await?))
    }
}

fn status(view: &View<'_>) -> pb::Status {
    let open = view.control.rollouts().into_iter().filter(|rollout| !rollout.state.is_end());
    pb::Status {
        now: Some(from_timestamp(view.now)),
        epoch: view.control.epoch().0,
        apps: view.control.catalog().apps().map(|app| view::app(app, view)).collect(),
        nodes: view::nodes(view),
        rollouts: open.map(|rollout| view::rollout(rollout, view)).collect(),
        alarms: alarms(view),
        raised: view.control.alarms(view.fleet, view.now).iter().map(raised).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn raised((alarm, since): &(Alarm, DateTime<Utc>)) -> pb::Alarm {
    pb::Alarm {
        kind: alarm.kind().as_str().to_owned(),
        app: alarm.app().map(ToString::to_string).unwrap_or_default(),
        node: alarm.node().map(ToString::to_string).unwrap_or_default(),
        message: alarm.to_string(),
        since: Some(from_timestamp(*since)),
    }
}

/// What a person must act on, one sentence each.
fn alarms(view: &View<'_>) -> Vec<String> {
    let raised = view.control.alarms(view.fleet, view.now);
    let keys: BTreeSet<_> = raised.iter().map(|(alarm, _)| alarm.key()).collect();
    let mut alarms = rollout_alarms(view);
    alarms.extend(raised.iter().map(|(alarm, _)| alarm.to_string()));
    alarms.extend(view.control.instance_alarms(view.fleet));
    alarms.extend(node_alarms(view, |node| keys.contains(&AlarmKey::of_node(AlarmKind::NodeAway, node))));
    alarms.extend(registry_alarms(view, |app| keys.contains(&AlarmKey::of_app(AlarmKind::RegistrySilent, app))));
    alarms
}

fn rollout_alarms(view: &View<'_>) -> Vec<String> {
    let mut alarms = Vec::new();
    for rollout in view.control.rollouts().into_iter().filter(|rollout| !rollout.is_over()) {
        if rollout.state == RolloutState::Paused {
            let reason = if rollout.state_reason.is_empty() { "no reason given" } else { &rollout.state_reason };
            alarms.push(format!("rollout {} of {} is paused: {reason}", rollout.id, rollout.app()));
        }
        for step in &rollout.steps {
            if step.state == StepState::At(StepPhase::Broken) {
                let reason = step.reason.as_deref().unwrap_or("no reason given");
                alarms.push(format!("{} on {} is broken: {reason}", step.container, step.node));
            }
        }
        for wait in view.control.rollout_waits(rollout, view.fleet, view.now) {
            let silent = matches!(&wait, WaitingOn::Unknown { alarm_at, .. } if *alarm_at <= view.now);
            let late = silent || matches!(&wait, WaitingOn::Step { overdue: true, .. });
            if late {
                alarms.push(format!("rollout {} of {}: {wait}", rollout.id, rollout.app()));
            }
        }
    }
    alarms
}

/// Tags that cannot be looked at, not yet for so long that it was stored as an alarm.
fn registry_alarms(view: &View<'_>, told: impl Fn(&AppName) -> bool) -> Vec<String> {
    let apps = view.control.catalog().apps().filter(|app| app.enabled && !told(&app.spec.name));
    let failure = |app: &App| {
        let image = app.lookup();
        let error = &view.fleet.lookup(&image)?.failure.as_ref()?.error;
        Some(format!("{image} cannot be looked at: {error}"))
    };
    // Several apps may follow the same tag.
    let all: BTreeSet<_> = apps.filter_map(failure).collect();
    all.into_iter().collect()
}

fn node_alarms(view: &View<'_>, told: impl Fn(&NodeName) -> bool) -> Vec<String> {
    let mut alarms = Vec::new();
    for (name, _) in view.control.catalog().nodes() {
        let Some(node) = view.fleet.node(name) else {
            if !told(name) {
                alarms.push(format!("node {name} is not connected"));
            }
            continue;
        };
        if let Some(error) = &node.engine_error {
            alarms.push(format!("the engine of node {name} does not answer: {error}"));
        }
        if node.facts.clock_skew.num_milliseconds().abs() > SKEW_LIMIT_MS {
            alarms.push(format!("the clock of node {name} is off by {} s", node.facts.clock_skew.num_seconds()));
        }
    }
    alarms
}
