//! Whether there is room for a volume in the pool.

use crate::error::Result;
use crate::model::policy::{Backing, Reserve};
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::template::content;
use crate::volume::plan::step::store_length;

/// Bytes of the pool that a new volume must find free beyond the reserve.
const LEAST_FREE: u64 = 1 << 20;

/// Bytes of the pool that making the volume takes up.
fn space_at_once(pool: &PoolDir, record: &VolumeRecord) -> Result<u64> {
    match (record.reserve, record.backing) {
        (Reserve::Full, _) => Ok(store_length(record)),
        (Reserve::None, Backing::Snapshot | Backing::Reflink) => Ok(0),
        (Reserve::None, Backing::Copy) => content::allocated(pool, &record.digest),
    }
}

/// Fails if making the volume would eat into the reserve.
pub(crate) fn check_free(pool: &PoolDir, record: &VolumeRecord) -> Result<()> {
    require_free(pool, &record.id, LEAST_FREE + space_at_once(pool, record)?)
}

/// Fails if `needed` bytes would eat into the reserve.
pub(crate) fn require_free(pool: &PoolDir, id: &str, needed: u64) -> Result<()> {
    pool.require_free("find space for volume", id, needed)
}
