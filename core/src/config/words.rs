//! How keys and values appear in messages: cut to one line, and never the value of a secret.

use toml::de::DeValue;

/// Longest excerpt of a value or key in a message, in characters.
const EXCERPT_LIMIT_CHARS: usize = 60;

/// What to do about a secret whose value a message does not show.
pub(super) const SECRET_HINT: &str = "the value is secret and not shown, look at it in the file";

/// Keys that say what a `[[secret]]` is called and where it may be sent.
const ABOUT_SECRETS: [&str; 3] = ["secret.name", "secret.hosts", "rebuild.trigger.secret"];

/// Whether a key holds what no message may show.
pub(super) fn is_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    !ABOUT_SECRETS.contains(&path.as_str()) && ["password", "token", "secret"].iter().any(|word| path.contains(word))
}

pub(super) fn type_message(path: &str, value: &DeValue<'_>, allowed: &str) -> String {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("`{path}` is {found}, allowed is {allowed}")
}

/// A value for a message, unless it is secret.
pub(super) fn shown(path: &str, text: &str) -> String {
    if is_secret(path) { "a value that is not shown".to_owned() } else { format!("`{}`", excerpt(text)) }
}

/// The same for a number, which needs no quotes.
pub(super) fn number_shown(path: &str, text: &str) -> String {
    shown(path, text).trim_matches('`').to_owned()
}

pub(super) fn excerpt(text: &str) -> String {
    if text.chars().count() <= EXCERPT_LIMIT_CHARS {
        return text.to_owned();
    }
    text.chars().take(EXCERPT_LIMIT_CHARS).chain(['…']).collect()
}

pub(super) fn list_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
