//! Content that is made of the disk in an image with a map of its blocks (qcow2).
//!
//! ```text
//! file ───────────────────────┐
//! URL ────▸ copy in the pool ─┼─▸ disk ──▸ partition ──▸ pipeline: hash, write
//! stream ─▸ copy in the pool ─┘
//! ```
//!
//! The disk is read at the offsets that its tables name, so what can be read only in order is copied to the
//! pool first, beside the content; the copy is gone before the content is complete. Two digests come of it,
//! as of a [stream](super::stream). To be called with the import locked.

#[cfg(feature = "formats")]
mod made;
#[cfg(not(feature = "formats"))]
#[path = "none.rs"]
mod made;
mod making;

pub(crate) use made::{make_of_copy, read_file};
pub(crate) use making::Making;
