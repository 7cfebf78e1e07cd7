//! `nightshift node`: the Docker hosts of the fleet.

use clap::Subcommand;
use nightshift_core::ids::NodeName;
use nightshift_proto::pb::{self, Availability};

use super::Session;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::view::all;
use crate::view::change::Removed;
use crate::view::node::Node;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all nodes
    List,
    /// Show a node
    Show {
        /// Name of the node
        node: NodeName,
    },
    /// Start no step on a node; what runs stays as it is
    Pause(Change),
    /// Let steps start on a node again
    Activate(Change),
    /// Take a node out of every rollout; its instances no longer count
    Drain(Change),
    /// Forget a node and revoke its certificate
    Remove(Change),
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Name of the node
    node: NodeName,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let mut client = session.client().await?;
    match args.verb {
        Verb::List => session.output.show(&list(&mut client).await?)?,
        Verb::Show { node } => {
            let found = list(&mut client).await?.into_iter().find(|found| found.name == node.as_str());
            let none =
                || Failure::failed(format!("there is no node `{node}`")).hint("`nightshift node list` shows them");
            session.output.show(&found.ok_or_else(none)?)?;
        }
        Verb::Pause(change) => set(client, change, Availability::Pause, session).await?,
        Verb::Activate(change) => set(client, change, Availability::Active, session).await?,
        Verb::Drain(change) => set(client, change, Availability::Drain, session).await?,
        Verb::Remove(Change { node, reason }) => {
            let request = pb::RemoveNodeRequest { node: node.to_string(), reason };
            client.ask(async |api| api.remove_node(request).await).await?;
            session.output.show(&Removed { what: "node", name: node.into(), removed: true })?;
        }
    }
    Ok(Exit::Done)
}

async fn list(client: &mut Client) -> Result<Vec<Node>, Failure> {
    let list = client.ask(async |api| api.list_nodes(pb::ListNodesRequest {}).await).await?;
    Ok(all(list.nodes))
}

async fn set(mut client: Client, change: Change, to: Availability, session: &Session) -> Result<(), Failure> {
    let request =
        pb::SetAvailabilityRequest { node: change.node.into(), availability: to.into(), reason: change.reason };
    let node = client.ask(async |api| api.set_availability(request).await).await?;
    session.output.show(&Node::from(node))
}
