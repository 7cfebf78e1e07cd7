//! `nightshift rollout`: plan, start, watch and steer the process that moves an app to a digest.

use std::time::Duration;

use clap::Subcommand;
use nightshift_core::duration;
use nightshift_core::ids::AppName;
use nightshift_core::image::Digest;
use nightshift_proto::pb::{self, RolloutChange};

use super::{Session, parse_duration};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::follow::{Followed, Progress, follow};
use crate::output::Format;
use crate::view::all;
use crate::view::rollout::{Plan, Rollout};

/// Most rollouts that a list shows when nothing else is said: some screens.
const LIST_USUAL: u32 = 50;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what a rollout would do, in which order, and what it would wait for
    Plan(Order),
    /// Start a rollout
    Start {
        #[command(flatten)]
        order: Order,
        #[command(flatten)]
        wait: Wait,
    },
    /// List rollouts, newest first
    List {
        /// Only those of this app
        #[arg(long)]
        app: Option<AppName>,
        /// Only those that have not ended
        #[arg(long)]
        open: bool,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = LIST_USUAL)]
        limit: u32,
    },
    /// Show a rollout and its steps
    Show(Which),
    /// Follow a rollout until it ends or pauses; the exit code says how
    Watch(Which),
    /// Start no further step; the one in flight ends
    Pause(Change),
    /// Go on after a pause
    Resume(Change),
    /// Go on after the canary
    Promote(Change),
    /// End a rollout; the step in flight ends, what is updated stays
    Abort(Change),
    /// Try the failed steps again
    Retry(Change),
}

#[derive(Debug, clap::Args)]
struct Order {
    /// Name of the app
    app: AppName,
    /// Target; without it the newest release that the gate lets through
    #[arg(long)]
    digest: Option<Digest>,
    /// Do not wait for the quiet hours; needs --reason
    #[arg(long, requires = "reason")]
    now: bool,
    /// Start in spite of a freeze; needs --reason
    #[arg(long, requires = "reason")]
    override_freeze: bool,
    /// Start in spite of a quarantine; needs --reason
    #[arg(long, requires = "reason")]
    override_quarantine: bool,
    /// Why, for the audit log
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
}

/// `--wait`, with or without a limit.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// Follow the rollout until it ends or pauses, or for this long (exit code 4 when the time runs out)
    #[arg(long, num_args = 0..=1, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Option<Duration>>,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Id of the rollout, an unambiguous start of it, or an app's name for its newest
    rollout: String,
}

#[derive(Debug, clap::Args)]
struct Change {
    #[command(flatten)]
    which: Which,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl From<Order> for pb::StartRolloutRequest {
    fn from(order: Order) -> Self {
        Self {
            app: order.app.into(),
            digest: order.digest.map(String::from).unwrap_or_default(),
            now: order.now,
            override_freeze: order.override_freeze,
            override_quarantine: order.override_quarantine,
            reason: order.reason.unwrap_or_default(),
        }
    }
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let mut client = session.client().await?;
    let output = session.output;
    match args.verb {
        Verb::Plan(order) => {
            output.show(&Plan::from(
                client.ask(async |api| api.plan_rollout(pb::StartRolloutRequest::from(order)).await).await?,
            ))?;
        }
        Verb::Start { order, wait } => {
            let request = pb::StartRolloutRequest::from(order);
            let rollout = client.ask(async |api| api.start_rollout(request).await).await?;
            return wait.show(client, rollout.into(), session).await;
        }
        Verb::List { app, open, limit } => {
            let app = app.map(String::from).unwrap_or_default();
            let request = pb::ListRolloutsRequest { app, open_only: open, limit };
            let list = client.ask(async |api| api.list_rollouts(request).await).await?;
            output.show(&all::<_, Rollout>(list.rollouts))?;
        }
        Verb::Show(Which { rollout }) => {
            let request = pb::GetRolloutRequest { rollout };
            output.show(&Rollout::from(client.ask(async |api| api.get_rollout(request).await).await?))?;
        }
        Verb::Watch(Which { rollout }) => {
            let mut progress = Progress::to_watch(output);
            return Ok(follow(&mut client, &rollout, None, &mut progress).await?.exit);
        }
        Verb::Pause(change) => return change.send(RolloutChange::Pause, client, session).await,
        Verb::Resume(change) => return change.send(RolloutChange::Resume, client, session).await,
        Verb::Promote(change) => return change.send(RolloutChange::Promote, client, session).await,
        Verb::Abort(change) => return change.send(RolloutChange::Abort, client, session).await,
        Verb::Retry(change) => return change.send(RolloutChange::Retry, client, session).await,
    }
    Ok(Exit::Done)
}

impl Change {
    async fn send(self, change: RolloutChange, mut client: Client, session: &Session) -> Result<Exit, Failure> {
        let request =
            pb::ChangeRolloutRequest { rollout: self.which.rollout, change: change.into(), reason: self.reason };
        let rollout = client.ask(async |api| api.change_rollout(request).await).await?;
        session.output.show(&Rollout::from(rollout))?;
        Ok(Exit::Done)
    }
}

impl Wait {
    /// Shows a rollout that was just started: as it is, or with `--wait` as it goes on and ends.
    pub(crate) async fn show(self, mut client: Client, rollout: Rollout, session: &Session) -> Result<Exit, Failure> {
        let Some(limit) = self.wait else {
            session.output.show(&rollout)?;
            return Ok(Exit::Done);
        };
        let mut progress = Progress::to_wait(session.output);
        let Followed { rollout, exit } = follow(&mut client, &rollout.id, limit, &mut progress).await?;
        // For a person the last line has said it; a script takes the whole.
        if session.output.format() == Format::Json {
            session.output.show(&rollout)?;
        }
        if exit == Exit::WaitOver {
            let limit = limit.map(duration::format).unwrap_or_default();
            return Err(Failure::new(
                exit,
                format!("rollout `{}` has not ended within {limit}: it is {}", rollout.id, rollout.state),
            )
            .hint(format!("it goes on; `nightshift rollout watch {}` follows it", rollout.id)));
        }
        Ok(exit)
    }
}
