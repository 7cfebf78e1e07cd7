//! Calls the hooks of a step: a command inside a container, or an HTTP request from here.
//!
//! Both are told the same: which hook it is, of which app, node and container, where the container can be reached, and the
//! same of the other container of the step. A command finds it in variables (`NIGHTSHIFT_…`), a request in its JSON body.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use nightshift_core::ids::ContainerId;
use nightshift_core::replace::{HookOutcome, Record};
use nightshift_core::spec::{Hook, HookCall, HookPoint, SKIP_EXIT_CODE, SKIP_HTTP_STATUS};
use nightshift_core::step::Purpose;
use serde_json::{Map, Value};

use crate::engine::{Engine, Error};

/// Most of a hook's own words that are told, in characters: a sentence for a report.
const WORDS_LIMIT_CHARS: usize = 200;
/// Most of an answer's body that is read, in bytes.
const BODY_LIMIT_BYTES: usize = 4 * 1024;

/// What a request of a hook was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The beginning of its body.
    pub words: String,
}

/// Sends the requests of HTTP hooks: a port, so that simulations can answer them.
#[async_trait]
pub trait HookClient: Send + Sync + fmt::Debug {
    /// Posts a JSON body. How long it may take is the caller's matter: it drops the call.
    ///
    /// # Errors
    /// Why there is no answer, in words for people.
    async fn post(&self, url: &str, body: &Map<String, Value>) -> Result<Answer, String>;
}

/// Sends them over the network, from this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpClient;

/// Calls a hook and says what came of it. A hook that does not end in time has failed.
///
/// # Errors
/// The engine does not answer: nobody knows whether the hook was called.
pub async fn call(
    engine: &dyn Engine,
    client: &dyn HookClient,
    record: &Record,
    point: HookPoint,
    container: &ContainerId,
    hook: &Hook,
) -> Result<HookOutcome, Error> {
    let inspect = engine.inspect(&container.0).await?;
    let other = match other(record, container) {
        // Not created yet, or removed: nobody has to be told of it.
        Some(id) => engine.inspect(&id.0).await.or_else(none_if_gone)?,
        None => Value::Null,
    };
    let facts = facts(record, point, &inspect, &other);
    match &hook.call {
        HookCall::Exec { command } => exec(engine, container, command, &facts, hook.timeout).await,
        HookCall::Http { url } => Ok(match tokio::time::timeout(hook.timeout, post(client, url, &facts)).await {
            Ok(outcome) => outcome,
            Err(_) => HookOutcome::Failed(format!("{url}: no answer within {}", text_of(hook.timeout))),
        }),
    }
}

/// The container that comes or goes beside the one that a hook is about.
fn other<'a>(record: &'a Record, container: &ContainerId) -> Option<&'a ContainerId> {
    let old = &record.order.container_id;
    if container == old { record.instance.new_id.as_ref() } else { Some(old) }
}

fn none_if_gone(error: Error) -> Result<Value, Error> {
    if matches!(error, Error::NotFound { .. }) { Ok(Value::Null) } else { Err(error) }
}

fn text_of(time: Duration) -> String {
    nightshift_core::duration::format(time)
}

/// What is told: names in the form of JSON keys, values as text.
fn facts(record: &Record, point: HookPoint, inspect: &Value, other: &Value) -> Vec<(&'static str, String)> {
    let order = &record.order;
    let purpose = match order.purpose {
        Purpose::Update => "update",
        Purpose::Rollback => "rollback",
    };
    let role = if id(inspect) == order.container_id.0 { "old" } else { "new" };
    vec![
        ("hook", point.to_string()),
        ("app", order.app.to_string()),
        ("node", order.node.to_string()),
        ("container", order.container.clone()),
        ("container_id", id(inspect)),
        ("role", role.to_owned()),
        ("image", order.image.to_string()),
        ("digest", order.digest.to_string()),
        ("purpose", purpose.to_owned()),
        ("address", address(inspect)),
        ("ports", ports(inspect)),
        ("other_id", id(other)),
        ("other_address", address(other)),
        ("other_ports", ports(other)),
    ]
}

