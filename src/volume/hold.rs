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
use crate::sys::Quiesce;
use crate::volume::machine::converge::reach;
use crate::volume::machine::observe;
use crate::volume::overlay;
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
    let Some(guard) = pool.try_lock_volume(key)? else { return hold_unlocked(pool, key) };
    let observed = observe::observe(pool, key)?;
    match &observed.record {
        Some(record) if record.reserve == Reserve::None => {
            reach(pool, &guard, Goal::Held, &observed)?;
            Ok(Outcome::Done(record.id.clone()))
        }
        _ => Ok(Outcome::Nothing),
    }
}

/// Suspends the device of a volume although another call holds its lock, if that is busy with a copy or a merge
/// below it. What is written meanwhile takes space of the pool too.
fn hold_unlocked(pool: &PoolDir, key: &Key) -> Result<Outcome> {
    let observed = observe::observe(pool, key)?;
    match (&observed.record, &observed.snapshot) {
        (Some(record), Some(device)) if observed.is_over_base() && !device.inactive_table => {
            if !device.suspended {
                let id = DeviceId::new(pool.id(), key, Role::Snapshot);
                pool.host().suspend(&id, Quiesce::Device)?;
            }
            Ok(Outcome::Done(record.id.clone()))
        }
        _ => Ok(Outcome::Busy),
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
            overlay::settle(pool, guard)?;
            let observed = observe::observe(pool, guard.key())?;
            reach(pool, guard, Goal::Answering, &observed)
        }
        _ => Ok(()),
    }
}

/// Lets the volume with this key go on although another call holds its lock: that call may be the one that
/// waits for the device. A table that is not live yet, or an overlay that the volume is not over, shows that it
/// is exchanging tables; then it lets the device go on itself.
pub(crate) fn let_go_unlocked(pool: &PoolDir, key: &Key) -> Result<()> {
    let observed = observe::observe(pool, key)?;
    let exchanging = observed.overlay.is_some() && !observed.is_over_base();
    match &observed.snapshot {
        Some(device) if device.suspended && !device.inactive_table && !exchanging => {
            pool.host().resume(&DeviceId::new(pool.id(), key, Role::Snapshot))
        }
        _ => Ok(()),
    }
}
