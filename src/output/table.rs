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
    table.add_rows(rows);
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if position == 0 {
            // A name or id is there to be copied: it is never broken.
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    if table.is_empty() { empty.to_owned() } else { table.trim_fmt() }
}

/// Names and values, one a line, the values aligned. What is empty is left out.
pub(crate) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {value}");
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
