//! `nightshift status`: the whole fleet on one screen.

use nightshift_proto::pb;

use super::Session;
use crate::failure::{Exit, Failure};
use crate::view::status::Status;

pub(crate) async fn run(session: &Session) -> Result<Exit, Failure> {
    let status = session.client().await?.ask(async |api| api.get_status(pb::GetStatusRequest {}).await).await?;
    session.output.show(&Status::from(status))?;
    Ok(Exit::Done)
}
