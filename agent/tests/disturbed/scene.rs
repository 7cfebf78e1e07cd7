//! The step of one cell: an old container that serves, a new image in the registry, an agent behind a proxy; and what
//! must hold on the way and in the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nightshift_agent::engine::Engine;
use nightshift_core::ids::{AppName, ContainerId, Epoch, Generation, StepIndex};
use nightshift_core::replace::{KEEP_REPOSITORY, is_in_replacement, keep_tag};
use nightshift_core::spec::{HealthCheck, Hook, HookCall, Hooks, UpdateOrder};
use nightshift_core::step::{Purpose, StepKey, StepOrder, StepPhase, StepReport};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{Agent, data_of};
use crate::boundary::{Disturbance, Watch, phase_in};
use crate::cell::Version;
use crate::place::Place;
use crate::proxy::Proxy;
use crate::registry::Pushed;

const SECOND: Duration = Duration::from_secs(1);
/// How long a container may take to be healthy again after an engine came back.
const HEALTHY_WITHIN: Duration = Duration::from_secs(30);

/// A server that ends at once when it is asked to, and costs nothing meanwhile.
const SERVE: &str = "trap 'exit 0' TERM; echo serving; sleep 3600 & wait";
/// The same for the old version, which lets whoever shares its volume know whether it runs.
const SERVE_AND_TELL: &str =
    "rm -f /data/stopped; trap 'touch /data/stopped; exit 0' TERM; echo serving; sleep 3600 & wait";

/// The step of one cell.
pub(crate) struct Scene<'a> {
    pub(crate) place: &'a Place,
    directory: TempDir,
    watch: Arc<Watch>,
    proxy: Proxy,
    pub(crate) order: StepOrder,
    pub(crate) old: ContainerId,
    old_image: Pushed,
    new_image: Pushed,
    /// The settings of the old container, before anything happened.
    before: Value,
}

/// Checks health so seldom that dozens of containers cost little, and often enough that a cell does not wait for it.
fn check(command: &str, interval_ms: u64, retries: u32) -> Value {
    json!({"Test": ["CMD", "sh", "-c", command], "Interval": interval_ms * 1_000_000, "Retries": retries})
}

/// The old version: only this one writes data.
fn configure_old(name: &str, config: &mut Value) {
    config["Cmd"] = json!(["sh", "-c", format!("echo {name} > /data/marker; {SERVE_AND_TELL}")]);
    config["Healthcheck"] = check("true", 2_000, 3);
}

fn configure(version: Version, config: &mut Value) {
    config["Cmd"] = json!(["sh", "-c", SERVE]);
    config["Healthcheck"] = check("true", 2_000, 3);
    match version {
        Version::Good => {}
        // Long enough that it is up again when it is taken back, so that the way back has the same calls each time; and
        // short enough that its health was not yet looked at.
        Version::EndsAtOnce => config["Cmd"] = json!(["sh", "-c", "echo serving; sleep 1; exit 1"]),
        Version::Unhealthy => config["Healthcheck"] = check("false", 500, 1),
        Version::CannotStart => config["Cmd"] = json!(["/no-such-program"]),
        Version::TurnsBad => config["Healthcheck"] = check("test ! -e /data/stopped", 500, 1),
    }
}

/// Where both run for a while, something in front of them is told which one to use.
fn hooks(order: UpdateOrder) -> Hooks {
    let hook = || {
        let call = HookCall::Exec { command: vec!["true".to_owned()] };
        Some(Hook { call, timeout: 30 * SECOND })
    };
    match order {
        UpdateOrder::StopFirst => Hooks::default(),
        UpdateOrder::StartFirst => Hooks { before: None, drain: hook(), after: hook() },
    }
}

fn order(name: &str, old: &ContainerId, image: &Pushed, order: UpdateOrder) -> StepOrder {
    StepOrder {
        key: StepKey { rollout: "r-0001".parse().expect("well formed"), step: StepIndex(0), generation: Generation(1) },
        epoch: Epoch(1),
        purpose: Purpose::Update,
        node: "node1".parse().expect("well formed"),
        app: name.parse().expect("well formed"),
        container: name.to_owned(),
        container_id: old.clone(),
        image: image.name.clone(),
        digest: image.digest.clone(),
        order,
        health: HealthCheck::Auto,
        hooks: hooks(order),
        healthy_deadline: 30 * SECOND,
        // Four checks of a version that turns bad.
        monitor: 2 * SECOND,
        keep_images: 2,
        // Longer than a call that hangs: what that does to a step is another matter than its being late.
        start_within: 3600 * SECOND,
        signatures: Vec::new(),
    }
}

