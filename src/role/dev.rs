//! `nightshift dev`: a coordinator and one agent for each engine, in one process, with everything in one directory.
//!
//! Nothing in here is softer than in production: the agents enrol with join tokens and speak mTLS to the coordinator. A
//! restart with the same directory goes on where it was.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use clap::Args as ClapArgs;
use nightshift_agent::credentials::DockerCredentials;
use nightshift_agent::engine::{DockerEngine, Engine};
use nightshift_agent::identity::Identity;
use nightshift_agent::limits::Limits;
use nightshift_agent::service::{self as agent, EngineSource, TokenSource};
use nightshift_coordinator::config::{DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_UNKNOWN_AFTER};
use nightshift_coordinator::service::{Coordinator, Options};
use nightshift_coordinator::triggers::Secrets;
use nightshift_coordinator::{http, registry};
use nightshift_core::config::{LogConfig, LogFormat};
use nightshift_core::ids::NodeName;
use nightshift_core::labels::Labels;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::parse_duration;
use crate::context::read_limited;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::role;
use crate::role::coordinator::{users_docker_config, write_context};

/// Engine of this machine, where Docker puts it.
const USUAL_ENGINE: &str = "unix:///var/run/docker.sock";
/// Agents have this long to end their sessions.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Arguments of `nightshift dev`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Engine to keep fresh, once for each: `unix:///path` or `tcp://host:port`; without it this machine's own
    #[arg(long = "engine", value_name = "URL")]
    engines: Vec<String>,
    /// Directory for everything that must survive a restart
    #[arg(long, value_name = "DIR", default_value = "nightshift-dev")]
    data_dir: PathBuf,
    /// Where the coordinator listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7443")]
    listen: SocketAddr,
    /// Registry that is spoken to without TLS, besides those on loopback and those that the engines know as insecure
    #[arg(long = "insecure-registry", value_name = "HOST:PORT")]
    insecure_registries: Vec<String>,
    /// Docker's `config.json` with credentials for registries; without it that of this user
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
    /// How often a tag is looked at
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    watch_interval: Duration,
    /// What is logged to standard error: a level, or `nightshift_agent=debug,info`
    #[arg(long, value_name = "FILTER", default_value = "info", env = "NIGHTSHIFT_LOG")]
    log: String,
}

/// Runs the role.
///
/// # Errors
/// It could not start, or ended by itself.
pub(crate) fn run(args: Args) -> Result<Exit, Failure> {
    role::start_log(&LogConfig { filter: args.log.clone(), format: LogFormat::Text })?;
    role::run(async move |shutdown| serve(args, shutdown).await)
}

async fn serve(args: Args, shutdown: CancellationToken) -> Result<(), Failure> {
    let docker_config = docker_config(args.docker_config)?;
    let urls = if args.engines.is_empty() { vec![usual_engine()] } else { args.engines };
    must_differ(&urls)?;
    let mut insecure: BTreeSet<String> = args.insecure_registries.into_iter().collect();
    for url in &urls {
        insecure.extend(look_at_engine(url).await?);
    }
    let options = Options {
        data_dir: args.data_dir.clone(),
        listen: args.listen,
        names: Vec::new(),
        unknown_after: DEFAULT_UNKNOWN_AFTER,
        heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
        watch_interval: args.watch_interval,
        registry: registry::Options { insecure, docker_config: docker_config.clone(), ..registry::Options::default() },
        http: http::Limits::default(),
        webhooks: Vec::new(),
        secrets: Secrets::default(),
        trigger_ca: None,
    };
    let coordinator = Coordinator::open(options).await.map_err(|error| role::failed(&error))?;
    let address = coordinator.address();
    let context = write_context(&coordinator, &args.data_dir, &address.to_string()).await?;
    let mut agents = JoinSet::new();
    for (position, url) in urls.into_iter().enumerate() {
        let node: NodeName = format!("node{}", position + 1).parse().expect("a word and a number are a legal name");
        let data_dir = args.data_dir.join("agents").join(node.as_str());
        let join_token = join_token(&coordinator, &node, &data_dir).await?;
        let options = agent::Options {
            node,
            labels: Labels::new(),
            coordinator: format!("https://{address}").parse().expect("an address makes a URL"),
            engine: EngineSource::Url(url),
            data_dir,
            join_token,
            docker_config: docker_config.clone().map_or_else(DockerCredentials::of_user, DockerCredentials::of_file),
            limits: Limits::default(),
        };
        agents.spawn(one_agent(options, shutdown.clone()));
    }
    ready(&context, agents.len())?;
    let ended = coordinator.run(shutdown.clone()).await;
    shutdown.cancel();
    let agents = tokio::time::timeout(DRAIN_DEADLINE, agents.join_all()).await.unwrap_or_default();
    ended.map_err(|error| role::failed(&error))?;
    agents.into_iter().collect()
}

