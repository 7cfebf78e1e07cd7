//! Plain HTTPS beside gRPC, on the same port: for CI jobs and registries, which have `curl` and no client of ours.
//!
//! The same routes are served twice: by [`serve()`] to whoever speaks HTTP/1.1, with a deadline for everything, and among
//! tonic's services to whoever speaks HTTP/2 alone. Nothing is judged here; every refusal is JSON with its reason.

mod body;
mod hooks;
mod metrics;
mod problem;
mod reports;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use tokio::sync::watch;

use crate::driver::Clock;
use crate::operator::Operator;
use crate::trust::Trust;
use crate::watcher::{Checks, Followed};
pub(crate) use hooks::Webhooks;
pub use hooks::{Key, WeakSecret, Webhook};
use problem::Problem;
pub use serve::serve;

/// How much patience there is with those who call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long the head of a request may take, and how long a connection may rest between two.
    pub head_deadline: Duration,
    /// How long its body may take.
    pub body_deadline: Duration,
    /// Connections at the same time; others wait. Those of agents and the command line do not count.
    pub connections: usize,
}

impl Default for Limits {
    /// Ten seconds, as for a handshake: a report is one packet. 256 connections: a registry and a busy CI use a handful.
    fn default() -> Self {
        let patience = Duration::from_secs(10);
        Self { head_deadline: patience, body_deadline: patience, connections: 256 }
    }
}

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) operator: Operator,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) webhooks: Webhooks,
    pub(crate) followed: watch::Receiver<Followed>,
    pub(crate) checks: Checks,
}

impl Api {
    /// Everything that is served besides gRPC.
    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/v1/apps/{app}/reports", post(reports::report))
            .route("/v1/hooks/registry/{name}", post(hooks::notify))
            .route("/metrics", get(metrics::page).fallback(async || Problem::other_method("GET, HEAD")))
            .method_not_allowed_fallback(async || Problem::other_method("POST"))
            .fallback(nothing_here)
            .with_state(self)
    }
}

/// A path that nobody serves: callers of gRPC hear it in their own way.
async fn nothing_here(request: Request) -> Response {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if kind.starts_with(b"application/grpc") {
        let (parts, ()) = tonic::Status::unimplemented("this version has no such call").into_http::<()>().into_parts();
        return Response::from_parts(parts, axum::body::Body::empty());
    }
    let problem = Problem::new(StatusCode::NOT_FOUND, "nothing is served at this path");
    problem.hint("`docs/http.md` has what is: reports of tests go to `/v1/apps/APP/reports`, webhooks to `/v1/hooks/registry/NAME`, numbers for Prometheus are at `/metrics`").into_response()
}
