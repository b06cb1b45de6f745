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

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::template::import::staging::Staging;
use crate::template::import::state::{Derived, ImportRecord};

pub(crate) use made::{Header, header, make_of_copy, read_file};

/// What the content is made of, and where.
pub(crate) struct Making<'a> {
    pub(crate) staging: &'a Staging<'a>,
    /// The source, and what of it.
    pub(crate) derived: Derived,
    pub(crate) record: ImportRecord,
    /// Size of the source, in bytes.
    pub(crate) source_size: u64,
    pub(crate) source_digest: Digest,
    pub(crate) cancel: &'a Cancel,
    /// Asked at the end: fails if the source changed meanwhile.
    pub(crate) check: &'a dyn Fn() -> Result<()>,
}
