//! One container of the unit that a step replaces: the instance itself, or one that depends on it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names;
use super::record::failure;
use super::watch::{Verify, Watch};
use crate::container::{ContainerView, Health, RunState};
use crate::ids::ContainerId;
use crate::step::{Failure, FailureKind, StepKey};

/// Grace period of a container that does not name its own: the engine's default.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// What the old container was doing when the step began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Was {
    /// Running; the engine's health check said healthy.
    RunningHealthy,
    /// Running, without a health check or not (yet) healthy.
    Running,
    /// In a restart loop.
    Restarting,
    /// Stopped or never started: the new one is not started either.
    Stopped,
}

/// What is known of the old container from before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    /// Id of its image.
    pub image_id: String,
    /// What it was doing.
    pub was: Was,
    /// Its restart policy, raw.
    pub restart_policy: Value,
    /// How long the engine waits between its stop signal and the kill.
    #[serde(with = "crate::duration::text")]
    pub grace: Duration,
}

impl Old {
    /// Reads it from the first look.
    ///
    /// # Errors
    /// A failed precondition: in this state it is not replaced.
    pub(super) fn found(view: &ContainerView) -> Result<Self, Failure> {
        let name = &view.name;
        let refuse = |reason: String| Err(failure(FailureKind::Precondition, reason));
        if view.auto_remove {
            return refuse(format!(
                "container `{name}` has `--rm`: the engine would remove it when it stops, so it could not be taken back"
            ));
        }
        let was = match view.state {
            RunState::Running if view.health == Health::Healthy => Was::RunningHealthy,
            RunState::Running => Was::Running,
            RunState::Restarting => Was::Restarting,
            RunState::Created | RunState::Exited => Was::Stopped,
            RunState::Paused => {
                return refuse(format!(
                    "container `{name}` is paused, and a paused container is not silently resumed; hint: `docker unpause {name}`"
                ));
            }
            RunState::Removing | RunState::Dead => return refuse(format!("container `{name}` is being removed")),
        };
        let (image_id, restart_policy) = (view.image_id.clone(), view.restart_policy.clone());
        Ok(Self { image_id, was, restart_policy, grace: grace(view) })
    }
}

/// The configuration of the new container, worked out before anything was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// Body of the create call. Ids of other containers of the unit in it are the old ones.
    pub create_body: Value,
    /// Networks to connect before the start: name and body of the call.
    pub connects: Vec<(String, Value)>,
    /// The settings that it was worked out from, in one number ([`super::Sight::old_settings`]). None in a journal of an older version.
    #[serde(default)]
    pub settings: Option<u64>,
}

/// One container of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, before and after.
    pub name: String,
    /// The old container.
    pub id: ContainerId,
    /// What it was as it was found.
    pub old: Option<Old>,
    /// The new container's configuration.
    pub blueprint: Option<Blueprint>,
    /// The new container.
    pub new_id: Option<ContainerId>,
    /// How often the old container was started again.
    pub old_starts: u32,
    /// Whether the old container was seen in its former state again.
    pub verified: bool,
    /// The watch over the new container.
    pub watch: Watch,
    /// The check of the old container that was brought back.
    pub verify: Verify,
}

impl Part {
    /// A container of which nothing is known yet but who it is.
    #[must_use]
    pub fn new(name: String, id: ContainerId) -> Self {
        Self {
            name,
            id,
            old: None,
            blueprint: None,
            new_id: None,
            old_starts: 0,
            verified: false,
            watch: Watch::default(),
            verify: Verify::default(),
        }
    }

    /// By which the new container is inspected: its id, or its temporary name as long as the id is not known.
    #[must_use]
    pub fn new_handle(&self, key: &StepKey) -> String {
        self.new_id.as_ref().map_or_else(|| names::temporary(&self.name, key), |id| id.0.clone())
    }

    /// Whether the container ran, so that the new one is started and watched.
    pub(super) fn ran(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.was != Was::Stopped)
    }

    /// Whether the container was in a restart loop.
    pub(super) fn was_restarting(&self) -> bool {
        self.old.as_ref().is_some_and(|old| old.was == Was::Restarting)
    }

    /// The same but for what time has gone by.
    pub(super) fn with_timers_of(&self, other: &Self) -> Self {
        Self { watch: other.watch.clone(), verify: other.verify.clone(), ..self.clone() }
    }
}

/// How long a container is given between stop signal and kill.
pub(super) fn grace(view: &ContainerView) -> Duration {
    view.stop_timeout_seconds.map_or(DEFAULT_GRACE, Duration::from_secs)
}

/// Whether a container's main process is there.
pub(super) fn is_up(view: &ContainerView) -> bool {
    match view.state {
        RunState::Running | RunState::Restarting | RunState::Paused => true,
        RunState::Created | RunState::Removing | RunState::Exited | RunState::Dead => false,
    }
}
