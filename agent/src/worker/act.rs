//! Does one action: the engine's call, and what the record learns from its answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use nightshift_core::ids::{AppName, ContainerId};
use nightshift_core::image::Repository;
use nightshift_core::instance::ImageState;
use nightshift_core::mutation::{Rule, broken};
use nightshift_core::replace::images::{HeldImage, surplus};
use nightshift_core::replace::{
    Action, Dependent, Inspects, KEEP_REPOSITORY, Place, Record, blueprint, dependents, is_in_replacement,
};
use nightshift_core::step::{Failure, FailureKind, LOG_LIMIT_BYTES};
use serde_json::{Value, json};
use tracing::{debug, info};

use super::observe::found;
use super::{Shared, calls};
use crate::engine::{self, Engine, PullFailure};
use crate::{hooks, prober};

/// Lines of the failed container's log that are asked for: the byte limit is what counts, this bounds the engine's work.
const LOG_LINES: u32 = 200;

/// From this HTTP status on the engine says that it failed, below that the request was wrong or is not allowed.
const FIRST_SERVER_ERROR: u16 = 500;

/// Why an action was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The engine's answer.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The registry's credentials cannot be had.
    #[error("registry credentials: {0}")]
    Credentials(String),
}

impl Trouble {
    /// Whether what touches nothing may succeed when it is tried again soon.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Engine(engine::Error::Pull { failure, .. }) => match failure {
                PullFailure::Unreachable | PullFailure::RateLimited | PullFailure::Other => true,
                PullFailure::NotFound | PullFailure::Denied | PullFailure::DiskFull => false,
            },
            Self::Engine(engine::Error::Refused { status, .. }) => *status >= FIRST_SERVER_ERROR,
            Self::Engine(_) | Self::Credentials(_) => false,
        }
    }
}

/// Does an action and folds the answer into the record.
///
/// # Errors
/// It was not done, or nobody knows.
pub(super) async fn perform(shared: &Arc<Shared>, record: &mut Record, action: &Action) -> Result<(), Trouble> {
    let engine = &*shared.engine;
    match action {
        Action::TryCalls => {
            if !record.found_engine(engine.info().await?.product) {
                return Ok(());
            }
            calls::try_out(engine, &record.order).await?;
        }
        Action::Pull { .. } => {
            let order = &record.order;
            let pulled = pull(shared, &order.app, &order.image.repository, &order.digest).await;
            // Whoever was told of progress waits for an end: another try may find the image there, and pull nothing.
            let state = pulled
                .as_ref()
                .map_or_else(|trouble| ImageState::Failed(trouble.to_string()), |()| ImageState::Present);
            shared.report_image(&order.app, &order.digest, state);
            pulled?;
        }
        Action::KeepImage { image_id, tag } => engine.tag(image_id, KEEP_REPOSITORY, tag).await?,
        Action::Plan => plan(engine, record).await?,
        Action::Create { name, body } => {
            let id = engine.create(name, body).await?;
            record.created(name, id);
        }
        Action::Connect { network, body } => engine.connect_network(network, body).await?,
        Action::ParkRestartPolicy { old: id } | Action::ParkNewPolicy { new: id } => {
            engine.set_restart_policy(id, &json!({"Name": "no", "MaximumRetryCount": 0})).await?;
        }
        Action::RestoreRestartPolicy { old, policy } => engine.set_restart_policy(old, policy).await?,
        Action::RenameOldAway { old: id, name }
        | Action::RenameNewIn { new: id, name }
        | Action::RenameNewOut { new: id, name }
        | Action::RenameOldBack { old: id, name } => engine.rename(id, name).await?,
        Action::StopOld { old: id, grace } | Action::StopNew { new: id, grace } => engine.stop(id, *grace).await?,
        Action::Start { new: id } | Action::StartOld { old: id } => engine.start(id).await?,
        Action::Probe { new, check } => record.probed(prober::probe(engine, new, check).await),
        Action::Hook { point, container, hook } => {
            let outcome = hooks::call(engine, &*shared.hooks, record, *point, container, hook).await?;
            info!(step = %record.order.key, hook = %point, ?outcome, "hook called");
            record.hooked(action, outcome);
        }
        Action::RemoveOld { old } => engine.remove(old).await?,
        Action::RemoveNew { new } => engine.discard(new).await?,
        Action::TagFollowed { image_id, repository, tag } => {
            engine.tag(image_id, &repository.familiar(), tag).await?;
        }
        Action::CleanImages { app, repository, image_id, keep } => {
            clean_images(engine, app, repository, image_id, *keep).await?;
        }
        Action::TakeLog { new } => record.logged(&last_words(engine, new).await?),
        Action::Wait(_) | Action::End => {}
    }
    record.done(action);
    Ok(())
}

