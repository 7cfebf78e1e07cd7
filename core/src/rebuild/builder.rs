//! Builds on a node: what an operator says of where an image is built, and from what.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::labels::Selector;

/// How long a build may take when the file says nothing.
pub const DEFAULT_BUILD_TIMEOUT: Duration = Duration::from_secs(3_600);
/// The file with the build's instructions when the app file names none.
pub const DEFAULT_DOCKERFILE: &str = "Dockerfile";

/// `[rebuild.builder]` of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// Nodes that may build; never one without labels, so that no node builds unasked.
    pub build_nodes: Selector,
    /// What is sent to the engine.
    pub context: BuildContext,
    /// The file with the instructions, seen from the context.
    pub dockerfile: String,
    /// The stage that is built; `None`: the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Values of `ARG` instructions. Everybody who may see the app sees them.
    pub args: BTreeMap<String, String>,
    /// How long fetching the context and building may take together.
    #[serde(with = "crate::duration::text")]
    pub timeout: Duration,
}

/// Where a build's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildContext {
    /// A directory of the node.
    Directory {
        /// Its absolute path.
        path: String,
    },
    /// The head of a branch.
    Git {
        /// The repository.
        url: String,
        /// The branch.
        branch: String,
        /// The directory inside it; `None`: its root.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        directory: Option<String>,
    },
}

impl fmt::Display for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path } => f.write_str(path),
            Self::Git { url, branch, directory: None } => write!(f, "{url}#{branch}"),
            Self::Git { url, branch, directory: Some(directory) } => write!(f, "{url}#{branch}:{directory}"),
        }
    }
}