impl<'a> Scene<'a> {
    /// An old container that is healthy and has data, and a new image.
    pub(crate) async fn set_up(
        place: &'a Place,
        update: UpdateOrder,
        version: Version,
        disturbance: Disturbance,
    ) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        // No name is the beginning of another one: that is how the containers of a cell are found.
        let name = format!("crash-{process}-{number:05}");
        let old_image = place.registry.push(&name, "stable", |config| configure_old(&name, config)).await;
        let engine = &place.engine;
        engine.pull(&old_image.name.repository.at(&old_image.digest), None, &mut |_| ()).await.expect("it was pushed");
        engine.tag(&old_image.id, &old_image.name.repository.familiar(), "stable").await.expect("it is there");
        let new_image = place.registry.push(&name, "stable", |config| configure(version, config)).await;

        let mut body = json!({
            "Image": old_image.name.familiar(), "Env": ["COLOUR=green"],
            "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}},
        });
        match update {
            // An address that no other process uses: 127.0.0.0/8 has room for all process ids.
            UpdateOrder::StopFirst => {
                let [_, a, b, c] = process.to_be_bytes();
                let binding = json!({"HostIp": format!("127.{a}.{b}.{c}"), "HostPort": (20_000 + number).to_string()});
                body["HostConfig"]["PortBindings"] = json!({"80/tcp": [binding]});
            }
            // Both run for a moment, and a port has one owner.
            UpdateOrder::StartFirst => {}
        }
        let old = engine.create(&name, &body).await.expect("a good configuration");
        engine.connect_network(&place.network, &json!({"Container": old.0})).await.expect("both exist");
        engine.start(&old).await.expect("it starts");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let watch = Arc::new(Watch::new(&data_of(directory.path()), disturbance));
        let proxy = Proxy::start(&place.socket, watch.clone());
        let order = order(&name, &old, &new_image, update);
        let mut scene = Self { place, directory, watch, proxy, order, old, old_image, new_image, before: Value::Null };
        scene.before = settings(&scene.healthy(&scene.old.0).await);
        scene
    }

    /// Starts the agent, for the first time or again.
    pub(crate) fn agent(&self) -> Agent {
        Agent::start(self.directory.path(), &self.proxy.url(), &self.order)
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// I5: until the commit, old container and old image are there. Asked of the engine itself.
    pub(crate) async fn check_old_exists(&self) {
        let phase = phase_in(&data_of(self.directory.path()));
        if phase.is_some_and(|phase| phase < StepPhase::Monitored || phase == StepPhase::RollingBack) {
            let engine = &self.place.engine;
            engine.inspect(&self.old.0).await.expect("I5: the old container exists until the commit");
            engine.inspect_image(&self.old_image.id).await.expect("I5: the old image exists until the commit");
        }
    }

    /// I5 again, by every request that there was: no removal of the old container, and of no image, before the commit
    /// was in the journal; never with its volumes, never by force.
    fn check_removals(&self) {
        for seen in self.watch.seen() {
            let request = &seen.request;
            let of_old = request.path.ends_with(&self.old.0);
            if request.call == "DELETE /containers/{id}" {
                assert!(!request.query.contains("v=") && !request.query.contains("link="), "{request:?}");
                assert!(!of_old || request.query.is_empty(), "by force: {request:?}");
            }
            if of_old && request.call == "DELETE /containers/{id}" || request.call == "DELETE /images/{name}" {
                assert_eq!(seen.phase, Some(StepPhase::Monitored), "I5: removed before the commit: {request:?}");
            }
        }
    }

    /// I6: one container under its own name, old or new, with data and settings as before; nothing is left over; and the
    /// report tells the truth.
    pub(crate) async fn check_end(&self, report: &StepReport) {
        self.check_removals();
        let engine = &self.place.engine;
        let all = engine.list().await.expect("the engine is up");
        let ours: Vec<_> = all.iter().filter(|container| container.name.starts_with(&self.order.container)).collect();
        let [one] = ours.as_slice() else { panic!("I6: {} containers: {ours:?}, {report:?}", ours.len()) };
        assert!(!is_in_replacement(&one.name), "I6: a temporary name: {one:?}");
        let is_old = one.id == self.old;
        let ends_old = matches!(report.phase, StepPhase::RolledBack | StepPhase::Untouched);
        let ends_new = report.phase == StepPhase::Committed;
        assert!((ends_old && is_old) || (ends_new && !is_old), "I6: {one:?} is not what the report says: {report:?}");
        let now = if self.is_lost(&one.id).await {
            self.place.engine.inspect(&one.id.0).await.expect("it exists")
        } else {
            self.healthy(&one.id.0).await
        };
        assert_eq!(settings(&now), self.before, "I6: {report:?}");
        self.check_data(&one.id).await;
        self.check_images(report).await;
        let left = std::fs::read_dir(data_of(self.directory.path()).join("steps")).expect("a journal");
        let left: Vec<_> = left.map(|entry| entry.expect("a file").file_name()).collect();
        assert!(left.is_empty(), "the step is acknowledged, and the journal still holds {left:?}");
        assert_eq!(report.failure.is_none(), ends_new, "{report:?}");
    }

    /// After `kill -9`, Engine 20.10 now and then cannot start what its own restart policies ask for: it believes that a port
    /// is taken which nobody has. That is no step's doing. A person's `docker start` is tried; where the engine refuses that
    /// for the same reason, only its next restart helps. Only for an engine that was killed, and only where it says so itself.
    #[expect(clippy::print_stderr, reason = "what the engine does wrong must be seen")]
    async fn is_lost(&self, container: &ContainerId) -> bool {
        const WORDS: &str = "port is already allocated";
        let inspect = self.place.engine.inspect(&container.0).await.expect("it exists");
        let error = inspect["State"]["Error"].as_str().unwrap_or_default();
        if !self.watch.kills_engine() || inspect["State"]["Status"] != "exited" || !error.contains(WORDS) {
            return false;
        }
        let again = self.place.engine.start(container).await.map_err(|error| error.to_string());
        eprintln!("{}: the engine said `{error}`; started by hand: {again:?}", self.order.container);
        again.is_err_and(|error| error.contains(WORDS))
    }

    /// The keep tags of the app hold the image to go back to and the one that was fetched, and no other; the followed tag
    /// stands for what runs.
    async fn check_images(&self, report: &StepReport) {
        let images = self.place.engine.list_images().await.expect("the engine is up");
        let prefix = format!("{KEEP_REPOSITORY}:{}-", self.order.app);
        let kept: Vec<&String> =
            images.iter().flat_map(|image| &image.repo_tags).filter(|tag| tag.starts_with(&prefix)).collect();
        let app: &AppName = &self.order.app;
        let tag = |image: &Pushed| format!("{KEEP_REPOSITORY}:{}", keep_tag(app, &image.id));
        let (old, new) = (tag(&self.old_image), tag(&self.new_image));
        assert!(kept.iter().all(|kept| **kept == old || **kept == new), "stray keep tags: {kept:?}");
        let both = kept.contains(&&old) && kept.contains(&&new);
        assert!(both || report.phase == StepPhase::Untouched, "{kept:?} are held, {report:?}");
        let runs = if report.phase == StepPhase::Committed { &self.new_image } else { &self.old_image };
        let followed = self.place.engine.inspect_image(&self.old_image.name.familiar()).await.expect("it has a tag");
        assert_eq!(followed["Id"], runs.id, "the followed tag; {report:?}");
    }

    /// Removes what the cell made.
    pub(crate) async fn clean_up(self) {
        let engine = &self.place.engine;
        for container in engine.list().await.expect("the engine is up") {
            if container.name.starts_with(&self.order.container) {
                engine.discard(&container.id).await.expect("it can be removed");
            }
        }
        for image in [&self.old_image, &self.new_image] {
            // A step that ended early never fetched the second one.
            let Ok(inspect) = engine.inspect_image(&image.id).await else { continue };
            for name in inspect["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                engine.remove_image(name).await.expect("nobody uses it");
            }
        }
    }

    /// The inspect of a container as soon as it is healthy.
    async fn healthy(&self, id: &str) -> Value {
        let end = tokio::time::Instant::now() + HEALTHY_WITHIN;
        loop {
            let inspect = self.place.engine.inspect(id).await.expect("it exists");
            if inspect["State"]["Health"]["Status"] == "healthy" && inspect["State"]["Status"] == "running" {
                return inspect;
            }
            assert!(tokio::time::Instant::now() < end, "I6: it does not serve: {}", inspect["State"]);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the old container wrote is in the volume of the one that runs, read from the engine's own disk: a command in
    /// the container would cost more than the rest of the cell.
    async fn check_data(&self, container: &ContainerId) {
        let inspect = self.place.engine.inspect(&container.0).await.expect("it exists");
        let volume = inspect["Mounts"][0]["Source"].as_str().expect("a volume");
        let marker = std::fs::read_to_string(format!("{volume}/marker")).expect("I6: the data is kept");
        assert_eq!(marker.trim(), self.order.container, "I6: the data is kept");
    }
}

/// What must be the same before and after, whichever way the step went.
fn settings(inspect: &Value) -> Value {
    let networks = inspect["NetworkSettings"]["Networks"].as_object().expect("an object");
    let mounts = inspect["Mounts"].as_array().expect("a list");
    json!({
        "name": inspect["Name"],
        "env": inspect["Config"]["Env"],
        "policy": inspect["HostConfig"]["RestartPolicy"],
        "ports": inspect["HostConfig"]["PortBindings"],
        "networks": networks.keys().collect::<Vec<_>>(),
        "volumes": mounts.iter().map(|mount| &mount["Name"]).collect::<Vec<_>>(),
    })
}
