//! Tries out the calls that a replacement cannot do without once it has touched a container.
//!
//! Between the agent and the engine there may be a socket proxy that forbids some of them. One that lets a container be
//! stopped and forbids the start would leave it stopped: so each call is made once before, on a container that cannot exist,
//! and must be answered by the engine itself with "no such container". Nothing changes by it.

use std::time::Duration;

use nightshift_core::ids::ContainerId;
use nightshift_core::spec::{HealthCheck, HookCall, HookPoint};
use nightshift_core::step::StepOrder;
use serde_json::json;

use crate::engine::{Engine, Error, Result, deadline};

/// An id that no engine has given: ids are hashes of random bytes.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A name that would be free.
const NO_NAME: &str = "nightshift-tries-a-rename";

/// Makes each call once.
///
/// # Errors
/// The first call that was not answered with "no such container", with the answer.
pub(super) async fn try_out(engine: &dyn Engine, order: &StepOrder) -> Result<()> {
    let nobody = ContainerId(NOBODY.to_owned());
    let policy = json!({"Name": "no", "MaximumRetryCount": 0});
    must_not_find("POST /containers/{id}/update", engine.set_restart_policy(&nobody, &policy).await)?;
    must_not_find("POST /containers/{id}/rename", engine.rename(&nobody, NO_NAME).await)?;
    must_not_find("POST /containers/{id}/stop", engine.stop(&nobody, Duration::ZERO).await)?;
    must_not_find("POST /containers/{id}/start", engine.start(&nobody).await)?;
    must_not_find("DELETE /containers/{id}", engine.remove(&nobody).await)?;
    must_not_find("DELETE /containers/{id}", engine.discard(&nobody).await)?;
    if !runs_commands(order) {
        return Ok(());
    }
    let command = ["true".to_owned()];
    let answer = engine.exec(&nobody, &command, &[], deadline::READ).await;
    must_not_find("POST /containers/{id}/exec", answer.map(drop))
}

/// Whether the step will run a command inside a container.
fn runs_commands(order: &StepOrder) -> bool {
    let hooks = HookPoint::ALL.into_iter().filter_map(|point| order.hooks.at(point));
    matches!(order.health, HealthCheck::Exec { .. })
        || hooks.into_iter().any(|hook| matches!(hook.call, HookCall::Exec { .. }))
}

/// The engine's own "not found" names what was looked for; a proxy that hides a call behind a 404 does not.
fn must_not_find(call: &'static str, answer: Result<()>) -> Result<()> {
    match answer {
        Err(Error::NotFound { message }) if message.contains(NOBODY) => Ok(()),
        Err(Error::NotFound { message }) => Err(Error::Refused { call, status: 404, message }),
        Err(error) => Err(error),
        Ok(()) => Err(Error::Refused {
            call,
            status: 200,
            message: "a container that does not exist was said to be changed; hint: is there an engine behind this?"
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_engines_own_not_found_counts() {
        let not_found = |message: &str| must_not_find("x", Err(Error::NotFound { message: message.to_owned() }));
        assert_eq!(not_found(&format!("No such container: {NOBODY}")), Ok(()));
        assert!(not_found("page not found").is_err_and(|error| error.to_string().contains("page not found")));
        assert!(must_not_find("x", Ok(())).is_err());
        let denied = Error::Refused { call: "x", status: 403, message: "no".to_owned() };
        assert_eq!(must_not_find("x", Err(denied.clone())), Err(denied));
        assert!(NOBODY.len() == 64);
    }
}
