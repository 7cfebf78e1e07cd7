//! A tiny model of an engine: names are exclusive, one host port is shared, restart policies work, health takes time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::{Action, Blueprint, HookOutcome, Next, Observed, Old, Part, Record, Sight, UnitPlan, next};
use crate::container::{ContainerView, Health, RunState};
use crate::ids::ContainerId;
use crate::labels::Labels;
use crate::spec::HookPoint;

pub(super) const NETWORK: &str = "backend";

/// How containers of the new image behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Image {
    /// Healthy after two seconds, for ever.
    Good,
    /// The engine refuses the start.
    CannotStart,
    /// Ends after one second, whatever restarts it.
    Exits,
    /// Its health check says unhealthy after some seconds.
    Unhealthy,
    /// Its health check never says anything.
    NeverHealthy,
    /// Healthy like the good one, ends after fifteen seconds.
    DiesInMonitor,
}

#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) view: ContainerView,
    networks: BTreeSet<String>,
    up_for: Duration,
    settings: u64,
    /// In whose network it lives.
    target: Option<ContainerId>,
}

/// The engine.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) containers: BTreeMap<ContainerId, Container>,
    pub(super) image: Image,
    pub(super) has_health_check: bool,
    pulled: bool,
    made: u32,
    starts: i64,
    /// Action words that are always refused.
    pub(super) refuses: BTreeSet<&'static str>,
    /// Whether the containers need the same host port, so that only one can run.
    pub(super) one_port: bool,
    /// What each hook answers where it is not "done".
    pub(super) hook_answers: BTreeMap<HookPoint, HookOutcome>,
    /// Whether a sidecar that is made anew ends after a second.
    pub(super) sidecar_exits: bool,
    /// The containers to which a load balancer leads, as the hooks tell it.
    pub(super) in_service: BTreeSet<ContainerId>,
}

/// The container that shares the instance's network, and the one that is made anew for it.
pub(super) const SIDECAR: &str = "sidecar";

pub(super) fn view(id: &str, name: &str, state: RunState) -> ContainerView {
    ContainerView {
        id: ContainerId(id.to_owned()),
        name: name.to_owned(),
        image: "r.example/web:stable".to_owned(),
        image_id: "sha256:01d".to_owned(),
        state,
        health: Health::None,
        restart_count: 0,
        exit_code: 0,
        oom_killed: false,
        error: String::new(),
        labels: Labels::new(),
        started_at: None,
        restart_policy: json!({"Name": "always", "MaximumRetryCount": 0}),
        stop_timeout_seconds: Some(1),
        auto_remove: false,
    }
}

pub(super) fn instant(number: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(number, 0).expect("in range")
}

fn is_up(state: RunState) -> bool {
    matches!(state, RunState::Running | RunState::Restarting | RunState::Paused)
}

impl Model {
    pub(super) fn new(image: Image, has_health_check: bool) -> Self {
        let mut old = view("old", "web", RunState::Running);
        old.started_at = Some(instant(1));
        old.health = if has_health_check { Health::Healthy } else { Health::None };
        let networks = BTreeSet::from([NETWORK.to_owned()]);
        let old = Container { view: old, networks, up_for: Duration::MAX / 2, settings: 1, target: None };
        let id = ContainerId("old".to_owned());
        Self {
            one_port: true,
            sidecar_exits: false,
            hook_answers: BTreeMap::new(),
            in_service: BTreeSet::from([id.clone()]),
            containers: BTreeMap::from([(id, old)]),
            image,
            has_health_check,
            pulled: false,
            made: 0,
            starts: 1,
            refuses: BTreeSet::new(),
        }
    }

    pub(super) fn old(&mut self) -> &mut ContainerView {
        &mut self.containers.get_mut(&ContainerId("old".to_owned())).expect("the old one is there").view
    }

    /// Puts a container into the instance's network.
    pub(super) fn with_sidecar(mut self) -> Self {
        let mut side = view("oldside", SIDECAR, RunState::Running);
        side.started_at = Some(instant(1));
        let target = Some(ContainerId("old".to_owned()));
        let side = Container { view: side, networks: BTreeSet::new(), up_for: Duration::MAX / 2, settings: 1, target };
        self.containers.insert(ContainerId("oldside".to_owned()), side);
        self
    }

    pub(super) fn observe(&self, record: &Record) -> Observed {
        let sight = |part: &Part| {
            let handle = part.new_handle(&record.order.key);
            let new = self.containers.values().find(|c| c.view.id.0 == handle || c.view.name == handle);
            Sight {
                old: self.containers.get(&part.id).map(|c| c.view.clone()),
                old_settings: self.containers.get(&part.id).map(|c| c.settings),
                new: new.map(|c| c.view.clone()),
                new_networks: new.map(|c| c.networks.clone()).unwrap_or_default(),
            }
        };
        Observed {
            instance: sight(&record.instance),
            dependents: record.dependents.iter().map(sight).collect(),
            image: self.pulled.then(|| "sha256:4e3".to_owned()),
        }
    }

