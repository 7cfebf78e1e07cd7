//! The image store of a simulated engine: ids, and the names that point to them.

use std::collections::{BTreeMap, BTreeSet};

use nightshift_core::image::repository_of;
use serde_json::{Value, json};

use super::registry::SimulatedImage;
use crate::engine::{Error, ImageSummary, Result};

/// An image that the engine holds.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) image: SimulatedImage,
    /// `repository:tag` and `repository@digest`, in the engine's short form.
    names: BTreeSet<String>,
}

impl Stored {
    fn split_names(&self) -> (Vec<String>, Vec<String>) {
        self.names.iter().cloned().partition(|name| !name.contains('@'))
    }
}

/// All images that the engine holds, by id.
#[derive(Debug, Default)]
pub(super) struct Images(BTreeMap<String, Stored>);

fn unknown(reference: &str) -> Error {
    Error::NotFound { message: format!("No such image: {reference}") }
}

/// A reference in the form of the store: Docker Hub's parts left out, a tag added, a tag next to a digest dropped.
fn canonical(reference: &str) -> Option<String> {
    let repository = repository_of(reference).ok()?.familiar();
    if let Some((_, digest)) = reference.split_once('@') {
        return Some(format!("{repository}@{digest}"));
    }
    let tag = reference.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'));
    Some(format!("{repository}:{}", tag.unwrap_or("latest")))
}

impl Images {
    /// Finds an image by id, tag or digest.
    pub(super) fn find(&self, reference: &str) -> Result<(&String, &Stored)> {
        let by_id = self.0.get_key_value(reference);
        let name = canonical(reference);
        let by_name =
            || self.0.iter().find(|(_, stored)| name.as_ref().is_some_and(|name| stored.names.contains(name)));
        by_id.or_else(by_name).ok_or_else(|| unknown(reference))
    }

    /// Stores a pulled image under the name by which it was pulled.
    pub(super) fn add(&mut self, reference: &str, image: SimulatedImage) {
        let id = image.id();
        let stored = self.0.entry(id).or_insert_with(|| Stored { image, names: BTreeSet::new() });
        stored.names.extend(canonical(reference));
    }

    /// Stores an image that has no name yet.
    pub(super) fn add_built(&mut self, image: SimulatedImage) {
        self.0.entry(image.id()).or_insert_with(|| Stored { image, names: BTreeSet::new() });
    }

    /// Gives an image one more name, which another one loses.
    pub(super) fn tag(&mut self, reference: &str, repository: &str, tag: &str) -> Result<()> {
        let id = self.find(reference)?.0.clone();
        let name = canonical(&format!("{repository}:{tag}")).ok_or_else(|| Error::Refused {
            call: "tag",
            status: 400,
            message: "invalid reference format".to_owned(),
        })?;
        for (other, stored) in &mut self.0 {
            if *other == id {
                stored.names.insert(name.clone());
            } else {
                stored.names.remove(&name);
            }
        }
        Ok(())
    }

    /// Takes a name away. `user` is a container that was made from the image, if there is one.
    ///
    /// Rules of Engine 20.10: the last name of an image with containers stays (a tag and a digest of one repository count
    /// as one name). With the last tag of a repository its digests go, too. An image without names and containers goes.
    pub(super) fn remove(&mut self, reference: &str, user: impl Fn(&str) -> Option<String>) -> Result<()> {
        let id = self.find(reference)?.0.clone();
        let user = user(&id);
        let by_id = reference == id;
        let stored = self.0.get_mut(&id).ok_or_else(|| unknown(reference))?;
        let single = is_single_name(&stored.names);
        if let Some(container) = user.as_ref().filter(|_| by_id || single) {
            let message = format!(
                "conflict: unable to remove repository reference \"{reference}\" (must force) - container {container} is \
                 using its referenced image {}",
                id.get(7..19).unwrap_or(&id)
            );
            return Err(Error::Conflict { message });
        }
        if by_id && !single {
            let message = format!(
                "conflict: unable to delete {reference} (must be forced) - image is referenced in multiple repositories"
            );
            return Err(Error::Conflict { message });
        }
        if by_id {
            stored.names.clear();
        } else if let Some(name) = canonical(reference) {
            remove_name(&mut stored.names, &name);
        }
        if stored.names.is_empty() && user.is_none() {
            self.0.remove(&id);
        }
        Ok(())
    }

    /// The raw inspect of an image.
    pub(super) fn inspect(&self, reference: &str) -> Result<Value> {
        let (id, stored) = self.find(reference)?;
        let (tags, digests) = stored.split_names();
        Ok(json!({
            "Id": id, "RepoTags": tags, "RepoDigests": digests, "Created": stored.image.created.to_rfc3339(),
            "Config": stored.image.config, "Architecture": "amd64", "Os": "linux",
            "Size": stored.image.layers.iter().sum::<u64>(),
            "RootFS": {"Type": "layers", "Layers": stored.image.layers.iter().map(u64::to_string).collect::<Vec<_>>()},
        }))
    }

    pub(super) fn summaries(&self) -> Vec<ImageSummary> {
        let summary = |(id, stored): (&String, &Stored)| {
            let (repo_tags, repo_digests) = stored.split_names();
            ImageSummary {
                id: id.clone(),
                repo_tags,
                repo_digests,
                created: stored.image.created,
                size_bytes: stored.image.layers.iter().sum(),
            }
        };
        self.0.iter().map(summary).collect()
    }
}

fn repository(name: &str) -> &str {
    name.split_once('@').map_or_else(|| name.rsplit_once(':').map_or(name, |(name, _)| name), |(name, _)| name)
}

/// Whether the names are but one for a person: at most one tag, and no digest of another repository.
fn is_single_name(names: &BTreeSet<String>) -> bool {
    let repositories: BTreeSet<&str> = names.iter().map(|name| repository(name)).collect();
    names.iter().filter(|name| !name.contains('@')).count() <= 1 && repositories.len() <= 1
}

fn remove_name(names: &mut BTreeSet<String>, name: &str) {
    names.remove(name);
    let of_repository = |other: &String| repository(other) == repository(name);
    let tag_is_left = names.iter().any(|other| of_repository(other) && !other.contains('@'));
    if !name.contains('@') && !tag_is_left {
        names.retain(|other| !of_repository(other));
    }
}
