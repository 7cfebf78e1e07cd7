//! What is refused, and why: everything that could not be re-created exactly or not be taken back.

use std::fmt;

use serde_json::Value;

use super::RunState;
use super::raw::Inspect;
use crate::enablement::taken_out_by;

/// Label that the engine puts on the containers of a Swarm service.
const SWARM_SERVICE_LABEL: &str = "com.docker.swarm.service.id";

/// Whose inspect a [`Refusal`] speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The container to re-create.
    Container,
    /// The image that it was created from.
    OldImage,
    /// The image that it shall run next.
    NewImage,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Container => "the container",
            Self::OldImage => "the old image",
            Self::NewImage => "the new image",
        })
    }
}

/// Why a container is not re-created. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The engine is Podman: its Docker-compatible inspect leaves out and makes up parts of the configuration.
    #[error(
        "its engine is Podman, which does not tell a container's whole configuration: it could not be re-created exactly"
    )]
    Podman,
    /// A field without which the container cannot be understood is not there.
    #[error("`{field}` is missing in the engine's inspect of {of}")]
    Missing {
        /// Whose inspect.
        of: Subject,
        /// The field's path.
        field: String,
    },
    /// A field is of another kind than every known engine writes it.
    #[error("`{field}` has an unknown form in the engine's inspect of {of}")]
    Malformed {
        /// Whose inspect.
        of: Subject,
        /// The field's path.
        field: String,
    },
    /// The image that was inspected is not the one that was asked for, so its defaults would be the wrong ones.
    #[error("the inspect of {of} is of `{found}`, wanted is `{wanted}`")]
    OtherImage {
        /// Which of the images.
        of: Subject,
        /// Id that is needed.
        wanted: String,
        /// Id in the inspect.
        found: String,
    },
    /// The new image is built for another operating system or processor.
    #[error("the new image is for `{new}`, the old one for `{old}`: it could not start here")]
    OtherPlatform {
        /// Platform of the old image.
        old: String,
        /// Platform of the new image.
        new: String,
    },
    /// `docker run --rm`.
    #[error(
        "`HostConfig.AutoRemove` is set (`--rm`): the engine removes it when it stops, so it could not be taken back"
    )]
    AutoRemove,
    /// Swarm itself replaces the containers of its services.
    #[error("it belongs to the Swarm service `{service}`, which replaces its containers itself")]
    SwarmService {
        /// The service's id.
        service: String,
    },
    /// Its owner wants it left alone.
    #[error("its label says `{label}=false`")]
    TakenOut {
        /// The label.
        label: &'static str,
    },
    /// The container is about to vanish, or the engine failed to remove it.
    #[error("its state is `{status}`")]
    State {
        /// The engine's word for the state.
        status: String,
    },
    /// The network that the container was created on was disconnected later: a creation would connect it again.
    #[error("it was created on the network `{network}` (`HostConfig.NetworkMode`) and is not connected to it any more")]
    PrimaryNetworkLeft {
        /// The network.
        network: String,
    },
    /// A running container's address on a Swarm network: the engine shows a typed one and one that it handed out alike.
    #[error(
        "its address on the Swarm network `{network}` may be a wished or a handed-out one: while it runs, nothing tells"
    )]
    SwarmAddress {
        /// The network.
        network: String,
    },
    /// The container lacks variables that its image sets: something else than the known merge made it.
    #[error(
        "`Config.Env` is not the user's variables followed by the old image's: `{variable}` is missing or changed place"
    )]
    EnvNotOfImage {
        /// First variable of the image that is not where the engine's merge puts it.
        variable: String,
    },
}

impl Refusal {
    /// The field of the inspect that the refusal is about, as a dotted path.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            // Of `GET /version`: it is about all inspects of that engine.
            Self::Podman => "Components",
            Self::Missing { field, .. } | Self::Malformed { field, .. } => field,
            Self::OtherImage { of: Subject::Container, .. } => "Image",
            Self::OtherImage { of: Subject::OldImage | Subject::NewImage, .. } => "Id",
            Self::OtherPlatform { .. } => "Architecture",
            Self::AutoRemove => "HostConfig.AutoRemove",
            Self::SwarmService { .. } | Self::TakenOut { .. } => "Config.Labels",
            Self::State { .. } => "State.Status",
            Self::PrimaryNetworkLeft { .. } => "HostConfig.NetworkMode",
            Self::SwarmAddress { .. } => "NetworkSettings.Networks",
            Self::EnvNotOfImage { .. } => "Config.Env",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Podman => "replace it with Podman's own tools (`podman auto-update`), or run the container on Docker",
            Self::Missing { .. } | Self::Malformed { .. } => {
                "check that the engine is a supported one: `nightshift doctor`"
            }
            Self::OtherImage { .. } => "the image was changed in between: try again",
            Self::OtherPlatform { .. } => {
                "build the image for this node's platform too, or leave this node out of the app"
            }
            Self::AutoRemove => "create the container without `--rm`, or leave it out of the app",
            Self::SwarmService { .. } => "update the service with `docker service update`, or leave it out of the app",
            Self::TakenOut { .. } => {
                "create it with `nightshift.enable=true`, which outdoes the label, or leave it out of the app"
            }
            Self::State { .. } => "remove the container, and create it again",
            Self::PrimaryNetworkLeft { .. } => {
                "connect that network again, or create the container anew on the networks it uses"
            }
            Self::SwarmAddress { .. } => {
                "run it as a Swarm service, move it to a network of its host, or leave it out of the app"
            }
            Self::EnvNotOfImage { .. } => "create the container anew, once, by hand; from then on it can be followed",
        }
    }
}

/// The images must be those that the caller means, and the new one must be able to run where the old one did.
pub(super) fn check_images(
    container: Inspect<'_>,
    old_image: Inspect<'_>,
    new_image: Inspect<'_>,
    new_image_id: &str,
) -> Result<(), Refusal> {
    for (image, wanted) in [(old_image, container.text("Image")?), (new_image, new_image_id)] {
        let found = image.text("Id")?;
        if found != wanted {
            return Err(Refusal::OtherImage { of: image.of, wanted: wanted.to_owned(), found: found.to_owned() });
        }
    }
    let platform = |image: Inspect<'_>| -> Result<String, Refusal> {
        Ok(format!("{}/{}", image.text_or_empty("Os")?, image.text_or_empty("Architecture")?))
    };
    let (old, new) = (platform(old_image)?, platform(new_image)?);
    if old == new { Ok(()) } else { Err(Refusal::OtherPlatform { old, new }) }
}

/// Kinds of containers that are left alone.
pub(super) fn check_container(container: Inspect<'_>) -> Result<(), Refusal> {
    container.object("Config")?;
    container.object("HostConfig")?;
    if container.find("HostConfig.AutoRemove").and_then(Value::as_bool) == Some(true) {
        return Err(Refusal::AutoRemove);
    }
    let labels = container.object_or_empty("Config.Labels")?;
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    if let Some(service) = label(SWARM_SERVICE_LABEL) {
        return Err(Refusal::SwarmService { service: service.to_owned() });
    }
    taken_out_by(label).map_or(Ok(()), |label| Err(Refusal::TakenOut { label }))
}

/// What the container is doing.
pub(super) fn run_state(container: Inspect<'_>) -> Result<RunState, Refusal> {
    match container.text("State.Status")? {
        "created" => Ok(RunState::Created),
        "running" | "restarting" => Ok(RunState::Running),
        "paused" => Ok(RunState::Paused),
        "exited" => Ok(RunState::Exited),
        other => Err(Refusal::State { status: other.to_owned() }),
    }
}
