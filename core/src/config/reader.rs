//! Runs a decoder over the text of a file and collects all problems.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeTable;

use super::Table;
use super::problem::{Problems, Sink};

/// Largest file that is read: the largest real one has a few kilobytes, and the parser's tree takes a multiple of the text.
pub const FILE_LIMIT_BYTES: usize = 1024 * 1024;

/// Reads a text into a value, with every problem reported at once.
///
/// The decoder asks the root table for its keys and returns `None` only when something required is missing or wrong, which the
/// table has then reported. `file` is used in messages alone.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn read<T>(file: &str, text: &str, decode: impl FnOnce(&mut Table<'_>) -> Option<T>) -> Result<T, Problems> {
    let reading = Reading::new(file, text);
    if text.len() > FILE_LIMIT_BYTES {
        let message = format!("the file has {} bytes, allowed are up to {FILE_LIMIT_BYTES}", text.len());
        reading.sink.borrow_mut().add(0..0, &message, None);
        return reading.end(None);
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reading.add_syntax(text, &error);
    }
    let mut root = Table::new(&reading, tree.get_ref(), 0..0, String::new());
    let value = decode(&mut root);
    root.finish();
    reading.end(value)
}

/// Every key that a decoder knows, in full: `update.monitor`, `quiet_hours.allow.start`. For tests of documentation.
pub fn known_keys<T>(decode: impl FnOnce(&mut Table<'_>) -> Option<T>) -> BTreeSet<String> {
    let reading = Reading { survey: Some(RefCell::default()), ..Reading::new("", "") };
    let empty = DeTable::new();
    decode(&mut Table::new(&reading, &empty, 0..0, String::new()));
    reading.survey.map(RefCell::into_inner).unwrap_or_default()
}

/// What all tables of one file share.
#[derive(Debug)]
pub(super) struct Reading {
    sink: RefCell<Sink>,
    /// Set when only the known keys are wanted: then every nested decoder runs.
    survey: Option<RefCell<BTreeSet<String>>>,
}

impl Reading {
    fn new(file: &str, text: &str) -> Self {
        Self { sink: RefCell::new(Sink::new(file, text)), survey: None }
    }

    pub(super) fn add(&self, span: Range<usize>, message: &str, hint: Option<String>) {
        self.sink.borrow_mut().add(span, message, hint);
    }

    pub(super) fn add_missing(&self, span: Range<usize>, message: &str) {
        self.sink.borrow_mut().add_missing(span, message);
    }

    pub(super) fn is_survey(&self) -> bool {
        self.survey.is_some()
    }

    pub(super) fn learn(&self, key: String) {
        if let Some(survey) = &self.survey {
            survey.borrow_mut().insert(key);
        }
    }

    fn add_syntax(&self, text: &str, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        let message = match (error.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!("duplicate key `{key}`, allowed is once"),
            (message, _) => message.to_owned(),
        };
        self.sink.borrow_mut().add_syntax(span, &message, None);
    }

    fn end<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut sink = self.sink.into_inner();
        if value.is_none() {
            // Only a decoder that drops a value without a word gets here with nothing else to report.
            sink.add_if_none(0..0, "the file cannot be used");
        }
        let problems = sink.into_problems();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            Some(_) | None => Err(Problems(problems)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Labels = std::collections::BTreeMap<String, String>;

    #[derive(Debug, PartialEq)]
    struct Sample {
        name: String,
        count: u32,
        share: f64,
        secret: Option<u16>,
        labels: Labels,
        parts: Vec<bool>,
    }

    fn sample(root: &mut Table<'_>) -> Option<Sample> {
        let name = root.required("name");
        let count = root.integer("count", 1..=10).unwrap_or(1);
        let share = root.float("share", 0.0..=1.0).unwrap_or(0.5);
        let secret = root.optional("api_token");
        let labels = root.labels("labels");
        let parts = root.tables("part", |part| part.flag("on"));
        root.one_of("order", &[("stop-first", 1), ("start-first", 2)]);
        root.duration("wait", std::time::Duration::from_secs(1)..=std::time::Duration::from_secs(60));
        root.table("sub", |sub| sub.list::<u8>("numbers"));
        Some(Sample { name: name?, count, share, secret, labels, parts })
    }

    fn problems(text: &str) -> String {
        read("s.toml", text, sample).expect_err("has problems").to_string()
    }

    #[test]
    fn a_good_file_is_read() {
        let text = "name = 'x'\ncount = 0xA\nshare = 1\napi_token = '7'\nlabels = { a = 'b' }\n[[part]]\non = true";
        let labels = [("a".to_owned(), "b".to_owned())].into();
        let expect = Sample { name: "x".into(), count: 10, share: 1.0, secret: Some(7), labels, parts: vec![true] };
        assert_eq!(read("s.toml", text, sample), Ok(expect));
    }

    #[test]
    fn all_problems_are_reported_at_once_and_in_order() {
        let text = "cuont = 3\ncount = 11\nshare = 'x'\norder = 'Stop-First'\nwait = '2m'\n[sub]\nnumbers = ['1', '999', 2]\n\
                    [[part]]\non = 1\noff = 2\n[labels]\nk = 5\n";
        insta::assert_snapshot!(problems(text), @r"
        s.toml:1:1: `name` is missing
        s.toml:1:1: unknown key `cuont`, allowed are `api_token`, `count`, `labels`, `name`, `order`, `part`, `share`, `sub`, `wait`; hint: did you mean `count`?
        s.toml:2:9: `count` is 11, allowed are 1 to 10
        s.toml:3:9: `share` is a string, allowed is a number from 0 to 1
        s.toml:4:9: `order` is `Stop-First`, allowed are `stop-first`, `start-first`; hint: did you mean `stop-first`?
        s.toml:5:8: `wait` is 2m, allowed are 1s to 1m
        s.toml:7:17: `sub.numbers`: number too large to fit in target type
        s.toml:7:24: `sub.numbers` is an integer, allowed is a string
        s.toml:9:6: `part.on` is an integer, allowed is `true` or `false`
        s.toml:10:1: unknown key `part.off`, allowed is `on`
        s.toml:12:5: `labels.k` is an integer, allowed is a string
        ");
    }

    #[test]
    fn syntax_errors_and_duplicates_are_problems_too() {
        insta::assert_snapshot!(problems("name = x\ncount = 1\ncount = 2\n[sub\nshare = 7\n"), @r"
        s.toml:1:8: string values must be quoted, expected literal string
        s.toml:3:1: duplicate key `count`, allowed is once
        s.toml:4:5: unclosed table, expected `]`
        ");
    }

    #[test]
    fn the_value_of_a_secret_is_never_quoted() {
        for text in
            ["name='x'\napi_token = 'hunter2'", "name='x'\napi_token = hunter2", "name='x'\napi_token = ['hunter2']"]
        {
            assert!(!problems(text).contains("hunter2"), "{}", problems(text));
        }
        assert!(problems("name='x'\napi_token = 'hunter2'").contains("2:13: `api_token` cannot be used"));
    }

    #[test]
    fn columns_are_counted_in_characters() {
        assert!(problems("labels = { 'ä€' = 1 }").contains("s.toml:1:19: "), "{}", problems("labels = { 'ä€' = 1 }"));
    }

    #[test]
    fn limits_hold() {
        let long = format!("# {}", "x".repeat(FILE_LIMIT_BYTES));
        insta::assert_snapshot!(problems(&long), @"s.toml:1:1: the file has 1048578 bytes, allowed are up to 1048576");
        let many: String = (0..500).map(|n| format!("k{n} = 1\n")).collect();
        assert_eq!(problems(&many).lines().count(), super::super::PROBLEM_LIMIT + 1);
        let deep = format!("name = {}", "[".repeat(100_000));
        assert!(problems(&deep).lines().count() <= super::super::PROBLEM_LIMIT + 1);
        assert!(!problems("\"a\\u001bb\" = 1").contains('\u{1b}'));
    }

    #[test]
    fn the_known_keys_of_a_decoder_are_listed() {
        let keys: Vec<String> = known_keys(sample).into_iter().collect();
        let expect =
            ["api_token", "count", "labels", "name", "order", "part", "part.on", "share", "sub", "sub.numbers", "wait"];
        assert_eq!(keys, expect);
    }
}
