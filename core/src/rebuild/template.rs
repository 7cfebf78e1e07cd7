//! Text with placeholders: what a trigger sends, before anybody knows when, and without its secrets.
//!
//! A placeholder is one of `{app}`, `{image}`, `{time}` and `{secret:NAME}`. Other braces are text, so that JSON can be written
//! as it is; what looks like a placeholder and is none is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::AppName;
use crate::image::ImageRef;

/// Longest template, in bytes: requests that start a build are short.
const TEXT_LIMIT_BYTES: usize = 16 * 1024;
/// Longest name of a secret, in bytes.
const NAME_LIMIT_BYTES: usize = 63;

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// Not one of ours.
    #[error("unknown placeholder `{{{0}}}`, allowed are `{{app}}`, `{{image}}`, `{{time}}` and `{{secret:NAME}}`")]
    Placeholder(String),
    /// Too long.
    #[error("longer than {TEXT_LIMIT_BYTES} bytes")]
    Long,
}

/// A name that no secret can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no name of a secret: allowed are 1 to {NAME_LIMIT_BYTES} of `a-z A-Z 0-9 _ -`")]
pub struct InvalidSecretName;

/// The name by which the coordinator's file knows a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl FromStr for SecretName {
    type Err = InvalidSecretName;
    fn from_str(text: &str) -> Result<Self, InvalidSecretName> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let good = (1..=NAME_LIMIT_BYTES).contains(&text.len()) && text.bytes().all(legal);
        if good { Ok(Self(text.to_owned())) } else { Err(InvalidSecretName) }
    }
}

impl TryFrom<String> for SecretName {
    type Error = InvalidSecretName;
    fn try_from(text: String) -> Result<Self, InvalidSecretName> {
        text.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    App,
    Image,
    Time,
    Secret(SecretName),
}

/// Text with placeholders. It holds no secret, only names of them, and may be shown to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// What stands for the placeholders.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The app.
    pub app: &'a AppName,
    /// The reference that it follows.
    pub image: &'a ImageRef,
    /// When the rebuild began.
    pub time: DateTime<Utc>,
}

/// How a value is written so that it stays one value where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// As a part of a URL or of a form.
    Percent,
    /// Between the quotes of a JSON string.
    Json,
}

impl Template {
    /// The text, with its placeholders.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of the secrets in it.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<&SecretName> {
        self.parts.iter().filter_map(Part::secret).collect()
    }

    /// The text with values, each written for its place.
    ///
    /// # Errors
    /// A secret cannot be had.
    pub fn fill<E>(
        &self,
        values: &Values<'_>,
        encoding: Encoding,
        secret: impl Fn(&SecretName) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut filled = String::new();
        for part in &self.parts {
            let value = match part {
                Part::Text(text) => {
                    filled.push_str(text);
                    continue;
                }
                Part::App => values.app.to_string(),
                Part::Image => values.image.familiar(),
                Part::Time => values.time.to_rfc3339_opts(SecondsFormat::Secs, true),
                Part::Secret(name) => secret(name)?,
            };
            filled.push_str(&encoding.of(&value));
        }
        Ok(filled)
    }
}

impl Part {
    const fn secret(&self) -> Option<&SecretName> {
        match self {
            Self::Secret(name) => Some(name),
            Self::Text(_) | Self::App | Self::Image | Self::Time => None,
        }
    }

    /// The placeholder between two braces; `None` for braces that are text.
    fn of(inner: &str) -> Option<Result<Self, InvalidTemplate>> {
        let word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        let unknown = || InvalidTemplate::Placeholder(inner.chars().take(NAME_LIMIT_BYTES).collect());
        match inner.split_once(':') {
            None if word(inner) => Some(match inner {
                "app" => Ok(Self::App),
                "image" => Ok(Self::Image),
                "time" => Ok(Self::Time),
                _ => Err(unknown()),
            }),
            Some(("secret", name)) => Some(name.parse().map(Self::Secret).map_err(|_| unknown())),
            Some((kind, name)) if word(kind) && word(name) => Some(Err(unknown())),
            None | Some(_) => None,
        }
    }
}

