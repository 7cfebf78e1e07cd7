//! What lives outside the fleet: the servers that HTTP hooks call. They answer well, but where something else is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use nightshift_agent::hooks::{Answer, HookClient};
use serde_json::{Map, Value};

use super::notes::Notes;

/// What a server does instead of answering well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It answers with this status.
    Status(u16),
    /// Nobody listens.
    Refused,
    /// It takes the request and never answers.
    Silent,
}

/// The servers as one node reaches them. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Outside {
    troubles: Arc<Mutex<BTreeMap<String, Trouble>>>,
    notes: Notes,
}

impl Outside {
    pub(crate) fn new(notes: Notes) -> Self {
        Self { troubles: Arc::default(), notes }
    }

    /// From now on requests to this URL come to this.
    pub(crate) fn trouble(&self, url: &str, trouble: Trouble) {
        self.lock().insert(url.to_owned(), trouble);
    }

    /// All is well again.
    pub(crate) fn forgive(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HookClient for Outside {
    async fn post(&self, url: &str, body: &Map<String, Value>) -> Result<Answer, String> {
        let named = |key: &str| body.get(key).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
        if let Some(missing) = ["hook", "app", "node", "container_id", "role"].into_iter().find(|key| !named(key)) {
            self.notes.wrong(format!("the hook {url} was called without `{missing}`: {body:?}"));
        }
        let trouble = self.lock().get(url).copied();
        let said = trouble.map_or_else(|| "well".to_owned(), |trouble| format!("{trouble:?}"));
        self.notes.reached(format!("hook by http: {said}"));
        match trouble {
            None => Ok(Answer { status: 204, words: String::new() }),
            Some(Trouble::Status(status)) => Ok(Answer { status, words: "something is in the way".to_owned() }),
            Some(Trouble::Refused) => Err("connection refused".to_owned()),
            Some(Trouble::Silent) => std::future::pending().await,
        }
    }
}
