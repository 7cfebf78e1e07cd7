//! `GET /metrics`: the fleet as numbers for Prometheus, for whoever may look at it.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use tonic::metadata::MetadataMap;

use super::Api;
use super::problem::Problem;
use crate::metrics;
use crate::trust::Permission;

/// Answers with the whole page.
pub(super) async fn page(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let metadata = MetadataMap::from_headers(request.headers().clone());
    let principal = api.trust.principal(&metadata, (api.clock)()).await?;
    principal.check(&Permission::View).map_err(|denied| Problem::from(tonic::Status::from(denied)))?;
    let text = api.operator.metrics().await?;
    let headers = [(CONTENT_TYPE, metrics::CONTENT_TYPE), (CACHE_CONTROL, "no-store")];
    Ok((StatusCode::OK, headers, text).into_response())
}
