//! What is looked at in registries: tags, lists of tags, and signatures that an app misses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nightshift_core::ids::{AppName, SpecVersion};
use nightshift_core::image::{Digest, ImageRef, Repository};

use crate::registry::signature_reference;

/// One thing that is looked at, however many apps want to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Which digest a tag points to.
    Tag(ImageRef),
    /// Which tags there are.
    Tags(Repository),
    /// Who signed a digest.
    Signatures(Repository, Digest),
}

impl Target {
    /// Where it is.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        match self {
            Self::Tag(image) => &image.repository,
            Self::Tags(repository) | Self::Signatures(repository, _) => repository,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(image) => image.fmt(f),
            Self::Tags(repository) => repository.fmt(f),
            Self::Signatures(repository, digest) => signature_reference(repository, digest).fmt(f),
        }
    }
}

/// A digest whose signature an app misses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsigned {
    /// The app.
    pub app: AppName,
    /// The version of its file: what its keys are worth is judged again when they change.
    pub version: SpecVersion,
    /// Where the image is.
    pub repository: Repository,
    /// The image.
    pub digest: Digest,
}

/// What apps want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// The reference that each app follows.
    pub tags: BTreeMap<AppName, ImageRef>,
    /// The repositories of apps that choose among all tags, with the version of the app's file: a changed rule is applied to the
    /// tags that are known.
    pub lists: BTreeMap<AppName, (Repository, SpecVersion)>,
    /// Digests whose signatures are missed.
    pub unsigned: BTreeSet<Unsigned>,
}

impl Followed {
    /// What is to be looked at for all of it, each once.
    #[must_use]
    pub fn targets(&self) -> BTreeSet<Target> {
        let tags = self.tags.values().cloned().map(Target::Tag);
        let unsigned = self.unsigned.iter();
        let signatures = unsigned.map(|one| Target::Signatures(one.repository.clone(), one.digest.clone()));
        let lists = self.lists.values().map(|(repository, _)| Target::Tags(repository.clone()));
        tags.chain(lists).chain(signatures).collect()
    }
}
