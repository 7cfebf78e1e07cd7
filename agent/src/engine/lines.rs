//! An output that is written for a terminal, as plain lines of bounded length.
//!
//! Builders and the programs that they run write pieces, colours, and progress bars that overwrite themselves. A log that a
//! person reads in a browser or in a mail has none of it, and nothing in it can move a cursor.

use super::OnLine;

/// Longest line that is told, in characters. Longer ones are data, and nobody reads their end.
pub(super) const LINE_LIMIT_CHARS: usize = 2_000;

/// Where in an escape sequence (ECMA-48) the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// Outside.
    None,
    /// After `ESC`.
    Begun,
    /// In `ESC [ …`: colours, cursor.
    Control,
    /// In `ESC ] …` and its like: titles, links.
    Text,
}

/// Puts pieces of output together to lines, and tells each when it is complete.
pub(super) struct Lines<'a> {
    told: &'a mut OnLine<'a>,
    line: String,
    length_chars: usize,
    cut: bool,
    /// A carriage return came: the next character overwrites the line.
    returned: bool,
    escape: Escape,
}

impl<'a> Lines<'a> {
    pub(super) fn new(told: &'a mut OnLine<'a>) -> Self {
        Self { told, line: String::new(), length_chars: 0, cut: false, returned: false, escape: Escape::None }
    }

    /// More output. Without a line feed at its end the last line stays open.
    pub(super) fn push(&mut self, text: &str) {
        text.chars().for_each(|character| self.take(character));
    }

    /// A message that is a line of its own, whatever is open.
    pub(super) fn whole(&mut self, text: &str) {
        self.finish();
        self.push(text);
        self.finish();
    }

    /// Tells a line that is still open.
    pub(super) fn finish(&mut self) {
        self.escape = Escape::None;
        if !self.line.is_empty() {
            self.tell();
        }
    }

    fn take(&mut self, character: char) {
        // No sequence goes over the end of a line: one that is never closed must not swallow the rest.
        if character == '\n' {
            self.escape = Escape::None;
            return self.tell();
        }
        self.escape = match (self.escape, character) {
            (_, '\u{1b}') => Escape::Begun,
            (Escape::Begun, '[') => Escape::Control,
            (Escape::Begun, ']' | 'P' | 'X' | '^' | '_') => Escape::Text,
            (Escape::Begun, ' '..='/') => Escape::Begun,
            (Escape::Control, '@'..='~') | (Escape::Text, '\u{7}') | (Escape::Begun, _) => Escape::None,
            (Escape::Control, _) => Escape::Control,
            (Escape::Text, _) => Escape::Text,
            (Escape::None, '\r') => {
                self.returned = true;
                Escape::None
            }
            (Escape::None, '\t') => {
                self.put(' ');
                Escape::None
            }
            (Escape::None, other) => {
                if !other.is_control() {
                    self.put(other);
                }
                Escape::None
            }
        };
    }

    fn put(&mut self, character: char) {
        if self.returned {
            self.clear();
        }
        if self.length_chars < LINE_LIMIT_CHARS {
            self.line.push(character);
            self.length_chars += 1;
        } else {
            self.cut = true;
        }
    }

    fn tell(&mut self) {
        if self.cut {
            self.line.push('…');
        }
        (self.told)(&self.line);
        self.clear();
    }

    fn clear(&mut self) {
        self.line.clear();
        (self.length_chars, self.cut, self.returned) = (0, false, false);
    }
}

/// A text of several lines as one line without anything that a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let mut found: Vec<String> = Vec::new();
    let mut keep = |line: &str| found.push(line.to_owned());
    Lines::new(&mut keep).whole(text);
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut keep = |line: &str| found.push(line.to_owned());
        let mut lines = Lines::new(&mut keep);
        pieces.iter().for_each(|piece| lines.push(piece));
        lines.finish();
        found
    }

    #[test]
    fn pieces_become_lines() {
        for (pieces, expect) in [
            (&["Step 1/2 : FROM scratch", "\n", " ---> \n"][..], &["Step 1/2 : FROM scratch", " ---> "][..]),
            (&["one\ntw", "o\n", "three"], &["one", "two", "three"]),
            (&["a\r\n", "b\r\n"], &["a", "b"]),
            (&["\n", "after an empty one\n"], &["", "after an empty one"]),
            (&[], &[]),
        ] {
            assert_eq!(told(pieces), expect, "{pieces:?}");
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        for (pieces, expect) in [
            (&["\u{1b}[31mred\u{1b}[0m\n"][..], "red"),
            (&["\u{1b}[3", "1mred in two pieces\u{1b}", "[0m\n"], "red in two pieces"),
            (&["\u{1b}]0;title\u{7}text\n"], "text"),
            (&["\u{1b}]8;;https://a.example\u{1b}\\link\n"], "link"),
            (&["\u{1b}(Bplain\n"], "plain"),
            (&["  1%\r 50%\r100%\n"], "100%"),
            (&["be\u{8}ll\u{7}, nul\0, c1\u{9b}, tab\there\n"], "bell, nul, c1, tab here"),
            (&["größer ✓\n"], "größer ✓"),
        ] {
            assert_eq!(told(pieces), [expect], "{pieces:?}");
        }
        assert_eq!(told(&["\u{1b}]never closed\n", "next\n"]), ["", "next"], "the next line is not swallowed");
    }

    #[test]
    fn a_long_line_is_cut_and_costs_no_memory() {
        let mut found = Vec::new();
        let mut keep = |line: &str| found.push(line.to_owned());
        let mut lines = Lines::new(&mut keep);
        for _ in 0..1_000 {
            lines.push(&"ä".repeat(1_000));
            assert!(lines.line.len() <= 4 * LINE_LIMIT_CHARS);
        }
        lines.push("\nshort\n");
        assert_eq!(found, [format!("{}…", "ä".repeat(LINE_LIMIT_CHARS)), "short".to_owned()]);
    }

    #[test]
    fn a_message_is_one_plain_line() {
        assert_eq!(plain("The command \u{1b}[1m'x'\n  failed\r\n"), "The command 'x'   failed");
    }
}
