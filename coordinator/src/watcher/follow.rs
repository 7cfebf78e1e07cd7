//! Tells the driver what the watcher sees, each app by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use nightshift_core::control;
use nightshift_core::event::Actor;
use nightshift_core::image::{Digest, ImageRef};

use super::{Asked, Observation, Options, Watcher};
use crate::driver::{Handle, Refusal, RegistryFailure};
use crate::registry::ImageSource;

/// Follows the tags of every app and passes on what they show, until the driver is gone.
///
/// # Errors
/// The driver is gone.
pub async fn follow(
    handle: Handle,
    images: Arc<dyn ImageSource>,
    options: Options,
    asked: Asked,
) -> Result<(), Refusal> {
    let mut followed = handle.followed();
    let (_watcher, mut observations) = Watcher::start(images, handle.followed(), options, asked);
    let mut last_seen = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            observation = observations.recv() => match observation {
                Some(observation) => tell(&handle, observation, &mut last_seen).await?,
                None => return Ok(()),
            },
            // The watcher says once what a reference shows: an app that comes later hears it from here.
            changed = followed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                for (image, (digest, created)) in &last_seen {
                    seen(&handle, image, digest, *created).await?;
                }
            }
        }
    }
}

type LastSeen = BTreeMap<ImageRef, (Digest, Option<DateTime<Utc>>)>;

async fn tell(handle: &Handle, observation: Observation, last_seen: &mut LastSeen) -> Result<(), Refusal> {
    match observation {
        Observation::Seen { image, digest, created } => {
            handle.registry(image.clone(), None).await?;
            seen(handle, &image, &digest, created).await?;
            last_seen.insert(image, (digest, created));
            Ok(())
        }
        Observation::Failed { image, error, retry_at } => {
            handle.registry(image, Some(RegistryFailure { error, retry_at })).await
        }
        Observation::Recovered { image } => handle.registry(image, None).await,
    }
}

/// Tells every app that follows an image what it points to. Where that is known already nothing happens.
async fn seen(
    handle: &Handle,
    image: &ImageRef,
    digest: &Digest,
    created: Option<DateTime<Utc>>,
) -> Result<(), Refusal> {
    let followed = handle.followed().borrow().clone();
    for (app, _) in followed.into_iter().filter(|(_, followed)| followed == image) {
        let request = control::Request::Seen { app, digest: digest.clone(), created };
        handle.request(request, Actor::nightshift()).await?;
    }
    Ok(())
}
