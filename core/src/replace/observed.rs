//! What the engine really holds of a step, read from raw inspects.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::{self, LABEL_ROLLOUT, LABEL_STEP};
use super::part::Part;
use crate::container::{ContainerView, Malformed};
use crate::step::StepKey;

#[cfg(doc)]
use super::record::Record;

/// What the engine holds of one container of the unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// The old container, by its id; `None` when it is gone.
    pub old: Option<ContainerView>,
    /// The old container's settings, in one number.
    pub old_settings: Option<u64>,
    /// The new container, by its id, or by its temporary name as long as the journal has no id.
    pub new: Option<ContainerView>,
    /// The networks that the new container is connected to.
    pub new_networks: BTreeSet<String>,
}

/// What the engine holds of a step at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The instance.
    pub instance: Sight,
    /// Those that depend on it, in the order of [`Record::dependents`].
    pub dependents: Vec<Sight>,
    /// The engine's id of the target image; `None` when it is not there.
    pub image: Option<String>,
}

impl Observed {
    /// The instance, then its dependents: in the order of [`Record::parts`].
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &Sight> {
        std::iter::once(&self.instance).chain(&self.dependents)
    }
}

impl Sight {
    /// Reads what was inspected of one part: the container [`Part::id`], and the one that [`Part::new_handle`] names;
    /// `None` is the engine's "not found".
    ///
    /// A container under the temporary name that does not carry this step's labels is somebody else's and not seen.
    ///
    /// # Errors
    /// An inspect lacks what every engine says.
    pub fn read(key: &StepKey, part: &Part, old: Option<&Value>, new: Option<&Value>) -> Result<Self, Malformed> {
        let old_settings = old.map(fingerprint);
        let old = old.map(ContainerView::from_inspect).transpose()?;
        let view = new.map(ContainerView::from_inspect).transpose()?.filter(|view| belongs(key, part, view));
        let networks = new.filter(|_| view.is_some()).and_then(|inspect| inspect.pointer("/NetworkSettings/Networks"));
        let new_networks =
            networks.and_then(Value::as_object).map(|networks| networks.keys().cloned().collect()).unwrap_or_default();
        Ok(Self { old, old_settings, new: view, new_networks })
    }
}

/// A number for all that a person can have set: another one means that someone changed it, as by `docker update` or
/// `docker network connect`. What the engine itself keeps changing is left out.
pub(super) fn fingerprint(inspect: &Value) -> u64 {
    let networks = inspect.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let networks: BTreeSet<&String> = networks.into_iter().flat_map(|networks| networks.keys()).collect();
    let part = |key: &str| inspect.get(key).cloned().unwrap_or(Value::Null);
    let mut host_config = part("HostConfig");
    if let Some(links) = host_config.get_mut("Links").and_then(Value::as_array_mut) {
        // The engine lists them in a different order each time.
        links.sort_by_key(Value::to_string);
    }
    names::fnv(&format!("{}\n{host_config}\n{networks:?}", part("Config")))
}

/// The engine's id of an image that was inspected.
///
/// # Errors
/// The inspect has none.
pub fn image_id(inspect: &Value) -> Result<String, Malformed> {
    inspect.get("Id").and_then(Value::as_str).map(str::to_owned).ok_or(Malformed("/Id"))
}

fn belongs(key: &StepKey, part: &Part, view: &ContainerView) -> bool {
    if part.new_id.as_ref() == Some(&view.id) {
        return true;
    }
    view.labels.get(LABEL_ROLLOUT).is_some_and(|rollout| rollout == key.rollout.as_str())
        && view.labels.get(LABEL_STEP).is_some_and(|step| *step == key.step.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_a_person_changes_makes_another_fingerprint() {
        let of = |host_config: Value, networks: Value, address: &str| {
            fingerprint(&json!({
                "Config": {"Env": ["A=1", "B=2"]}, "HostConfig": host_config,
                "NetworkSettings": {"Networks": networks, "IPAddress": address},
            }))
        };
        let linked = |links: [&str; 2]| json!({"Links": links, "Memory": 0});
        let on_bridge = json!({"bridge": {"IPAddress": "172.17.0.2"}});
        let before = of(linked(["/db:/web/db", "/cache:/web/cache"]), on_bridge.clone(), "172.17.0.2");
        let moved = json!({"bridge": {"IPAddress": "172.17.0.3"}});
        assert_eq!(of(linked(["/cache:/web/cache", "/db:/web/db"]), moved, "172.17.0.3"), before);
        assert_ne!(of(linked(["/cache:/web/cache", "/db:/web/store"]), on_bridge.clone(), ""), before);
        let connected = json!({"bridge": {}, "back": {}});
        assert_ne!(of(linked(["/db:/web/db", "/cache:/web/cache"]), connected, ""), before);
        let mut updated = linked(["/db:/web/db", "/cache:/web/cache"]);
        updated["Memory"] = json!(1);
        assert_ne!(of(updated, on_bridge, ""), before);
    }
}
