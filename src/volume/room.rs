//! What new volumes may come to take of the pool and of the kernel's memory.

use crate::cow;
use crate::cow::EXCEPTION_MEMORY;
use crate::error::Result;
use crate::model::limits::MAX_SIZE;
use crate::model::policy::Backing;
use crate::pool::PoolDir;
use crate::volume::commitment;

/// Room for one more volume, after its private copy of the template's content was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes of the content that a private copy occupies at once.
    copied: u64,
    /// Bytes that are free above the reserve.
    pub(crate) free: u64,
    /// Bytes of `free` that a volume may take at once, so that the others can still write what the
    /// overcommit ratio promises.
    at_once: u64,
    /// Bytes that it may come to write into; `None` for no bound.
    pub(crate) later: Option<u64>,
    /// Number of chunks that the kernel may come to remember; `None` for no bound.
    chunks: Option<u64>,
}

impl Room {
    /// The room for a volume that starts with a copy of `copied` bytes.
    pub(crate) fn find(pool: &PoolDir, copied: u64) -> Result<Self> {
        let free = pool.capacity()?.available.saturating_sub(copied);
        let (ratio, memory) = (pool.overcommit_ratio(), pool.max_kernel_memory());
        let sum = match ratio.is_some() || memory.is_some() {
            true => commitment::of_pool(pool)?,
            false => commitment::Commitment::default(),
        };
        let promised = ratio.map_or(0, |ratio| ratio.needed(sum.space));
        Ok(Self {
            copied,
            free,
            at_once: free.saturating_sub(promised),
            later: ratio.map(|ratio| ratio.allowed(free).saturating_sub(sum.space)),
            chunks: memory.map(|most| most.saturating_sub(sum.kernel_memory) / EXCEPTION_MEMORY),
        })
    }

    /// Whether any volume fits.
    pub(crate) fn is_left(self) -> bool {
        self.free > 0 && self.later != Some(0) && self.chunks != Some(0)
    }

    /// The largest volume that fits, in bytes, if nothing else bounds it. A `reserved` one takes its space at
    /// once.
    pub(crate) fn largest(
        self,
        backing: Backing,
        reserved: bool,
        cow_limit: Option<u64>,
        chunk_size: u64,
    ) -> u64 {
        let space = match reserved {
            true => self.at_once,
            false => self.later.unwrap_or(u64::MAX),
        };
        if backing != Backing::Snapshot {
            return space.saturating_add(self.copied);
        }
        let chunks = self.chunks.unwrap_or(u64::MAX);
        let limit_fits = |limit| {
            cow::store_size(MAX_SIZE, Some(limit), chunk_size) <= space
                && cow::data_chunks(MAX_SIZE, Some(limit), chunk_size) <= chunks
        };
        match cow_limit {
            Some(limit) if limit_fits(limit) => MAX_SIZE,
            // A volume that is smaller than its limit.
            _ => cow::largest_volume(space, chunk_size).min(chunks.saturating_mul(chunk_size)),
        }
    }
}
