//! The roles: programs that run until they are told to end. A first signal lets them end in order, a second one at once.

mod agent;
mod coordinator;
mod dev;

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use nightshift_core::config::{LogConfig, LogFormat, Problems};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::context::read_limited;
use crate::failure::{Exit, Failure};
use crate::output::note;

/// A program that runs until it is told to end.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Run a coordinator and one agent for each engine, in one process
    Dev(dev::Args),
    /// Run the coordinator: one on a control host
    Coordinator(coordinator::Args),
    /// Run an agent: one on each Docker host
    Agent(agent::Args),
}

impl Role {
    /// Runs it until it is told to end.
    ///
    /// # Errors
    /// It could not start, or ended by itself.
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Dev(args) => dev::run(args),
            Self::Coordinator(args) => coordinator::run(&args),
            Self::Agent(args) => agent::run(&args),
        }
    }
}

/// Exit code after a second signal: 128 and the signal's number, as shells have it.
const ABORTED: i32 = 130;

/// Reads a role's file.
///
/// # Errors
/// It cannot be read, or something in it is wrong; all of that has been told then.
fn read_config<T>(what: &str, file: &Path, read: impl FnOnce(&str, &str) -> Result<T, Problems>) -> Result<T, Failure> {
    let text = read_limited(what, file)?;
    let name = file.display().to_string();
    read(&name, &text).map_err(|problems| {
        // Without the lines of the file: one of them may hold a secret.
        note(&problems.to_string());
        Failure::usage(format!("{what} `{name}` cannot be used"))
    })
}

/// A path of a file, meant from where the file lies.
fn beside(file: &Path, path: PathBuf) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(path)
}

/// Logs to standard error from now on.
///
/// # Errors
/// The filter cannot be read.
fn start_log(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| {
        Failure::usage(format!("`{}` is no log filter: {error}", config.filter))
            .hint("allowed is a level such as `info`, or `nightshift_agent=debug,info`")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match config.format {
        LogFormat::Text => {
            let colours =
                std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            log.with_ansi(colours).init();
        }
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Runs a role on a runtime of its own.
///
/// # Errors
/// Whatever ended it.
fn run<F>(role: impl FnOnce(CancellationToken) -> F) -> Result<Exit, Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(on_signals(shutdown.clone()));
        role(shutdown).await
    })?;
    Ok(Exit::Done)
}

/// The first signal asks to end, the second ends.
async fn on_signals(shutdown: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("no signals can be caught; the process can only be killed");
        return;
    };
    let mut next = async || {
        tokio::select! { _ = interrupt.recv() => "SIGINT", _ = terminate.recv() => "SIGTERM" }
    };
    let first = next().await;
    tracing::info!(signal = first, "ending; a second signal ends at once");
    shutdown.cancel();
    let second = next().await;
    tracing::warn!(signal = second, "ended at once");
    std::process::exit(ABORTED);
}

/// An error and everything behind it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> (String, Option<String>) {
    let mut words = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        source = inner.source();
    }
    let mut hint = None;
    for word in &mut words {
        if let Some((message, advice)) = word.split_once("\nhint: ") {
            hint = hint.or_else(|| Some(advice.to_owned()));
            *word = message.to_owned();
        }
    }
    (words.join(": "), hint)
}

/// The failure that an error of a library is for the program.
fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    let (message, hint) = chain(error);
    let failure = Failure::failed(message);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The same for a configuration that cannot be used.
fn unusable(error: &(dyn std::error::Error + 'static)) -> Failure {
    let (message, hint) = chain(error);
    let failure = Failure::usage(message);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
