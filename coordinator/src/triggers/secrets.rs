//! Secrets of triggers: read when they are sent, and for the hosts alone that they are meant for.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use nightshift_core::rebuild::template::SecretName;
use nightshift_core::rebuild::trigger::{HttpTrigger, Origin};

use crate::config::{SecretConfig, SecretSource};
use crate::secret::Secret;

/// Longest secret, in bytes: tokens are short, and headers have limits.
const LIMIT_BYTES: u64 = 4 * 1024;

/// Why a secret is not sent. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The coordinator's file has none of that name.
    #[error("there is no secret `{0}`: the coordinator's file needs a `[[secret]]` of that name")]
    Unknown(SecretName),
    /// It is not for that host.
    #[error("secret `{name}` may not be sent to {origin}: its `hosts` in the coordinator's file do not name it")]
    NotFor {
        /// Which.
        name: SecretName,
        /// Where it was to go.
        origin: Origin,
    },
    /// Its value cannot be read.
    #[error("secret `{name}` cannot be read: {reason}")]
    Unreadable {
        /// Which.
        name: SecretName,
        /// Why.
        reason: String,
    },
}

/// All that are configured.
#[derive(Debug, Clone, Default)]
pub struct Secrets(BTreeMap<SecretName, SecretConfig>);

impl Secrets {
    /// These. Paths are absolute.
    #[must_use]
    pub fn new(configured: Vec<SecretConfig>) -> Self {
        Self(configured.into_iter().map(|secret| (secret.name.clone(), secret)).collect())
    }

    /// Whether everything in a trigger may be sent to where it goes.
    ///
    /// # Errors
    /// The first secret that may not.
    pub fn check(&self, trigger: &HttpTrigger, origin: &Origin) -> Result<(), Error> {
        trigger.secrets().into_iter().try_for_each(|name| self.allowed(name, origin).map(drop))
    }

    fn allowed(&self, name: &SecretName, origin: &Origin) -> Result<&SecretConfig, Error> {
        let known = self.0.get(name).ok_or_else(|| Error::Unknown(name.clone()))?;
        let not_for = || Error::NotFor { name: name.clone(), origin: origin.clone() };
        if known.hosts.contains(origin) { Ok(known) } else { Err(not_for()) }
    }

    /// The value, for a request to this origin.
    ///
    /// # Errors
    /// It may not be sent there, or cannot be read.
    pub fn value(&self, name: &SecretName, origin: &Origin) -> Result<Secret, Error> {
        let read = match &self.allowed(name, origin)?.source {
            SecretSource::File(path) => of_file(path),
            SecretSource::Env(variable) => {
                std::env::var(variable).map_err(|_| format!("the environment has no text in `{variable}`"))
            }
        };
        let unreadable = |reason| Error::Unreadable { name: name.clone(), reason };
        let text = read.map_err(unreadable)?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() { Err(unreadable("it is empty".to_owned())) } else { Ok(Secret::new(text)) }
    }
}

fn of_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| format!("`{shown}`: {error}"))?;
    let read = file.take(LIMIT_BYTES + 1).read_to_string(&mut text).map_err(|error| format!("`{shown}`: {error}"))?;
    if read as u64 > LIMIT_BYTES { Err(format!("`{shown}` has more than {LIMIT_BYTES} bytes")) } else { Ok(text) }
}
