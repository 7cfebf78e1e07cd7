//! Labels of nodes and the selectors that choose nodes by them: `role=web,zone!=north,gpu,!old`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Labels of a node or container.
pub type Labels = BTreeMap<String, String>;

/// Most terms in one selector: more is a mistake, and matching stays cheap.
const TERM_LIMIT: usize = 32;

/// A selector that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no label selector: allowed are `key=value`, `key!=value`, `key`, `!key`, joined by commas")]
pub struct InvalidSelector(String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    Has(String),
    HasNot(String),
}

/// A conjunction of conditions on labels. The empty selector matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<Term>);

impl Selector {
    /// Whether every condition holds for these labels. A missing label satisfies `key!=value`.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|term| match term {
            Term::Is(key, value) => labels.get(key) == Some(value),
            Term::IsNot(key, value) => labels.get(key) != Some(value),
            Term::Has(key) => labels.contains_key(key),
            Term::HasNot(key) => !labels.contains_key(key),
        })
    }
}

fn parse_term(text: &str) -> Option<Term> {
    let good = |part: &str| !part.is_empty() && !part.contains([' ', '=', '!', ',']);
    if let Some((key, value)) = text.split_once("!=") {
        return (good(key) && good(value)).then(|| Term::IsNot(key.into(), value.into()));
    }
    if let Some((key, value)) = text.split_once('=') {
        return (good(key) && good(value)).then(|| Term::Is(key.into(), value.into()));
    }
    if let Some(key) = text.strip_prefix('!') {
        return good(key).then(|| Term::HasNot(key.into()));
    }
    good(text).then(|| Term::Has(text.into()))
}

impl FromStr for Selector {
    type Err = InvalidSelector;
    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let terms: Option<Vec<Term>> = text.split(',').map(|term| parse_term(term.trim())).collect();
        match terms {
            Some(terms) if terms.len() <= TERM_LIMIT => Ok(Self(terms)),
            Some(_) | None => Err(InvalidSelector(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, term) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            match term {
                Term::Is(key, value) => write!(f, "{comma}{key}={value}")?,
                Term::IsNot(key, value) => write!(f, "{comma}{key}!={value}")?,
                Term::Has(key) => write!(f, "{comma}{key}")?,
                Term::HasNot(key) => write!(f, "{comma}!{key}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Selector {
    type Error = InvalidSelector;
    fn try_from(text: String) -> Result<Self, InvalidSelector> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_choose_by_every_condition() {
        let labels: Labels = [("role", "web"), ("zone", "north")].map(|(k, v)| (k.into(), v.into())).into();
        for (selector, expect) in [
            ("", true),
            ("role=web", true),
            ("role=db", false),
            ("role=web,zone=north", true),
            ("role=web, zone=south", false),
            ("zone!=south", true),
            ("rack!=7", true),
            ("zone!=north", false),
            ("role", true),
            ("gpu", false),
            ("!gpu", true),
            ("!role", false),
        ] {
            let parsed: Selector = selector.parse().expect(selector);
            assert_eq!(parsed.matches(&labels), expect, "{selector}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{selector} does not survive being written");
        }
    }

    #[test]
    fn a_broken_selector_is_refused() {
        for bad in ["=", "a=", "=b", "a==b", "a=b,,c", "a b", "!", &["k"; TERM_LIMIT + 1].join(",")] {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?} was accepted");
        }
    }
}
