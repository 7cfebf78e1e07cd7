//! One table of a file: a decoder asks it for the keys it knows, and it reports what is wrong with them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest;
use super::reader::Reading;
use super::words::{SECRET_HINT, excerpt, is_secret, list_of, number_shown, shown, type_message};
use crate::duration;

/// Most entries of one list, and tables of one array of tables: no list of ours has a reason for more.
const LIST_LIMIT: usize = 1_000;

/// A table of a file. Each question about a key makes the key known; all others are reported as unknown at the end.
///
/// Every answer is `None` when the key is absent, and also when its value was refused: then the problem is reported, and the
/// whole file is refused whatever the decoder makes of it.
#[derive(Debug)]
pub struct Table<'t> {
    reading: &'t Reading,
    entries: &'t DeTable<'t>,
    /// Where it begins in the text.
    span: Range<usize>,
    /// Its own name and those of the tables around it; empty for the root.
    path: String,
    known: Vec<&'static str>,
    /// Known to be refused: not in the list of what is allowed.
    refused: Vec<&'static str>,
}

impl<'t> Table<'t> {
    pub(super) fn new(reading: &'t Reading, entries: &'t DeTable<'t>, span: Range<usize>, path: String) -> Self {
        Self { reading, entries, span, path, known: Vec::new(), refused: Vec::new() }
    }

