//! `nightshift rehearse`: what would happen with these app files, on simulated nodes. Needs no coordinator and no engine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use nightshift_core::ids::NodeName;

use super::{Session, apply::read_app_file, parse_instant};
use crate::failure::{Exit, Failure};
use crate::simulation::rehearsal::{Script, rehearse};
use crate::view::rehearsal::Rehearsal;

/// Most nodes: enough for every fleet whose order one wants to read, and still quick.
const NODES_LIMIT: u32 = 200;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// App files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many nodes: `node1`, `node2`, ..., each with one instance of each app
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_LIMIT)))]
    nodes: u32,
    /// A node on which the new container becomes unhealthy; may be given more than once
    #[arg(long, value_name = "NODE")]
    fail: Vec<NodeName>,
    /// When the new image is pushed and its tests have passed; now, where it is left out
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    at: Option<DateTime<Utc>>,
}

pub(crate) fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let Args { files, nodes, fail, at } = args;
    let names: Vec<NodeName> =
        (1..=nodes).map(|number| format!("node{number}").parse().expect("letters and digits")).collect();
    if let Some(unknown) = fail.iter().find(|node| !names.contains(node)) {
        let hint = format!("the nodes are `node1` to `node{nodes}`; `--nodes` says how many");
        return Err(Failure::usage(format!("there is no node `{unknown}` in this rehearsal")).hint(hint));
    }
    let mut specs = Vec::new();
    let mut seen = BTreeSet::new();
    for file in &files {
        let (spec, _) = read_app_file(file)?;
        if !seen.insert(spec.name.clone()) {
            return Err(Failure::usage(format!("app `{}` is in two files", spec.name)));
        }
        specs.push(spec);
    }
    let script = Script { specs, nodes: names, fail: fail.into_iter().collect(), start: at.unwrap_or_else(Utc::now) };
    let view = Rehearsal::of(&script, &rehearse(script.clone()));
    session.output.show(&view)?;
    Ok(if view.reached { Exit::Done } else { Exit::OffTarget })
}
