//! Values that tests of this crate share.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::ids::{AppName, ContainerId, Epoch, Generation, NodeName, StepIndex};
use crate::image::Digest;
use crate::instance::InstanceView;
use crate::labels::Selector;
use crate::spec::{APP_LABEL, AppSpec, Gate, HealthCheck, Hooks, InstanceSelector, UpdateConfig, UpdateOrder};
use crate::step::{Purpose, StepKey, StepOrder};

/// An instant, some seconds after a fixed one: Tuesday, 2027-01-15 08:00:00 UTC is 0.
pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).expect("in range")
}

/// A digest that is easy to tell from others.
pub(crate) fn digest(number: u8) -> Digest {
    format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().expect("well formed")
}

/// The app `web` with careful defaults and no quiet hours.
pub(crate) fn web() -> AppSpec {
    AppSpec {
        name: app(),
        image: "r.example/web:stable".parse().expect("well formed"),
        tags: None,
        nodes: Selector::default(),
        instances: InstanceSelector::Label { key: APP_LABEL.into(), value: "web".into() },
        gate: Gate::default(),
        freshness: None,
        quiet_hours: None,
        update: UpdateConfig::default(),
        health: HealthCheck::Auto,
        hooks: Hooks::default(),
        self_test: None,
        after: Vec::new(),
        rebuild: None,
    }
}

/// Its name.
pub(crate) fn app() -> AppName {
    "web".parse().expect("well formed")
}

/// A node's name.
pub(crate) fn node(name: &str) -> NodeName {
    name.parse().expect("well formed")
}

/// A running, healthy instance of `web` whose container id is made of its name and digest.
pub(crate) fn instance(container: &str, runs: u8) -> InstanceView {
    use crate::container::{Health, RunState};
    InstanceView {
        app: app(),
        container_id: ContainerId(format!("{container}-{runs:02x}")),
        container: container.into(),
        image: "r.example/web:stable".into(),
        image_id: format!("sha256:image{runs:02x}"),
        digests: vec![digest(runs)],
        state: RunState::Running,
        health: Health::Healthy,
        refusal: None,
        image_created: None,
        after: Vec::new(),
        start_first_obstacles: Vec::new(),
    }
}

/// An order for container `web`, id `old`.
pub(crate) fn order() -> StepOrder {
    StepOrder {
        key: StepKey { rollout: "r-0001".parse().expect("well formed"), step: StepIndex(3), generation: Generation(1) },
        epoch: Epoch(1),
        purpose: Purpose::Update,
        node: "node1".parse().expect("well formed"),
        app: "web".parse().expect("well formed"),
        container: "web".to_owned(),
        container_id: ContainerId("old".to_owned()),
        image: "r.example/web:stable".parse().expect("well formed"),
        digest: format!("sha256:{}", "ab".repeat(32)).parse().expect("well formed"),
        order: UpdateOrder::StopFirst,
        health: HealthCheck::Auto,
        hooks: Hooks::default(),
        healthy_deadline: Duration::from_secs(60),
        monitor: Duration::from_secs(30),
        keep_images: 2,
        start_within: Duration::from_secs(60),
        signatures: Vec::new(),
    }
}