    /// Whether the key is there, whatever its value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A value that is written as text. `String` takes any.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        let path = self.full(key);
        self.parse_text(&path, value, "a string", |text| text.parse())
    }

    /// A value that is written as text and must be there.
    pub fn required<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        self.require(key);
        self.optional(key)
    }

    /// Reports the key as missing unless it is there.
    pub fn require(&self, key: &str) {
        if !self.has(key) {
            self.reading.add_missing(self.span.clone(), &format!("`{}` is missing", self.full(key)));
        }
    }

    /// A date, time or instant: as text, or as one of TOML's own.
    pub fn moment<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let Some(DeValue::Datetime(moment)) = self.entries.get(key).map(Spanned::get_ref) else {
            return self.optional(key);
        };
        let parsed = moment.to_string().parse();
        self.value(key);
        self.check(key, parsed)
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(&self.full(key), value, "`true` or `false`");
        }
        flag
    }

    /// A whole number within a range.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let value = self.value(key)?;
        let path = self.full(key);
        self.integer_of(&path, value, &range)
    }

    /// A number within a range; a whole one is taken, too.
    pub fn float(&mut self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let value = self.value(key)?;
        let written = match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) => number.as_str(),
            DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let allowed = format!("a number from {} to {}", range.start(), range.end());
                self.wrong_type(&self.full(key), value, &allowed);
                return None;
            }
        };
        let number = written.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let path = self.full(key);
            let found = number_shown(&path, written);
            let message = format!("`{path}` is {found}, allowed are {} to {}", range.start(), range.end());
            self.reading.add(value.span(), &message, None);
        }
        number
    }

    /// A length of time within a range.
    pub fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.value(key)?;
        let path = self.full(key);
        let length = self.parse_text(&path, value, "a duration such as `90s`, as a string", duration::parse)?;
        if range.contains(&length) {
            return Some(length);
        }
        let [found, first, last] = [length, *range.start(), *range.end()].map(duration::format);
        self.reading.add(value.span(), &format!("`{path}` is {found}, allowed are {first} to {last}"), None);
        None
    }

    /// One of these words.
    pub fn one_of<T: Clone>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let value = self.value(key)?;
        let path = self.full(key);
        let allowed = list_of(words.iter().map(|(word, _)| *word));
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(&path, value, &format!("one of {allowed}"));
            return None;
        };
        if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
            return Some(meant.clone());
        }
        let hint = nearest(text, words.iter().map(|(word, _)| *word)).map(|word| format!("did you mean `{word}`?"));
        let message = format!("`{path}` is {}, allowed are {allowed}", shown(&path, text));
        self.reading.add(value.span(), &message, hint);
        None
    }

    /// A list of values that are written as text; each wrong one is reported at its place.
    pub fn list<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let path = self.full(key);
        let Some(entries) = value.get_ref().as_array() else {
            self.wrong_type(&path, value, "a list of strings");
            return None;
        };
        if entries.len() > LIST_LIMIT {
            let message = format!("`{path}` has {} entries, allowed are up to {LIST_LIMIT}", entries.len());
            self.reading.add(value.span(), &message, None);
            return None;
        }
        let parsed: Vec<Option<T>> =
            entries.iter().map(|entry| self.parse_text(&path, entry, "a string", |text| text.parse())).collect();
        parsed.into_iter().collect()
    }

    /// A table inside this one.
    pub fn table<T>(&mut self, key: &'static str, decode: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        self.table_or(key, "a table", decode)
    }

    fn table_or<T>(&mut self, key: &'static str, allowed: &str, decode: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        let path = self.full(key);
        let Some(value) = self.value(key) else {
            return self.survey(path, decode);
        };
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(&path, value, allowed);
            return None;
        };
        Some(self.decode(entries, value.span(), path, decode))
    }

    /// An array of tables inside this one, `[[key]]`; empty if it is absent. Refused ones are left out.
    pub fn tables<T>(&mut self, key: &'static str, mut decode: impl FnMut(&mut Table<'_>) -> Option<T>) -> Vec<T> {
        let path = self.full(key);
        let Some(value) = self.value(key) else {
            self.survey(path, decode);
            return Vec::new();
        };
        let entries =
            value.get_ref().as_array().filter(|entries| entries.iter().all(|entry| entry.get_ref().is_table()));
        let Some(entries) = entries else {
            let single = value.get_ref().is_table();
            let hint = single.then(|| format!("write `[[{path}]]` with two brackets"));
            self.reading.add(value.span(), &type_message(&path, value.get_ref(), "a list of tables"), hint);
            return Vec::new();
        };
        if entries.len() > LIST_LIMIT {
            let message = format!("`{path}` has {} entries, allowed are up to {LIST_LIMIT}", entries.len());
            self.reading.add(value.span(), &message, None);
            return Vec::new();
        }
        let tables = entries.iter().filter_map(|entry| Some((entry.get_ref().as_table()?, entry.span())));
        tables.filter_map(|(table, span)| self.decode(table, span, path.clone(), &mut decode)).collect()
    }

    /// A value that has a short form as text, and a long form as a table.
    pub fn text_or_table<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        decode: impl FnOnce(&mut Table<'_>) -> Option<T>,
    ) -> Option<T> {
        if self.entries.get(key).is_some_and(|value| value.get_ref().is_str()) {
            let value = self.value(key)?;
            return self.parse_text(&self.full(key), value, "a string", parse);
        }
        self.table_or(key, "a string or a table", decode).flatten()
    }

    /// A value that has a short form as a whole number, and a long form as a table.
    pub fn integer_or_table<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        decode: impl FnOnce(&mut Table<'_>) -> Option<T>,
    ) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        if self.entries.get(key).is_some_and(|value| value.get_ref().is_integer()) {
            return self.integer(key, range);
        }
        let allowed = format!("a whole number from {} to {}, or a table", range.start(), range.end());
        self.table_or(key, &allowed, decode).flatten()
    }

    /// A table with free keys and text as values; empty if it is absent.
    pub fn labels(&mut self, key: &'static str) -> BTreeMap<String, String> {
        self.texts(key)
    }

    /// A table with free keys and values that are written as text; empty if it is absent. Each wrong one is reported at its
    /// place.
    pub fn texts<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let Some(value) = self.value(key) else { return BTreeMap::new() };
        let path = self.full(key);
        let Some(entries) = value.get_ref().as_table() else {
            self.wrong_type(&path, value, "a table of strings");
            return BTreeMap::new();
        };
        let texts = entries.iter().filter_map(|(label, value)| {
            let path = format!("{path}.{}", excerpt(label.get_ref()));
            let text = self.parse_text(&path, value, "a string", |text| text.parse())?;
            Some((label.get_ref().to_string(), text))
        });
        texts.collect()
    }

    /// Refuses a key that is part of the product, but not of this version.
    pub fn not_yet(&mut self, key: &'static str, what: &str) {
        self.refuse(key, &format!("not supported yet by this version: {what}"), None);
    }

    /// Refuses the value of a key because it is part of the product, but not of this version.
    pub fn value_not_yet(&self, key: &str, value: &str, allowed: &str) {
        let message =
            format!("`{}`: not supported yet by this version: `{value}`, allowed is {allowed}", self.full(key));
        self.problem(key, &message, None);
    }

    /// Refuses a key, with the reason and what to do instead. It is not listed as allowed.
    pub fn refuse(&mut self, key: &'static str, reason: &str, hint: Option<&str>) {
        self.refused.push(key);
        if let Some((found, _)) = self.entries.get_key_value(key) {
            let message = format!("`{}`: {reason}", self.full(key));
            self.reading.add(found.span(), &message, hint.map(str::to_owned));
        }
    }

    /// Reports a problem with the value of a key, or with the whole table if the key is absent.
    pub fn problem(&self, key: &str, message: &str, hint: Option<&str>) {
        let span = self.entries.get(key).map_or(self.span.clone(), Spanned::span);
        self.reading.add(span, message, hint.map(str::to_owned));
    }

    /// Reports an error about the value of a key, or about the whole table if the key is absent.
    pub fn check<T, E: Display>(&self, key: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(_) if is_secret(&self.full(key)) => {
                self.problem(key, &format!("`{}` cannot be used", self.full(key)), Some(SECRET_HINT));
                None
            }
            Err(error) => {
                self.problem(key, &format!("`{}`: {error}", self.full(key)), None);
                None
            }
        }
    }

    /// Reports that exactly one of these keys must be there, unless it is so. They must be known already.
    pub fn exactly_one(&self, keys: &[&str]) {
        let allowed = list_of(keys.iter().copied());
        let found: Vec<&str> = keys.iter().copied().filter(|key| self.has(key)).collect();
        let place = if self.path.is_empty() { "the file".to_owned() } else { format!("`{}`", self.path) };
        match found[..] {
            [] => {
                self.reading.add_missing(self.span.clone(), &format!("{place} has none of {allowed}, one is required"))
            }
            [_] => {}
            [_, second, ..] => {
                let message = format!("{place} has {}, allowed is exactly one of {allowed}", list_of(found.clone()));
                self.problem(second, &message, None);
            }
        }
    }

    /// The key with the names of the tables around it.
    #[must_use]
    pub fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports every key that no one asked for.
    pub(super) fn finish(self) {
        let mut allowed = self.known.clone();
        allowed.sort_unstable();
        allowed.dedup();
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) || self.refused.contains(&name) {
                continue;
            }
            let hint = nearest(name, allowed.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            let path = self.full(&excerpt(name));
            let are = if allowed.len() == 1 { "is" } else { "are" };
            let message = format!("unknown key `{path}`, allowed {are} {}", list_of(allowed.iter().copied()));
            self.reading.add(key.span(), &message, hint);
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.reading.learn(self.full(key));
        self.entries.get(key)
    }

    fn decode<T>(
        &self,
        entries: &DeTable<'_>,
        span: Range<usize>,
        path: String,
        decode: impl FnOnce(&mut Table<'_>) -> T,
    ) -> T {
        let mut table = Table::new(self.reading, entries, span, path);
        let value = decode(&mut table);
        table.finish();
        value
    }

    fn survey<T>(&self, path: String, decode: impl FnOnce(&mut Table<'_>) -> T) -> Option<T> {
        self.reading.is_survey().then(|| self.decode(&DeTable::new(), 0..0, path, decode))
    }

    fn parse_text<T, E: Display>(
        &self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(path, value, allowed);
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(_) if is_secret(path) => {
                self.reading.add(value.span(), &format!("`{path}` cannot be used"), Some(SECRET_HINT.to_owned()));
                None
            }
            Err(error) => {
                self.reading.add(value.span(), &format!("`{path}`: {error}"), None);
                None
            }
        }
    }

    fn integer_of<T>(&self, path: &str, value: &Spanned<DeValue<'_>>, range: &RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let Some(written) = value.get_ref().as_integer() else {
            let allowed = format!("a whole number from {} to {}", range.start(), range.end());
            self.wrong_type(path, value, &allowed);
            return None;
        };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        let number = number.and_then(|number| T::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            let found = number_shown(path, &written.to_string());
            let message = format!("`{path}` is {found}, allowed are {} to {}", range.start(), range.end());
            self.reading.add(value.span(), &message, None);
        }
        number
    }

    fn wrong_type(&self, path: &str, value: &Spanned<DeValue<'_>>, allowed: &str) {
        self.reading.add(value.span(), &type_message(path, value.get_ref(), allowed), None);
    }
}
