//! `nightshift events`: the audit log, and what is added to it.

use nightshift_core::ids::AppName;
use nightshift_proto::pb;
use tokio::time::sleep;

use super::Session;
use crate::client::{CallError, Client};
use crate::failure::{Exit, Failure};
use crate::follow::Retry;
use crate::output::note;
use crate::view::event::Event;

/// How many events are shown when nothing else is said: some screens.
const USUAL: u32 = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Go on with new events until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Only events of this app
    #[arg(long)]
    app: Option<AppName>,
    /// Only events of this rollout
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    rollout: String,
    /// Only events after this number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// At most so many of the newest; 0 for all
    #[arg(long, default_value_t = USUAL)]
    limit: u32,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let mut client = session.client().await?;
    let request = pb::ListEventsRequest {
        follow: args.follow,
        after: args.after,
        app: args.app.map(String::from).unwrap_or_default(),
        rollout: args.rollout,
        limit: args.limit,
    };
    if args.follow {
        return follow(&mut client, request, session).await;
    }
    let mut events = Vec::new();
    let mut stream = client.open(async |api| api.list_events(request).await).await?;
    while let Some(event) = stream.message().await.map_err(|status| client.stream_error(&status))? {
        events.push(Event::from(event));
    }
    session.output.show(&events)?;
    Ok(Exit::Done)
}

/// Follows across restarts of the coordinator: no event is lost, none is shown twice.
async fn follow(client: &mut Client, mut request: pb::ListEventsRequest, session: &Session) -> Result<Exit, Failure> {
    let mut retry = Retry::new();
    loop {
        let lost = match stream(client, &mut request, session, &mut retry).await {
            Ok(()) => Failure::failed(format!("the coordinator at `{}` went away", client.server())),
            Err(CallError::Lost(failure)) => failure,
            Err(CallError::Answered(failure)) => return Err(failure),
        };
        let pause = retry.pause().ok_or_else(|| lost.clone())?;
        if retry.is_first() {
            note(&format!("{}; trying again", lost.message()));
        }
        sleep(pause).await;
    }
}

async fn stream(
    client: &mut Client,
    request: &mut pb::ListEventsRequest,
    session: &Session,
    retry: &mut Retry,
) -> Result<(), CallError> {
    let asked = request.clone();
    let mut stream = client.open(async |api| api.list_events(asked).await).await?;
    while let Some(event) = stream.message().await.map_err(|status| client.stream_error(&status))? {
        retry.reset();
        let event = Event::from(event);
        // Where to go on after a reconnection: all that came in between, however much.
        (request.after, request.limit) = (event.sequence, 0);
        session.output.show_line(&event).map_err(CallError::Answered)?;
    }
    Ok(())
}
