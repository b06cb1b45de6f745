//! Whether the driver is alive, and whether it is ready for calls.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::api::Pool;

/// The phase of a driver's life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Reconciling; the socket may exist, but does not answer yet.
    Starting,
    /// The CSI socket answers.
    Serving,
    /// Stopping: waiting for the last calls to end.
    Stopping,
}

/// The driver's phase, set by the driver and read by probes.
#[derive(Debug)]
pub(crate) struct Health(AtomicU8);

impl Health {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(Phase::Starting as u8))
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    /// Returns an error with the reason if volumes cannot be made and used here now. Missing
    /// templates are not a reason: the other templates work, and a scheduler learns of each
    /// template through capacity.
    pub(super) fn ready(&self, pool: &Pool) -> Result<(), String> {
        let phase = self.0.load(Ordering::Relaxed);
        if phase == Phase::Starting as u8 {
            return Err("the driver is starting: it reconciles the pool".to_owned());
        }
        if phase == Phase::Stopping as u8 {
            return Err("the driver is shutting down".to_owned());
        }
        pool.backing().map_err(|error| error.report())?;
        pool.capacity().map_err(|error| error.report())?;
        Ok(())
    }
}
