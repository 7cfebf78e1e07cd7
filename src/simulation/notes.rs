//! What a run has seen: situations that a batch of seeds must have reached, and mistakes that nobody else would notice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Pages {
    situations: BTreeSet<String>,
    mistakes: Vec<String>,
}

/// Notes of one run. Clones are the same notes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Pages>>);

impl Notes {
    /// A situation was reached.
    pub(crate) fn reached(&self, situation: impl Into<String>) {
        self.lock().situations.insert(situation.into());
    }

    /// Something is wrong.
    pub(crate) fn wrong(&self, mistake: impl Into<String>) {
        self.lock().mistakes.push(mistake.into());
    }

    pub(crate) fn situations(&self) -> BTreeSet<String> {
        self.lock().situations.clone()
    }

    pub(crate) fn mistakes(&self) -> Vec<String> {
        self.lock().mistakes.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
