//! Tests of the replacement machine: tables in `judging` and `ways`, every crash in `crashes`, ended containers in `restarts`, on a tiny `model`.

mod crashes;
mod hooks;
mod judging;
mod model;
mod restarts;
mod units;
mod ways;

use std::time::Duration;

use crate::ids::{ContainerId, Epoch, Generation, StepIndex};
use crate::spec::{HealthCheck, Hook, HookCall, Hooks, UpdateOrder};
use crate::step::{Purpose, StepKey, StepOrder};

/// An order for container `web`, id `old`.
pub(super) fn order() -> StepOrder {
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

/// A hook at each point.
pub(super) fn hooks() -> Hooks {
    let hook = |word: &str| {
        let call = HookCall::Exec { command: vec![word.to_owned()] };
        Some(Hook { call, timeout: Duration::from_secs(10) })
    };
    Hooks { before: hook("before"), drain: hook("drain"), after: hook("after") }
}
