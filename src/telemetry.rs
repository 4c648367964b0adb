//! Logs: one line for each thing that happened, readable alone, on standard error.
//!
//! No address, text, token or key is ever logged, at any level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to log what `filter` lets through (the syntax of `RUST_LOG`), and to log panics as well.
/// A filter that cannot be read counts as `info`.
pub fn begin(filter: Option<&str>, format: Format) {
    let filter = filter.and_then(|filter| EnvFilter::try_new(filter).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let begun = match format {
        Format::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    // A second service in the same process logs where the first one does.
    if begun.is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            tracing::error!(
                place = panic.location().map(tracing::field::display),
                "callout panicked; this is a defect of callout, please report it"
            );
        }));
    }
}
