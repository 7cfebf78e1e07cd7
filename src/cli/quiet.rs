//! `nightshift quiet`: when installing is allowed, asked of the coordinator for an app, or worked out here for a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use nightshift_core::ids::AppName;
use nightshift_core::labels::Selector;
use nightshift_core::quiet::{QuietHours, WindowState, Zone};
use nightshift_proto::pb;

use super::apply::read_app_file;
use super::{Session, parse_instant};
use crate::failure::{Exit, Failure};
use crate::view::quiet::{Check, Explanation, Quiet, Window};
use crate::view::timestamp;

/// How many windows are shown when nothing else is said.
const WINDOWS_USUAL: u32 = 10;
const SECONDS_OF_AN_HOUR: f64 = 3600.0;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the next windows
    Next {
        #[command(flatten)]
        which: Which,
        /// At most so many windows
        #[arg(long, default_value_t = WINDOWS_USUAL, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Explain why installing is allowed now, or why not
    Explain(Which),
    /// Look at the year ahead: how often, how long, and what was probably not meant so
    Check(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Name of the app; the coordinator is asked
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    app: Option<AppName>,
    /// App file; no coordinator is asked
    #[arg(long)]
    file: Option<PathBuf>,
    /// Judge as of this instant instead of now: `2026-12-05T22:00:00Z`
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    at: Option<DateTime<Utc>>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let output = session.output;
    match args.verb {
        Verb::Next { which, limit } => output.show(&which.judge(limit, session).await?.windows)?,
        Verb::Explain(which) => output.show(&which.judge(1, session).await?.explanation)?,
        Verb::Check(which) => output.show(&which.judge(1, session).await?.check)?,
    }
    Ok(Exit::Done)
}

impl Which {
    async fn judge(self, limit: u32, session: &Session) -> Result<Quiet, Failure> {
        match (self.file, self.app) {
            (Some(file), _) => judge_file(&file, self.at.unwrap_or_else(Utc::now), limit),
            (None, app) => {
                let app = app.map(String::from).unwrap_or_default();
                let request = pb::QuietRequest { app, limit, at: self.at.map(timestamp) };
                let answer = session.client().await?.ask(async |api| api.quiet_windows(request).await).await?;
                Ok(answer.into())
            }
        }
    }
}

fn judge_file(file: &Path, now: DateTime<Utc>, limit: u32) -> Result<Quiet, Failure> {
    let (spec, _) = read_app_file(file)?;
    let none = || {
        Failure::failed(format!("app `{}` has no quiet hours: nothing starts automatically", spec.name))
            .hint("add `[quiet_hours]` to the file, or start rollouts yourself with `--now --reason`")
    };
    let quiet = spec.quiet_hours.as_ref().ok_or_else(none)?;
    let worst_case = spec.worst_case(true);
    Ok(judge(quiet, now, worst_case, usize::try_from(limit).unwrap_or(usize::MAX)))
}

fn judge(quiet: &QuietHours, now: DateTime<Utc>, worst_case: Duration, limit: usize) -> Quiet {
    let zone = quiet.timezone();
    let check = quiet.check(now, worst_case);
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    Quiet {
        windows: quiet
            .windows_of_groups(now, limit)
            .into_iter()
            .map(|(nodes, window)| view(&nodes, window, zone))
            .collect(),
        explanation: Explanation {
            open: matches!(quiet.at(now), WindowState::Open { .. }),
            explanation: lines(quiet.explain(now).to_string()),
        },
        check: Check {
            timezone: Some(zone.name().to_owned()),
            windows_in_a_year: u64::try_from(check.windows).unwrap_or(u64::MAX),
            hours_in_a_year: check.open.as_secs_f64() / SECONDS_OF_AN_HOUR,
            longest_gap_ms: check.longest_gap.and_then(|gap| u64::try_from(gap.length().as_millis()).ok()),
            clock_changes: check.clock_changes(),
            warnings: check.warnings.iter().map(ToString::to_string).collect(),
        },
    }
}

fn view(nodes: &Selector, window: nightshift_core::quiet::Window, zone: Zone) -> Window {
    let local = format!("{} to {}", zone.local(window.starts), zone.local(window.ends));
    let nodes = Some(nodes.to_string()).filter(|nodes| !nodes.is_empty());
    Window { starts: Some(window.starts), ends: Some(window.ends), local: Some(local), nodes }
}
