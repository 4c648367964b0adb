//! Printing: the one place that writes to standard output and standard error.
//!
//! Colour appears on a terminal only, and not where `NO_COLOR` is set. A closed pipe ends the output
//! quietly: whoever closed it has read enough.

use std::io::{self, IsTerminal, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

use crate::chain::Chain;
use crate::telemetry;

/// Whether the output can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// It was written.
    Yes,
    /// Nobody reads it any more.
    Closed,
}

/// Writes to standard output.
pub(super) fn to_stdout(text: &str) -> Printed {
    let mut stdout = AutoStream::auto(io::stdout().lock());
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Printed::Yes,
        Err(_) => Printed::Closed,
    }
}

/// Writes to standard error.
pub(super) fn to_stderr(text: &str) {
    // What was logged before stands before it.
    telemetry::flush();
    let mut stderr = AutoStream::auto(io::stderr().lock());
    // There is nowhere left to complain to.
    let _written = stderr.write_all(text.as_bytes());
}

/// Whether standard output is a terminal that can redraw a line.
pub(super) fn can_redraw() -> bool {
    io::stdout().is_terminal() && AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Says what went wrong, and what to do about it.
pub(super) fn complain(what: &str, hint: Option<&str>) {
    let (red, reset) = (RED.render(), RED.render_reset());
    let hint = hint.map_or_else(String::new, |hint| format!("  hint: {hint}\n"));
    to_stderr(&format!("{red}error:{reset} {what}\n{hint}"));
}

/// Says on standard error what is no failure yet.
pub(super) fn note(what: &str) {
    to_stderr(&format!("{}\n", styled(DIM, what)));
}

/// An error with everything that led to it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    Chain(error).to_string()
}

/// What must be seen.
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
/// What went well.
pub(super) const GREEN: Style = AnsiColor::Green.on_default().bold();
/// What is under way.
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// What can be passed over.
pub(super) const DIM: Style = Style::new().dimmed();
/// What stands out.
pub(super) const BOLD: Style = Style::new().bold();

/// A text in a style.
pub(super) fn styled(style: Style, text: &str) -> String {
    format!("{}{text}{}", style.render(), style.render_reset())
}
