//! Fetches images ahead of their window, so that a step finds them there.

use std::sync::Arc;

use nightshift_core::instance::{ImageState, Prepull};
use nightshift_core::replace::{KEEP_REPOSITORY, keep_tag};
use serde_json::Value;
use tracing::{info, warn};

use super::Shared;
use super::act::{Trouble, pull};
use super::observe::found;

/// Fetches in the background; what becomes of it is reported.
pub(super) fn spawn(shared: &Arc<Shared>, wanted: Prepull) {
    let worker = shared.clone();
    shared.spawn(async move {
        let state = match fetch(&worker, &wanted).await {
            Ok(()) => ImageState::Present,
            Err(reason) => {
                warn!(app = %wanted.app, digest = %wanted.digest.short(), %reason, "image not fetched");
                ImageState::Failed(reason)
            }
        };
        worker.report_image(&wanted.app, &wanted.digest, state);
    });
}

async fn fetch(shared: &Arc<Shared>, wanted: &Prepull) -> Result<(), String> {
    let repository = &wanted.image.repository;
    shared.journal.check_fence(wanted.epoch, None).map_err(|stale| stale.to_string())?;
    shared.limits.judge(repository, &wanted.digest, &wanted.signatures).map_err(|refusal| refusal.to_string())?;
    let _one_at_a_time = shared.prepulls.acquire().await.map_err(|closed| closed.to_string())?;
    get_and_keep(shared, wanted).await.map_err(|trouble| trouble.to_string())
}

async fn get_and_keep(shared: &Arc<Shared>, wanted: &Prepull) -> Result<(), Trouble> {
    let engine = &*shared.engine;
    let repository = &wanted.image.repository;
    let reference = repository.at(&wanted.digest);
    let image = match found(engine.inspect_image(&reference).await)? {
        Some(image) => image,
        None => {
            pull(shared, &wanted.app, repository, &wanted.digest).await?;
            info!(app = %wanted.app, digest = %wanted.digest.short(), "image fetched");
            engine.inspect_image(&reference).await?
        }
    };
    // An image without a tag is the first that a clean-up takes.
    if let Some(id) = image.get("Id").and_then(Value::as_str) {
        engine.tag(id, KEEP_REPOSITORY, &keep_tag(&wanted.app, id)).await?;
    }
    Ok(())
}
