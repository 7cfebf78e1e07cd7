//! The registry as the coordinator asks it: the simulated one that engines pull from, with failures of its own.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use nightshift_agent::engine::simulated::SimulatedRegistry;
use nightshift_coordinator::registry::{Error, ImageSource};
use nightshift_core::image::{Digest, ImageRef, Repository};
use nightshift_core::release::Description;
use nightshift_core::signature::Signature;

use super::notes::Notes;

/// Answers the watcher. Clones are the same registry.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) registry: SimulatedRegistry,
    failure: Arc<Mutex<Option<Error>>>,
    notes: Notes,
}

impl Source {
    pub(crate) fn new(notes: Notes) -> Self {
        Self { registry: SimulatedRegistry::new(), failure: Arc::default(), notes }
    }

    /// From now on every question fails like this, or none any more.
    pub(crate) fn set_failure(&self, failure: Option<Error>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn failure(&self) -> Result<(), Error> {
        let Some(error) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return Ok(()) };
        let word = format!("{error:?}");
        self.notes.reached(format!("the watcher heard {}", word.split([' ', '{']).next().unwrap_or_default()));
        Err(error)
    }
}

#[async_trait]
impl ImageSource for Source {
    async fn head(&self, image: &ImageRef) -> Result<Digest, Error> {
        self.failure()?;
        self.registry.resolve(image).ok_or_else(|| Error::NotFound { reference: image.to_string() })
    }

    async fn describe(&self, repository: &Repository, digest: &Digest) -> Result<Description, Error> {
        self.failure()?;
        Ok(Description { created: self.registry.created(repository, digest), platforms: Vec::new() })
    }

    /// Nor does anybody choose among tags there.
    async fn tags(&self, _repository: &Repository) -> Result<Vec<String>, Error> {
        self.failure()?;
        Ok(Vec::new())
    }

    /// Nobody signs in the simulation: `rehearse` takes its images as signed.
    async fn signatures(&self, _repository: &Repository, _digest: &Digest) -> Result<Vec<Signature>, Error> {
        self.failure()?;
        Ok(Vec::new())
    }
}
