//! What the volumes of a pool may come to take: space of the pool, and memory of the kernel.
//!
//! A volume takes up what it writes, so what volumes *may* write can be more than there is. The sums here
//! say how much more. Spares count as the volumes that they will become, and snapshots as what others write anew
//! that share blocks with them.

use std::path::Path;

use crate::cow;
use crate::cow::EXCEPTION_MEMORY;
use crate::error::Result;
use crate::model::policy::Backing;
use crate::pool::layout::Layout;
use crate::pool::record::{self, VolumeRecord};
use crate::pool::{PoolDir, index, snapshots};
use crate::volume::plan::step::store_length;

/// What volumes may come to take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commitment {
    /// Space that they may still write into, exception tables included, beyond what they occupy.
    pub space: u64,
    /// Memory that the kernel may come to need for their exceptions, if no two chunks share one.
    pub kernel_memory: u64,
}

impl Commitment {
    /// What the volume of `record`, whose store occupies `allocated` bytes, may come to take.
    pub(crate) fn of(record: &VolumeRecord, allocated: u64) -> Self {
        match record.backing {
            Backing::Snapshot => {
                let VolumeRecord { size, cow_limit, chunk_size, .. } = *record;
                // Of a copied store, some blocks are shared with others, and nothing tells which.
                let own = if record.source.is_some() { 0 } else { allocated };
                Self {
                    space: store_length(record).saturating_sub(own),
                    kernel_memory: cow::data_chunks(size, cow_limit, chunk_size) * EXCEPTION_MEMORY,
                }
            }
            // Some of its blocks are shared with the template, and nothing tells which.
            Backing::Reflink => Self { space: record.size, kernel_memory: 0 },
            Backing::Copy => {
                Self { space: record.size.saturating_sub(allocated), kernel_memory: 0 }
            }
        }
    }

    /// What others may come to take because a frozen store that occupies `allocated` bytes keeps the blocks
    /// that it shares with them.
    pub(crate) fn of_frozen(allocated: u64) -> Self {
        Self { space: allocated, kernel_memory: 0 }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            space: self.space.saturating_add(other.space),
            kernel_memory: self.kernel_memory.saturating_add(other.kernel_memory),
        }
    }

    /// This without a part of it.
    pub(crate) fn minus(self, part: Self) -> Self {
        Self {
            space: self.space.saturating_sub(part.space),
            kernel_memory: self.kernel_memory.saturating_sub(part.kernel_memory),
        }
    }
}

/// Sums up all volumes, spares and snapshots whose records can be read.
pub(crate) fn of_pool(pool: &PoolDir) -> Result<Commitment> {
    let layout = pool.layout();
    let mut sum = Commitment::default();
    for key in index::keys(pool)? {
        if let Some(volume) = read(pool, &layout.volume_record(&key))? {
            let store = layout.store(&key, volume.backing);
            sum = sum.plus(Commitment::of(&volume, allocated(pool, &store)?));
            if volume.source.is_some() {
                sum = sum.plus(Commitment::of_frozen(allocated(pool, &layout.seed(&key))?));
            }
        }
    }
    for key in snapshots::keys(pool)? {
        sum = sum.plus(Commitment::of_frozen(allocated(pool, &layout.snapshot_store(&key))?));
    }
    for token in index::keys_in(pool, &layout.spares())? {
        let directory = layout.spare_directory(&token);
        if let Some(model) = read(pool, &Layout::spare_record(&directory))? {
            let store = Layout::spare_store(&directory);
            sum = sum.plus(Commitment::of(&model, allocated(pool, &store)?));
        }
    }
    Ok(sum)
}

fn read(pool: &PoolDir, path: &Path) -> Result<Option<VolumeRecord>> {
    record::read_usable(pool.host(), path)
}

/// Bytes that a store occupies; none if it is missing.
pub(crate) fn allocated(pool: &PoolDir, store: &Path) -> Result<u64> {
    Ok(pool.host().file(store)?.map_or(0, |file| file.allocated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::VolumeSource;
    use crate::pool::sample;

    fn of(backing: Backing, cow_limit: Option<u64>, allocated: u64) -> Commitment {
        let record = VolumeRecord {
            size: 1 << 30,
            template_size: 1 << 20,
            chunk_size: 4096,
            cow_limit,
            backing,
            ..sample::volume()
        };
        Commitment::of(&record, allocated)
    }

    #[test]
    fn a_volume_may_write_its_store_less_what_it_has() {
        let all = of(Backing::Snapshot, None, 0);
        assert_eq!(all.space, cow::store_size(1 << 30, None, 4096));
        assert_eq!(all.kernel_memory, (1 << 18) * 33, "8.25 MiB per GiB");
        let limited = of(Backing::Snapshot, Some(1 << 20), 64 << 10);
        assert_eq!(limited.space, cow::store_size(1 << 30, Some(1 << 20), 4096) - (64 << 10));
        assert_eq!(limited.kernel_memory, 256 * 33);
        assert_eq!(of(Backing::Snapshot, None, u64::MAX).space, 0);
    }

    #[test]
    fn of_a_copied_store_nothing_counts_as_its_own() {
        let record = VolumeRecord {
            source: Some(VolumeSource::Snapshot("s".into())),
            size: 1 << 30,
            ..sample::volume()
        };
        let full = cow::store_size(1 << 30, None, 4096);
        assert_eq!(Commitment::of(&record, 64 << 20).space, full);
    }

    #[test]
    fn a_private_copy_may_write_its_size() {
        let sum = |space| Commitment { space, kernel_memory: 0 };
        assert_eq!(of(Backing::Copy, None, 1 << 20), sum((1 << 30) - (1 << 20)));
        assert_eq!(of(Backing::Reflink, None, 1 << 20), sum(1 << 30));
    }
}
