//! What the engine really holds of a step, read from raw inspects.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::{self, LABEL_ROLLOUT, LABEL_STEP};
use super::record::Record;
use crate::container::{ContainerView, Malformed};

/// What the engine holds of a step at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The old container, by its id; `None` when it is gone.
    pub old: Option<ContainerView>,
    /// The old container's settings, in one number: [`fingerprint`].
    pub old_settings: Option<u64>,
    /// The new container, by its id, or by its temporary name as long as the journal has no id.
    pub new: Option<ContainerView>,
    /// The networks that the new container is connected to.
    pub new_networks: BTreeSet<String>,
    /// The engine's id of the target image; `None` when it is not there.
    pub image: Option<String>,
}

impl Observed {
    /// Reads what was inspected: the container `order.container_id`, the one that [`Record::new_handle`] names, and the
    /// image [`Record::pull_reference`]; `None` is the engine's "not found".
    ///
    /// A container under the temporary name that does not carry this step's labels is somebody else's and not seen.
    ///
    /// # Errors
    /// An inspect lacks what every engine says.
    pub fn read(
        record: &Record,
        old: Option<&Value>,
        new: Option<&Value>,
        image: Option<&Value>,
    ) -> Result<Self, Malformed> {
        let old_settings = old.map(fingerprint);
        let old = old.map(ContainerView::from_inspect).transpose()?;
        let view = new.map(ContainerView::from_inspect).transpose()?.filter(|view| belongs(record, view));
        let networks = new.filter(|_| view.is_some()).and_then(|inspect| inspect.pointer("/NetworkSettings/Networks"));
        let new_networks =
            networks.and_then(Value::as_object).map(|networks| networks.keys().cloned().collect()).unwrap_or_default();
        let image = match image {
            Some(inspect) => {
                let id = inspect.get("Id").and_then(Value::as_str).ok_or(Malformed("/Id"))?;
                Some(id.to_owned())
            }
            None => None,
        };
        Ok(Self { old, old_settings, new: view, new_networks, image })
    }
}

/// A number for all that a person can have set: another one means that someone changed it, as by `docker update` or
/// `docker network connect`. What the engine itself keeps changing is left out.
pub(super) fn fingerprint(inspect: &Value) -> u64 {
    let networks = inspect.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let networks: BTreeSet<&String> = networks.into_iter().flat_map(|networks| networks.keys()).collect();
    let part = |key: &str| inspect.get(key).unwrap_or(&Value::Null).to_string();
    names::fnv(&format!("{}\n{}\n{networks:?}", part("Config"), part("HostConfig")))
}

fn belongs(record: &Record, view: &ContainerView) -> bool {
    if record.new_id.as_ref() == Some(&view.id) {
        return true;
    }
    let key = &record.order.key;
    view.labels.get(LABEL_ROLLOUT).is_some_and(|rollout| rollout == key.rollout.as_str())
        && view.labels.get(LABEL_STEP).is_some_and(|step| *step == key.step.to_string())
}
