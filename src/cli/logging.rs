//! Where logs go, and how much of them.
//!
//! A service logs what it does. A command logs what its user must know; results are on stdout,
//! and errors are printed by `output`.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How a service logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

/// Logging of a command that runs and ends.
pub(super) fn for_command(verbose: u8) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(io::stderr)
        .with_ansi(colours())
        .with_target(false)
        .without_time()
        .init();
}

/// Logging of a service.
pub(super) fn for_service(verbose: u8, format: LogFormat) {
    let level = ["info", "debug", "trace"][usize::from(verbose.min(2))];
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(io::stderr)
        .with_ansi(colours());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// `RUST_LOG` if it is set, or calf's own crates at `level`.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,calf={level}")))
}

/// Whether stderr may carry colours; see <https://no-color.org>.
pub(super) fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}
