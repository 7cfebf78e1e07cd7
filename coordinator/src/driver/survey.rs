//! Surveys: agents are asked once which of their containers an app would have, before anybody decides to follow it.

use std::collections::{BTreeMap, BTreeSet};

use nightshift_core::ids::NodeName;
use nightshift_core::instance::{InstanceView, Surveyed, WatchedApp};
use nightshift_core::labels::Selector;
use tokio::sync::mpsc;

use crate::driver::Driver;

/// Surveys that wait for answers at most: each belongs to a call of a person. The oldest gives way.
const OPEN_LIMIT: usize = 64;

/// One question and who has not answered it yet. With the sender the asker learns that all have.
struct Survey {
    waiting: BTreeSet<NodeName>,
    answers: mpsc::UnboundedSender<Surveyed>,
}

/// All that are open.
#[derive(Default)]
pub(super) struct Surveys {
    last: u64,
    open: BTreeMap<u64, Survey>,
}

impl Surveys {
    /// Passes an answer on; one that nobody waits for is dropped.
    pub(super) fn answered(&mut self, id: u64, node: &NodeName, instances: Result<Vec<InstanceView>, String>) {
        let Some(survey) = self.open.get_mut(&id) else { return };
        if survey.waiting.remove(node) {
            // Whoever asked may have given up by now.
            drop(survey.answers.send(Surveyed { node: node.clone(), instances }));
        }
        self.open.retain(|_, survey| !survey.waiting.is_empty());
    }

    /// Nobody waits for a node that is gone.
    pub(super) fn gone(&mut self, node: &NodeName) {
        for survey in self.open.values_mut() {
            survey.waiting.remove(node);
        }
        self.open.retain(|_, survey| !survey.waiting.is_empty());
    }
}

impl Driver {
    /// Asks every connected agent whose node the selector chooses.
    pub(super) fn survey(&mut self, app: &WatchedApp, nodes: &Selector, answers: mpsc::UnboundedSender<Surveyed>) {
        let catalog = self.control.catalog();
        let chosen = |node: &NodeName| catalog.node(node).is_some_and(|known| nodes.matches(&known.labels));
        let waiting: BTreeSet<NodeName> = self.sessions.connected().filter(|node| chosen(node)).cloned().collect();
        if waiting.is_empty() {
            return;
        }
        self.surveys.last += 1;
        let id = self.surveys.last;
        for node in &waiting {
            self.sessions.survey(node, id, app);
        }
        self.surveys.open.insert(id, Survey { waiting, answers });
        while self.surveys.open.len() > OPEN_LIMIT {
            self.surveys.open.pop_first();
        }
    }
}
