//! Takes the locks of volumes and snapshots.

use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::sys::lock::{Lock, Mode};
use crate::volume::{overlay, spare};

/// Maximum pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the creation of a volume, and each call for a snapshot, waits for another call at least: most
/// often that is the same call, repeated, and soon over.
pub(crate) const MOMENT: Duration = Duration::from_secs(2);

/// Takes the lock of the volume `id`, waiting for it as long as the pool's options allow, and
/// completes a claim for a spare, or a step with an overlay, that a crash interrupted.
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
    let key = Key::of(id);
    let guard = wait(pool, limit, || pool.try_lock_volume(&key))?.ok_or_else(|| {
        let why = "another operation on this volume is running";
        Error::new(ErrorKind::InProgress, operation, id, why).remedy("repeat the call later")
    })?;
    spare::settle(pool, &guard)?;
    overlay::settle(pool, &guard)?;
    Ok(guard)
}

/// Takes the lock of the snapshot `name`, waiting for it as long as the pool's options allow.
///
/// # Errors
///
/// `InProgress` if it is being made or removed, or, for an exclusive lock, a volume made of it.
pub(crate) fn snapshot(
    pool: &PoolDir,
    key: &Key,
    name: &str,
    operation: &'static str,
    mode: Mode,
) -> Result<Lock> {
    let limit = pool.wait().max(MOMENT);
    wait(pool, limit, || pool.try_lock_snapshot(key, mode))?.ok_or_else(|| {
        let why = "another operation on this snapshot is running";
        Error::new(ErrorKind::InProgress, operation, name, why).remedy("repeat the call later")
    })
}

/// Tries to take a lock until the wait is over, since the kernel cannot wait for a byte-range lock with a
/// time limit.
fn wait<T>(
    pool: &PoolDir,
    limit: Duration,
    take: impl Fn() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        if let Some(lock) = take()? {
            return Ok(Some(lock));
        }
        let left = limit.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        pool.host().pause(pause.min(left));
        pause = (2 * pause).min(PAUSE);
    }
}
