//! What is wrong with a file, and where.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Most problems that are reported of one file: nobody reads more, and a hostile file must not fill a log.
pub const PROBLEM_LIMIT: usize = 100;

/// Longest message in characters: an allowed list of thirty keys fits.
const MESSAGE_LIMIT_CHARS: usize = 1_000;

/// One thing that is wrong with a file.
///
/// The message never quotes the value of a key that holds a secret. The line in the file does: who shows it beside the
/// message must know that the file holds none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Bytes of the text that are meant.
    pub span: Range<usize>,
    /// What was found and what is allowed.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a file, in the order of the text. `Display` writes one line for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct Problems(pub(super) Vec<Problem>);

impl Problems {
    /// The problems in the order of the text, never empty.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let newline = if position == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

/// Collects the problems of one text and knows where its lines begin.
#[derive(Debug)]
pub(super) struct Sink {
    file: String,
    text: String,
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
    /// Lines that are no TOML: what was read of them is a guess, and not worth a second problem.
    broken_lines: Vec<usize>,
}

impl Sink {
    pub(super) fn new(file: &str, text: &str) -> Self {
        let line_starts = [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            line_starts,
            problems: Vec::new(),
            broken_lines: Vec::new(),
        }
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset).max(1)
    }

    /// Adds what the parser could not read.
    pub(super) fn add_syntax(&mut self, span: Range<usize>, message: &str, hint: Option<String>) {
        self.push(span.clone(), message, hint);
        self.broken_lines.extend(self.line_of(span.start)..=self.line_of(span.end));
    }

    /// Adds what a decoder refused, unless its line could not even be parsed.
    pub(super) fn add(&mut self, span: Range<usize>, message: &str, hint: Option<String>) {
        if !self.broken_lines.contains(&self.line_of(span.start)) {
            self.push(span, message, hint);
        }
    }

    /// Adds that something is missing, unless a part of the text that could not be parsed may well contain it.
    pub(super) fn add_missing(&mut self, span: Range<usize>, message: &str) {
        if self.broken_lines.is_empty() {
            self.push(span, message, None);
        }
    }

    /// Adds a problem if there is no other.
    pub(super) fn add_if_none(&mut self, span: Range<usize>, message: &str) {
        if self.problems.is_empty() {
            self.push(span, message, None);
        }
    }

    fn push(&mut self, span: Range<usize>, message: &str, hint: Option<String>) {
        let start = floor_boundary(&self.text, span.start);
        let line = self.line_of(start);
        let line_start = self.line_starts[line - 1];
        let column = self.text[line_start..start].chars().count() + 1;
        let file = self.file.clone();
        let span = start..floor_boundary(&self.text, span.end.max(start));
        self.problems.push(Problem { file, line, column, span, message: printable(message), hint });
    }

    /// The problems in the order of the text, at most [`PROBLEM_LIMIT`].
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by(|a, b| (a.span.start, &a.message).cmp(&(b.span.start, &b.message)));
        self.problems.dedup();
        if self.problems.len() > PROBLEM_LIMIT {
            let more = self.problems.len() - PROBLEM_LIMIT;
            self.problems.truncate(PROBLEM_LIMIT);
            let last = self.problems[PROBLEM_LIMIT - 1].clone();
            self.problems.push(Problem { message: format!("and {more} more problems"), hint: None, ..last });
        }
        self.problems
    }
}

/// The nearest character boundary at or before an offset.
fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// A message on one line, without what could drive a terminal, of bounded length.
fn printable(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for character in message.chars().take(MESSAGE_LIMIT_CHARS) {
        if character.is_control() { text.extend(character.escape_default()) } else { text.push(character) }
    }
    text
}
