//! Tells in the log which gRPC requests the HTTP/2 library refuses, and what to do.
//!
//! The library resets the stream of such a request before calf sees anything of it. Why, it says in
//! an event for debugging only. Its text is not part of the library's interface: a test sends such a
//! request.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The module of the HTTP/2 library that refuses requests.
const TARGET: &str = "h2::server";
/// How its events about refused requests begin.
const REFUSED: &str = "malformed headers: ";
/// How it names the commonest reason.
const AUTHORITY: &str = "malformed authority";
/// Time between two lines of the log, since clients repeat what is refused.
const PAUSE: Duration = Duration::from_secs(60);

/// Turns events of the HTTP/2 library into lines of calf's log. To be added after the layers that
/// write these: an event that is logged while another one is looked at must find them done with it.
pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let wanted = Targets::new().with_target(TARGET, LevelFilter::DEBUG);
    Refusals::default().with_filter(wanted)
}

#[derive(Debug, Default)]
struct Refusals {
    told: Mutex<Option<Instant>>,
}

impl Refusals {
    /// Whether it is time for another line, which is to be logged then.
    fn is_due(&self) -> bool {
        let mut told = self.told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due = told.is_none_or(|told| told.elapsed() >= PAUSE);
        if due {
            *told = Some(Instant::now());
        }
        due
    }
}

impl<S: Subscriber> Layer<S> for Refusals {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let Some(why) = message.0.strip_prefix(REFUSED).filter(|_| self.is_due()) else { return };
        tracing::warn!(target: "calf::csi", "{}", line(why));
    }
}

fn line(why: &str) -> String {
    let remedy = if why.starts_with(AUTHORITY) {
        "the client sends the socket's path for a host name; have it send the authority \
         `localhost`, in C++, Python and Ruby by the channel option `grpc.default_authority`, in \
         Java by `overrideAuthority`"
    } else {
        "this is an error of the client"
    };
    format!("a gRPC request was refused: {why:.200}; {remedy}")
}

/// The message of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_has_a_remedy_of_its_own() {
        let authority = line("malformed authority (b\"csi%2Fcsi.sock\"): invalid authority");
        assert!(authority.contains("`grpc.default_authority`"), "{authority}");
        assert!(!line("missing method").contains("authority"));
    }

    #[test]
    fn a_client_that_repeats_itself_is_told_of_once() {
        let refusals = Refusals::default();
        assert!(refusals.is_due() && !refusals.is_due());
    }
}
