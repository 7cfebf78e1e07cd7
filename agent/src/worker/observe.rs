//! Looks at what the engine holds of a step.

use nightshift_core::container::Malformed;
use nightshift_core::replace::{Observed, Part, Record, Sight, image_id};
use serde_json::Value;

use crate::engine::{Engine, Error, Result};

/// What the engine holds of a step at this moment.
///
/// # Errors
/// The engine does not answer, or in words that cannot be understood.
pub(super) async fn observe(engine: &dyn Engine, record: &Record) -> Result<Observed> {
    let reference = record.pull_reference();
    let image = async {
        match record.image_id {
            Some(_) => Ok(None),
            None => found(engine.inspect_image(&reference).await),
        }
    };
    let dependents = record.dependents.iter().map(|part| sight(engine, record, part));
    let (instance, dependents, image) =
        tokio::try_join!(sight(engine, record, &record.instance), futures::future::try_join_all(dependents), image)?;
    let image = image.as_ref().map(image_id).transpose().map_err(malformed)?;
    Ok(Observed { instance, dependents, image })
}

async fn sight(engine: &dyn Engine, record: &Record, part: &Part) -> Result<Sight> {
    let handle = part.new_handle(&record.order.key);
    let (old, new) = tokio::join!(engine.inspect(&part.id.0), engine.inspect(&handle));
    let (old, new) = (found(old)?, found(new)?);
    Sight::read(&record.order.key, part, old.as_ref(), new.as_ref()).map_err(malformed)
}

fn malformed(error: Malformed) -> Error {
    Error::Malformed { call: "inspect", reason: error.to_string() }
}

/// "Not found" is an answer, not a failure.
pub(super) fn found(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
