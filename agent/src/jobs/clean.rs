//! Removes what jobs have made: whatever carries a job's name and labels, of this agent, and is not the live job's.

use nightshift_core::ids::JobId;
use nightshift_core::job::{JobOrder, JobWork, LABEL_JOB, owner};
use nightshift_core::labels::Labels;
use serde_json::Value;

use crate::engine::{Engine, Error, Result};

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

/// Removes the image that a job had fetched, unless somebody has given it a name or uses it meanwhile.
pub(super) async fn remove_image(engine: &dyn Engine, order: &JobOrder) -> Result<()> {
    let JobWork::SelfTest { digest, .. } = &order.work;
    let reference = order.image.repository.at(digest);
    let image = match engine.inspect_image(&reference).await {
        Ok(image) => image,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let count = |key: &str| image[key].as_array().map_or(0, Vec::len);
    let other = |name: &Value| name.as_str().is_some_and(|name| !name.ends_with(digest.as_str()));
    let foreign = image["RepoDigests"].as_array().into_iter().flatten().any(other);
    if count("RepoTags") > 0 || foreign {
        return Ok(());
    }
    match engine.remove_image(&reference).await {
        Err(Error::Conflict { .. }) => Ok(()),
        removed => gone(removed),
    }
}

/// What is not there is removed.
fn gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(Error::NotFound { .. }) => Ok(()),
        removed => removed,
    }
}
