//! Refusals on the wire: a status with the metadata by which the command line chooses its exit code and its hint.

use nightshift_core::rollout::{Rejection, RejectionKind};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::driver::Refusal;

/// Metadata that says how something was refused.
pub(crate) const REFUSAL: &str = "nightshift-refusal";
/// Metadata that says what the person can do, in ASCII.
pub(crate) const HINT: &str = "nightshift-hint";

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(rejection) => rejected(&rejection),
            Refusal::Gone => Self::unavailable(refusal.to_string()),
        }
    }
}

/// A refusal of what was asked wrongly.
pub(super) fn usage(message: impl Into<String>) -> Status {
    rejected(&Rejection::new(RejectionKind::Usage, message))
}

/// A refusal of what names something that is not there.
pub(crate) fn not_found(what: &str, name: &str, list: &str) -> Status {
    let rejection = Rejection::new(RejectionKind::NotFound, format!("no {what} `{name}`"));
    rejected(&rejection.hint(format!("`nightshift {list}` shows them")))
}

fn rejected(rejection: &Rejection) -> Status {
    let (code, word) = match rejection.kind {
        RejectionKind::Rule => (Code::FailedPrecondition, "rule"),
        RejectionKind::Usage => (Code::InvalidArgument, "usage"),
        RejectionKind::NotFound => (Code::NotFound, "not-found"),
        RejectionKind::Conflict => (Code::Aborted, "conflict"),
    };
    let mut status = Status::new(code, &rejection.message);
    status.metadata_mut().insert(REFUSAL, MetadataValue::from_static(word));
    if let Some(hint) = &rejection.hint {
        let ascii: String =
            hint.replace('…', "...").chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
        if let Ok(value) = ascii.parse() {
            status.metadata_mut().insert(HINT, value);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_has_its_word_and_its_hint() {
        for (kind, word, code) in [
            (RejectionKind::Rule, "rule", Code::FailedPrecondition),
            (RejectionKind::Usage, "usage", Code::InvalidArgument),
            (RejectionKind::NotFound, "not-found", Code::NotFound),
            (RejectionKind::Conflict, "conflict", Code::Aborted),
        ] {
            let status = rejected(&Rejection::new(kind, "no").hint("do `x` …"));
            let text = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
            assert_eq!((status.code(), text(REFUSAL), text(HINT)), (code, Some(word), Some("do `x` ...")));
        }
    }
}
