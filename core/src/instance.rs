//! What a coordinator and an agent say to each other about containers and images, apart from steps.
//!
//! [`WatchedApp`] is the question, [`InstanceView`] the answer; [`Prepull`] asks for an image ahead of its window, and
//! [`ImageState`] says what became of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::container::{Health, RunState};
use crate::ids::{AppName, ContainerId, Epoch, NodeName};
use crate::image::{Digest, ImageRef, Repository};
use crate::labels::Labels;
use crate::signature::Signature;
use crate::spec::{AppSpec, InstanceSelector};

/// An app whose instances an agent looks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedApp {
    /// The app.
    pub name: AppName,
    /// Where its images come from: digests of other repositories say nothing about it.
    pub repository: Repository,
    /// Which containers belong to it.
    pub instances: InstanceSelector,
}

impl WatchedApp {
    /// What a spec looks for.
    #[must_use]
    pub fn of(spec: &AppSpec) -> Self {
        let repository = spec.image.repository.clone();
        Self { name: spec.name.clone(), repository, instances: spec.instances.clone() }
    }
}

/// A container that belongs to an app, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// The app.
    pub app: AppName,
    /// The engine's id.
    pub container_id: ContainerId,
    /// Name without the leading slash.
    pub container: String,
    /// Reference in the container's configuration.
    pub image: String,
    /// The engine's id of the image that it runs.
    pub image_id: String,
    /// Every digest under which the engine knows that image in the app's repository, sorted. Empty for an image that
    /// never came from there.
    pub digests: Vec<Digest>,
    /// What it does.
    pub state: RunState,
    /// What its own health check says.
    pub health: Health,
    /// Why Nightshift would refuse to replace it, if it would.
    pub refusal: Option<String>,
    /// When the image was built, from its configuration.
    pub image_created: Option<DateTime<Utc>>,
    /// Names of other containers of this node that go first, as its labels say.
    pub after: Vec<String>,
    /// Why it could not run beside its successor for a moment: fixed host ports, static addresses.
    pub start_first_obstacles: Vec<String>,
}

/// What agents are asked once, before anybody decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Survey {
    /// Which of their containers an app would have.
    OfApp(WatchedApp),
    /// Which containers they have at all.
    Everything,
}

/// What an agent found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Findings {
    /// The containers of that app.
    Instances(Vec<InstanceView>),
    /// All of them.
    Containers(Vec<FoundContainer>),
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed<T = Vec<InstanceView>> {
    /// The node.
    pub node: NodeName,
    /// What was found, or why its engine did not answer.
    pub found: Result<T, String>,
}

/// Any container of a node, with what matters for its adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// Name without the leading slash.
    pub name: String,
    /// Reference in its configuration, as it was typed at its creation.
    pub image: String,
    /// Those of its labels that adoption reads; others may hold secrets and stay on the node.
    pub labels: Labels,
    /// Whether it has a health check of its own, or of its image.
    pub has_health_check: bool,
    /// Whether its image came from some registry.
    pub from_registry: bool,
    /// Why Nightshift would refuse to replace it, if it would.
    pub refusal: Option<String>,
}

impl InstanceView {
    /// Whether it serves, as far as its engine can tell. One that was never started is not missed by anybody.
    #[must_use]
    pub const fn is_available(&self) -> bool {
        match (self.state, self.health) {
            (RunState::Created, _) | (RunState::Running, Health::None | Health::Healthy) => true,
            (RunState::Running, Health::Starting | Health::Unhealthy)
            | (RunState::Paused | RunState::Restarting | RunState::Removing | RunState::Exited | RunState::Dead, _) => {
                false
            }
        }
    }

    /// Whether it runs this digest.
    #[must_use]
    pub fn runs(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }
}

/// Fetch an image ahead of its window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepull {
    /// The app.
    pub app: AppName,
    /// The reference that the app follows.
    pub image: ImageRef,
    /// The content to fetch.
    pub digest: Digest,
    /// The coordinator's epoch when it was asked.
    pub epoch: Epoch,
    /// The digest's signatures, as far as the coordinator knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
}

/// How far a pull is. Totals grow while the engine learns about layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Layers that are unpacked or were there already.
    pub layers_done: u32,
    /// Layers that the engine has spoken of so far.
    pub layers_total: u32,
    /// Downloaded so far.
    pub bytes_done: u64,
    /// Sum of the sizes that the engine has told so far.
    pub bytes_total: u64,
}

/// An image on its way to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// It is being fetched.
    Pulling(PullProgress),
    /// The engine has it.
    Present,
    /// The attempt failed, for this reason; it says nothing about the version.
    Failed(String),
}

impl ImageState {
    /// Whether nothing more follows: such a report must arrive, progress may be lost.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        match self {
            Self::Pulling(_) => false,
            Self::Present | Self::Failed(_) => true,
        }
    }
}

/// What an agent says about one image of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReport {
    /// The app.
    pub app: AppName,
    /// The content.
    pub digest: Digest,
    /// How far it is.
    pub state: ImageState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_may_be_lost() {
        assert!(!ImageState::Pulling(PullProgress::default()).is_end());
        assert!(ImageState::Present.is_end());
        assert!(ImageState::Failed("no space left on device".into()).is_end());
    }
}
