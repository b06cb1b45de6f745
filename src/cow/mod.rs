//! The format of a COW store, dm-snapshot's persistent exception store. No I/O.

pub(crate) mod exceptions;
pub(crate) mod header;
pub(crate) mod size;

pub(crate) use size::is_chunk_size;
pub use size::{largest_volume, store_size};
