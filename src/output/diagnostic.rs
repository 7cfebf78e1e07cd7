//! A problem in a file, shown where it stands: file, line, caret.

use std::io::{self, IsTerminal as _};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use nightshift_core::config::Problems;

use super::note;

/// Shows every problem of a file on standard error. The file's lines are shown, too: it must hold no secret.
pub(crate) fn show(file: &str, text: &str, problems: Problems) {
    let colour = io::stderr().is_terminal() && console::colors_enabled_stderr();
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme);
    for problem in problems {
        let mut diagnostic =
            MietteDiagnostic::new(&problem.message).with_label(LabeledSpan::underline(problem.span.clone()));
        diagnostic.help = problem.hint.clone();
        let report = Report::new(diagnostic).with_source_code(NamedSource::new(file, text.to_owned()));
        let mut shown = String::new();
        if handler.render_report(&mut shown, report.as_ref()).is_err() {
            shown = problem.to_string();
        }
        note(shown.trim_matches('\n'));
    }
}
