//! Snapshots: what a volume held at one instant, kept under a name of its own.
//!
//! ```text
//!  volumes/<key>/cow ──cut──▸ snapshots/<key>/cow ──create──▸ volumes/<other>/cow
//!        │                        (frozen)                     (and seed, if ephemeral)
//!   goes on being written
//! ```
//!
//! A snapshot is a copy of a COW store that shares the store's blocks, and a record that says on which
//! template it rests. [`cut`] makes the copy, of a volume that may be in use; [`overlaid`] does so where
//! files cannot share blocks. The record is written once the copy is on the disk, so a snapshot exists as
//! long as its record does (as with volumes, ADR 0031). Nothing in it refers to its volume, which may be deleted.

pub(crate) mod blocks;
pub(crate) mod catalog;
pub(crate) mod commit;
pub(crate) mod create;
mod cut;
pub(crate) mod device;
pub(crate) mod export;
pub(crate) mod fork;
pub(crate) mod group;
pub(crate) mod import;
mod overlaid;
pub(crate) mod remove;
pub(crate) mod rollback;
mod source;
pub(crate) mod stream;
pub(crate) mod sweep;
mod together;
