//! The disk in a qcow2 image: its bytes at offsets, with its holes.
//!
//! ```text
//! L1 table ──▸ L2 tables ──▸ clusters: data, compressed data, or nothing
//! ```
//!
//! Only the image itself is read: no backing file, no external data file, whatever its header names.
//! Tables are read in windows, so the memory that a disk takes does not depend on what the image says: one
//! cluster at most, twice its compressed form, and the windows.
//!
//! The format is that of QEMU's `docs/interop/qcow2.rst`, in versions 2 and 3.

#[cfg(feature = "formats")]
mod cluster;
#[cfg(feature = "formats")]
mod disk;
#[cfg(feature = "formats")]
mod entry;
#[cfg(feature = "formats")]
mod fault;
#[cfg(feature = "formats")]
mod fields;
#[cfg(feature = "formats")]
mod header;
#[cfg(not(feature = "formats"))]
#[path = "none.rs"]
mod header;
#[cfg(feature = "formats")]
mod window;

#[cfg(feature = "formats")]
pub(crate) use disk::{Disk, explain};
pub(crate) use header::{Header, header};
