//! Tables without borders, lists of facts, and headings.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use console::style;

use super::Page;
use super::time::NOTHING;

/// What a table says when it has no row.
pub(crate) fn table<const N: usize>(
    page: &Page,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    empty: &str,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    match page.width {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let rows: Vec<_> = rows.into_iter().collect();
    let coloured = |position: usize| rows.iter().any(|row| row.get(position).is_some_and(|cell| cell.contains(END)));
    let coloured: Vec<_> = (0..N).map(coloured).collect();
    table.add_rows(rows);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if position == 0 || coloured[position] {
            // A name or id is there to be copied, and a colour ends with its line: they are never broken.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if table.is_empty() { empty.to_owned() } else { painted(&table.trim_fmt()) }
}

/// How a word is meant to be seen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tone {
    /// All is well.
    Good,
    /// Not much longer.
    Near,
    /// Somebody must act.
    Bad,
}

/// Marks where a colour begins, by [`Tone`], and ends: invisible characters without width. A table that counted the bytes of colours
/// as width would be crooked, so it is laid out with these.
const MARKS: [char; 3] = ['\u{2061}', '\u{2062}', '\u{2063}'];
const END: char = '\u{2064}';

/// Text in a colour, as soon as it went through [`painted`].
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    let mark = match tone {
        Tone::Good => MARKS[0],
        Tone::Near => MARKS[1],
        Tone::Bad => MARKS[2],
    };
    format!("{mark}{text}{END}")
}

/// Text with its marks replaced by the terminal's colours, or by nothing where there are none.
pub(crate) fn painted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let next =
        |text: &str| text.char_indices().find_map(|(at, c)| Some((at, MARKS.iter().position(|mark| *mark == c)?)));
    while let Some((start, tone)) = next(rest) {
        shown.push_str(&rest[..start]);
        let inside = &rest[start + MARKS[tone].len_utf8()..];
        let end = inside.find(END).unwrap_or(inside.len());
        let styled = style(&inside[..end]);
        shown.push_str(&[styled.clone().green(), styled.clone().yellow(), styled.red()][tone].to_string());
        rest = inside.get(end + END.len_utf8()..).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

/// Names and values, one a line, the values aligned. What is empty is left out.
pub(crate) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}", painted(value));
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A heading over a part of a screen; bold on a terminal.
pub(crate) fn heading(text: &str) -> String {
    style(text).bold().to_string()
}

/// The start of a digest that people compare: `sha256:` and twelve digits.
pub(crate) fn short_digest(digest: Option<&str>) -> String {
    let digest = digest.unwrap_or(NOTHING);
    digest.get(..19).filter(|_| digest.starts_with("sha256:")).unwrap_or(digest).to_owned()
}

/// The text, or what stands for nothing.
pub(crate) fn or_nothing(text: Option<&str>) -> String {
    text.unwrap_or(NOTHING).to_owned()
}

/// `yes` or `no`.
pub(crate) fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// Parts of a screen, an empty line between them; empty parts are left out.
pub(crate) fn parts(parts: impl IntoIterator<Item = String>) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}
