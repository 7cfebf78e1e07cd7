//! Why an agent cannot run.

use nightshift_core::ids::NodeName;

use crate::identity::{self, EnrolError, InvalidToken};
use crate::session::EpochError;
use crate::{engine, files, journal};

/// An agent that cannot run. Someone must act: what time alone can mend is waited for instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory cannot be used.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The remembered epoch cannot be used.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The engine can never be used.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The stored identity cannot be used.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The coordinator did not let us in.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The join token is none.
    #[error("the join token in {place} cannot be used: {source}")]
    Token {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: InvalidToken,
    },
    /// The node has no identity and nothing to get one with.
    #[error(
        "node `{0}` has not joined a fleet and has no join token; hint: make one with `nightshift token create node` and set \
         `join_token` or `join_token_file`"
    )]
    NoToken(NodeName),
    /// The configuration has something that does not fit here.
    #[error("{0}")]
    Configuration(String),
    /// A part of the agent ended by itself.
    #[error("a part of the agent has failed; see the log for the reason")]
    Broken,
}
