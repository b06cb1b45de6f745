//! How large a COW store must be.
//!
//! A persistent exception store is made of chunks: a header, then areas. An area is one chunk of
//! metadata, which lists as many exceptions as fit at 16 bytes each, followed by that many chunks
//! of data (Linux, `drivers/md/dm-snap-persistent.c`). When an area is full, the kernel clears the
//! metadata chunk of the next area immediately, whether or not it will be needed, so there must be
//! room for it.

use crate::model::limits::MAX_SIZE;

/// Bytes of one exception on disk: two 64-bit chunk numbers.
pub(crate) const EXCEPTION_SIZE: u64 = 16;

/// The smallest and the largest chunk, in bytes. Below 4 KiB, a loop device's page cache would have
/// to read before each write; above 1 MiB, each first write copies more than it saves.
pub(crate) const CHUNK_SIZES: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 20;

/// Whether `chunk_size` is a power of two within [`CHUNK_SIZES`].
pub(crate) fn is_chunk_size(chunk_size: u64) -> bool {
    chunk_size.is_power_of_two() && CHUNK_SIZES.contains(&chunk_size)
}

/// Chunks that a volume may write under a limit in bytes: limits with the same number of chunks are
/// equal.
pub(crate) fn limit_chunks(limit: u64, chunk_size: u64) -> u64 {
    limit.div_ceil(chunk_size)
}

/// Bytes of kernel memory for one exception: the kernel's structure has 32, and its allocator adds 2 %
/// (Linux, `struct dm_exception`). Chunks that follow each other share one, if their copies do too.
pub const EXCEPTION_MEMORY: u64 = 33;

/// Number of chunks that a volume of `size` bytes may write under a limit in bytes (its whole size if
/// `None`): the number of exceptions, if no two chunks share one.
pub(crate) fn data_chunks(size: u64, limit: Option<u64>, chunk_size: u64) -> u64 {
    let all = size.div_ceil(chunk_size);
    limit.map_or(all, |limit| all.min(limit_chunks(limit, chunk_size)))
}

/// Bytes of a COW store that lets a volume of `size` bytes write `limit` bytes (its whole size if
/// `None`), each chunk counted once.
pub fn store_size(size: u64, limit: Option<u64>, chunk_size: u64) -> u64 {
    let data = data_chunks(size, limit, chunk_size);
    let exceptions_per_area = chunk_size / EXCEPTION_SIZE;
    let areas = data / exceptions_per_area + 1;
    (1 + areas + data) * chunk_size
}

/// Of how many chunks a COW store is at the least while the kernel loads a table over it, if it has so many.
const FEWEST_TO_LOAD: u64 = 1024;
/// Chunks of a volume that hash to one bucket (Linux, `DM_CHUNK_CONSECUTIVE_BITS`): with a chunk of the store for
/// each bucket that can be used, lookups are as fast as over the whole store.
const CHUNKS_PER_BUCKET: u64 = 256;

/// How long a COW store without content should be while the kernel loads a table over it, in bytes; `full`
/// is how long it is to be afterwards.
///
/// The kernel makes a hash table with a bucket of 8 bytes for each chunk that the store has at that time, up
/// to 262,144, and another with an eighth of that. But 256 chunks of the volume that follow each other hash
/// to one bucket, so nearly all of them stay empty (Linux, `init_hash_tables` and `exception_hash` in
/// `drivers/md/dm-snap.c`). A store that is extended later is used in full: the kernel asks for its length at
/// each allocation.
pub(crate) fn length_to_load(full: u64, chunk_size: u64) -> u64 {
    let chunks = (full / chunk_size / CHUNKS_PER_BUCKET).max(FEWEST_TO_LOAD);
    full.min(chunks.saturating_mul(chunk_size))
}

/// How many bytes a COW store must have after what it holds, so that the kernel can load a table over it: it
/// reads the areas up to the first that is not full. That may be a hole, and so may be the chunks before it,
/// if they were discarded.
pub(crate) fn space_after_content(chunk_size: u64) -> u64 {
    (chunk_size / EXCEPTION_SIZE + 2) * chunk_size
}

/// The size of the largest volume whose COW store, for all of it, fits into `space` bytes.
pub fn largest_volume(space: u64, chunk_size: u64) -> u64 {
    let exceptions_per_area = chunk_size / EXCEPTION_SIZE;
    // Two chunks for the header and the last area's metadata, and one more for each full area.
    let chunks = (space / chunk_size).saturating_sub(2);
    let data = chunks - (chunks + 1) / (exceptions_per_area + 1);
    (data * chunk_size).min(MAX_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_gibibyte_needs_a_little_more_than_itself() {
        let size = 1 << 30;
        assert_eq!(store_size(size, None, 4096), (1 + 1025 + 262_144) * 4096);
        assert_eq!(store_size(size, Some(4096), 4096), 3 * 4096);
        assert_eq!(store_size(size, Some(u64::MAX), 4096), store_size(size, None, 4096));
    }

    #[test]
    fn a_table_is_loaded_over_a_part_of_a_large_store() {
        assert_eq!(length_to_load(3 << 20, 4096), 3 << 20);
        assert_eq!(length_to_load(1 << 30, 4096), 4 << 20);
        assert_eq!(length_to_load(4 << 30, 4096), 16 << 20);
        assert_eq!(length_to_load(20 << 30, 4096), 80 << 20);
        assert_eq!(length_to_load(1 << 30, 64 << 10), 64 << 20);
        assert_eq!(space_after_content(4096), 258 * 4096);
    }

    proptest! {
        #[test]
        fn the_store_holds_every_exception_and_its_area(
            size in 1u64..(1 << 44), shift in 12u32..=20, limit in proptest::option::of(0u64..1 << 44),
        ) {
            let chunk = 1u64 << shift;
            let chunks = store_size(size, limit, chunk) / chunk;
            let data = size.div_ceil(chunk).min(limit.unwrap_or(u64::MAX).div_ceil(chunk));
            // The chunk numbers of the last data chunk, and of the area that is cleared after it.
            let per_area = chunk / 16;
            let last = if data == 0 { 0 } else { 1 + (data - 1) / per_area + 1 + (data - 1) };
            let next_area = 1 + (data / per_area) * (per_area + 1);
            prop_assert!(chunks > last && chunks > next_area);
        }

        #[test]
        fn the_largest_volume_fits_and_one_more_chunk_would_not(
            space in 0u64..1 << 43, shift in 12u32..=20,
        ) {
            let chunk = 1u64 << shift;
            let size = largest_volume(space, chunk);
            prop_assert!(size == 0 || store_size(size, None, chunk) <= space);
            prop_assert!(store_size(size + chunk, None, chunk) > space);
        }

        #[test]
        fn a_larger_volume_never_has_a_smaller_store(size in 1u64..1 << 44, more in 0u64..1 << 30) {
            prop_assert!(store_size(size + more, None, 4096) >= store_size(size, None, 4096));
        }
    }
}