impl Encoding {
    /// The value as it is written.
    #[must_use]
    pub fn of(self, value: &str) -> String {
        match self {
            Self::Plain => value.to_owned(),
            Self::Percent => percent(value),
            Self::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                inner.unwrap_or_default().to_owned()
            }
        }
    }
}

/// Everything but the characters that RFC 3986 calls unreserved is written as `%XX`.
#[must_use]
pub fn percent(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        encoded
    })
}

impl FromStr for Template {
    type Err = InvalidTemplate;
    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        if text.len() > TEXT_LIMIT_BYTES {
            return Err(InvalidTemplate::Long);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let inner = rest[open + 1..].split(['{', '}']).next().unwrap_or_default();
            let closed = rest[open + 1 + inner.len()..].starts_with('}');
            let Some(part) = Part::of(inner).filter(|_| closed) else {
                plain.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
                continue;
            };
            plain.push_str(&rest[..open]);
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part?);
            rest = &rest[open + inner.len() + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl TryFrom<String> for Template {
    type Error = InvalidTemplate;
    fn try_from(text: String) -> Result<Self, InvalidTemplate> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{app, at};

    fn filled(text: &str, encoding: Encoding) -> String {
        let image = "r.example/web:stable".parse().expect("well formed");
        let app = app();
        let values = Values { app: &app, image: &image, time: at(0) };
        let template: Template = text.parse().expect(text);
        let secret = |name: &SecretName| match name.to_string().as_str() {
            "odd" => Ok("a\"b c&d".to_owned()),
            other => Err(other.to_owned()),
        };
        template.fill(&values, encoding, secret).unwrap_or_else(|missing| format!("no {missing}"))
    }

    #[test]
    fn placeholders_are_filled_and_other_braces_are_text() {
        use Encoding::{Json, Percent, Plain};
        for (text, encoding, expect) in [
            ("{app} {image} {time}", Plain, "web r.example/web:stable 2027-01-15T08:00:00Z"),
            ("{app}{app}", Plain, "webweb"),
            ("{\"ref\": \"{app}\", \"inputs\": {}}", Json, "{\"ref\": \"web\", \"inputs\": {}}"),
            ("{\"a\":{\"b\":\"{secret:odd}\"}}", Json, "{\"a\":{\"b\":\"a\\\"b c&d\"}}"),
            ("token={secret:odd}&ref=main", Percent, "token=a%22b%20c%26d&ref=main"),
            ("x={image}", Percent, "x=r.example%2Fweb%3Astable"),
            ("token {secret:odd}", Plain, "token a\"b c&d"),
            ("{secret:other}", Plain, "no other"),
            ("{ app } {} {", Plain, "{ app } {} {"),
            ("{{app}}", Plain, "{web}"),
            ("", Plain, ""),
        ] {
            assert_eq!(filled(text, encoding), expect, "{text}");
        }
    }

    #[test]
    fn a_placeholder_that_nobody_knows_is_refused() {
        for (text, named) in [
            ("{digest}", "{digest}"),
            ("a {App} b", "{App}"),
            ("{secret:}", "{secret:}"),
            ("{secret:a b}", "{secret:a b}"),
            ("{env:HOME}", "{env:HOME}"),
        ] {
            let refused = text.parse::<Template>().expect_err(text).to_string();
            assert!(refused.contains(named), "{text}: {refused}");
        }
        assert_eq!("x".repeat(TEXT_LIMIT_BYTES + 1).parse::<Template>(), Err(InvalidTemplate::Long));
    }

    #[test]
    fn a_template_is_stored_as_its_text_and_names_its_secrets() {
        let template: Template = "{secret:b}{secret:a}{secret:b}".parse().expect("good");
        let names: Vec<_> = template.secrets().into_iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b"]);
        let stored = serde_json::to_string(&template).expect("text");
        assert_eq!(stored, "\"{secret:b}{secret:a}{secret:b}\"");
        assert_eq!(serde_json::from_str::<Template>(&stored).expect("the same"), template);
    }
}
