//! Instances, as an agent's inventory lists them.

use nightshift_core::instance::InstanceView;

use super::field::{Error, Within as _, bounded, list, parsed, start_of, text};
use super::step::{CONTAINER_LIMIT_BYTES, REASON_LIMIT_BYTES, container_id};
use super::time::{from_timestamp, optional_timestamp};
use super::words::Word;
use crate::pb;

/// Longest image reference, in bytes: a repository, a tag and a digest at their own limits.
pub(super) const REFERENCE_LIMIT_BYTES: usize = 1024;
/// Most digests of one image in one repository: each push of the same content under another index adds one.
const DIGEST_LIMIT: usize = 256;
/// Most containers that go before one: more than anybody orders by hand.
const AFTER_LIMIT: usize = 64;
/// Most obstacles of one container: a range of published ports makes one for each port.
const OBSTACLE_LIMIT: usize = 64;
/// Most instances on one node: more containers than one engine carries.
pub(super) const INSTANCE_LIMIT: usize = 16 * 1024;

impl From<&InstanceView> for pb::Instance {
    fn from(instance: &InstanceView) -> Self {
        Self {
            app: instance.app.as_str().to_owned(),
            container_id: instance.container_id.0.clone(),
            container: instance.container.clone(),
            image: instance.image.clone(),
            image_id: instance.image_id.clone(),
            digests: instance.digests.iter().take(DIGEST_LIMIT).map(|digest| digest.as_str().to_owned()).collect(),
            state: pb::ContainerState::from(instance.state).into(),
            health: pb::ContainerHealth::from(instance.health).into(),
            refusal: start_of(instance.refusal.as_deref().unwrap_or_default(), REASON_LIMIT_BYTES),
            image_created: instance.image_created.map(from_timestamp),
            after: instance.after.iter().take(AFTER_LIMIT).cloned().collect(),
            start_first_obstacles: instance
                .start_first_obstacles
                .iter()
                .take(OBSTACLE_LIMIT)
                .map(|obstacle| start_of(obstacle, REASON_LIMIT_BYTES))
                .collect(),
        }
    }
}

impl TryFrom<pb::Instance> for InstanceView {
    type Error = Error;
    fn try_from(instance: pb::Instance) -> Result<Self, Error> {
        let digests = list("digests", instance.digests, DIGEST_LIMIT)?;
        let refusal = bounded("refusal", instance.refusal, REASON_LIMIT_BYTES)?;
        let after = list("after", instance.after, AFTER_LIMIT)?;
        let obstacles = list("start_first_obstacles", instance.start_first_obstacles, OBSTACLE_LIMIT)?;
        let obstacle = |text| bounded("start_first_obstacles", text, REASON_LIMIT_BYTES);
        Ok(Self {
            app: parsed("app", &instance.app)?,
            container_id: container_id("container_id", instance.container_id)?,
            container: text("container", instance.container, CONTAINER_LIMIT_BYTES)?,
            image: bounded("image", instance.image, REFERENCE_LIMIT_BYTES)?,
            image_id: text("image_id", instance.image_id, REFERENCE_LIMIT_BYTES)?,
            digests: digests.iter().map(|digest| parsed("digests", digest)).collect::<Result<_, _>>()?,
            state: Word::from_wire("state", instance.state)?,
            health: Word::from_wire("health", instance.health)?,
            refusal: (!refusal.is_empty()).then_some(refusal),
            image_created: optional_timestamp("image_created", instance.image_created)?,
            after: after
                .into_iter()
                .map(|name| text("after", name, CONTAINER_LIMIT_BYTES))
                .collect::<Result<_, _>>()?,
            start_first_obstacles: obstacles.into_iter().map(obstacle).collect::<Result<_, _>>()?,
        })
    }
}

impl pb::Inventory {
    /// Every instance that an agent found.
    #[must_use]
    pub fn of(instances: &[InstanceView], watch_revision: u64) -> Self {
        Self { instances: instances.iter().map(Into::into).collect(), watch_revision, engine_error: String::new() }
    }