    pub(super) fn has_sidecar(&self) -> bool {
        self.containers.values().any(|c| c.target.is_some())
    }

    /// Whether the sidecar, if there is one, lives in that container's network.
    pub(super) fn sidecar_is_with(&self, instance: &ContainerId) -> bool {
        self.containers.values().filter_map(|c| c.target.as_ref()).all(|target| target == instance)
    }

    /// Whether the hooks, if there are any, lead to that container.
    pub(super) fn is_in_service(&self, record: &Record, container: &ContainerId) -> bool {
        record.order.hooks.after.is_none() || self.in_service.contains(container)
    }

    fn plan(&self) -> UnitPlan {
        let blueprint = |body: Value, networks: &[&str]| Blueprint {
            create_body: body,
            connects: networks.iter().map(|network| ((*network).to_owned(), json!({}))).collect(),
            settings: Some(1),
        };
        let side = self.containers.get(&ContainerId("oldside".to_owned()));
        let body = json!({"Image": "own image", "HostConfig": {"NetworkMode": "container:old"}});
        let part = |side: &Container| Part {
            old: Some(Old::found(&side.view).expect("it runs")),
            blueprint: Some(blueprint(body.clone(), &[])),
            ..Part::new(SIDECAR.to_owned(), side.view.id.clone())
        };
        UnitPlan {
            instance: blueprint(json!({"Image": "new image"}), &[NETWORK]),
            dependents: side.map(part).into_iter().collect(),
        }
    }

    fn get(&mut self, id: &ContainerId) -> Result<&mut Container, String> {
        self.containers.get_mut(id).ok_or_else(|| format!("no such container: {id}"))
    }

    fn rename(&mut self, id: &ContainerId, name: &str) -> Result<(), String> {
        if self.containers.values().any(|c| c.view.name == name) {
            return Err(format!("the name {name} is in use"));
        }
        let view = &mut self.get(id)?.view;
        if view.state == RunState::Restarting {
            return Err("sandbox not found".to_owned());
        }
        view.name = name.to_owned();
        Ok(())
    }

    fn start(&mut self, id: &ContainerId) -> Result<(), String> {
        let target = self.get(id)?.target.clone();
        let shares = |c: &Container| c.target.is_none() && c.view.id != *id && is_up(c.view.state);
        let other_has_port = self.one_port && target.is_none() && self.containers.values().any(shares);
        let of_new_image = !id.0.starts_with("old") && target.is_none();
        let refused = self.image == Image::CannotStart && of_new_image;
        if let Some(target) = target.and_then(|target| self.containers.get(&target))
            && !is_up(target.view.state)
        {
            return Err(format!("cannot join network of a non running container: {}", target.view.id));
        }
        self.starts += 1;
        let started_at = Some(instant(self.starts));
        let has_check = self.has_health_check && self.get(id)?.target.is_none();
        let health = if has_check { Health::Starting } else { Health::None };
        let container = self.get(id)?;
        if refused || other_has_port {
            let error = if refused { "exec: no such file" } else { "port is already allocated" };
            container.view.error = error.to_owned();
            container.view.exit_code = 127;
            return Err(error.to_owned());
        }
        if !is_up(container.view.state) {
            container.up_for = Duration::ZERO;
            container.view = ContainerView { state: RunState::Running, started_at, health, ..container.view.clone() };
        }
        Ok(())
    }

    fn stop(&mut self, id: &ContainerId) -> Result<(), String> {
        let container = self.get(id)?;
        if is_up(container.view.state) {
            container.view.state = RunState::Exited;
            container.view.exit_code = 143;
        }
        Ok(())
    }

    fn create(&mut self, name: &str, body: &Value) -> Result<ContainerId, String> {
        if self.containers.values().any(|c| c.view.name == name) {
            return Err(format!("the name {name} is in use"));
        }
        let image = if name.starts_with(SIDECAR) { "own image" } else { "new image" };
        assert_eq!(body["Image"], image, "the planned body is what is created");
        let mode = body.pointer("/HostConfig/NetworkMode").and_then(Value::as_str).unwrap_or_default();
        let target = mode.strip_prefix("container:").map(|id| ContainerId(id.to_owned()));
        self.made += 1;
        let id = ContainerId(format!("new{}", self.made));
        let view = view(&id.0, name, RunState::Created);
        let container = Container { view, networks: BTreeSet::new(), up_for: Duration::ZERO, settings: 2, target };
        self.containers.insert(id.clone(), container);
        Ok(id)
    }

