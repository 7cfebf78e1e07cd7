//! Looks at what the engine holds of a step.

use nightshift_core::replace::{Observed, Record};
use serde_json::Value;

use crate::engine::{Engine, Error, Result};

/// What the engine holds of a step at this moment.
///
/// # Errors
/// The engine does not answer, or in words that cannot be understood.
pub(super) async fn observe(engine: &dyn Engine, record: &Record) -> Result<Observed> {
    let (reference, handle) = (record.pull_reference(), record.new_handle());
    let image =
        async { if record.image_id.is_some() { Ok(None) } else { found(engine.inspect_image(&reference).await) } };
    let (old, new, image) = tokio::join!(engine.inspect(&record.order.container_id.0), engine.inspect(&handle), image);
    let (old, new, image) = (found(old)?, found(new)?, image?);
    Observed::read(record, old.as_ref(), new.as_ref(), image.as_ref())
        .map_err(|error| Error::Malformed { call: "inspect", reason: error.to_string() })
}

/// "Not found" is an answer, not a failure.
pub(super) fn found(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
