//! What the disk of an image needs to become content.

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::template::import::staging::Staging;
use crate::template::import::state::{Derived, ImportRecord};

/// What the content is made of, and where.
#[cfg_attr(not(feature = "formats"), expect(dead_code, reason = "nothing is made of images then"))]
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
