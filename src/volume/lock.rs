//! The lock of a volume, as a value: what changes a volume asks for it.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::volume::spare;

/// Longest pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock of the volume `id`, waiting for it as long as the pool's options say, and completes
/// what a crash left of its claim for a spare.
///
/// # Errors
///
/// `InProgress` if another operation on the volume is running, here or in another process.
pub(crate) fn take(pool: &PoolDir, id: &str, operation: &'static str) -> Result<VolumeGuard> {
    let guard = wait(pool, &Key::of(id))?.ok_or_else(|| {
        let why = "another operation on this volume is running";
        Error::new(ErrorKind::InProgress, operation, id, why)
            .remedy("repeat the call when it has ended")
    })?;
    spare::settle(pool, &guard)?;
    Ok(guard)
}

/// Tries until the time is over: a lock of a range of bytes cannot be waited for with a limit.
fn wait(pool: &PoolDir, key: &Key) -> Result<Option<VolumeGuard>> {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        if let Some(guard) = pool.try_lock_volume(key)? {
            return Ok(Some(guard));
        }
        let left = pool.wait().saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        pool.host().pause(pause.min(left));
        pause = (2 * pause).min(PAUSE);
    }
}