    /// Does an action and folds the reply into the record, unless the reply is lost.
    pub(super) fn perform(&mut self, action: &Action, record: Option<&mut Record>) {
        let result = if self.refuses.contains(action.words()) {
            Err("refused by the test".to_owned())
        } else {
            self.act(action)
        };
        let Some(record) = record else { return };
        match (result, action) {
            (Ok(Some(id)), Action::Create { name, .. }) => record.created(name, id),
            (Ok(_), Action::Plan) => record.planned(Ok(self.plan())),
            (Ok(_), Action::Hook { point, .. }) => {
                let answer = self.hook_answers.get(point).cloned();
                record.hooked(action, answer.unwrap_or(HookOutcome::Done));
            }
            (Ok(_), Action::TakeLog { .. }) => record.logged("last words"),
            (Ok(_), _) => record.done(action),
            (Err(message), _) => {
                // As the worker does: the refusal counts only when a second look wants the same again.
                if next(record, &self.observe(record), Duration::ZERO).action == *action {
                    record.refused(action, &message, false);
                }
            }
        }
    }

    fn act(&mut self, action: &Action) -> Result<Option<ContainerId>, String> {
        match action {
            Action::Pull { reference } => {
                assert!(reference.starts_with("r.example/web@sha256:"), "{reference}");
                self.pulled = true;
                Ok(())
            }
            Action::Create { name, body } => return self.create(name, body).map(Some),
            Action::Connect { network, .. } => {
                let is_new = |c: &&mut Container| !c.view.id.0.starts_with("old") && c.target.is_none();
                let new = self.containers.values_mut().find(is_new).ok_or("no such container")?;
                new.networks.insert(network.clone());
                Ok(())
            }
            Action::Hook { point, container, .. } => {
                match (point, self.hook_answers.get(point)) {
                    (HookPoint::Before, Some(HookOutcome::Skip(_))) => {}
                    (HookPoint::Before | HookPoint::Drain, _) => _ = self.in_service.remove(container),
                    (HookPoint::After, None | Some(HookOutcome::Done)) => _ = self.in_service.insert(container.clone()),
                    (HookPoint::After, Some(_)) => {}
                }
                Ok(())
            }
            Action::ParkRestartPolicy { old: id } | Action::ParkNewPolicy { new: id } => {
                self.get(id)?.view.restart_policy = json!({"Name": "no", "MaximumRetryCount": 0});
                Ok(())
            }
            Action::RestoreRestartPolicy { old, policy } => {
                self.get(old)?.view.restart_policy = policy.clone();
                Ok(())
            }
            Action::RenameOldAway { old: id, name }
            | Action::RenameOldBack { old: id, name }
            | Action::RenameNewIn { new: id, name }
            | Action::RenameNewOut { new: id, name } => self.rename(id, name),
            Action::StopOld { old: id, .. } | Action::StopNew { new: id, .. } => self.stop(id),
            Action::Start { new: id } | Action::StartOld { old: id } => self.start(id),
            Action::RemoveOld { old: id } => {
                let up = is_up(self.get(id)?.view.state);
                if up { Err("cannot remove a running container".to_owned()) } else { self.remove(id) }
            }
            Action::RemoveNew { new: id } => self.remove(id),
            Action::TryCalls
            | Action::KeepImage { .. }
            | Action::Plan
            | Action::Probe { .. }
            | Action::TagFollowed { .. }
            | Action::CleanImages { .. }
            | Action::TakeLog { .. }
            | Action::Wait(_)
            | Action::End => Ok(()),
        }
        .map(|()| None)
    }

    fn remove(&mut self, id: &ContainerId) -> Result<(), String> {
        self.get(id)?;
        self.containers.remove(id);
        Ok(())
    }

    /// Lets time go by.
    pub(super) fn advance(&mut self, time: Duration) {
        let image = self.image;
        let has_health_check = self.has_health_check;
        for container in self.containers.values_mut().filter(|c| c.view.state == RunState::Running) {
            container.up_for += time;
            let up = container.up_for.as_secs_f64();
            let is_old = container.view.id.0.starts_with("old");
            let behaves = if is_old || container.target.is_some() { Image::Good } else { image };
            let ends = match behaves {
                _ if container.target.is_some() => self.sidecar_exits && !is_old && up >= 1.0,
                Image::Exits => up >= 1.0,
                Image::DiesInMonitor => up >= 15.0,
                Image::Good | Image::CannotStart | Image::Unhealthy | Image::NeverHealthy => false,
            };
            if ends {
                container.view.restart_count += 1;
                container.view.exit_code = 1;
                container.up_for = Duration::ZERO;
            }
            container.view.health = match behaves {
                _ if !has_health_check || container.target.is_some() => Health::None,
                Image::NeverHealthy => Health::Starting,
                Image::Unhealthy if up >= 9.0 => Health::Unhealthy,
                Image::Good | Image::DiesInMonitor if up >= 2.0 => Health::Healthy,
                Image::Good | Image::DiesInMonitor | Image::Unhealthy | Image::Exits | Image::CannotStart => {
                    Health::Starting
                }
            };
        }
    }

