//! Suspends the device of a volume while the pool is nearly full, and lets it go on: I/O waits meanwhile,
//! and nothing fails.
//!
//! A mounted file system is not frozen, and nothing is written: what is dirty stays in memory.

use crate::error::Result;
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::Reserve;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::volume::machine::converge::reach;
use crate::volume::machine::observe;
use crate::volume::plan::Goal;

/// What became of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It changed. Its id.
    Done(String),
    /// There was nothing to do: it is gone, or does not take space of the pool.
    Nothing,
    /// Another call works on it.
    Busy,
}

/// Suspends the device of the volume with this key, unless its space is reserved.
pub(crate) fn hold(pool: &PoolDir, key: &Key) -> Result<Outcome> {
    let Some(guard) = pool.try_lock_volume(key)? else { return Ok(Outcome::Busy) };
    let observed = observe::observe(pool, key)?;
    match &observed.record {
        Some(record) if record.reserve == Reserve::None => {
            reach(pool, &guard, Goal::Held, &observed)?;
            Ok(Outcome::Done(record.id.clone()))
        }
        _ => Ok(Outcome::Nothing),
    }
}

/// Lets the volume with this key go on.
pub(crate) fn let_go(pool: &PoolDir, key: &Key) -> Result<Outcome> {
    let Some(guard) = pool.try_lock_volume(key)? else { return Ok(Outcome::Busy) };
    release(pool, &guard)?;
    Ok(match observe::read_record(pool, key)? {
        Some(record) => Outcome::Done(record.id),
        None => Outcome::Nothing,
    })
}

/// Lets the volume go on whose lock is held.
pub(crate) fn release(pool: &PoolDir, guard: &VolumeGuard) -> Result<()> {
    let id = DeviceId::new(pool.id(), guard.key(), Role::Snapshot);
    match pool.host().device(&id)? {
        Some(device) if device.suspended => {
            let observed = observe::observe(pool, guard.key())?;
            reach(pool, guard, Goal::Answering, &observed)
        }
        _ => Ok(()),
    }
}

/// Lets the volume with this key go on although another call holds its lock: that call may be the one that
/// waits for the device. A table that is not live yet shows that it is exchanging tables; then it lets
/// the device go on itself.
pub(crate) fn let_go_unlocked(pool: &PoolDir, key: &Key) -> Result<()> {
    let id = DeviceId::new(pool.id(), key, Role::Snapshot);
    match pool.host().device(&id)? {
        Some(device) if device.suspended && !device.inactive_table => pool.host().resume(&id),
        _ => Ok(()),
    }
}
