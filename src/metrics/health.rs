//! Whether the driver lives, and whether it is ready for calls.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::api::Pool;

/// Where in its life a driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Reconciling; the socket may be there and does not answer yet.
    Starting,
    /// The CSI socket answers.
    Serving,
    /// Waiting for the last calls to end.
    Stopping,
}

/// The driver's phase, told by the driver and asked by probes.
#[derive(Debug)]
pub(crate) struct Health(AtomicU8);

impl Health {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(Phase::Starting as u8))
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    /// Why no volume can be made and used here now, if so. Templates that are missing are no
    /// reason: the others serve, and a scheduler asks for each by its capacity.
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