    /// The engine ends and comes back: `always` starts again what ran, and what was stopped, too. Who comes first has the port.
    pub(super) fn restart(&mut self) {
        for container in self.containers.values_mut().filter(|c| is_up(c.view.state)) {
            container.view.state = RunState::Exited;
            container.up_for = Duration::ZERO;
        }
        let again = |c: &&Container| c.view.started_at.is_some() && c.view.restart_policy["Name"] == "always";
        let again: Vec<ContainerId> = self.containers.values().filter(again).map(|c| c.view.id.clone()).collect();
        for id in again {
            // A start that fails shows in the container.
            drop(self.start(&id));
        }
    }
}

/// What happens at one point of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The agent dies before it acts.
    CrashBefore,
    /// The agent dies after it acted, before it wrote anything down.
    CrashAfter,
    /// The action was done, the reply was lost.
    ReplyLost,
    /// Engine and agent die and come back: the host is restarted.
    HostRestart,
    /// The engine is restarted under a living agent.
    EngineRestart,
}

/// A run of one step on the model.
pub(super) struct Run {
    pub(super) model: Model,
    /// What the journal holds.
    pub(super) saved: Record,
    pub(super) trace: Vec<&'static str>,
    /// What was done to which container.
    pub(super) targets: Vec<(&'static str, ContainerId)>,
}

/// More actions than any run needs: a run that does not end is a defect.
const ACTION_LIMIT: usize = 400;

/// Drives a step to its end, with faults at the numbered actions.
pub(super) fn drive(model: Model, record: Record, faults: &[(usize, Fault)]) -> Run {
    let mut run = Run { model, saved: record.clone(), trace: Vec::new(), targets: Vec::new() };
    let mut record = record;
    let mut elapsed = Duration::ZERO;
    loop {
        let number = run.trace.len();
        assert!(number < ACTION_LIMIT, "no end with {faults:?}: {:?}", run.trace);
        let Next { record: now, action } = next(&record, &run.model.observe(&record), elapsed);
        if now.differs_from(&run.saved) {
            run.saved = now.clone();
        }
        assert!(now.phase >= record.phase, "a phase never goes back");
        record = now;
        if action == Action::End {
            run.saved = record;
            return run;
        }
        check_old_is_there(&run, &action, faults);
        run.trace.push(action.words());
        run.targets.extend(action.container().map(|container| (action.words(), container.clone())));
        let fault = faults.iter().find(|(at, _)| *at == number).map(|(_, fault)| *fault);
        elapsed = if let Action::Wait(time) = action { time } else { Duration::from_millis(10) };
        run.model.advance(elapsed);
        match fault {
            None => run.model.perform(&action, Some(&mut record)),
            Some(Fault::CrashBefore) => {}
            Some(Fault::CrashAfter | Fault::ReplyLost) => run.model.perform(&action, None),
            Some(Fault::HostRestart | Fault::EngineRestart) => run.model.restart(),
        }
        if let Some(Fault::CrashBefore | Fault::CrashAfter | Fault::HostRestart) = fault {
            record = run.saved.clone();
            record.resumed();
            elapsed = Duration::ZERO;
        }
    }
}

/// I5: until the commit is written down, the old container exists, and nothing is started beside it.
fn check_old_is_there(run: &Run, action: &Action, faults: &[(usize, Fault)]) {
    let committed = run.saved.phase >= crate::step::StepPhase::Monitored;
    let mut parts = run.saved.parts();
    let old_exists = parts.all(|part| run.model.containers.contains_key(&part.id));
    assert!(committed || old_exists, "an old one is gone with {faults:?}: {:?}", run.trace);
    assert!(committed || !matches!(action, Action::RemoveOld { .. }), "removed before the commit: {:?}", run.trace);
    let up = |c: &&Container| is_up(c.view.state);
    let running = run.model.containers.values().filter(|c| c.target.is_none()).filter(up).count();
    let most = if run.model.one_port { 1 } else { 2 };
    assert!(running <= most, "{running} run at once with {faults:?}: {:?}", run.trace);
    if let Action::StopOld { .. } = action {
        let serving = run.model.containers.values().filter(|c| c.target.is_none() && c.view.state == RunState::Running);
        assert!(
            run.model.one_port || serving.count() == 2,
            "nothing serves beside it with {faults:?}: {:?}",
            run.trace
        );
    }
}
