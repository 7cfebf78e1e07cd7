//! Refusals by HTTP: a status and `{"error": …, "hint": …}`, for a person who reads the log of a CI job.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};

use crate::operator::refusal;

/// What separates a message from its hint in the texts of errors.
const HINT_MARK: &str = "\nhint: ";

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: StatusCode,
    #[serde(rename = "error")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The methods that the path knows, where it is asked by another one.
    #[serde(skip)]
    allow: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None, allow: None }
    }

    /// The path knows only these methods.
    pub(super) fn other_method(allow: &'static str) -> Self {
        let message = format!("only {allow} is served at this path");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<Status> for Problem {
    /// The same refusal as by gRPC.
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
            Code::Ok | Code::Unknown | Code::Unimplemented | Code::Internal | Code::DataLoss => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        let in_metadata = status.metadata().get(refusal::HINT).and_then(|value| value.to_str().ok());
        let (message, in_text) = match status.message().split_once(HINT_MARK) {
            Some((message, hint)) => (message, Some(hint)),
            None => (status.message(), None),
        };
        Self {
            status: code,
            message: message.to_owned(),
            hint: in_text.or(in_metadata).map(str::to_owned),
            allow: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &self);
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An answer in JSON, which nobody in between may keep.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = serde_json::to_string(body).expect("own types with keys of text are JSON");
    text.push('\n');
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_grpc_keeps_its_meaning_and_its_hint() {
        for (code, expect) in [
            (Code::InvalidArgument, 400),
            (Code::Unauthenticated, 401),
            (Code::PermissionDenied, 403),
            (Code::NotFound, 404),
            (Code::Aborted, 409),
            (Code::FailedPrecondition, 409),
            (Code::Unavailable, 503),
            (Code::Internal, 500),
        ] {
            let problem = Problem::from(Status::new(code, "no\nhint: ask"));
            let status = StatusCode::from_u16(expect).expect("a status");
            assert_eq!(problem, Problem::new(status, "no").hint("ask"), "{code}");
        }
        let hinted = Problem::from(refusal::not_found("app", "web", "app list"));
        let expect = Problem::new(StatusCode::NOT_FOUND, "no app `web`").hint("`nightshift app list` shows them");
        assert_eq!(hinted, expect);
    }
}
