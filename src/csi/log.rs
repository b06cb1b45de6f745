//! One line for each request and its outcome.
//!
//! A line names the method, the volume, the time taken and the code, and for errors the message. It
//! is built only from these, and never from the request itself, which may hold secrets and
//! service-account tokens. The line is written where the work ends, so it is logged even if the
//! caller has gone.

use std::time::Instant;

use tonic::Code;

use crate::csi::status;
use crate::error::Error;

/// Longest volume id in a log line: twice the length of the longest valid id.
const MAX_SUBJECT: usize = 256;

/// A request in progress.
pub(super) struct Call {
    method: &'static str,
    volume: Option<String>,
    start: Instant,
}

impl Call {
    /// Notes that the request `method` for `volume` (empty if there is none) has arrived.
    pub(super) fn start(method: &'static str, volume: &str) -> Self {
        let volume = (!volume.is_empty()).then(|| status::shorten(volume.to_owned(), MAX_SUBJECT));
        tracing::debug!(target: "calf::csi", method, volume, "request");
        Self { method, volume, start: Instant::now() }
    }

    /// Logs that the request has ended.
    pub(super) fn end<T>(self, result: &Result<T, Error>) {
        let elapsed_ms = self.start.elapsed().as_micros() as f64 / 1000.0;
        let Self { method, volume, .. } = self;
        match result {
            Ok(_) => {
                let code = status::name(Code::Ok);
                tracing::info!(target: "calf::csi", method, volume, elapsed_ms, code, "response");
            }
            Err(error) => {
                let code = status::name(status::code(error.kind()));
                let error = error.report();
                tracing::info!(
                    target: "calf::csi", method, volume, elapsed_ms, code, error, "response"
                );
            }
        }
    }
}
