//! The error of a conversion, and the checks that every field needs.

use std::str::FromStr;

/// A field of a message that cannot be used. Fields are named by their path in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It must be there and is not.
    #[error("field `{field}` is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// It cannot be read.
    #[error("field `{field}` is malformed: {reason}")]
    Malformed {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is longer than anything that means well.
    #[error("field `{field}` is too long: {found}, at most {limit}")]
    TooLong {
        /// The field.
        field: String,
        /// Bytes of a text, elements of a list.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
}

impl Error {
    pub(super) fn missing(field: &str) -> Self {
        Self::Missing { field: field.to_owned() }
    }

    pub(super) fn malformed(field: &str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { field: field.to_owned(), reason: reason.to_string() }
    }

    fn inside(self, outer: &str) -> Self {
        let path = |field: String| format!("{outer}.{field}");
        match self {
            Self::Missing { field } => Self::Missing { field: path(field) },
            Self::Malformed { field, reason } => Self::Malformed { field: path(field), reason },
            Self::TooLong { field, found, limit } => Self::TooLong { field: path(field), found, limit },
        }
    }
}

/// Says in which field of the outer message an error is.
pub trait Within {
    /// The same error, its path prefixed with `outer`.
    #[must_use]
    fn within(self, outer: &str) -> Self;
}

impl<T> Within for Result<T, Error> {
    fn within(self, outer: &str) -> Self {
        self.map_err(|error| error.inside(outer))
    }
}

/// A message field that must be set.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::missing(field))
}

/// A text that must not be empty, of at most `limit` bytes.
pub(super) fn text(field: &str, value: String, limit: usize) -> Result<String, Error> {
    if value.is_empty() {
        return Err(Error::missing(field));
    }
    bounded(field, value, limit)
}

/// A text that may be empty, of at most `limit` bytes.
pub(super) fn bounded(field: &str, value: String, limit: usize) -> Result<String, Error> {
    if value.len() > limit {
        return Err(Error::TooLong { field: field.to_owned(), found: value.len(), limit });
    }
    Ok(value)
}

/// A list of at most `limit` elements.
pub(super) fn list<T>(field: &str, values: Vec<T>, limit: usize) -> Result<Vec<T>, Error> {
    if values.len() > limit {
        return Err(Error::TooLong { field: field.to_owned(), found: values.len(), limit });
    }
    Ok(values)
}

/// A text that a domain type reads. The type checks its own length.
pub(super) fn parsed<T>(field: &str, value: &str) -> Result<T, Error>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    if value.is_empty() {
        return Err(Error::missing(field));
    }
    value.parse().map_err(|error| Error::malformed(field, error))
}

/// A port number of a container.
pub(super) fn port(field: &str, value: u32) -> Result<u16, Error> {
    match u16::try_from(value) {
        Ok(0) => Err(Error::missing(field)),
        Ok(port) => Ok(port),
        Err(_) => Err(Error::malformed(field, format_args!("`{value}` is no port: allowed are 1 to 65535"))),
    }
}

/// The start of `text`, at most `limit` bytes of it, whole characters only.
pub(super) fn start_of(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

/// A reason for the wire, which refuses an empty one: a report must arrive, however little it says.
pub(super) fn reason(text: &str, limit: usize) -> String {
    if text.is_empty() { "no reason was given".to_owned() } else { start_of(text, limit) }
}

/// The end of `text`, at most `limit` bytes of it, whole characters only: of a log the last lines say why.
pub(super) fn end_of(text: &str, limit: usize) -> String {
    text[text.ceil_char_boundary(text.len().saturating_sub(limit))..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_whole_path_of_its_field() {
        let error = required::<()>("rollout", None).within("key").within("order").expect_err("missing");
        assert_eq!(error.to_string(), "field `order.key.rollout` is missing");
    }

    #[test]
    fn limits_hold_to_the_byte() {
        assert_eq!(bounded("x", "12345".into(), 5), Ok("12345".into()));
        let refused = Error::TooLong { field: "x".into(), found: 6, limit: 5 };
        assert_eq!(bounded("x", "123456".into(), 5), Err(refused.clone()));
        assert_eq!(list("x", vec![(); 6], 5), Err(refused));
        assert_eq!(list("x", vec![(); 5], 5), Ok(vec![(); 5]));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!((start_of("aüb", 2), start_of("aüb", 3)), ("a".into(), "aü".into()));
        assert_eq!((end_of("aüb", 2), end_of("aüb", 3)), ("b".into(), "üb".into()));
        assert_eq!((start_of("ab", 9), end_of("ab", 9)), ("ab".into(), "ab".into()));
    }
}
