//! Surveys: agents are asked once, before anybody decides: which of their containers an app would have, or what they have at all.

use std::collections::{BTreeMap, BTreeSet};

use nightshift_core::ids::NodeName;
use nightshift_core::instance::{self, Findings, Surveyed};
use tokio::sync::mpsc;

use crate::driver::Driver;
use crate::driver::handle::Asked;

/// Surveys that wait for answers at most: each belongs to a call of a person. The oldest gives way.
const OPEN_LIMIT: usize = 64;

/// Where answers go.
pub(super) type Answers = mpsc::UnboundedSender<Surveyed<Findings>>;

/// One question and who has not answered it yet. With the sender the asker learns that all have.
struct Survey {
    waiting: BTreeSet<NodeName>,
    answers: Answers,
}

/// All that are open.
#[derive(Default)]
pub(super) struct Surveys {
    last: u64,
    open: BTreeMap<u64, Survey>,
}

impl Surveys {
    /// Passes an answer on; one that nobody waits for is dropped.
    pub(super) fn answered(&mut self, id: u64, node: &NodeName, found: Result<Findings, String>) {
        let Some(survey) = self.open.get_mut(&id) else { return };
        if survey.waiting.remove(node) {
            // Whoever asked may have given up by now.
            drop(survey.answers.send(Surveyed { node: node.clone(), found }));
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
    /// Asks every connected agent whose node is chosen.
    pub(super) fn survey(&mut self, survey: &instance::Survey, asked: &Asked, answers: Answers) {
        let catalog = self.control.catalog();
        let chosen = |node: &NodeName| match asked {
            Asked::Labelled(nodes) => catalog.node(node).is_some_and(|known| nodes.matches(&known.labels)),
            Asked::Node(name) => node == name,
        };
        let waiting: BTreeSet<NodeName> = self.sessions.connected().filter(|node| chosen(node)).cloned().collect();
        if waiting.is_empty() {
            return;
        }
        self.surveys.last += 1;
        let id = self.surveys.last;
        for node in &waiting {
            self.sessions.survey(node, id, survey);
        }
        self.surveys.open.insert(id, Survey { waiting, answers });
        while self.surveys.open.len() > OPEN_LIMIT {
            self.surveys.open.pop_first();
        }
    }
}
