//! Takes the lock of a volume.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::volume::spare;

/// Maximum pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the creation of a volume waits for another call at least: most often that is the same creation,
/// repeated, and soon over.
pub(crate) const MOMENT: Duration = Duration::from_secs(2);

/// Takes the lock of the volume `id`, waiting for it as long as the pool's options allow, and
/// completes a claim for a spare that a crash interrupted.
///
/// # Errors
///
/// `InProgress` if another operation on the volume is running, in this process or another.
pub(crate) fn take(pool: &PoolDir, id: &str, operation: &'static str) -> Result<VolumeGuard> {
    take_within(pool, id, operation, pool.wait())
}

/// Does the same, and waits for at most `limit`.
pub(crate) fn take_within(
    pool: &PoolDir,
    id: &str,
    operation: &'static str,
    limit: Duration,
) -> Result<VolumeGuard> {
    let guard = wait(pool, &Key::of(id), limit)?.ok_or_else(|| {
        let why = "another operation on this volume is running";
        Error::new(ErrorKind::InProgress, operation, id, why).remedy("repeat the call later")
    })?;
    spare::settle(pool, &guard)?;
    Ok(guard)
}

/// Tries to take the lock until the wait is over, since the kernel cannot wait for a byte-range
/// lock with a time limit.
fn wait(pool: &PoolDir, key: &Key, limit: Duration) -> Result<Option<VolumeGuard>> {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        if let Some(guard) = pool.try_lock_volume(key)? {
            return Ok(Some(guard));
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        pool.host().pause(pause.min(left));
        pause = (2 * pause).min(PAUSE);
    }
}
