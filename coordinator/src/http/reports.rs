//! `POST /v1/apps/{app}/reports`: CI says that the digest it pushed passed or failed its tests.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use nightshift_core::ids::AppName;
use nightshift_core::image::Digest;
use nightshift_core::release::TestResult;
use serde::{Deserialize, Serialize};
use tonic::metadata::MetadataMap;

use super::problem::{Problem, json};
use super::{Api, body};
use crate::operator::{Kept, Reported};
use crate::trust::{ConnectInfo, Permission};

/// Largest report, in bytes: its longest link, suite and digest with room to spare.
const BODY_LIMIT_BYTES: usize = 16 * 1024;

/// What CI sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    digest: String,
    result: TestResult,
    #[serde(default)]
    suite: String,
    #[serde(default)]
    url: String,
}

/// What it hears: the report that is kept, and whether its digest may be rolled out.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    app: &'a AppName,
    digest: &'a Digest,
    suite: &'a str,
    result: TestResult,
    by: &'a str,
    at: String,
    url: Option<&'a str>,
    eligible: bool,
    denial: Option<String>,
}

/// Takes a report: who calls is looked at first, and nothing is read from somebody who may not.
pub(super) async fn report(
    State(api): State<Api>,
    app: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let now = (api.clock)();
    let (parts, content) = request.into_parts();
    let from = parts.extensions.get::<ConnectInfo>().map(|info| info.remote_addr);
    let metadata = MetadataMap::from_headers(parts.headers.clone());
    let principal = api.trust.principal(&metadata, now).await?;
    let Path(app) = app.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let app: AppName = good(&app)?;
    principal.check(&Permission::Report(app.clone())).map_err(|denied| Problem::from(tonic::Status::from(denied)))?;
    body::must_be_json(&parts.headers)?;
    let content = body::read(&parts.headers, content, BODY_LIMIT_BYTES, api.limits.body_deadline).await?;
    let Body { digest, result, suite, url } = body::parse(&content)?;
    let digest: Digest = good(&digest)?;
    let reported = Reported { app: app.clone(), digest: digest.clone(), suite, result, url };
    let Kept { report, denial } = api.operator.take_report(&principal, from, reported).await?;
    let answer = Answer {
        app: &app,
        digest: &digest,
        suite: &report.suite,
        result: report.result,
        by: &report.by,
        at: instant(report.at),
        url: report.url.as_deref(),
        eligible: denial.is_none(),
        denial: denial.map(|denial| denial.to_string()),
    };
    Ok(json(StatusCode::OK, &answer))
}

fn good<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// As the command line's JSON has it.
fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
