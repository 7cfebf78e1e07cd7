//! Removes what jobs have made: whatever carries a job's name and labels, of this agent, and is not the live job's.

use std::ffi::OsStr;
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};

use nightshift_core::ids::JobId;
use nightshift_core::image::ImageRef;
use nightshift_core::job::{BUILD_REPOSITORY, JobOrder, JobWork, LABEL_JOB, built_by, owner};
use nightshift_core::labels::Labels;
use nightshift_core::replace::KEEP_REPOSITORY;
use serde_json::Value;

use super::shelf::Record;
use crate::engine::{self, Engine};

type Result<T, E = engine::Error> = std::result::Result<T, E>;

/// Why something is left.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The engine's trouble.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A clone that cannot be removed.
    #[error("cannot remove `{}`: {source}", path.display())]
    Clone {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Removes the clones of every job but the live one, which is asked for after the list was made.
pub(super) fn remove_clones(scratch: &Path, live: impl Fn() -> Option<JobId>) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| Error::Clone { path, source }
    };
    let entries = match std::fs::read_dir(scratch) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed(scratch))?,
    };
    let live = live();
    let other = |name: &OsStr| live.as_ref().is_none_or(|live| name != live.as_str());
    for path in entries.iter().filter(|entry| other(&entry.file_name())).map(DirEntry::path) {
        std::fs::remove_dir_all(&path).map_err(failed(&path))?;
    }
    Ok(())
}

/// Removes containers with their unnamed volumes, then networks. Goes on after a failure, and says the first.
///
/// `live` is asked after each list was made: a job is live before it makes anything, so what it had made by then is known to
/// be its own. Asked before, one that begins meanwhile would lose its container.
pub(super) async fn remove_leftovers(
    engine: &dyn Engine,
    agent: &str,
    live: impl Fn() -> Option<JobId> + Send,
) -> Result<()> {
    let ours = |name: &str, labels: &Labels, live: &Option<JobId>| {
        owner(name, labels).is_some_and(|(job, of)| of == agent && Some(job) != *live)
    };
    let mut outcome = Ok(());
    let containers = engine.list().await?;
    let now = live();
    for container in containers.iter().filter(|container| ours(&container.name, &container.labels, &now)) {
        outcome = outcome.and(gone(engine.discard_with_volumes(&container.id).await));
    }
    let networks = engine.networks(LABEL_JOB).await?;
    let now = live();
    for network in networks.iter().filter(|network| ours(&network.name, &network.labels, &now)) {
        outcome = outcome.and(gone(engine.remove_network(&network.id).await));
    }
    outcome
}

/// Removes the names of what was built, and with them the images; the same goes for `live`.
pub(super) async fn remove_built(
    engine: &dyn Engine,
    agent: &str,
    live: impl Fn() -> Option<JobId> + Send,
) -> Result<()> {
    let mut outcome = Ok(());
    let images = engine.list_images().await?;
    let now = live();
    for name in images.iter().flat_map(|image| &image.repo_tags) {
        if built_by(name, agent).is_some_and(|job| Some(job) != now) {
            outcome = outcome.and(unused(engine.remove_image(name).await));
        }
    }
    outcome
}

/// Removes what a build has left: its name for the image, what the registry calls it, and layers without a name. The app's own
/// tag goes back to what it stood for before the push, unless somebody has moved it since. What was fetched ahead meanwhile
/// keeps what the registry calls it.
pub(super) async fn remove_build(engine: &dyn Engine, record: &Record) -> Result<()> {
    let Some(traces) = &record.build else { return Ok(()) };
    let image = &record.order.image;
    if let Some(built) = &traces.image {
        let names = inspected(engine, built).await?.map(|built| names(&built)).unwrap_or_default();
        let (own, at_registry) = (format!("{BUILD_REPOSITORY}:"), format!("{}@", image.repository.familiar()));
        // Fetched ahead meanwhile, it is needed by what the registry calls it. An engine forgets that with the last tag of its
        // repository.
        let needed = names.iter().any(|name| name.starts_with(&format!("{KEEP_REPOSITORY}:")));
        match &traces.moved {
            Some(None) if needed => {}
            Some(before) => give_back(engine, image, built, before.as_deref()).await?,
            None => {}
        }
        for name in names.iter().filter(|name| name.starts_with(&own) || (!needed && name.starts_with(&at_registry))) {
            unused(engine.remove_image(name).await)?;
        }
    }
    // The newest first: an image goes only when no other is made of it.
    for layer in traces.layers.iter().rev() {
        if inspected(engine, layer).await?.is_some_and(|layer| names(&layer).is_empty()) {
            unused(engine.remove_image(layer).await)?;
        }
    }
    Ok(())
}

/// The app's own tag stands for what it stood for before.
async fn give_back(engine: &dyn Engine, image: &ImageRef, built: &str, before: Option<&str>) -> Result<()> {
    let (repository, tag) = (image.repository.familiar(), &image.tag);
    let name = format!("{repository}:{tag}");
    let current = inspected(engine, &name).await?;
    if current.is_none_or(|current| current["Id"] != built) {
        return Ok(());
    }
    match before {
        // It was removed meanwhile: then nothing had this name.
        Some(before) if inspected(engine, before).await?.is_some() => engine.tag(before, &repository, tag).await,
        Some(_) | None => unused(engine.remove_image(&name).await),
    }
}

async fn inspected(engine: &dyn Engine, reference: &str) -> Result<Option<Value>> {
    match engine.inspect_image(reference).await {
        Ok(image) => Ok(Some(image)),
        Err(engine::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(image: &Value) -> Vec<String> {
    let of = |key: &str| image[key].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    of("RepoTags").chain(of("RepoDigests")).collect()
}

/// An image that something uses stays.
fn unused(removed: Result<()>) -> Result<()> {
    match removed {
        Err(engine::Error::Conflict { .. }) => Ok(()),
        removed => gone(removed),
    }
}

/// Removes the image that a job had fetched, unless somebody has given it a name or uses it meanwhile.
pub(super) async fn remove_image(engine: &dyn Engine, order: &JobOrder) -> Result<()> {
    let JobWork::SelfTest { digest, .. } = &order.work else { return Ok(()) };
    let reference = order.image.repository.at(digest);
    let Some(image) = inspected(engine, &reference).await? else { return Ok(()) };
    let count = |key: &str| image[key].as_array().map_or(0, Vec::len);
    let other = |name: &Value| name.as_str().is_some_and(|name| !name.ends_with(digest.as_str()));
    let foreign = image["RepoDigests"].as_array().into_iter().flatten().any(other);
    if count("RepoTags") > 0 || foreign {
        return Ok(());
    }
    unused(engine.remove_image(&reference).await)
}

/// What is not there is removed.
fn gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(engine::Error::NotFound { .. }) => Ok(()),
        removed => removed,
    }
}
