//! Templates: named, immutable images that volumes start from.
//!
//! A name points to content by its SHA-256 digest. Content is stored once, is never written, and
//! stays while a name or a volume refers to it; a name may move on to other content, and volumes
//! keep what they started from. Imports are atomic, durable, resumed by repetition, and run once
//! per source at a time, whatever process they run in.

pub(crate) mod catalog;
pub(crate) mod content;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod import;
pub(crate) mod origin;
#[cfg(feature = "driver")]
pub(crate) mod required;
pub(crate) mod spec;
pub(crate) mod superblock;
