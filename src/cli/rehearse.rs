//! `nightshift rehearse`: what would happen with these app files, on simulated nodes. Needs no coordinator and no engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use nightshift_core::ids::NodeName;
use nightshift_core::labels::Labels;
use nightshift_core::spec::AppSpec;

use super::{Session, apply::read_app_file, parse_instant};
use crate::failure::{Exit, Failure};
use crate::simulation::rehearsal::{Script, rehearse};
use crate::view::rehearsal::Rehearsal;

/// Most nodes: enough for every fleet whose order one wants to read, and still quick.
const NODES_LIMIT: u32 = 200;
/// A node that was given no labels.
const NONE: Labels = Labels::new();

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
    /// Labels of a node: `node1:role=web,zone=north`; may be given more than once. With any, selectors of apps hold
    #[arg(long, value_name = "NODE:LABELS", value_parser = parse_labels)]
    label: Vec<(NodeName, Labels)>,
    /// When the new image is pushed and its tests have passed; now, where it is left out
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    at: Option<DateTime<Utc>>,
}

pub(crate) fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let Args { files, nodes, fail, label, at } = args;
    let names: Vec<NodeName> =
        (1..=nodes).map(|number| format!("node{number}").parse().expect("letters and digits")).collect();
    if let Some(unknown) = fail.iter().chain(label.iter().map(|(node, _)| node)).find(|node| !names.contains(node)) {
        let hint = format!("the nodes are `node1` to `node{nodes}`; `--nodes` says how many");
        return Err(Failure::usage(format!("there is no node `{unknown}` in this rehearsal")).hint(hint));
    }
    let mut labels: BTreeMap<NodeName, Labels> = BTreeMap::new();
    for (node, more) in label {
        labels.entry(node).or_default().extend(more);
    }
    let specs = specs(&files)?;
    if !labels.is_empty() {
        let chosen = |spec: &AppSpec| names.iter().any(|name| spec.nodes.matches(labels.get(name).unwrap_or(&NONE)));
        if let Some(nowhere) = specs.iter().find(|spec| !chosen(spec)) {
            let what =
                format!("no node of this rehearsal is one of app `{}`: `nodes = \"{}\"`", nowhere.name, nowhere.nodes);
            return Err(
                Failure::usage(what).hint("give labels to more nodes, or to none: then every node has each app")
            );
        }
    }
    let fail = fail.into_iter().collect();
    let script = Script { specs, nodes: names, labels, fail, start: at.unwrap_or_else(Utc::now) };
    let view = Rehearsal::of(&script, &rehearse(script.clone()));
    session.output.show(&view)?;
    Ok(if view.reached { Exit::Done } else { Exit::OffTarget })
}

fn specs(files: &[PathBuf]) -> Result<Vec<AppSpec>, Failure> {
    let mut specs = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files {
        let (spec, _) = read_app_file(file)?;
        if !seen.insert(spec.name.clone()) {
            return Err(Failure::usage(format!("app `{}` is in two files", spec.name)));
        }
        specs.push(spec);
    }
    Ok(specs)
}

/// `NODE:KEY=VALUE,KEY=VALUE`.
fn parse_labels(text: &str) -> Result<(NodeName, Labels), String> {
    let wrong = || format!("`{text}` gives no labels: allowed is `node1:key=value`, more of them joined by commas");
    let (node, labels) = text.split_once(':').ok_or_else(wrong)?;
    let node = node.parse::<NodeName>().map_err(|error| error.to_string())?;
    let label = |part: &str| {
        let (key, value) = part.split_once('=')?;
        let good = |text: &str| !text.is_empty() && !text.contains([' ', '=', '!']);
        (good(key) && good(value)).then(|| (key.to_owned(), value.to_owned()))
    };
    let labels: Option<Labels> = labels.split(',').map(|part| label(part.trim())).collect();
    Ok((node, labels.ok_or_else(wrong)?))
}