fn id(inspect: &Value) -> String {
    inspect.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The container's address on its first network that has one.
fn address(inspect: &Value) -> String {
    let networks = inspect.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let address = |network: &Value| network.get("IPAddress").and_then(Value::as_str).map(str::to_owned);
    networks
        .into_iter()
        .flatten()
        .filter_map(|(_, network)| address(network))
        .find(|ip| !ip.is_empty())
        .unwrap_or_default()
}

/// The published ports, `80/tcp=32768 443/tcp=32769`: what the engine chose, too.
fn ports(inspect: &Value) -> String {
    let ports = inspect.pointer("/NetworkSettings/Ports").and_then(Value::as_object);
    let host_port = |bindings: &Value| {
        let first = bindings.as_array()?.first()?;
        first.get("HostPort").and_then(Value::as_str).map(str::to_owned)
    };
    let published = ports.into_iter().flatten().filter_map(|(port, bindings)| Some((port, host_port(bindings)?)));
    published.map(|(port, host)| format!("{port}={host}")).collect::<Vec<_>>().join(" ")
}

async fn exec(
    engine: &dyn Engine,
    container: &ContainerId,
    command: &[String],
    facts: &[(&'static str, String)],
    timeout: Duration,
) -> Result<HookOutcome, Error> {
    let variable = |(key, value): &(&str, String)| format!("NIGHTSHIFT_{}={value}", key.to_uppercase());
    let environment: Vec<String> = facts.iter().map(variable).collect();
    let program = command.first().map(String::as_str).unwrap_or_default();
    match engine.exec(container, command, &environment, timeout).await {
        Ok(outcome) => {
            let words = shortened(&outcome.output);
            Ok(match outcome.exit_code {
                0 => HookOutcome::Done,
                SKIP_EXIT_CODE => HookOutcome::Skip(words),
                code => HookOutcome::Failed(format!("`{program}` ended with {code}: {words}")),
            })
        }
        Err(Error::Timeout { .. }) => {
            Ok(HookOutcome::Failed(format!("`{program}` did not end within {}", text_of(timeout))))
        }
        // The container is not there, or does not run: the next look at it says so.
        Err(error @ (Error::NotFound { .. } | Error::Conflict { .. })) => Ok(HookOutcome::Failed(error.to_string())),
        Err(error) => Err(error),
    }
}

async fn post(client: &dyn HookClient, url: &str, facts: &[(&'static str, String)]) -> HookOutcome {
    let body = facts.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))).collect();
    match client.post(url, &body).await {
        Ok(Answer { status: 200..=299, .. }) => HookOutcome::Done,
        Ok(Answer { status: SKIP_HTTP_STATUS, words }) => HookOutcome::Skip(words),
        Ok(Answer { status, words }) => HookOutcome::Failed(format!("{url} answers {status}: {words}")),
        Err(reason) => HookOutcome::Failed(format!("{url}: {reason}")),
    }
}

#[async_trait]
impl HookClient for HttpClient {
    async fn post(&self, url: &str, body: &Map<String, Value>) -> Result<Answer, String> {
        // Made anew each time: hooks are rare, and a pool of connections would outlive its use. No redirects: a hook is
        // what the app file says.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("nightshift/", env!("CARGO_PKG_VERSION")))
            .build();
        let sent = match client {
            Ok(client) => client.post(url).json(body).send().await,
            Err(error) => Err(error),
        };
        let answer = sent.map_err(|error| crate::reason::of(&error))?;
        Ok(Answer { status: answer.status().as_u16(), words: words_of(answer).await })
    }
}

async fn words_of(mut answer: reqwest::Response) -> String {
    let mut body: Vec<u8> = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() >= BODY_LIMIT_BYTES {
            break;
        }
    }
    shortened(&String::from_utf8_lossy(&body))
}

fn shortened(words: &str) -> String {
    words.trim().chars().take(WORDS_LIMIT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_is_told_by_where_it_can_be_reached() {
        let inspect = json!({"NetworkSettings": {
            "Networks": {"a": {"IPAddress": ""}, "b": {"IPAddress": "172.18.0.2"}},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "81/tcp": null, "53/udp": [{"HostPort": "53"}]},
        }});
        assert_eq!(address(&inspect), "172.18.0.2");
        assert_eq!(ports(&inspect), "53/udp=53 80/tcp=32768");
        assert_eq!((address(&json!({})), ports(&json!({}))), (String::new(), String::new()));
    }
}
