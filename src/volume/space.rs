//! Checks whether the pool has enough space for a volume, now and for what it may write later.

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::policy::{Backing, Durability, Reserve};
use crate::model::units::format_size;
use crate::pool::record::VolumeRecord;
use crate::pool::{Capacity, PoolDir};
use crate::sys::lock::Lock;
use crate::template::content;
use crate::volume::commitment::{self, Commitment};
use crate::volume::plan::step::store_length;

const OPERATION: &str = "find space for volume";

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

/// Fails if a volume could not go on writing in the pool.
pub(crate) fn require_room(pool: &PoolDir, id: &str) -> Result<()> {
    pool.require_free(OPERATION, id, LEAST_FREE)
}

/// A volume as it is before it is changed.
#[derive(Clone, Copy)]
pub(crate) struct Present<'a> {
    pub(crate) record: &'a VolumeRecord,
    /// Bytes that its store occupies.
    pub(crate) allocated: u64,
}

/// Decides whether volumes may be made or get larger. If the sums over all volumes are bounded, no two of
/// these exist at once, in any process: keep it until the volume's record is written.
pub(crate) struct AdmissionControl<'a> {
    pool: &'a PoolDir,
    lock: Option<Lock>,
}

impl<'a> AdmissionControl<'a> {
    /// Waits until other calls have decided. Take it before the lock of a template's content.
    pub(crate) fn begin(pool: &'a PoolDir) -> Result<Self> {
        let bounded = pool.overcommit_ratio().is_some() || pool.max_kernel_memory().is_some();
        Ok(Self { pool, lock: bounded.then(|| pool.lock_admission()).transpose()? })
    }

    /// Fails with `NoSpace` unless the pool has room for a new volume.
    pub(crate) fn admit(&self, record: &VolumeRecord) -> Result<()> {
        let takes = space_at_once(self.pool, record)?;
        self.pool.require_free(OPERATION, &record.id, LEAST_FREE + takes)?;
        self.check_sums(&record.id, Commitment::default(), Commitment::of(record, takes), takes)
    }

    /// Fails with `NoSpace` unless the pool has room for a new volume with the content of the store at
    /// `from`.
    pub(crate) fn admit_copy(&self, record: &VolumeRecord, from: &Path) -> Result<()> {
        require_room(self.pool, &record.id)?;
        let seed = match record.durability {
            Durability::Ephemeral => commitment::allocated(self.pool, from)?,
            Durability::Durable => 0,
        };
        let all = Commitment::of(record, 0).plus(Commitment::of_frozen(seed));
        self.check_sums(&record.id, Commitment::default(), all, 0)
    }

    /// Fails with `NoSpace` unless the pool has room for a snapshot of a store that occupies `allocated`
    /// bytes, and for what its volume then writes anew.
    pub(crate) fn admit_snapshot(&self, name: &str, allocated: u64) -> Result<()> {
        self.pool.require_free("find space for snapshot", name, LEAST_FREE)?;
        let all = Commitment::of_frozen(allocated);
        self.check_sums(name, Commitment::default(), all, 0)
    }

    /// Fails with `NoSpace` unless the pool has room for a volume whose store comes to be a copy of the store at
    /// `from`.
    pub(crate) fn admit_rollback(&self, present: Present<'_>, from: &Path) -> Result<()> {
        let Present { record, allocated } = present;
        require_room(self.pool, &record.id)?;
        let before = Commitment::of(record, allocated);
        let after = Commitment::of(record, commitment::allocated(self.pool, from)?);
        self.check_sums(&record.id, before, after, 0)
    }

    /// Fails with `NoSpace` unless the pool has room for a volume to become that of `record`.
    pub(crate) fn admit_change(&self, record: &VolumeRecord, present: Present<'_>) -> Result<()> {
        let has = present.allocated;
        let takes = match record.reserve {
            Reserve::Full => store_length(record).saturating_sub(has),
            Reserve::None => 0,
        };
        if record.reserve == Reserve::Full {
            self.pool.require_free(OPERATION, &record.id, takes)?;
        }
        let before = Commitment::of(present.record, has);
        self.check_sums(&record.id, before, Commitment::of(record, has + takes), takes)
    }

    /// Compares the sums over all volumes with their bounds, if one volume came to take `after` instead of
    /// `before`, and `takes` bytes of that at once. Bounds that were lowered later stop only what is
    /// more.
    fn check_sums(
        &self,
        id: &str,
        before: Commitment,
        after: Commitment,
        takes: u64,
    ) -> Result<()> {
        let more_space = after.space > before.space || takes > 0;
        let more_memory = after.kernel_memory > before.kernel_memory;
        if self.lock.is_none() || !(more_space || more_memory) {
            return Ok(());
        }
        let sum = commitment::of_pool(self.pool)?.minus(before).plus(after);
        if more_space {
            self.check_space(id, sum.space, takes)?;
        }
        if more_memory {
            self.check_memory(id, sum.kernel_memory)?;
        }
        Ok(())
    }

    fn check_space(&self, id: &str, sum: u64, takes: u64) -> Result<()> {
        let Some(ratio) = self.pool.overcommit_ratio() else { return Ok(()) };
        let Capacity { available, reserve, .. } = self.pool.capacity()?;
        let left = available.saturating_sub(takes);
        let allowed = ratio.allowed(left);
        if sum <= allowed {
            return Ok(());
        }
        let why = format!(
            "all volumes together could then write {}, and the overcommit ratio of {ratio} allows {}: the pool \
             at {} has {} free above its reserve of {}",
            format_size(sum),
            format_size(allowed),
            self.pool.root().display(),
            format_size(left),
            format_size(reserve),
        );
        Err(Error::new(ErrorKind::NoSpace, OPERATION, id, why).remedy(
            "give volumes a (lower) limit on what they write (cowLimit), delete volumes or spares, enlarge the \
             pool's file system, or have an administrator raise --overcommit-ratio",
        ))
    }

    fn check_memory(&self, id: &str, sum: u64) -> Result<()> {
        let Some(allowed) = self.pool.max_kernel_memory().filter(|allowed| sum > *allowed) else {
            return Ok(());
        };
        let why = format!(
            "all volumes together could then take {} of the kernel's memory for what they write, and {} is \
             allowed",
            format_size(sum),
            format_size(allowed),
        );
        Err(Error::new(ErrorKind::NoSpace, "find kernel memory for volume", id, why).remedy(
            "give volumes a (lower) limit on what they write (cowLimit) or larger chunks (chunkSize), delete \
             volumes or spares, or have an administrator raise --max-kernel-memory",
        ))
    }
}
