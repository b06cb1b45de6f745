//! The format of a COW store, dm-snapshot's persistent exception store. No I/O.

pub(crate) mod changes;
pub(crate) mod exceptions;
pub(crate) mod extents;
pub(crate) mod header;
pub(crate) mod listing;
pub(crate) mod pieces;
pub(crate) mod selection;
pub(crate) mod size;

pub use size::{EXCEPTION_MEMORY, largest_volume, store_size};
pub(crate) use size::{data_chunks, is_chunk_size, length_to_load, space_after_content};
