//! Why something failed, in one line: an error with all its sources, each said once.

use std::error::Error;

use crate::dial::Ending;

/// Deepest chain that is followed: deeper ones only repeat themselves.
const DEPTH_LIMIT: usize = 16;

/// The error's own words and those of its sources, joined by colons. A source that an outer error has quoted already is
/// left out.
#[must_use]
pub fn of(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = inner(error);
    for _ in 0..DEPTH_LIMIT {
        let Some(source) = next else { break };
        let words = source.to_string();
        if !words.is_empty() && !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = inner(source);
    }
    text
}

/// Why a call failed: the other side's words, or what became of the connection.
#[must_use]
pub fn of_status(status: &tonic::Status) -> String {
    let mut text = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    if let Some(source) = status.source() {
        let words = of(source);
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
    }
    text
}

/// Why a call failed, by what ended its connection where that is known: it is closer to the cause.
#[must_use]
pub fn of_call(status: &tonic::Status, ending: &Ending) -> String {
    match (status.source(), ending.reason()) {
        (Some(_), Some(reason)) => reason.to_owned(),
        (Some(_) | None, _) => of_status(status),
    }
}

/// The source, and for an I/O error what it wraps: its `source()` skips that.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(wrapped) = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        return Some(wrapped);
    }
    error.source()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Link {
        words: &'static str,
        #[source]
        source: Option<io::Error>,
    }

    #[test]
    fn every_cause_is_said_once() {
        let innermost = Link { words: "received fatal alert: UnknownCA", source: None };
        let error = Link { words: "transport error", source: Some(io::Error::other(innermost)) };
        assert_eq!(of(&error), "transport error: received fatal alert: UnknownCA");
        let alone = Link { words: "transport error", source: None };
        assert_eq!(of(&alone), "transport error");
    }
}
