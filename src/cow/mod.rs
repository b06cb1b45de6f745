//! The format of a COW store, dm-snapshot's persistent exception store. No I/O.

pub(crate) mod header;
pub(crate) mod size;

pub use size::{CHUNK_SIZES, is_chunk_size, largest_volume, store_size};
