//! Brings back a volume that the kernel stopped, because the pool was full or the volume reached its limit.
//!
//! In either case dm-snapshot stops at the write that failed. Everything that it had acknowledged is in
//! the COW store: it acknowledges a write only after the exception is there, and writes the exception
//! only after the data. When the pool is full, the kernel also marks the store invalid, and serves nothing
//! more of it. So calf checks that the store is whole, clears that mark, and lets the kernel read the store
//! anew.

use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::Durability;
use crate::model::volume::VolumeState;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::volume::machine::converge::reach;
use crate::volume::machine::store::{self, Evidence};
use crate::volume::plan::Goal;
use crate::volume::plan::state::Observed;
use crate::volume::{overlay, space};

/// What an error of recovery says.
pub(crate) const OPERATION: &str = "recover volume";

/// Why the kernel stopped the volume of `record`, if it did.
pub(crate) fn cause(record: &VolumeRecord, observed: &Observed) -> Option<VolumeState> {
    Some(observed.state(record)).filter(|state| state.is_stopped())
}

/// Brings back a volume that has a `cause`, with the limit of `record`. Returns the number of chunks in
/// its COW store.
///
/// # Errors
///
/// `NoSpace` while the pool is full, `OutOfRange` if the limit is used up, `Corrupt` unless the store is
/// known to have everything that was acknowledged. Then nothing has changed.
pub(crate) fn revive(
    pool: &PoolDir,
    guard: &VolumeGuard,
    record: &VolumeRecord,
    observed: &Observed,
) -> Result<u64> {
    if observed.is_over_base() {
        return Err(overlay::stopped(record));
    }
    let same_limit = observed.record.as_ref().is_none_or(|had| had.cow_limit == record.cow_limit);
    if observed.state(record) == VolumeState::Overflow && same_limit {
        let why = "what it may write is used up";
        return Err(Error::new(ErrorKind::OutOfRange, OPERATION, &record.id, why).remedy(format!(
            "give it a higher limit: `calf volume recover {} --cow-limit SIZE`",
            record.id
        )));
    }
    space::require_room(pool, &record.id)?;
    let chunks = examine(pool, guard, record)?;
    reach(pool, guard, Goal::Recovered(record), observed)?;
    Ok(chunks)
}

/// Returns the number of chunks in the COW store; `Corrupt` unless it is whole.
fn examine(pool: &PoolDir, guard: &VolumeGuard, record: &VolumeRecord) -> Result<u64> {
    let (host, key) = (pool.host(), guard.key());
    let marker = pool.layout().lost_writes(key);
    let unproven = |why: String| {
        Error::new(ErrorKind::Corrupt, OPERATION, &record.id, why)
            .remedy("its content cannot be trusted: delete the volume and create a new one")
    };
    let lost_writes = "the pool's file system failed to write data of it to the disk";
    if host.file(&marker)?.is_some() {
        return Err(unproven(lost_writes.to_owned()));
    }
    let path = pool.layout().store(key, record.backing);
    match store::examine(host, &path, record.size, record.chunk_size)? {
        Evidence::Whole(content) => Ok(content.exceptions),
        // What was synced is on the disk. What the page cache shows may be more, and be gone later.
        Evidence::LostWrites(why) if record.durability == Durability::Durable => Err(unproven(
            format!("{lost_writes}: {why}"),
        )
        .remedy(
            "take down the pool's devices, then unmount and mount its file system: the volume then \
                 has everything that it had synced",
        )),
        Evidence::LostWrites(why) => {
            // The kernel reports that once.
            host.write_record(&marker, b"")?;
            Err(unproven(format!("{lost_writes}: {why}")))
        }
        Evidence::Damaged(what) => Err(unproven(format!("its COW store is damaged: {what}"))),
    }
}