    /// The inventory of an engine that did not answer.
    #[must_use]
    pub fn of_silence(error: &str, watch_revision: u64) -> Self {
        Self { instances: Vec::new(), watch_revision, engine_error: start_of(error, REASON_LIMIT_BYTES) }
    }

    /// The instances, or why the engine did not answer: an absent list is never taken for an empty one.
    ///
    /// # Errors
    /// One of the instances cannot be used.
    pub fn into_instances(self) -> Result<Result<Vec<InstanceView>, String>, Error> {
        if !self.engine_error.is_empty() {
            return bounded("engine_error", self.engine_error, REASON_LIMIT_BYTES).map(Err);
        }
        let instances = list("instances", self.instances, INSTANCE_LIMIT)?;
        instances.into_iter().map(InstanceView::try_from).collect::<Result<_, _>>().within("instances").map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightshift_core::container::{Health, RunState};
    use nightshift_core::ids::ContainerId;

    fn instance() -> InstanceView {
        InstanceView {
            app: "web".parse().expect("a name"),
            container_id: ContainerId("0123456789abcdef".into()),
            container: "web-1".into(),
            image: "r.example/web:stable".into(),
            image_id: "sha256:1".into(),
            digests: vec![format!("sha256:{}", "0a".repeat(32)).parse().expect("a digest")],
            state: RunState::Running,
            health: Health::None,
            refusal: Some("it was started with a device".into()),
            image_created: Some("2026-11-01T00:00:00Z".parse().expect("an instant")),
            after: vec!["db".into()],
            start_first_obstacles: vec!["it publishes 80/tcp on host port 8080".into()],
        }
    }

    #[test]
    fn an_inventory_survives_the_wire() {
        let bare = InstanceView {
            digests: vec![],
            refusal: None,
            image_created: None,
            image: String::new(),
            after: vec![],
            start_first_obstacles: vec![],
            ..instance()
        };
        let both = [instance(), bare];
        assert_eq!(pb::Inventory::of(&both, 1).into_instances(), Ok(Ok(both.to_vec())));
        assert_eq!(pb::Inventory::of(&[], 1).into_instances(), Ok(Ok(vec![])));
        assert_eq!(pb::Inventory::of_silence("gone", 1).into_instances(), Ok(Err("gone".into())));
    }

    #[test]
    fn an_instance_without_a_field_is_refused_by_the_fields_name() {
        type Breaks = fn(&mut pb::Instance);
        let cases: [(&str, Breaks); 6] = [
            ("instances.app", |instance| instance.app.clear()),
            ("instances.container_id", |instance| instance.container_id.clear()),
            ("instances.container", |instance| instance.container.clear()),
            ("instances.image_id", |instance| instance.image_id.clear()),
            ("instances.state", |instance| instance.state = 0),
            ("instances.health", |instance| instance.health = 0),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::Inventory::of(&[instance()], 1);
            breaks(&mut wire.instances[0]);
            assert_eq!(wire.into_instances(), Err(Error::missing(field)));
        }
    }

    #[test]
    fn a_malformed_or_endless_instance_is_refused() {
        type Breaks = fn(&mut pb::Instance);
        let cases: [(&str, Breaks); 7] = [
            ("after", |instance| instance.after = vec!["x".into(); AFTER_LIMIT + 1]),
            ("start_first_obstacles", |instance| {
                instance.start_first_obstacles = vec!["x".repeat(REASON_LIMIT_BYTES + 1)];
            }),
            ("digests", |instance| instance.digests = vec!["latest".into()]),
            ("digests", |instance| instance.digests = vec![String::new(); DIGEST_LIMIT + 1]),
            ("refusal", |instance| instance.refusal = "x".repeat(REASON_LIMIT_BYTES + 1)),
            ("image", |instance| instance.image = "x".repeat(REFERENCE_LIMIT_BYTES + 1)),
            ("image_created", |instance| {
                instance.image_created = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 });
            }),
        ];
        for (field, breaks) in cases {
            let mut wire = pb::Instance::from(&instance());
            breaks(&mut wire);
            let error = InstanceView::try_from(wire).expect_err(field).to_string();
            assert!(error.starts_with(&format!("field `{field}` is ")), "{error}");
        }
    }
}
