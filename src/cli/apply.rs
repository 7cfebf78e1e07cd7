//! `nightshift apply`: app files are read here first, so that nothing is sent of what the coordinator would refuse.

use std::collections::BTreeMap;
use std::path::PathBuf;

use nightshift_core::config::read_app;
use nightshift_core::ids::AppName;
use nightshift_core::spec::AppSpec;
use nightshift_proto::pb;

use super::Session;
use crate::context::read_limited;
use crate::failure::{Exit, Failure};
use crate::output::{diagnostic, note};
use crate::view::all;
use crate::view::change::Change;

/// Most files of one call: a fleet has dozens of apps, and the coordinator takes a message of 4 MiB.
const FILES_LIMIT: usize = 256;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// App files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let files = read_all(&args.files)?;
    let request = pb::ApplyRequest { files, dry_run: args.dry_run };
    let answer = session.client().await?.ask(async |api| api.apply(request).await).await?;
    session.output.show(&all::<_, Change>(answer.changes))?;
    if args.dry_run {
        note("nothing was changed: this was a dry run");
    }
    Ok(Exit::Done)
}

/// Reads every file before it complains, so that one run shows all problems.
fn read_all(paths: &[PathBuf]) -> Result<Vec<pb::AppFile>, Failure> {
    if paths.len() > FILES_LIMIT {
        return Err(Failure::usage(format!("{} files are too many: allowed are up to {FILES_LIMIT}", paths.len())));
    }
    let mut files = Vec::new();
    let mut failures = Vec::new();
    let mut owners: BTreeMap<AppName, String> = BTreeMap::new();
    for path in paths {
        let name = path.display().to_string();
        match read_app_file(path) {
            Ok((spec, toml)) => {
                if let Some(first) = owners.insert(spec.name.clone(), name.clone()) {
                    failures.push(Failure::usage(format!("app `{}` is in `{first}` and in `{name}`", spec.name)));
                }
                files.push(pb::AppFile { name, toml });
            }
            Err(failure) => failures.push(failure),
        }
    }
    let Some(last) = failures.pop() else { return Ok(files) };
    for failure in failures {
        failure.report();
    }
    Err(last.hint("nothing was sent to the coordinator"))
}

/// One app file: what it says, and its text. Its problems are shown at once.
///
/// # Errors
/// It cannot be read, or says what no app file may say.
pub(crate) fn read_app_file(path: &std::path::Path) -> Result<(AppSpec, String), Failure> {
    let name = path.display().to_string();
    let text = read_limited("app file", path)?;
    match read_app(&name, &text) {
        Ok(spec) => Ok((spec, text)),
        Err(problems) => {
            let count = problems.as_slice().len();
            let what = if count == 1 { "1 problem".to_owned() } else { format!("{count} problems") };
            diagnostic::show(&name, &text, problems);
            Err(Failure::usage(format!("app file `{name}` has {what}")))
        }
    }
}
