//! Prometheus' text format, version 0.0.4: families with their help and type, each followed by its samples.

use std::fmt::Write as _;

/// The `Content-Type` of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only grows, until the coordinator starts anew.
    Counter,
    /// It is as it is now.
    Gauge,
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a family: the samples that follow belong to it.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.name = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One value of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let name = self.name;
        self.line(format_args!("{name}{labels} {value}"));
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("text in memory takes everything");
    }
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text
}

/// A count as the format has all numbers: exact up to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "counts of a fleet are far below 2^53")]
pub(super) fn number<T: TryInto<u64>>(count: T) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_quotes_or_its_line() {
        let mut page = Page::default();
        page.family("x_info", Kind::Gauge, "X.");
        page.sample(&[("a", "say \"hi\\\"\nnow")], 1.0);
        page.sample(&[], 1.5);
        let expect = "# HELP x_info X.\n# TYPE x_info gauge\nx_info{a=\"say \\\"hi\\\\\\\"\\nnow\"} 1\nx_info 1.5\n";
        assert_eq!(page.into_text(), expect);
    }
}
