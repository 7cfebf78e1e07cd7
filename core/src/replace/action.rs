//! What is to be done next: one engine call each (but [`Action::CleanImages`]), with all that the call needs.

use std::time::Duration;

use serde_json::Value;

use crate::ids::{AppName, ContainerId};
use crate::image::Repository;
use crate::spec::{HealthCheck, Hook, HookPoint};

/// The next thing to do. Each may be done again when it is not known whether it was done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Find out, on a container that does not exist, whether the engine (or a proxy before it) takes every call that comes
    /// once the old container was touched.
    TryCalls,
    /// Fetch the image.
    Pull {
        /// `repository@sha256:…`.
        reference: String,
    },
    /// Hold an image by a local tag, so that no clean-up takes it away.
    KeepImage {
        /// The image's id.
        image_id: String,
        /// Tag in [`super::KEEP_REPOSITORY`].
        tag: String,
    },
    /// Work out the configuration of every new container: [`super::blueprint`].
    Plan,
    /// Call a hook.
    Hook {
        /// Which one.
        point: HookPoint,
        /// The container that it is about, and inside which a command runs.
        container: ContainerId,
        /// What to call.
        hook: Hook,
    },
    /// Make the new container.
    Create {
        /// Its temporary name.
        name: String,
        /// The whole configuration.
        body: Value,
    },
    /// Connect the new container to one more network.
    Connect {
        /// The network.
        network: String,
        /// The call's body.
        body: Value,
    },
    /// Set the old container's restart policy to `no`, or a restart of the engine would revive it.
    ParkRestartPolicy {
        /// The old container.
        old: ContainerId,
    },
    /// Give the old container its parked name.
    RenameOldAway {
        /// The old container.
        old: ContainerId,
        /// The parked name.
        name: String,
    },
    /// Give the new container the final name.
    RenameNewIn {
        /// The new container.
        new: ContainerId,
        /// The final name.
        name: String,
    },
    /// Stop the old container: the downtime begins.
    StopOld {
        /// The old container.
        old: ContainerId,
        /// Its grace period.
        grace: Duration,
    },
    /// Start the new container.
    Start {
        /// The new container.
        new: ContainerId,
    },
    /// Probe the new container once.
    Probe {
        /// The new container.
        new: ContainerId,
        /// How.
        check: HealthCheck,
    },
    /// Look again after this time, or when the engine says that something happened to one of the two.
    Wait(Duration),
    /// Remove the old container, never its volumes. Only after the commit.
    RemoveOld {
        /// The old container.
        old: ContainerId,
    },
    /// Let the followed reference stand for the new image on this node, as a pull of the tag would have done.
    TagFollowed {
        /// The image's id.
        image_id: String,
        /// The followed repository.
        repository: Repository,
        /// The followed tag.
        tag: String,
    },
    /// Remove images of the app beyond those that are kept: [`super::images::surplus`].
    CleanImages {
        /// The app.
        app: AppName,
        /// Its repository.
        repository: Repository,
        /// Id of the image that runs now.
        image_id: String,
        /// How many earlier ones stay.
        keep: u32,
    },
    /// Fetch the last lines that the failed new container wrote.
    TakeLog {
        /// The new container.
        new: ContainerId,
    },
    /// Set the new container's restart policy to `no`: a restart of the engine starts also what was stopped, if its policy is
    /// `always`, and then the two would fight for their ports.
    ParkNewPolicy {
        /// The new container.
        new: ContainerId,
    },
    /// Stop the new container.
    StopNew {
        /// The new container.
        new: ContainerId,
        /// Its grace period.
        grace: Duration,
    },
    /// Take the final name away from the new container.
    RenameNewOut {
        /// The new container.
        new: ContainerId,
        /// Its temporary name.
        name: String,
    },
    /// Give the final name back to the old container.
    RenameOldBack {
        /// The old container.
        old: ContainerId,
        /// The final name.
        name: String,
    },
    /// Give the old container its own restart policy back.
    RestoreRestartPolicy {
        /// The old container.
        old: ContainerId,
        /// The policy, raw.
        policy: Value,
    },
    /// Start the old container again.
    StartOld {
        /// The old container.
        old: ContainerId,
    },
    /// Kill and remove the new container, never its volumes.
    RemoveNew {
        /// The new container.
        new: ContainerId,
    },
    /// Nothing is left to do: [`super::Record::report`] says how it ended.
    End,
}

impl Action {
    /// The container that the action is about, where it is one that exists.
    #[must_use]
    pub const fn container(&self) -> Option<&ContainerId> {
        match self {
            Self::Hook { container, .. } => Some(container),
            Self::ParkRestartPolicy { old }
            | Self::RenameOldAway { old, .. }
            | Self::StopOld { old, .. }
            | Self::RemoveOld { old }
            | Self::RenameOldBack { old, .. }
            | Self::RestoreRestartPolicy { old, .. }
            | Self::StartOld { old } => Some(old),
            Self::RenameNewIn { new, .. }
            | Self::Start { new }
            | Self::Probe { new, .. }
            | Self::TakeLog { new }
            | Self::ParkNewPolicy { new }
            | Self::StopNew { new, .. }
            | Self::RenameNewOut { new, .. }
            | Self::RemoveNew { new } => Some(new),
            Self::TryCalls
            | Self::Pull { .. }
            | Self::KeepImage { .. }
            | Self::Plan
            | Self::Create { .. }
            | Self::Connect { .. }
            | Self::Wait(_)
            | Self::TagFollowed { .. }
            | Self::CleanImages { .. }
            | Self::End => None,
        }
    }

    /// What the action does, in words that continue "could not …".
    #[must_use]
    pub const fn words(&self) -> &'static str {
        match self {
            Self::TryCalls => "try out the calls of a replacement",
            Self::Pull { .. } => "pull the image",
            Self::KeepImage { .. } => "hold an image by a tag",
            Self::Plan => "plan the new container",
            Self::Hook { point: HookPoint::Before, .. } => "call the `before` hook",
            Self::Hook { point: HookPoint::Drain, .. } => "call the `drain` hook",
            Self::Hook { point: HookPoint::After, .. } => "call the `after` hook",
            Self::Create { .. } => "create the new container",
            Self::Connect { .. } => "connect the new container to a network",
            Self::ParkRestartPolicy { .. } => "set the old container's restart policy to `no`",
            Self::RenameOldAway { .. } => "rename the old container",
            Self::RenameNewIn { .. } => "give the new container its name",
            Self::StopOld { .. } => "stop the old container",
            Self::Start { .. } => "start the new container",
            Self::Probe { .. } => "probe the new container",
            Self::Wait(_) => "wait",
            Self::RemoveOld { .. } => "remove the old container",
            Self::TagFollowed { .. } => "tag the new image",
            Self::CleanImages { .. } => "remove old images",
            Self::TakeLog { .. } => "read the new container's log",
            Self::ParkNewPolicy { .. } => "set the new container's restart policy to `no`",
            Self::StopNew { .. } => "stop the new container",
            Self::RenameNewOut { .. } => "take the name away from the new container",
            Self::RenameOldBack { .. } => "give the old container its name back",
            Self::RestoreRestartPolicy { .. } => "restore the old container's restart policy",
            Self::StartOld { .. } => "start the old container again",
            Self::RemoveNew { .. } => "remove the new container",
            Self::End => "end",
        }
    }
}
