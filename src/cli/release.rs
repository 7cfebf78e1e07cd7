//! `nightshift release`: what is known of an app's digests, and what CI and people say of them.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use nightshift_core::ids::AppName;
use nightshift_core::image::Digest;
use nightshift_core::release::DEFAULT_SUITE;
use nightshift_proto::pb;

use super::{Session, parse_duration, rebuild};
use crate::failure::{Exit, Failure};
use crate::view::all;
use crate::view::job::JobLog;
use crate::view::release::Release;

/// Logs that are shown of an app where no digest is named: those of the last nights.
const LOGS_OF_AN_APP: u32 = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the releases of an app, newest first
    List {
        /// Name of the app
        app: AppName,
    },
    /// Show a release with its test reports
    Show {
        /// Name of the app
        app: AppName,
        /// Its digest or an unambiguous start of it; without it the newest release
        digest: Option<String>,
        /// Show what its self-tests wrote instead; without a digest the newest of the app
        #[arg(long)]
        log: bool,
    },
    /// Report that this very digest passed or failed its tests
    Report {
        /// Name of the app
        app: AppName,
        /// The digest that was tested
        #[arg(long)]
        digest: Digest,
        /// How the tests ended
        #[arg(long, value_enum)]
        result: TestResult,
        /// Which tests these were
        #[arg(long, default_value = DEFAULT_SUITE)]
        suite: String,
        /// Link to the test run
        #[arg(long, default_value = "", hide_default_value = true)]
        url: String,
    },
    /// Have the app built again now, as its file says
    Rebuild {
        /// Name of the app
        app: AppName,
        /// Why, for the audit log
        #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
        reason: String,
        /// Wait until a new tested digest is there, or for this long (exit code 4 when the time runs out)
        #[arg(long, num_args = 0..=1, value_name = "DURATION", value_parser = parse_duration)]
        wait: Option<Option<Duration>>,
    },
    /// Bar a digest: no rollout starts it any more
    Quarantine(Mark),
    /// Lift the quarantine of a digest
    Clear(Mark),
}

#[derive(Debug, clap::Args)]
struct Mark {
    /// Name of the app
    app: AppName,
    /// The digest
    digest: Digest,
    /// Why, for the audit log
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TestResult {
    /// All tests passed.
    Passed,
    /// A test failed.
    Failed,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    match args.verb {
        Verb::List { app } => session.output.show(&list(app, session).await?)?,
        Verb::Show { app, digest, log: true } => session.output.show(&logs(app, digest, session).await?)?,
        Verb::Show { app, digest, log: false } => {
            let found = find(list(app.clone(), session).await?, &app, digest.as_deref())?;
            session.output.show(&found)?;
        }
        Verb::Report { app, digest, result, suite, url } => {
            let passed = result == TestResult::Passed;
            let request = pb::ReportTestRequest { app: app.into(), digest: digest.into(), passed, suite, url };
            let release = session.client().await?.ask(async |api| api.report_test(request).await).await?;
            session.output.show(&Release::from(release))?;
        }
        Verb::Rebuild { app, reason, wait } => return rebuild::run(app, reason, wait, session).await,
        Verb::Quarantine(mark) => set_quarantine(mark, true, session).await?,
        Verb::Clear(mark) => set_quarantine(mark, false, session).await?,
    }
    Ok(Exit::Done)
}

async fn list(app: AppName, session: &Session) -> Result<Vec<Release>, Failure> {
    let request = pb::ListReleasesRequest { app: app.into() };
    let list = session.client().await?.ask(async |api| api.list_releases(request).await).await?;
    Ok(all(list.releases))
}

/// What was written in tests of a digest, or in the app's newest.
async fn logs(app: AppName, digest: Option<String>, session: &Session) -> Result<Vec<JobLog>, Failure> {
    let (digest, limit) = match digest {
        Some(start) => (find(list(app.clone(), session).await?, &app, Some(&start))?.digest, 0),
        None => (String::new(), LOGS_OF_AN_APP),
    };
    let request = pb::ListJobLogsRequest { app: app.into(), digest, limit };
    let list = session.client().await?.ask(async |api| api.list_job_logs(request).await).await?;
    Ok(all(list.logs))
}

fn find(list: Vec<Release>, app: &AppName, digest: Option<&str>) -> Result<Release, Failure> {
    let Some(digest) = digest else {
        let none = || Failure::failed(format!("app `{app}` has no release: the registry was not seen yet"));
        return list.into_iter().next().ok_or_else(none);
    };
    let start = digest.strip_prefix("sha256:").unwrap_or(digest);
    let fits = |release: &Release| !start.is_empty() && release.digest.trim_start_matches("sha256:").starts_with(start);
    let mut found: Vec<_> = list.into_iter().filter(fits).collect();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Failure::usage(format!("`{digest}` is the start of several digests of app `{app}`"))
            .hint("write more of its digits")),
        (None, _) => Err(Failure::failed(format!("app `{app}` has no release `{digest}`"))
            .hint(format!("`nightshift release list {app}` shows them"))),
    }
}

async fn set_quarantine(mark: Mark, quarantined: bool, session: &Session) -> Result<(), Failure> {
    let Mark { app, digest, reason } = mark;
    let request = pb::SetQuarantineRequest { app: app.into(), digest: digest.into(), quarantined, reason };
    let release = session.client().await?.ask(async |api| api.set_quarantine(request).await).await?;
    session.output.show(&Release::from(release))
}