/// Runs an agent. One that ends by itself ends everything: a node that is silently left out is worse.
async fn one_agent(options: agent::Options, shutdown: CancellationToken) -> Result<(), Failure> {
    let ended = agent::run(options, shutdown.clone()).await;
    shutdown.cancel();
    ended.map_err(|error| role::failed(&error))
}

/// A join token for a node that has not joined yet: one that nobody uses would lie around valid.
async fn join_token(
    coordinator: &Coordinator,
    node: &NodeName,
    data_dir: &Path,
) -> Result<Option<TokenSource>, Failure> {
    // Whatever is wrong with the directory is the agent's to say, in its own words.
    if Identity::load(data_dir, node).is_ok_and(|known| known.is_some_and(|known| known.not_after() > Utc::now())) {
        return Ok(None);
    }
    let token = coordinator.join_token(node).await.map_err(|error| role::failed(&error))?;
    Ok(Some(TokenSource::Inline(token.expose().parse().expect("a coordinator makes good tokens"))))
}

/// Says how to go on: the only thing on standard output, so that `eval` can take it.
fn ready(context: &Path, nodes: usize) -> Result<(), Failure> {
    use std::io::Write as _;
    let nodes = if nodes == 1 { "one node".to_owned() } else { format!("{nodes} nodes") };
    note(&format!("nightshift is ready with {nodes}; in the next shell:"));
    let mut out = std::io::stdout().lock();
    writeln!(out, "export NIGHTSHIFT_CONTEXT={}", quoted(&context.display().to_string()))?;
    out.flush()?;
    Ok(())
}

/// A word as a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn usual_engine() -> String {
    std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()).unwrap_or_else(|| USUAL_ENGINE.to_owned())
}

fn must_differ(urls: &[String]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match urls.iter().find(|url| !seen.insert(url.trim_start_matches("unix://"))) {
        Some(twice) => Err(Failure::usage(format!("engine `{twice}` is given twice"))
            .hint("two agents on one engine would replace the same containers")),
        None => Ok(()),
    }
}

/// Checks that an engine answers; the registries that it speaks to without TLS.
async fn look_at_engine(url: &str) -> Result<Vec<String>, Failure> {
    let engine: Arc<dyn Engine> = Arc::new(DockerEngine::connect(url).await.map_err(|error| role::failed(&error))?);
    let info = engine.info().await.map_err(|error| role::failed(&error))?;
    tracing::info!(engine = url, version = %info.version, api = %info.api_version, "engine answers");
    Ok(info.insecure_registries)
}

/// Docker's `config.json`: the given one must be there and readable, the user's own need not.
fn docker_config(given: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    match given {
        Some(file) => {
            read_limited("docker's configuration", &file)?;
            Ok(Some(file))
        }
        None => Ok(users_docker_config()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_is_not_given_to_two_agents() {
        let urls = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(must_differ(&urls(&["unix:///a.sock", "unix:///b.sock"])).is_ok());
        let failure = must_differ(&urls(&["unix:///a.sock", "/a.sock"])).expect_err("the same socket");
        assert_eq!(failure.exit(), Exit::Usage);
    }

    #[test]
    fn the_printed_line_survives_a_shell() {
        assert_eq!(quoted("/tmp/a.b/context.toml"), "/tmp/a.b/context.toml");
        assert_eq!(quoted("/tmp/it's mine/c"), r"'/tmp/it'\''s mine/c'");
    }
}