/// Fetches an image and reports how far it is.
pub(super) async fn pull(
    shared: &Arc<Shared>,
    app: &AppName,
    repository: &Repository,
    digest: &nightshift_core::image::Digest,
) -> Result<(), Trouble> {
    let auth = shared.credentials.find(repository).await.map_err(Trouble::Credentials)?;
    let reference = repository.at(digest);
    let mut progress = |progress| shared.report_image(app, digest, ImageState::Pulling(progress));
    shared.engine.pull(&reference, auth.as_ref(), &mut progress).await?;
    Ok(())
}

async fn plan(engine: &dyn Engine, record: &mut Record) -> Result<(), Trouble> {
    let (Some(old), Some(image_id)) = (&record.instance.old, &record.image_id) else { return Ok(()) };
    let old_id = &record.order.container_id;
    let container = engine.inspect(&old_id.0).await?;
    let old_image = engine.inspect_image(&old.image_id).await?;
    let new_image = engine.inspect_image(image_id).await?;
    let mut others: Vec<Value> = Vec::new();
    for other in engine.list().await?.iter().filter(|other| other.id != *old_id && !is_in_replacement(&other.name)) {
        // One that has vanished meanwhile depends on nothing.
        others.extend(found(engine.inspect(&other.id.0).await)?);
    }
    let place = Place { id: old_id.clone(), name: record.order.container.clone() };
    let unit: Vec<&Value> = match dependents(&place, &others) {
        Ok(_) if broken(Rule::Dependents) => Vec::new(),
        Ok(places) => places.into_iter().filter_map(|at| others.get(at)).collect(),
        Err(reason) => {
            record.planned(Err(Failure { kind: FailureKind::Precondition, reason, log: String::new() }));
            return Ok(());
        }
    };
    let mut images: Vec<Value> = Vec::new();
    for container in &unit {
        let id = container.get("Image").and_then(Value::as_str).unwrap_or_default();
        images.push(engine.inspect_image(id).await?);
    }
    let dependents: Vec<Dependent<'_>> =
        unit.iter().zip(&images).map(|(container, image)| Dependent { container, image }).collect();
    let about = engine.info().await?;
    let result = blueprint(
        record,
        &Inspects {
            container: &container,
            old_image: &old_image,
            new_image: &new_image,
            dependents: &dependents,
            api_version: about.api_version,
            product: about.product,
        },
    );
    record.planned(result);
    Ok(())
}

async fn clean_images(
    engine: &dyn Engine,
    app: &AppName,
    repository: &Repository,
    running: &str,
    keep: u32,
) -> Result<(), engine::Error> {
    let used: BTreeSet<String> = engine.list().await?.into_iter().map(|container| container.image_id).collect();
    let images: Vec<HeldImage> = engine
        .list_images()
        .await?
        .into_iter()
        .map(|image| HeldImage {
            id: image.id,
            tags: image.repo_tags,
            digests: image.repo_digests,
            created: image.created,
        })
        .collect();
    for reference in surplus(app, repository, running, keep, &images, &used) {
        match engine.remove_image(&reference).await {
            Ok(()) => info!(image = %reference, "old image removed"),
            Err(error) if error.is_engine_away() => return Err(error),
            // Somebody uses it, or it is gone: it is looked at again after the next step.
            Err(error) => debug!(image = %reference, %error, "old image stays"),
        }
    }
    Ok(())
}

/// The last lines that a container wrote, and what its health check said last.
async fn last_words(engine: &dyn Engine, container: &ContainerId) -> Result<String, engine::Error> {
    let mut words = engine.logs_tail(container, LOG_LINES, LOG_LIMIT_BYTES).await?;
    let inspect = engine.inspect(&container.0).await?;
    let checks = inspect.pointer("/State/Health/Log").and_then(Value::as_array);
    if let Some(check) = checks.and_then(|log| log.last()) {
        let output = check.get("Output").and_then(Value::as_str).unwrap_or_default().trim();
        let code = check.get("ExitCode").and_then(Value::as_i64).unwrap_or_default();
        if !words.is_empty() && !words.ends_with('\n') {
            words.push('\n');
        }
        words.push_str(&format!("[health check ended with {code}] {output}\n"));
    }
    Ok(words)
}
