//! Tests of the replacement machine: tables in `judging` and `ways`, every crash in `crashes`, ended containers in `restarts`, on a tiny `model`.

mod crashes;
mod hooks;
mod judging;
mod model;
mod restarts;
mod units;
mod ways;

use std::time::Duration;

use crate::spec::{Hook, HookCall, Hooks};
pub(super) use crate::testing::order;

/// A hook at each point.
pub(super) fn hooks() -> Hooks {
    let hook = |word: &str| {
        let call = HookCall::Exec { command: vec![word.to_owned()] };
        Some(Hook { call, timeout: Duration::from_secs(10) })
    };
    Hooks { before: hook("before"), drain: hook("drain"), after: hook("after") }
}
