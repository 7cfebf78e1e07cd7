//! Bodies of requests: never more than a limit, never longer than a deadline.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// How much of what is too large is still taken and thrown away: who is in the middle of sending hears no answer before.
const DISCARD_LIMIT_BYTES: usize = 1024 * 1024;
/// Longest excerpt of what a parser says, in characters.
const EXCERPT_LIMIT: usize = 200;

/// The whole body.
///
/// # Errors
/// It is too large, comes too slowly, or breaks off.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit_bytes: usize,
    deadline: Duration,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let message = format!("the body is larger than {limit_bytes} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let said: Option<u64> = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if said.is_some_and(|said| said > (limit_bytes + DISCARD_LIMIT_BYTES) as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(deadline, collect(body, limit_bytes)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => {
            let message = format!("the body did not come within {} ms", deadline.as_millis());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// `None` when there is more than the limit.
async fn collect(mut body: Body, limit_bytes: usize) -> Result<Option<Bytes>, axum::Error> {
    let (mut kept, mut seen_bytes) = (Vec::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame?.into_data() else { continue };
        seen_bytes = seen_bytes.saturating_add(part.len());
        if seen_bytes <= limit_bytes {
            kept.extend_from_slice(&part);
        } else if seen_bytes > limit_bytes + DISCARD_LIMIT_BYTES {
            return Ok(None);
        }
    }
    Ok((seen_bytes <= limit_bytes).then(|| Bytes::from(kept)))
}

/// Whether the body is said to be JSON.
///
/// # Errors
/// It is not.
pub(super) fn must_be_json(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    // Registries have media types of their own for events, all of them JSON.
    let essence = essence.to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    let message = "the body must be JSON, and say so";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message).hint("send `Content-Type: application/json`"))
}

/// The body as what it should be: an object.
///
/// # Errors
/// It is no JSON, or not of this shape: says where.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let unusable = |said: &str| Problem::new(StatusCode::BAD_REQUEST, format!("the body cannot be used: {said}"));
    // serde would take a list of the fields' values as well.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(unusable("it is no JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let said: String = error.to_string().chars().filter(|c| !c.is_control()).take(EXCERPT_LIMIT).collect();
        unusable(&said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of_kind(kind: Option<&str>) -> Option<u16> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, kind.parse().expect("a header"));
        }
        must_be_json(&headers).err().map(|problem| problem.status.as_u16())
    }

    #[test]
    fn only_what_says_that_it_is_json_is_read() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.docker.distribution.events.v1+json",
        ] {
            assert_eq!(status_of_kind(Some(good)), None, "{good}");
        }
        for bad in [None, Some(""), Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("text/x+json")]
        {
            assert_eq!(status_of_kind(bad), Some(415), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_body_has_a_limit() {
        for (size, expect) in [(0, Ok(0)), (10, Ok(10)), (11, Err(413)), (2_000_000, Err(413))] {
            let read = read(&HeaderMap::new(), Body::from(vec![b' '; size]), 10, Duration::from_secs(5)).await;
            assert_eq!(read.map(|body| body.len()).map_err(|problem| problem.status.as_u16()), expect, "{size}");
        }
    }

    #[tokio::test]
    async fn what_is_said_to_be_huge_is_not_even_read() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "5000000000".parse().expect("a header"));
        // Nothing ever comes.
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let refused = read(&headers, body, 10, Duration::from_secs(600)).await.expect_err("too large");
        assert_eq!(refused.status.as_u16(), 413);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_a_deadline_and_an_end() {
        let forever = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let slow = read(&HeaderMap::new(), forever, 10, Duration::from_secs(5)).await.expect_err("slow");
        assert_eq!(slow.status.as_u16(), 408);
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
        let broken = read(&HeaderMap::new(), Body::from_stream(broken), 10, Duration::from_secs(5)).await;
        assert_eq!(broken.expect_err("broken").status.as_u16(), 400);
    }
}
