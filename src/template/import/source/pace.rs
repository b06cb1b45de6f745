//! Whether a server sends fast enough.
//!
//! Only the time counts in which the import waits for the server, whether it connects, reads, or
//! pauses after a lost connection: a pool that is slow to write is not the server's fault. A server
//! that sends nothing at all is none of this: timeouts and the number of attempts end that.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::model::download::DownloadOptions;
use crate::model::units::format_size;

/// The pace of one download, over all of its connections.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes per second; 0 for any.
    least: u64,
    /// How long a server may be slower.
    patience: Duration,
    current: Mutex<Stretch>,
}

/// The time since the pace was last judged.
#[derive(Debug, Default)]
struct Stretch {
    waited: Duration,
    received: u64,
}

/// A server that was slower than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow {
    rate: u64,
    least: u64,
    over: Duration,
}

impl Pace {
    pub(crate) fn new(options: &DownloadOptions) -> Self {
        let current = Mutex::default();
        Self { least: options.least_rate, patience: options.patience, current }
    }

    /// Takes note of bytes that came after a wait.
    pub(crate) fn note(&self, waited: Duration, received: u64) -> Result<(), TooSlow> {
        let mut stretch = self.lock();
        stretch.waited += waited;
        stretch.received += received;
        if stretch.waited < self.patience {
            return Ok(());
        }
        let Stretch { waited, received } = std::mem::take(&mut *stretch);
        let rate = (received as f64 / waited.as_secs_f64()) as u64;
        if received == 0 || rate >= self.least {
            return Ok(());
        }
        Err(TooSlow { rate, least: self.least, over: waited })
    }

    fn lock(&self) -> MutexGuard<'_, Stretch> {
        self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, least, over } = self;
        let [rate, least] = [*rate, *least].map(format_size);
        write!(f, "the server sent {rate} per second for {over:.0?}, and {least} is the least")
    }
}

impl std::error::Error for TooSlow {}

/// A stream whose pace is watched. A server that is too slow fails a read with [`TooSlow`].
pub(crate) struct Paced<'a, R> {
    stream: R,
    pace: &'a Pace,
}

impl<'a, R> Paced<'a, R> {
    pub(crate) fn new(stream: R, pace: &'a Pace) -> Self {
        Self { stream, pace }
    }
}

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let read = self.stream.read(buffer)?;
        self.pace.note(start.elapsed(), read as u64).map_err(io::Error::other)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    fn pace(least: u64) -> Pace {
        Pace::new(&DownloadOptions::default().least_rate(least))
    }

    #[test]
    fn a_server_that_stays_below_the_least_rate_is_told_apart() {
        let pace = pace(1 << 10);
        for _ in 0..59 {
            pace.note(SECOND, 1 << 9).unwrap();
        }
        let slow = pace.note(SECOND, 1 << 9).unwrap_err();
        let text = slow.to_string();
        assert!(text.contains("512 B per second for 60s") && text.contains("1 KiB"), "{text}");
    }

    #[test]
    fn what_is_fast_on_the_whole_may_pause() {
        let pace = pace(1 << 10);
        pace.note(SECOND, 61 << 10).unwrap();
        pace.note(MINUTE, 0).unwrap();
    }

    #[test]
    fn a_server_that_sent_nothing_is_judged_by_what_it_sends_next() {
        let pace = pace(1 << 10);
        pace.note(2 * MINUTE, 0).unwrap();
        pace.note(SECOND, 1).unwrap();
        pace.note(MINUTE, 0).unwrap_err();
    }

    #[test]
    fn time_that_is_spent_elsewhere_does_not_count() {
        let pace = pace(u64::MAX);
        for _ in 0..1000 {
            pace.note(Duration::ZERO, 1).unwrap();
        }
    }
}
