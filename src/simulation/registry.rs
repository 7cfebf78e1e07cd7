//! The registry as the coordinator asks it: the simulated one that engines pull from, with failures of its own.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use nightshift_agent::engine::simulated::SimulatedRegistry;
use nightshift_coordinator::registry::{Error, ImageSource};
use nightshift_core::image::{Digest, ImageRef, Repository};
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

    async fn created(&self, repository: &Repository, digest: &Digest) -> Result<Option<DateTime<Utc>>, Error> {
        self.failure()?;
        Ok(self.registry.created(repository, digest))
    }

    /// Nobody signs in the simulation; an app that asks for signatures is refused before it begins.
    async fn signatures(&self, _repository: &Repository, _digest: &Digest) -> Result<Vec<Signature>, Error> {
        self.failure()?;
        Ok(Vec::new())
    }
}
