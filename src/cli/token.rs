//! `nightshift token`: who may do what.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use nightshift_core::ids::AppName;
use nightshift_proto::pb;

use super::{Session, parse_duration};
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::output::time::when;
use crate::view::token::{NewToken, Revoked, Token};
use crate::view::{all, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token and print it: it is never shown again
    Create {
        /// What it may do
        #[arg(value_enum)]
        role: Role,
        /// What the audit log calls it; without it the role's name
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// How long it is good; without it one hour for role `node`, for ever for the others
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        lifetime: Option<Duration>,
        /// For role `ci`: an app that it may report for; may be repeated
        #[arg(long = "app", value_name = "APP", required_if_eq("role", "ci"))]
        apps: Vec<AppName>,
    },
    /// List all tokens, without their secrets
    List,
    /// Make a token useless at once
    Revoke {
        /// Id of the token
        id: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// An agent joins with it, once.
    Node,
    /// Sees everything, changes nothing.
    Viewer,
    /// Steers rollouts.
    Operator,
    /// May do everything.
    Admin,
    /// Reports test results of its apps.
    Ci,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Ci => "ci",
        }
    }
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    if let Verb::Create { role, apps, .. } = &args.verb
        && *role != Role::Ci
        && !apps.is_empty()
    {
        return Err(Failure::usage(format!("`--app` is for role `ci` only, this is role `{}`", role.as_str())));
    }
    let mut client = session.client().await?;
    let output = session.output;
    match args.verb {
        Verb::Create { role, name, lifetime, apps } => {
            let apps = apps.into_iter().map(String::from).collect();
            let lifetime = lifetime.map(duration);
            let request = pb::CreateTokenRequest { role: role.as_str().to_owned(), name, lifetime, apps };
            let made = NewToken::from(client.ask(async |api| api.create_token(request).await).await?);
            let expires = made.expires_at.map_or_else(|| "never".to_owned(), |at| when(Some(at), output.page().now));
            note(&format!("token {} of role {}, expires {expires}; it is shown only now:", made.id, role.as_str()));
            output.show(&made)?;
        }
        Verb::List => {
            let list = client.ask(async |api| api.list_tokens(pb::ListTokensRequest {}).await).await?;
            output.show(&all::<_, Token>(list.tokens))?;
        }
        Verb::Revoke { id } => {
            let request = pb::RevokeTokenRequest { id: id.clone() };
            client.ask(async |api| api.revoke_token(request).await).await?;
            output.show(&Revoked { id, revoked: true })?;
        }
    }
    Ok(Exit::Done)
}
