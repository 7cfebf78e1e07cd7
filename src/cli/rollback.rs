//! `nightshift rollback`: an app back to a digest that was known good.

use nightshift_core::ids::AppName;
use nightshift_core::image::Digest;
use nightshift_proto::pb;

use super::Session;
use super::rollout::Wait;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the app
    app: AppName,
    /// Target, which must have been known good; without it the last known-good digest before the one that runs
    #[arg(long, value_name = "DIGEST")]
    to: Option<Digest>,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let Args { app, to, reason, wait } = args;
    let mut client = session.client().await?;
    let digest = to.map(String::from).unwrap_or_default();
    let request = pb::RollbackRequest { app: app.into(), digest, reason };
    let rollout = client.ask(async |api| api.rollback(request).await).await?;
    wait.show(client, rollout.into(), session).await
}
