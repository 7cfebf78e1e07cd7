//! What an agent needs to run, usable as it is: the configuration file's settings resolved, or what `nightshift dev` makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nightshift_core::ids::NodeName;
use nightshift_core::labels::Labels;
use nightshift_core::signature::PublicKey;

use super::Error;
use crate::config::{self, AgentConfig, LimitsConfig, SignedConfig};
use crate::credentials::DockerCredentials;
use crate::dial::Server;
use crate::engine::Engine;
use crate::files;
use crate::identity::JoinToken;
use crate::limits::{Limits, Signed};

/// Settings of one agent.
#[derive(Debug, Clone)]
pub struct Options {
    /// The node's name, unique in the fleet.
    pub node: NodeName,
    /// The node's labels.
    pub labels: Labels,
    /// Where journal and identity are kept; one agent at a time.
    pub data_dir: PathBuf,
    /// Where the coordinator listens for agents.
    pub coordinator: Server,
    /// What to join with, needed once.
    pub join_token: Option<TokenSource>,
    /// The engine to work on.
    pub engine: EngineSource,
    /// Where credentials for pulls are.
    pub docker_config: DockerCredentials,
    /// What this node never does.
    pub limits: Limits,
}

/// Which engine.
#[derive(Debug, Clone)]
pub enum EngineSource {
    /// A daemon, which need not answer yet.
    Url(String),
    /// One that is there already.
    Ready(Arc<dyn Engine>),
}

/// Where the join token is.
#[derive(Debug, Clone)]
pub enum TokenSource {
    /// Here.
    Inline(JoinToken),
    /// In a file, which is read when the token is needed and may be gone afterwards.
    File(PathBuf),
}

impl TokenSource {
    pub(super) fn token(&self) -> Result<Option<JoinToken>, Error> {
        match self {
            Self::Inline(token) => Ok(Some(token.clone())),
            Self::File(path) => {
                let Some(text) = files::read(path)? else { return Ok(None) };
                let place = || format!("`{}`", path.display());
                text.parse().map(Some).map_err(|source| Error::Token { place: place(), source })
            }
        }
    }
}

impl Options {
    /// The settings of an agent file on the host of this name.
    ///
    /// # Errors
    /// Something in it does not fit together: the host's name is no node's name, the join token is none, or a file of a key holds
    /// none.
    pub fn from_config(config: AgentConfig, host_name: &str) -> Result<Self, Error> {
        let unfit = |problem: &dyn std::fmt::Display| Error::Configuration(problem.to_string());
        let node = match config.node {
            Some(node) => node,
            None => host_name.parse().map_err(|error| unfit(&format_args!("{error}; hint: set `node`")))?,
        };
        let join_token = match config.join_token {
            None => None,
            Some(config::JoinToken::File(path)) => Some(TokenSource::File(path)),
            Some(config::JoinToken::Inline(secret)) => {
                let place = "`join_token`".to_owned();
                let token = secret.reveal().parse().map_err(|source| Error::Token { place, source })?;
                Some(TokenSource::Inline(token))
            }
        };
        Ok(Self {
            node,
            labels: config.labels,
            data_dir: config.data_dir,
            coordinator: config.coordinator.to_string().parse().map_err(|error| unfit(&error))?,
            join_token,
            engine: EngineSource::Url(config.engine),
            docker_config: config.docker_config.map_or_else(DockerCredentials::of_user, DockerCredentials::of_file),
            limits: limits(config.limits)?,
        })
    }
}

/// The limits with their keys. A key that cannot be read ends the agent at its start: without it the limit would be none, or refuse all.
fn limits(config: LimitsConfig) -> Result<Limits, Error> {
    let signed = config.signed.into_iter().map(|SignedConfig { images, key_files }| {
        let keys = key_files.iter().map(|path| key(path)).collect::<Result<_, _>>()?;
        Ok(Signed { images, keys })
    });
    let signed = signed.collect::<Result<_, Error>>()?;
    Ok(Limits { allow_images: config.allow_images, signed, build: config.build })
}

fn key(path: &Path) -> Result<PublicKey, Error> {
    let problem = |problem: &dyn std::fmt::Display| Error::Configuration(format!("`{}`: {problem}", path.display()));
    let text =
        files::read(path)?.ok_or_else(|| problem(&"there is no such file; hint: see `limits.signed.key_files`"))?;
    text.parse().map_err(|error| problem(&error))
}
