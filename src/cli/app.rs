//! `nightshift app`: what is kept fresh.

use clap::Subcommand;
use nightshift_core::ids::AppName;
use nightshift_proto::pb;

use super::Session;
use crate::failure::{Exit, Failure};
use crate::view::all;
use crate::view::app::{App, Version};
use crate::view::change::Removed;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List all apps
    List,
    /// Show an app: its instances, its target, what it waits for, its whole spec
    Show {
        /// Name of the app
        app: AppName,
    },
    /// List the versions of an app's spec and what each one changed
    History {
        /// Name of the app
        app: AppName,
    },
    /// Let rollouts of an app start automatically again
    Enable(Switch),
    /// Let no rollout of an app start automatically; watching goes on
    Disable(Switch),
    /// Forget an app; its containers stay as they are
    Remove(Switch),
}

#[derive(Debug, clap::Args)]
struct Switch {
    /// Name of the app
    app: AppName,
    /// Why, for the audit log
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let mut client = session.client().await?;
    let output = session.output;
    let get = |app: AppName| pb::GetAppRequest { app: app.into() };
    match args.verb {
        Verb::List => {
            let list = client.ask(async |api| api.list_apps(pb::ListAppsRequest {}).await).await?;
            output.show(&all::<_, App>(list.apps))?;
        }
        Verb::Show { app } => {
            output.show(&App::from(client.ask(async |api| api.get_app(get(app)).await).await?))?;
        }
        Verb::History { app } => {
            let history = client.ask(async |api| api.app_history(get(app)).await).await?;
            output.show(&all::<_, Version>(history.versions))?;
        }
        Verb::Enable(switch) => set_enabled(session, switch, true).await?,
        Verb::Disable(switch) => set_enabled(session, switch, false).await?,
        Verb::Remove(Switch { app, reason }) => {
            let request = pb::RemoveAppRequest { app: app.to_string(), reason };
            client.ask(async |api| api.remove_app(request).await).await?;
            output.show(&Removed { what: "app", name: app.into(), removed: true })?;
        }
    }
    Ok(Exit::Done)
}

async fn set_enabled(session: &Session, Switch { app, reason }: Switch, enabled: bool) -> Result<(), Failure> {
    let request = pb::SetAppEnabledRequest { app: app.into(), enabled, reason };
    let app = session.client().await?.ask(async |api| api.set_app_enabled(request).await).await?;
    session.output.show(&App::from(app))
}
