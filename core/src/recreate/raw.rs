//! Reading the engine's raw JSON: a needed field that is missing or of the wrong kind is a [`Refusal`] that names it.
//!
//! The engine writes an unset list or map as `null`, as an empty one, or not at all, depending on its version. Here all
//! three read as empty.

use serde_json::{Map, Value};

use super::refuse::{Refusal, Subject};

/// One raw inspect, with the word for it in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inspect<'a> {
    pub(super) of: Subject,
    pub(super) value: &'a Value,
}

impl<'a> Inspect<'a> {
    /// The value at a dotted path, unless it is unset.
    pub(super) fn find(self, path: &str) -> Option<&'a Value> {
        let value = path.split('.').try_fold(self.value, |value, key| value.get(key))?;
        (!value.is_null()).then_some(value)
    }

    /// The value at a dotted path, which must be set.
    pub(super) fn get(self, path: &str) -> Result<&'a Value, Refusal> {
        self.find(path).ok_or_else(|| Refusal::Missing { of: self.of, field: path.to_owned() })
    }

    /// The text at a dotted path, which must be there and not empty.
    pub(super) fn text(self, path: &str) -> Result<&'a str, Refusal> {
        match self.get(path)?.as_str() {
            None => Err(self.malformed(path)),
            Some("") => Err(Refusal::Missing { of: self.of, field: path.to_owned() }),
            Some(text) => Ok(text),
        }
    }

    /// The text at a dotted path, empty when it is not there.
    pub(super) fn text_or_empty(self, path: &str) -> Result<&'a str, Refusal> {
        self.find(path).map_or(Ok(""), |value| value.as_str().ok_or_else(|| self.malformed(path)))
    }

    /// The object at a dotted path, which must be there.
    pub(super) fn object(self, path: &str) -> Result<&'a Map<String, Value>, Refusal> {
        self.get(path)?.as_object().ok_or_else(|| self.malformed(path))
    }

    /// The object at a dotted path, empty when it is not there.
    pub(super) fn object_or_empty(self, path: &str) -> Result<Map<String, Value>, Refusal> {
        match self.find(path) {
            None => Ok(Map::new()),
            Some(value) => value.as_object().cloned().ok_or_else(|| self.malformed(path)),
        }
    }

    /// The list at a dotted path, empty when it is not there.
    pub(super) fn list(self, path: &str) -> Result<&'a [Value], Refusal> {
        match self.find(path) {
            None => Ok(&[]),
            Some(value) => value.as_array().map(Vec::as_slice).ok_or_else(|| self.malformed(path)),
        }
    }

    /// The list of texts at a dotted path, empty when it is not there.
    pub(super) fn texts(self, path: &str) -> Result<Vec<&'a str>, Refusal> {
        self.list(path)?.iter().map(|value| value.as_str().ok_or_else(|| self.malformed(path))).collect()
    }

    /// The refusal of a field that is of another kind than it should be.
    pub(super) fn malformed(self, path: &str) -> Refusal {
        Refusal::Malformed { of: self.of, field: path.to_owned() }
    }
}

/// Whether a value says nothing: null, or an empty text, list or object.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
