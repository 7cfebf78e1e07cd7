//! `POST /v1/hooks/registry/{name}`: a registry says that something was pushed.
//!
//! Nothing that it says is believed but the repository's name, and that only hurries what the watcher does anyway: it looks
//! at the tag itself. Who sends must know the webhook's secret ([`proof`]); what each kind of sender says is read in
//! [`pushes`].

mod proof;
mod pushes;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use nightshift_core::image::Repository;
use serde::Serialize;

use super::problem::{Problem, json};
use super::{Api, body};
use crate::config::Sender;
use crate::trust::ConnectInfo;
use crate::watcher::Target;
pub use proof::{Key, WeakSecret};

/// Largest notification, in bytes: GitHub's have some 30 KB, and one of a registry with a thousand events stays below.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
/// How long the watcher may take to hear of it: it is busy for milliseconds.
const HAND_OVER_DEADLINE: Duration = Duration::from_secs(5);
/// What a sender hears who is not known, whatever is wrong.
const NOT_ACCEPTED: &str = "the webhook is not accepted";
const NOT_ACCEPTED_HINT: &str = "there is no webhook of this name in the coordinator file, or its secret is another one; `docs/http.md` says how it is sent";

/// A registry that may tell.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its name, the last part of the path.
    pub name: String,
    /// What sends.
    pub sender: Sender,
    /// How it proves who it is.
    pub key: Key,
}

/// Every webhook that is configured.
pub(crate) type Webhooks = Arc<[Webhook]>;

/// What the sender hears.
#[derive(Debug, Serialize)]
struct Answer {
    /// The references that are looked at now.
    checks: Vec<String>,
}

/// Takes a notification.
pub(super) async fn notify(
    State(api): State<Api>,
    name: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let from = parts.extensions.get::<ConnectInfo>().map(|info| tracing::field::display(info.remote_addr));
    let name = name.map(|Path(name)| name).unwrap_or_default();
    let Some(webhook) = api.webhooks.iter().find(|webhook| webhook.name == name) else {
        tracing::info!(from, "webhook of an unknown name refused");
        return Err(not_accepted());
    };
    let refused = || {
        tracing::info!(webhook = webhook.name, from, "webhook with a wrong secret refused");
        not_accepted()
    };
    // A secret beside the body is looked at before the body is; a signature needs it.
    if !webhook.key.admits(webhook.sender.proof(), &parts) {
        return Err(refused());
    }
    body::must_be_json(&parts.headers)?;
    let content = body::read(&parts.headers, content, BODY_LIMIT_BYTES, api.limits.body_deadline).await?;
    if !webhook.key.signed(webhook.sender.proof(), &parts.headers, &content) {
        return Err(refused());
    }
    let pushed = pushes::read(&webhook.sender, event(&parts), &content)?;
    let checks = check(&api, &pushed).await?;
    tracing::info!(
        webhook = webhook.name,
        from,
        repositories = pushed.len(),
        checks = checks.len(),
        "registry told of a push"
    );
    Ok(json(StatusCode::OK, &Answer { checks }))
}

fn not_accepted() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, NOT_ACCEPTED).hint(NOT_ACCEPTED_HINT)
}

/// GitHub says what happened beside the body.
fn event(parts: &Parts) -> &str {
    parts.headers.get("x-github-event").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Has everything in these repositories looked at that somebody follows, missed signatures among it; what.
async fn check(api: &Api, pushed: &BTreeSet<Repository>) -> Result<Vec<String>, Problem> {
    let followed = api.followed.borrow().targets();
    let concerned: BTreeSet<Target> =
        followed.into_iter().filter(|target| pushed.contains(target.repository())).collect();
    let hand_over = async {
        for target in &concerned {
            api.checks.ask(target.clone()).await;
        }
    };
    if tokio::time::timeout(HAND_OVER_DEADLINE, hand_over).await.is_err() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the watcher is busy");
        return Err(problem.hint("send it again; the next look at the registry finds it as well"));
    }
    Ok(concerned.iter().map(ToString::to_string).collect())
}
