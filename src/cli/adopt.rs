//! `nightshift adopt`: what runs on the nodes, as app files. Nothing is changed by it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nightshift_core::ids::NodeName;
use nightshift_proto::pb;

use super::Session;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::view::adoption::Adoption;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look at one node alone
    #[arg(long)]
    node: Option<NodeName>,
    /// Write each app file into this directory; none that is there is overwritten
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let request = pb::AdoptRequest { node: args.node.map(|node| node.to_string()).unwrap_or_default() };
    let answer = session.client().await?.ask(async |api| api.adopt(request).await).await?;
    let mut adoption = Adoption::from(answer);
    if let Some(directory) = &args.out {
        write_all(directory, &mut adoption)?;
    }
    session.output.show(&adoption)?;
    if let Some(directory) = &args.out {
        let directory = directory.display();
        note(&format!("nothing was changed: read the files, then `nightshift apply --dry-run {directory}/*.toml`"));
    }
    Ok(Exit::Done)
}

/// Writes all files, or none where one of them is there already.
fn write_all(directory: &Path, adoption: &mut Adoption) -> Result<(), Failure> {
    let failed =
        |path: &Path, error: std::io::Error| Failure::failed(format!("cannot write `{}`: {error}", path.display()));
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for proposal in &mut adoption.proposals {
        let path = directory.join(format!("{}.toml", proposal.app));
        if path.exists() {
            return Err(Failure::failed(format!("`{}` is there already", path.display()))
                .hint("nothing was written; move it away, or name another directory"));
        }
        proposal.file = Some(path.display().to_string());
    }
    for proposal in &adoption.proposals {
        let path = directory.join(format!("{}.toml", proposal.app));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.map_err(|error| failed(&path, error))?;
        file.write_all(proposal.toml.as_bytes()).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
