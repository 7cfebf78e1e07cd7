//! What could be adopted: app files, and what is left out.

use nightshift_proto::pb;
use nightshift_proto::pb::adopt_response;
use serde::Serialize;

use super::all;
use crate::output::table::{heading, parts, table};
use crate::output::{Human, Page};

/// What runs and belongs to no app.
#[derive(Debug, Serialize)]
pub(crate) struct Adoption {
    pub(crate) proposals: Vec<Proposal>,
    left_out: Vec<LeftOut>,
    /// Nodes that could not be looked at.
    silent: Vec<Silent>,
}

/// An app that could be.
#[derive(Debug, Serialize)]
pub(crate) struct Proposal {
    pub(crate) app: String,
    image: String,
    containers: Vec<Container>,
    /// Where its file was written, if it was.
    pub(crate) file: Option<String>,
    pub(crate) toml: String,
}

/// A container of a proposal.
#[derive(Debug, Serialize)]
struct Container {
    node: String,
    container: String,
}

/// A container that no proposal has.
#[derive(Debug, Serialize)]
struct LeftOut {
    node: String,
    container: String,
    image: String,
    reason: String,
}

/// A node that could not be looked at.
#[derive(Debug, Serialize)]
struct Silent {
    node: String,
    reason: String,
}

impl From<pb::AdoptResponse> for Adoption {
    fn from(answer: pb::AdoptResponse) -> Self {
        Self { proposals: all(answer.proposals), left_out: all(answer.left_out), silent: all(answer.silent) }
    }
}

impl From<adopt_response::Proposal> for Proposal {
    fn from(proposal: adopt_response::Proposal) -> Self {
        let adopt_response::Proposal { app, image, containers, toml } = proposal;
        Self { app, image, containers: all(containers), file: None, toml }
    }
}

impl From<adopt_response::Container> for Container {
    fn from(container: adopt_response::Container) -> Self {
        Self { node: container.node, container: container.container }
    }
}

impl From<adopt_response::LeftOut> for LeftOut {
    fn from(left: adopt_response::LeftOut) -> Self {
        Self { node: left.node, container: left.container, image: left.image, reason: left.reason }
    }
}

impl From<adopt_response::Silent> for Silent {
    fn from(silent: adopt_response::Silent) -> Self {
        Self { node: silent.node, reason: silent.reason }
    }
}

impl Human for Adoption {
    fn human(&self, page: &Page) -> String {
        let files = self.proposals.iter().map(|proposal| match &proposal.file {
            Some(file) => format!("{}: {} containers of {}", heading(file), proposal.containers.len(), proposal.image),
            None => format!("{}\n{}", heading(&format!("# ---- {}.toml", proposal.app)), proposal.toml.trim_end()),
        });
        let files = files.collect::<Vec<_>>().join(if self.is_written() { "\n" } else { "\n\n" });
        let files = if files.is_empty() { "nothing to adopt".to_owned() } else { files };
        let row = |left: &LeftOut| [left.container.clone(), left.node.clone(), left.image.clone(), left.reason.clone()];
        let left_out = table(page, ["LEFT OUT", "NODE", "IMAGE", "WHY"], self.left_out.iter().map(row), "");
        let row = |silent: &Silent| [silent.node.clone(), silent.reason.clone()];
        let silent = table(page, ["NOT LOOKED AT", "WHY"], self.silent.iter().map(row), "");
        parts([files, left_out, silent])
    }
}

impl Adoption {
    fn is_written(&self) -> bool {
        self.proposals.iter().any(|proposal| proposal.file.is_some())
    }
}
