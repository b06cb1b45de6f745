//! Where logs go, and how much is logged.
//!
//! A service logs what it does. A command logs only what its user must know; results go to stdout,
//! and `output` prints errors.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;
use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::refusals;

/// How a service logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object per line
    Json,
}

/// How much to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verbosity {
    /// Less than the default.
    Quiet,
    /// This many steps more than the default.
    Raised(u8),
}

impl Verbosity {
    /// The level, if the default is at this index of [`LEVELS`].
    fn level(self, usual: usize) -> &'static str {
        match self {
            Self::Quiet => LEVELS[usual - 1],
            Self::Raised(steps) => LEVELS[(usual + usize::from(steps)).min(LEVELS.len() - 1)],
        }
    }
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Sets up logging for a command that runs and ends.
pub(super) fn for_command(verbosity: Verbosity) {
    let lines = layer().with_writer(io::stderr).with_ansi(colours());
    let lines = lines.with_target(false).without_time().with_filter(filter(verbosity.level(1)));
    tracing_subscriber::registry().with(lines).init();
}

/// Sets up logging for a service.
pub(super) fn for_service(verbosity: Verbosity, format: LogFormat) {
    let filter = filter(verbosity.level(2));
    let lines = layer().with_writer(io::stderr).with_ansi(colours());
    let registry = tracing_subscriber::registry();
    match format {
        LogFormat::Text => registry.with(lines.with_filter(filter)).with(refusals::layer()).init(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter(filter);
            registry.with(lines).with(refusals::layer()).init();
        }
    }
}

/// `RUST_LOG` if it is set, or calf's own crates at `level`.
fn filter<S: Subscriber>(level: &str) -> impl Filter<S> {
    discreet(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual(level))))
}

/// calf at `level`; its dependencies at warnings, or at errors if calf is at errors.
fn usual(level: &str) -> String {
    let others = if level == "error" { level } else { "warn" };
    format!("{others},calf={level}")
}

/// Keeps the HTTP client from logging what it sends, whatever the level: at `trace`, it would log
/// the signature in a URL, and the token for the Kubernetes API.
fn discreet<S: Subscriber>(filter: EnvFilter) -> impl Filter<S> {
    filter.and(filter_fn(|event| {
        !(event.target().starts_with("ureq") && *event.level() == Level::TRACE)
    }))
}

/// Whether stderr may carry colours; see <https://no-color.org>.
pub(super) fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn levels_stay_within_what_there_is() {
        for (verbosity, command, service) in [
            (Verbosity::Quiet, "error", "warn"),
            (Verbosity::Raised(0), "warn", "info"),
            (Verbosity::Raised(2), "debug", "trace"),
            (Verbosity::Raised(u8::MAX), "trace", "trace"),
        ] {
            assert_eq!((verbosity.level(1), verbosity.level(2)), (command, service));
        }
    }

    #[test]
    fn what_is_sent_is_not_logged() {
        for wish in ["trace", "ureq_proto=trace,ureq=trace,calf=trace"] {
            let logged = logged(wish, || {
                tracing::trace!(target: "calf", "shown");
                tracing::trace!(target: "ureq::run", "secret");
                tracing::trace!(target: "ureq_proto::util", "secret");
            });
            assert!(logged.contains("shown") && !logged.contains("secret"), "{wish}: {logged}");
        }
    }

    #[test]
    fn the_http_client_follows_the_level_like_other_dependencies() {
        for (wish, is_shown) in [("off", false), ("warn,calf=info", false), ("debug", true)] {
            let logged = logged(wish, || tracing::debug!(target: "ureq::run", "a request"));
            assert_eq!(!logged.is_empty(), is_shown, "{wish}: {logged}");
        }
    }

    /// What is logged at the levels of `wish`.
    fn logged(wish: &str, action: impl FnOnce()) -> String {
        let kept = Kept::default();
        let lines = layer().with_writer(kept.clone()).with_filter(discreet(EnvFilter::new(wish)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), action);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }
}
