//! Tells the driver what the watcher sees, each app by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nightshift_core::control;
use nightshift_core::event::Actor;
use nightshift_core::image::{DEFAULT_TAG, Digest, ImageRef, Repository};
use nightshift_core::release::Description;
use nightshift_core::signature::Signature;

use super::{Asked, Observation, Options, Target, Unsigned, Watcher};
use crate::driver::{Handle, Refusal, RegistryFailure};
use crate::registry::ImageSource;

/// Follows the tags of every app, and the signatures that they miss, and passes on what they show, until the driver is gone.
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
    let mut last = LastSeen::default();
    loop {
        tokio::select! {
            biased;
            observation = observations.recv() => match observation {
                Some(observation) => tell(&handle, observation, &mut last).await?,
                None => return Ok(()),
            },
            // The watcher says once what a reference shows: an app that comes later, or changes its keys, hears it from here.
            changed = followed.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                last.tell_all(&handle).await?;
            }
        }
    }
}

/// What was seen last of what is followed.
#[derive(Default)]
struct LastSeen {
    tags: BTreeMap<ImageRef, (Digest, Description)>,
    lists: BTreeMap<Repository, Arc<[String]>>,
    signatures: BTreeMap<(Repository, Digest), Vec<Signature>>,
}

impl LastSeen {
    async fn tell_all(&mut self, handle: &Handle) -> Result<(), Refusal> {
        let targets = handle.followed().borrow().targets();
        self.tags.retain(|image, _| targets.contains(&Target::Tag(image.clone())));
        self.lists.retain(|repository, _| targets.contains(&Target::Tags(repository.clone())));
        self.signatures.retain(|(repository, digest), _| {
            targets.contains(&Target::Signatures(repository.clone(), digest.clone()))
        });
        for (repository, tags) in &self.lists {
            listed(handle, repository, tags).await?;
        }
        for (image, (digest, about)) in &self.tags {
            seen(handle, image, digest, about).await?;
        }
        for ((repository, digest), signatures) in &self.signatures {
            signed(handle, repository, digest, signatures).await?;
        }
        Ok(())
    }
}

async fn tell(handle: &Handle, observation: Observation, last: &mut LastSeen) -> Result<(), Refusal> {
    match observation {
        Observation::Seen { image, digest, about } => {
            handle.registry(image.clone(), None).await?;
            seen(handle, &image, &digest, &about).await?;
            last.tags.insert(image, (digest, about));
            Ok(())
        }
        Observation::Signatures { repository, digest, signatures } => {
            signed(handle, &repository, &digest, &signatures).await?;
            last.signatures.insert((repository, digest), signatures);
            Ok(())
        }
        Observation::Tags { repository, tags } => {
            listed(handle, &repository, &tags).await?;
            last.lists.insert(repository, tags);
            Ok(())
        }
        Observation::Failed { target, error, retry_at } => {
            let failure = RegistryFailure { error, retry_at };
            for image in concerned(handle, target) {
                handle.registry(image, Some(failure.clone())).await?;
            }
            Ok(())
        }
        Observation::Recovered { target } => {
            for image in concerned(handle, target) {
                handle.registry(image, None).await?;
            }
            Ok(())
        }
    }
}

/// The references under which a failed look is shown. A registry that cannot be asked for signatures is told of by its tags.
fn concerned(handle: &Handle, target: Target) -> BTreeSet<ImageRef> {
    match target {
        Target::Tag(image) => [image].into(),
        Target::Tags(repository) => {
            let followed = handle.followed().borrow().clone();
            let lists = followed.lists.into_iter().filter(|(_, (list, _))| *list == repository);
            let unknown = ImageRef { repository: repository.clone(), tag: DEFAULT_TAG.to_owned() };
            lists.map(|(app, _)| followed.tags.get(&app).unwrap_or(&unknown).clone()).collect()
        }
        Target::Signatures(..) => BTreeSet::new(),
    }
}

/// Tells every app that chooses among a repository's tags which there are.
async fn listed(handle: &Handle, repository: &Repository, tags: &Arc<[String]>) -> Result<(), Refusal> {
    let followed = handle.followed().borrow().clone();
    for (app, _) in followed.lists.into_iter().filter(|(_, (list, _))| list == repository) {
        let request = control::Request::Tags { app, tags: tags.clone() };
        handle.request(request, Actor::nightshift()).await?;
    }
    Ok(())
}

/// Tells every app that follows an image what it points to. Where that is known already nothing happens.
async fn seen(handle: &Handle, image: &ImageRef, digest: &Digest, about: &Description) -> Result<(), Refusal> {
    let followed = handle.followed().borrow().clone();
    for (app, _) in followed.tags.into_iter().filter(|(_, followed)| followed == image) {
        let request =
            control::Request::Seen { app, image: image.clone(), digest: digest.clone(), about: about.clone() };
        handle.request(request, Actor::nightshift()).await?;
    }
    Ok(())
}

/// Tells every app that misses a digest's signature what the registry has. Each judges by its own keys.
async fn signed(
    handle: &Handle,
    repository: &Repository,
    digest: &Digest,
    signatures: &[Signature],
) -> Result<(), Refusal> {
    let followed = handle.followed().borrow().clone();
    let concerned = |one: &Unsigned| one.repository == *repository && one.digest == *digest;
    for Unsigned { app, .. } in followed.unsigned.into_iter().filter(concerned) {
        let request = control::Request::Signatures { app, digest: digest.clone(), signatures: signatures.to_vec() };
        handle.request(request, Actor::nightshift()).await?;
    }
    Ok(())
}
