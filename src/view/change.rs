//! What `apply` changed, and the little answers of verbs that change one thing.

use nightshift_proto::pb;
use serde::Serialize;

use super::word;
use crate::output::{Human, Page};

/// What became of one app file.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    app: String,
    change: String,
    version: u64,
    /// Each changed key: `update.monitor: 30s -> 10s`.
    differences: Vec<String>,
}

impl From<pb::apply_response::Change> for Change {
    fn from(change: pb::apply_response::Change) -> Self {
        let kind = word(change.kind().as_str_name(), "KIND_");
        Self { app: change.app, change: kind, version: change.version, differences: change.differences }
    }
}

impl Human for Vec<Change> {
    fn human(&self, _: &Page) -> String {
        let lines = self.iter().flat_map(|change| {
            let head = format!("{}: {} (version {})", change.app, change.change, change.version);
            [head].into_iter().chain(change.differences.iter().map(|difference| format!("  {difference}")))
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Something that is gone.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    /// What it was: `app`, `node`.
    #[serde(skip)]
    pub(crate) what: &'static str,
    pub(crate) name: String,
    pub(crate) removed: bool,
}

impl Human for Removed {
    fn human(&self, _: &Page) -> String {
        format!("{} {}: removed", self.what, self.name)
    }
}
