//! The guard of the pool in a running driver, on a thread of its own: calls never wait for it, nor it for
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::guard::{Guard, Look};
use crate::kubernetes::Events;
use crate::metrics::Metrics;
use crate::model::units::format_size;

/// Time until the next look after one that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How long the driver's end waits for the guard's.
const TIME_TO_END: Duration = Duration::from_secs(2);

/// Looks, and tells what the guard saw and did.
pub(super) struct Watchman {
    guard: Guard,
    metrics: Arc<Metrics>,
    events: Events,
    nearly_full: bool,
    told: Option<String>,
}

impl Watchman {
    pub(super) fn new(guard: Guard, metrics: Arc<Metrics>, events: Events) -> Self {
        Self { guard, metrics, events, nearly_full: false, told: None }
    }

    /// Looks once; returns when to look again. Blocks.
    pub(super) fn look(&mut self) -> Duration {
        match self.guard.look() {
            Ok(look) => {
                self.tell(&look);
                look.next
            }
            Err(error) => {
                self.failed(Some(error.report()));
                RETRY
            }
        }
    }

    /// Goes on looking on a thread of its own, until the returned value is dropped. Volumes that are
    /// suspended then stay suspended.
    pub(super) fn start(mut self) -> Result<Watch> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watch = move || {
            while !stopped.load(Ordering::Acquire) {
                thread::park_timeout(self.look());
            }
        };
        let thread = thread::Builder::new()
            .name("guard".to_owned())
            .spawn(watch)
            .map_err(|e| Error::io("start", "the thread of the guard", e))?;
        Ok(Watch { stop, thread })
    }

    fn tell(&mut self, look: &Look) {
        self.metrics.guarded(look);
        let free = format_size(look.free);
        if look.nearly_full != self.nearly_full {
            self.nearly_full = look.nearly_full;
            if look.nearly_full {
                let low = format_size(look.low);
                tracing::warn!(
                    target: "calf::csi", free, low,
                    "the pool is nearly full: volumes that write are suspended until there is room"
                );
            } else {
                tracing::info!(target: "calf::csi", free, "the pool has room again");
            }
            self.events.space(look.nearly_full, look.free, look.resume);
        }
        for volume in &look.suspended {
            tracing::warn!(target: "calf::csi", volume, free, "suspended: its I/O waits");
        }
        for volume in &look.resumed {
            tracing::info!(target: "calf::csi", volume, free, "goes on");
        }
        self.failed((!look.failed.is_empty()).then(|| look.failed.join("; ")));
    }

    /// Logs a failure if it is new.
    fn failed(&mut self, failure: Option<String>) {
        if let Some(error) = failure.as_ref().filter(|what| self.told.as_ref() != Some(what)) {
            tracing::warn!(target: "calf::csi", error, "the guard failed; will retry");
        }
        self.told = failure;
    }
}

/// Stops the guard's thread when it is dropped, and waits a moment for what it does at its end. It does not
/// wait longer: the kernel may be waiting for a disk.
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let deadline = Instant::now() + TIME_TO_END;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
