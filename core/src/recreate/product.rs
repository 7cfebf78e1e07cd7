//! Which engine is behind the API, where that decides whether its containers can be re-created at all.

use super::Refusal;

/// The component that Podman's Docker-compatible service names in `GET /version`.
const PODMAN_COMPONENT: &str = "Podman Engine";

/// Whose answers the inspects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Docker, or something that does not say that it is another.
    Docker,
    /// Podman, behind its Docker-compatible API.
    Podman,
}

impl Product {
    /// The product whose `GET /version` lists these components.
    #[must_use]
    pub fn of_components<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        if names.into_iter().any(|name| name == PODMAN_COMPONENT) { Self::Podman } else { Self::Docker }
    }

    /// Whether its inspects say enough for an exact re-creation, and its API has the calls that take one back.
    ///
    /// # Errors
    /// [`Refusal::Podman`]: every container of this engine is left alone. Ask before anything is touched.
    pub const fn check(self) -> Result<(), Refusal> {
        match self {
            Self::Docker => Ok(()),
            Self::Podman => Err(Refusal::Podman),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_is_known_by_its_component() {
        for (components, expect) in [
            (&["Podman Engine", "Conmon", "OCI Runtime (runc)"][..], Product::Podman),
            (&["Conmon", "Podman Engine"], Product::Podman),
            (&["Engine", "containerd", "runc", "docker-init"], Product::Docker),
            (&["podman engine"], Product::Docker),
            (&[], Product::Docker),
        ] {
            assert_eq!(Product::of_components(components.iter().copied()), expect, "{components:?}");
        }
    }

    #[test]
    fn only_containers_of_docker_are_replaced() {
        assert_eq!(Product::Docker.check(), Ok(()));
        assert_eq!(Product::Podman.check(), Err(Refusal::Podman));
    }
}
