//! `nightshift completions`: the completion script of a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::failure::{Exit, Failure};
use crate::output::print;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nightshift", &mut script);
    print(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
