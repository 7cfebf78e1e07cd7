//! `nightshift doctor`: why the command line does not work, one check after the other.

use chrono::{DateTime, Utc};
use nightshift_agent::engine::{DockerEngine, Engine as _};
use nightshift_proto::pb;

use super::Session;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::view::doctor::{Finding, Verdict};
use crate::view::status::Status;

/// Clock skew above which someone should look: the same limit as for agents.
const SKEW_LIMIT_MS: i64 = 5_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also check this engine, as an agent on this machine would use it: `unix:///var/run/docker.sock`; may be repeated
    #[arg(long = "engine", value_name = "URL")]
    engines: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<Exit, Failure> {
    let mut findings = Vec::new();
    if let Err(failure) = coordinator(session, &mut findings).await {
        findings.push(failure);
    }
    for url in &args.engines {
        findings.push(engine(url).await);
    }
    session.output.show(&findings)?;
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Each check needs the one before it: the first that fails is the last.
async fn coordinator(session: &Session, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let failed = |check: &'static str| move |failure: Failure| Finding::failed(check, &failure);
    let target = session.connection.target().map_err(failed("configuration"))?;
    findings.push(Finding::ok("configuration", format!("coordinator `{}`", target.server)));
    let mut client = Client::connect(&target).await.map_err(failed("connection"))?;
    findings.push(Finding::ok("connection", "the coordinator answers, its certificate is signed by the CA in use"));
    let asked = Utc::now();
    let status =
        client.ask(async |api| api.get_status(pb::GetStatusRequest {}).await).await.map_err(failed("token"))?;
    let status = Status::from(status);
    findings.push(Finding::ok("token", "accepted"));
    findings.push(version(&status.version));
    findings.extend(status.now.map(|now| skew(asked, Utc::now(), now)));
    findings.push(nodes(&status));
    Ok(())
}

fn version(coordinator: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if coordinator == own {
        return Finding::ok("version", format!("{own} here and there"));
    }
    let message = format!("{own} here, {coordinator} at the coordinator");
    Finding::warning("version", message, "run the same version of nightshift on both sides")
}

/// The coordinator's clock must lie between the question and the answer.
fn skew(asked: DateTime<Utc>, answered: DateTime<Utc>, coordinator: DateTime<Utc>) -> Finding {
    let ahead = (coordinator - answered).num_milliseconds().max(0);
    let behind = (asked - coordinator).num_milliseconds().max(0);
    let skew = ahead.max(behind);
    if skew <= SKEW_LIMIT_MS {
        return Finding::ok("clock", "the coordinator's clock agrees with this machine's");
    }
    let word = if ahead > behind { "ahead of" } else { "behind" };
    let message = format!("the coordinator's clock is {:.1} s {word} this machine's", skew as f64 / 1000.0);
    Finding::warning("clock", message, "quiet hours go by the coordinator's clock: let both follow a time server")
}

fn nodes(status: &Status) -> Finding {
    let lost: Vec<_> = status.nodes.iter().filter(|node| !node.connected).map(|node| node.name.as_str()).collect();
    match (status.nodes.len(), lost.as_slice()) {
        (0, _) => {
            Finding::warning("nodes", "none has joined".to_owned(), "`nightshift token create node` lets one join")
        }
        (all, []) => Finding::ok("nodes", format!("{all} of {all} connected")),
        (all, _) => {
            let message = format!("{} of {all} connected, not: {}", all - lost.len(), lost.join(", "));
            Finding::warning(
                "nodes",
                message,
                "look at the agents there: is the service running, is the coordinator in reach?",
            )
        }
    }
}

async fn engine(url: &str) -> Finding {
    let asked = async { DockerEngine::connect(url).await?.info().await };
    let check = format!("engine {url}");
    match asked.await {
        Ok(info) => Finding::ok(check, format!("version {}, API {}", info.version, info.api_version)),
        Err(error) => {
            let text = error.to_string();
            let (what, hint) = text.split_once("; hint: ").unwrap_or((&text, ""));
            let failure = Failure::failed(what);
            Finding::failed(check, &if hint.is_empty() { failure } else { failure.hint(hint) })
        }
    }
}
