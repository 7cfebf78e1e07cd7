//! Adoption: what runs on the nodes, as app files. Nothing is changed by it; what may be adopted, and how, `core` says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nightshift_core::adoption::{LeftOut, Proposal, propose};
use nightshift_core::ids::{AppName, NodeName};
use nightshift_core::labels::Selector;
use nightshift_proto::pb;
use nightshift_proto::pb::adopt_response;
use tonic::{Request, Response};

use crate::driver::{Asked, View};
use crate::operator::{Answer, Operator, parse, refusal};

/// How long agents may take to list their containers: each one is inspected. A person waits for it.
const SURVEY_DEADLINE: Duration = Duration::from_secs(10);

/// What is known of the fleet before the nodes are asked.
struct Known {
    connected: BTreeSet<NodeName>,
    away: BTreeSet<NodeName>,
    apps: BTreeSet<AppName>,
    /// The app of each instance, by node and container.
    owners: BTreeMap<(NodeName, String), AppName>,
}

impl Operator {
    pub(super) async fn propose(&self, request: Request<pb::AdoptRequest>) -> Answer<pb::AdoptResponse> {
        let (_, asked) = self.may_operate(request).await?;
        let node = if asked.node.is_empty() { None } else { Some(parse::<NodeName>(&asked.node)?) };
        let known = self.driver.ask(known).await?;
        if let Some(node) = node.as_ref().filter(|node| !known.connected.contains(*node) && !known.away.contains(*node))
        {
            return Err(refusal::not_found("node", node.as_str(), "node list"));
        }
        let whom = node.clone().map_or_else(|| Asked::Labelled(Selector::default()), Asked::Node);
        let answers = self.driver.survey_everything(whom, SURVEY_DEADLINE).await?;
        let mut silent: BTreeMap<NodeName, String> = BTreeMap::new();
        let chosen = |name: &&NodeName| node.as_ref().is_none_or(|node| *name == node);
        for name in known.away.iter().filter(chosen) {
            silent.insert(name.clone(), "it is not connected".to_owned());
        }
        for name in known.connected.iter().filter(chosen) {
            silent.insert(name.clone(), "it did not answer; is its agent older than the coordinator?".to_owned());
        }
        let mut found = Vec::new();
        for answer in answers {
            match answer.found {
                Ok(containers) => {
                    silent.remove(&answer.node);
                    found.push((answer.node, containers));
                }
                Err(error) => drop(silent.insert(answer.node, error)),
            }
        }
        let owner = |node: &NodeName, container: &nightshift_core::instance::FoundContainer| {
            known.owners.get(&(node.clone(), container.name.clone())).cloned()
        };
        let adoption = propose(&found, owner, &known.apps);
        Ok(Response::new(pb::AdoptResponse {
            proposals: adoption.proposals.into_iter().map(proposal).collect(),
            left_out: adoption.left_out.into_iter().map(left_out).collect(),
            silent: silent
                .into_iter()
                .map(|(node, reason)| adopt_response::Silent { node: node.to_string(), reason })
                .collect(),
        }))
    }
}

fn known(view: &View<'_>) -> Known {
    let catalog = view.control.catalog();
    let (connected, away) =
        catalog.nodes().map(|(name, _)| name.clone()).partition(|name| view.fleet.node(name).is_some());
    let instances = catalog.apps().flat_map(|app| {
        let name = &app.spec.name;
        view.fleet.instances(name).map(move |(node, one)| ((node.clone(), one.container.clone()), name.clone()))
    });
    Known {
        connected,
        away,
        apps: catalog.apps().map(|app| app.spec.name.clone()).collect(),
        owners: instances.collect(),
    }
}

fn proposal(proposal: Proposal) -> adopt_response::Proposal {
    let container =
        |(node, container): (NodeName, String)| adopt_response::Container { node: node.to_string(), container };
    adopt_response::Proposal {
        app: proposal.app.to_string(),
        image: proposal.image.familiar(),
        containers: proposal.containers.into_iter().map(container).collect(),
        toml: proposal.toml,
    }
}

fn left_out(left: LeftOut) -> adopt_response::LeftOut {
    let LeftOut { node, container, image, reason } = left;
    adopt_response::LeftOut { node: node.to_string(), container, image, reason }
}
