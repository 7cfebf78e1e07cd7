//! Nodes: look, set their availability, let them go.

use nightshift_core::catalog::Availability;
use nightshift_core::control;
use nightshift_core::ids::NodeName;
use nightshift_proto::pb;
use tonic::{Request, Response};

use crate::operator::{Answer, Operator, needed_reason, parse, reason, refusal, view};

impl Operator {
    pub(super) async fn all_nodes(&self, request: Request<pb::ListNodesRequest>) -> Answer<pb::ListNodesResponse> {
        self.may_view(request).await?;
        let nodes = self.driver.ask(view::nodes).await?;
        Ok(Response::new(pb::ListNodesResponse { nodes }))
    }

    pub(super) async fn availability(&self, request: Request<pb::SetAvailabilityRequest>) -> Answer<pb::Node> {
        let (by, asked) = self.may_operate(request).await?;
        let availability = match asked.availability() {
            pb::Availability::Active => Availability::Active,
            pb::Availability::Pause => Availability::Pause,
            pb::Availability::Drain => Availability::Drain,
            pb::Availability::Unspecified => return Err(refusal::usage("`availability` is not set")),
        };
        let node: NodeName = parse(&asked.node)?;
        let reason = reason(asked.reason)?;
        self.driver.request(control::Request::SetAvailability { node: node.clone(), availability, reason }, by).await?;
        let nodes = self.driver.ask(view::nodes).await?;
        let found = nodes.into_iter().find(|known| known.name == node.as_str());
        found.map(Response::new).ok_or_else(|| refusal::not_found("node", node.as_str(), "node list"))
    }

    pub(super) async fn forget_node(&self, request: Request<pb::RemoveNodeRequest>) -> Answer<pb::RemoveNodeResponse> {
        let (by, asked) = self.may_administer(request).await?;
        let (node, reason): (NodeName, _) = (parse(&asked.node)?, needed_reason(asked.reason)?);
        self.driver.request(control::Request::RemoveNode { node: node.clone(), reason }, by).await?;
        // After the event: a node that is revoked but not removed would be a riddle, the other way round it just tries again.
        self.trust.revoke_node(&node, (self.clock)()).await.map_err(|error| {
            tracing::error!(node = %node, error = &error as &dyn std::error::Error, "cannot revoke a node's certificate");
            tonic::Status::unavailable("the node is removed, but its certificate could not be revoked; try again")
        })?;
        Ok(Response::new(pb::RemoveNodeResponse {}))
    }
}
