//! Checks whether the pool has enough space for a volume.

use crate::error::Result;
use crate::model::policy::{Backing, Reserve};
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::template::content;
use crate::volume::plan::step::store_length;

/// Bytes that must be free above the pool's reserve to make any volume.
const LEAST_FREE: u64 = 1 << 20;

/// Returns how many bytes of the pool making the volume uses.
fn space_at_once(pool: &PoolDir, record: &VolumeRecord) -> Result<u64> {
    match (record.reserve, record.backing) {
        (Reserve::Full, _) => Ok(store_length(record)),
        (Reserve::None, Backing::Snapshot | Backing::Reflink) => Ok(0),
        (Reserve::None, Backing::Copy) => content::allocated(pool, &record.digest),
    }
}

/// Fails if making the volume would use up part of the pool's reserve.
pub(crate) fn check_free(pool: &PoolDir, record: &VolumeRecord) -> Result<()> {
    require_free(pool, &record.id, LEAST_FREE + space_at_once(pool, record)?)
}

/// Fails if a volume could not go on writing in the pool.
pub(crate) fn require_room(pool: &PoolDir, id: &str) -> Result<()> {
    require_free(pool, id, LEAST_FREE)
}

/// Fails if `needed` bytes would use up part of the pool's reserve.
pub(crate) fn require_free(pool: &PoolDir, id: &str, needed: u64) -> Result<()> {
    pool.require_free("find space for volume", id, needed)
}
