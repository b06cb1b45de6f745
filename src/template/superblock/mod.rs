//! Detects the content of a template from its first bytes.
//!
//! Pure: bytes in, facts out. An administrator supplies the bytes of a template, a tenant those of a
//! volume. Whatever they are, every read here stays within them.

mod btrfs;
mod bytes;
mod disk;
mod ext;
mod file_system;
mod growth;
mod guests;
mod xfs;

pub(crate) use disk::Disk;
#[cfg(test)]
pub(crate) use file_system::Finding;
pub(crate) use file_system::{FileSystem, Impact};

use bytes::Bytes;

/// How many bytes from the start of an image [`detect`] needs. The farthest superblock, that of
/// Btrfs, is at 64 KiB.
pub(crate) const PREFIX: usize = 128 << 10;

/// How many bytes from the start of a device include the superblock of every file system that calf
/// mounts.
pub(crate) const MOUNTABLE_PREFIX: usize = 4096;

/// The content of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file system that fills the image.
    FileSystem(FileSystem),
    /// Something else for the whole image, such as a partition table.
    Disk(Disk),
    /// Nothing that calf knows.
    Unknown,
}

/// Detects the content of an image from its first [`PREFIX`] bytes, or from all if it is smaller.
pub(crate) fn detect(prefix: &[u8]) -> Content {
    let bytes = Bytes(prefix);
    let found = mountable(prefix)
        .or_else(|| btrfs::parse(bytes))
        .or_else(|| guests::squashfs(bytes))
        .or_else(|| guests::erofs(bytes))
        .or_else(|| guests::f2fs(bytes))
        .or_else(|| guests::vfat(bytes));
    if let Some(file_system) = found {
        return Content::FileSystem(file_system);
    }
    // Installation media have both a partition table, for firmware, and ISO 9660, for `mount`.
    match (guests::iso9660(bytes), disk::parse(bytes)) {
        (Some(file_system), _) => Content::FileSystem(file_system),
        (None, Some(disk)) => Content::Disk(disk),
        (None, None) => Content::Unknown,
    }
}

/// A file system of a type that calf mounts, from the first [`MOUNTABLE_PREFIX`] bytes of its device.
pub(crate) fn mountable(prefix: &[u8]) -> Option<FileSystem> {
    let bytes = Bytes(prefix);
    ext::parse(bytes).or_else(|| xfs::parse(bytes))
}

/// Bytes of a COW store that growing a file system to `size` bytes may use, given the first
/// [`MOUNTABLE_PREFIX`] bytes of its device; for calf's own tests.
pub fn growth_estimate(prefix: &[u8], size: u64, chunk_size: u64) -> Option<u64> {
    mountable(prefix).map(|found| found.growth_to(size).in_chunks(chunk_size))
}

#[cfg(test)]
mod tests;
