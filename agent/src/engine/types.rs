//! What engine calls take and give, apart from raw configurations.

use std::fmt;

use chrono::{DateTime, Utc};
use nightshift_core::container::{Health, RunState};
use nightshift_core::ids::ContainerId;
use nightshift_core::labels::Labels;
use nightshift_core::recreate::{ApiVersion, Product};

/// Who an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// The host's name.
    pub name: String,
    /// The engine's own version, such as `20.10.24`.
    pub version: String,
    /// The version of the API that was agreed on and is sent with each request.
    pub api_version: ApiVersion,
    /// Which engine it is, as far as that decides what can be done with its containers.
    pub product: Product,
    /// `linux`, as image platforms write it.
    pub os: String,
    /// `amd64`, `arm64`, as image platforms write it.
    pub arch: String,
    /// The engine's clock: what [`Engine::events`](super::Engine::events) counts by.
    pub time: DateTime<Utc>,
    /// Registries that the engine speaks to without TLS, or without checking it: `host[:port]`, and networks such as
    /// `127.0.0.0/8`.
    pub insecure_registries: Vec<String>,
}

/// A container in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// The engine's id.
    pub id: ContainerId,
    /// The name, without its leading `/`.
    pub name: String,
    /// The image as it was named at creation; its id when that name stands for another image by now.
    pub image: String,
    /// The id of the image.
    pub image_id: String,
    /// Labels of the container, those of its image included.
    pub labels: Labels,
    /// What it is doing.
    pub state: RunState,
}

/// An image in the list of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The engine's id.
    pub id: String,
    /// Names of the form `repository:tag`.
    pub repo_tags: Vec<String>,
    /// Names of the form `repository@sha256:…`.
    pub repo_digests: Vec<String>,
    /// When the image was built, as it says itself.
    pub created: DateTime<Utc>,
    /// Size on disk, layers that are shared with others included.
    pub size_bytes: u64,
}

/// Who we are at a registry. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum RegistryAuth {
    /// User and password.
    Password {
        /// The registry, `host[:port]`.
        server: String,
        /// The user.
        username: String,
        /// The password or access token.
        password: String,
    },
    /// A token that the registry exchanges for access.
    IdentityToken {
        /// The registry, `host[:port]`.
        server: String,
        /// The token.
        token: String,
    },
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { server, username, password: _ } => {
                f.debug_struct("Password").field("server", server).field("username", username).finish_non_exhaustive()
            }
            Self::IdentityToken { server, token: _ } => {
                f.debug_struct("IdentityToken").field("server", server).finish_non_exhaustive()
            }
        }
    }
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutcome {
    /// 0 is success; 126 and 127 mean that the command could not be started.
    pub exit_code: i64,
    /// Standard output and error, in the order in which they came; the end of it when there was too much.
    pub output: String,
}

/// A command in a container, as far as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRun {
    /// How it ended; `None` when it still ran at the deadline.
    pub exit_code: Option<i64>,
    /// Standard output and error, in the order in which they came; the end of it when there was too much.
    pub output: String,
    /// Whether there was more before it.
    pub cut: bool,
}

/// A network in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSummary {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It was made.
    Create,
    /// It was started.
    Start,
    /// Its main process ended.
    Die {
        /// How.
        exit_code: i64,
    },
    /// It was stopped on request.
    Stop,
    /// A signal was sent to it.
    Kill,
    /// It was removed.
    Destroy,
    /// It has another name now (that of the event).
    Rename {
        /// The name before, without its leading `/`.
        from: String,
    },
    /// Its health changed.
    HealthStatus(Health),
    /// Its limits or restart policy changed.
    Update,
    /// It was frozen.
    Pause,
    /// It goes on.
    Unpause,
    /// It ran out of memory.
    OutOfMemory,
}

/// Something that happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// The container.
    pub id: ContainerId,
    /// Its name at that time, without its leading `/`.
    pub name: String,
    /// What happened.
    pub kind: EventKind,
    /// The container's labels.
    pub labels: Labels,
    /// When, by the engine's clock, to the nanosecond.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_show_in_debug_output() {
        let server = || "r.example".to_owned();
        let password =
            RegistryAuth::Password { server: server(), username: "ann".into(), password: "s3cret-word".into() };
        let token = RegistryAuth::IdentityToken { server: server(), token: "s3cret-word".into() };
        assert_eq!(format!("{password:?}"), r#"Password { server: "r.example", username: "ann", .. }"#);
        assert_eq!(format!("{token:?}"), r#"IdentityToken { server: "r.example", .. }"#);
    }
}
