//! The lock of a volume, as a value: what changes a volume asks for it.

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::volume::spare;

/// Takes the lock of the volume `id`, and completes what a crash left of its claim for a spare.
///
/// # Errors
///
/// `InProgress` if another operation on the volume is running, here or in another process.
pub(crate) fn take(pool: &PoolDir, id: &str, operation: &'static str) -> Result<VolumeGuard> {
    let guard = pool.try_lock_volume(&Key::of(id))?.ok_or_else(|| {
        let why = "another operation on this volume is running";
        Error::new(ErrorKind::InProgress, operation, id, why)
            .remedy("repeat the call when it has ended")
    })?;
    spare::settle(pool, &guard)?;
    Ok(guard)
}
