//! The command line: global flags, and one verb in each file.
//!
//! A verb parses its arguments, asks the coordinator, makes a view, and shows it. How it ends is an [`Exit`] or a
//! [`Failure`]; nothing here ends the process.

mod adopt;
mod app;
mod apply;
mod completions;
mod doctor;
mod events;
mod node;
mod quiet;
mod rebuild;
mod rehearse;
mod release;
mod rollback;
mod rollout;
mod status;
mod token;

use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::context::Connection;
use crate::failure::{Exit, Failure};
use crate::output::{Format, Output};
use crate::role::Role;

/// Keeps the containers on plain Docker hosts fresh: tested digests, in quiet hours, one at a time, with rollback
#[derive(Debug, Parser)]
#[command(name = "nightshift", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 the rollout ended without its target \
                        everywhere,\n4 --wait ran out, 5 refused by a rule, 70 internal"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
    /// How data is written to standard output
    #[arg(short, long, global = true, value_enum, default_value_t, hide_possible_values = true)]
    #[arg(value_name = "table|json")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell the coordinator of apps: create or change them from their files
    Apply(apply::Args),
    /// What runs on the nodes and belongs to no app, as app files; changes nothing
    Adopt(adopt::Args),
    /// Apps: what is kept fresh
    App(app::Args),
    /// Releases: what is known of an app's digests
    Release(release::Args),
    /// Rollouts: plan, start, watch and steer them
    Rollout(rollout::Args),
    /// Roll an app back to a known-good digest
    Rollback(rollback::Args),
    /// Quiet hours: when installing is allowed, and why not now
    Quiet(quiet::Args),
    /// Nodes: the Docker hosts of the fleet
    Node(node::Args),
    /// Tokens: for nodes to join, for people, CI and dashboards
    Token(token::Args),
    /// What would happen with these app files, on simulated nodes: needs no coordinator and no engine
    Rehearse(rehearse::Args),
    /// What runs, what waits, why, and until when
    Status,
    /// What happened, in order, and who caused it
    Events(events::Args),
    /// Write the completion script of a shell
    Completions(completions::Args),
    /// Find out why the command line does not work
    Doctor(doctor::Args),
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Role(Role),
}

/// What every verb works with.
pub(crate) struct Session {
    connection: Connection,
    output: Output,
}

impl Session {
    /// Connects to the coordinator.
    ///
    /// # Errors
    /// It is not known which, or it cannot be reached.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.connection.target()?).await
    }
}

/// Runs the verb.
///
/// # Errors
/// Why it did not do what was asked.
pub(crate) fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { command, connection, output } = cli;
    let session = Session { connection, output: Output::new(output) };
    let verb = match command {
        // It brings a runtime of its own, whose time is virtual.
        Command::Verb(Verb::Rehearse(args)) => return rehearse::run(args, &session),
        Command::Verb(verb) => verb,
        // The roles bring a runtime of their own.
        Command::Role(role) => return role.run(),
    };
    // A verb talks to one coordinator and waits most of the time: one thread is enough.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?
        .block_on(run_verb(verb, &session))
}

async fn run_verb(verb: Verb, session: &Session) -> Result<Exit, Failure> {
    match verb {
        Verb::Apply(args) => apply::run(args, session).await,
        Verb::Adopt(args) => adopt::run(args, session).await,
        Verb::App(args) => app::run(args, session).await,
        Verb::Release(args) => release::run(args, session).await,
        Verb::Rollout(args) => rollout::run(args, session).await,
        Verb::Rollback(args) => rollback::run(args, session).await,
        Verb::Quiet(args) => quiet::run(args, session).await,
        Verb::Node(args) => node::run(args, session).await,
        Verb::Token(args) => token::run(args, session).await,
        Verb::Rehearse(_) => unreachable!("it was run before there was a runtime"),
        Verb::Status => status::run(session).await,
        Verb::Events(args) => events::run(args, session).await,
        Verb::Completions(args) => completions::run(&args),
        Verb::Doctor(args) => doctor::run(args, session).await,
    }
}

/// Reads a duration for clap.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, nightshift_core::duration::InvalidDuration> {
    nightshift_core::duration::parse(text)
}

/// Reads an instant for clap.
fn parse_instant(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| format!("`{text}` is no instant: allowed is RFC 3339, such as `2026-12-05T22:00:00Z`"))
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// Every verb and argument that has no help, by name.
    fn without_help(command: &Command, path: &str) -> Vec<String> {
        let path = format!("{path} {}", command.get_name());
        let own = command.get_about().is_none().then(|| path.clone());
        let arguments = command.get_arguments().filter(|argument| argument.get_help().is_none());
        let arguments = arguments.map(|argument| format!("{path} {}", argument.get_id()));
        let below = command.get_subcommands().flat_map(|command| without_help(command, &path));
        own.into_iter().chain(arguments).chain(below).collect()
    }

    #[test]
    fn no_verb_and_no_flag_is_without_help() {
        let command = Cli::command();
        command.clone().debug_assert();
        assert_eq!(without_help(&command, ""), Vec::<String>::new());
    }
}
