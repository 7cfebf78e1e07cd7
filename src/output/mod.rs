//! What people and scripts get to see: data on standard output, everything else on standard error.
//!
//! A verb makes a view ([`crate::view`]); [`Output`] writes it as JSON, or as the text that its [`Human`] gives.

pub(crate) mod diagnostic;
pub(crate) mod lines;
pub(crate) mod live;
pub(crate) mod table;
pub(crate) mod time;

use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use console::style;
use serde::Serialize;

use crate::failure::Failure;

/// Width of a terminal that does not tell its own.
const USUAL_WIDTH: u16 = 100;

/// How data is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For scripts: whole digests, RFC 3339 times in UTC, `null` for what is absent.
    Json,
}

/// What a text for people depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// Times are told relative to this instant.
    pub(crate) now: DateTime<Utc>,
    /// Columns of the terminal; none where there is no terminal: lines are never broken then.
    pub(crate) width: Option<u16>,
}

/// Text for people.
pub(crate) trait Human {
    /// The whole text, without a line break at its end.
    fn human(&self, page: &Page) -> String;
}

/// Where a verb's data goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
    page: Page,
}

impl Output {
    /// Standard output in this format.
    pub(crate) fn new(format: Format) -> Self {
        let terminal = io::stdout().is_terminal();
        let width =
            terminal.then(|| console::Term::stdout().size_checked().map_or(USUAL_WIDTH, |(_, columns)| columns));
        Self { format, page: Page { now: Utc::now(), width } }
    }

    /// The format that was asked for.
    pub(crate) fn format(self) -> Format {
        self.format
    }

    /// Whether a person looks at it as it grows.
    pub(crate) fn is_live(self) -> bool {
        self.format == Format::Table && self.page.width.is_some()
    }

    /// What texts depend on.
    pub(crate) fn page(self) -> Page {
        self.page
    }

    /// Writes a view.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn show<T: Serialize + Human + ?Sized>(self, view: &T) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(&printable(&view.human(&self.page))),
            Format::Json => print(&json(view)),
        }
    }

    /// Writes a view as one line of a stream.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn show_line<T: Serialize + Human>(self, view: &T) -> Result<(), Failure> {
        match self.format {
            Format::Table => print(&printable(&view.human(&self.page))),
            Format::Json => print(&json_line(view)),
        }
    }
}

fn json<T: Serialize + ?Sized>(view: &T) -> String {
    serde_json::to_string_pretty(view).expect("views have text keys and no failing parts")
}

/// A view as one line of JSON.
pub(crate) fn json_line<T: Serialize>(view: &T) -> String {
    serde_json::to_string(view).expect("views have text keys and no failing parts")
}

/// The text without what could drive a terminal: it may quote a failed container. Colours stay, they are harmless.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        let harmless = !character.is_control() || character == '\n' || (character == '\x1b' && is_colour(&text[at..]));
        if harmless { shown.push(character) } else { shown.extend(character.escape_default()) }
    }
    shown
}

/// Whether a text begins with a sequence that sets a colour and does nothing else.
fn is_colour(text: &str) -> bool {
    let parameters =
        text.strip_prefix("\x1b[").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    parameters.is_some_and(|rest| rest.starts_with('m'))
}

/// Writes one text and a line break to standard output, at once.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if !text.is_empty() {
        writeln!(out, "{text}")?;
    }
    Ok(out.flush()?)
}

/// Says something to the person on standard error.
pub(crate) fn note(text: &str) {
    // There is nobody left to tell that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// `error: …` or `hint: …` on standard error, coloured for a terminal.
pub(crate) fn error_line(label: &str, text: &str) {
    let label = style(label).for_stderr().bold();
    let label = if label.to_string().contains("error") { label.red() } else { label.cyan() };
    note(&format!("{label}: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_log_cannot_drive_the_terminal() {
        for (text, expect) in [
            ("two\nlines", "two\nlines"),
            ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
            ("\x1b[2J\x1b]0;title\x07\r", "\\u{1b}[2J\\u{1b}]0;title\\u{7}\\r"),
            ("\x1b[", "\\u{1b}["),
            ("\u{9b}2J ü", "\\u{9b}2J ü"),
        ] {
            assert_eq!(printable(text), expect);
        }
    }
}
