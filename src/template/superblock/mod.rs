//! What a template holds, told from its first bytes.
//!
//! Pure: bytes in, facts out. The bytes of a template come from an administrator, those of a volume
//! from its tenant; whatever they are, no read here can leave them.

mod btrfs;
mod bytes;
mod disk;
mod ext;
mod file_system;
mod guests;
mod xfs;

pub(crate) use disk::Disk;
#[cfg(test)]
pub(crate) use file_system::Finding;
pub(crate) use file_system::{Bars, FileSystem};

use bytes::Bytes;

/// How many bytes from the start of an image [`detect`] wants to see. The farthest superblock,
/// that of Btrfs, is at 64 KiB.
pub(crate) const PREFIX: usize = 128 << 10;

/// How many bytes from its start hold the superblock of every file system that calf mounts.
pub(crate) const MOUNTABLE_PREFIX: usize = 4096;

/// What an image holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file system over the whole image.
    FileSystem(FileSystem),
    /// Something else over the whole image, such as a partition table.
    Disk(Disk),
    /// Neither that we know.
    Unknown,
}

/// Tells what an image holds from its first [`PREFIX`] bytes (or fewer, if it is smaller).
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
    // Installation media carry a partition table and ISO 9660: firmware reads the one, `mount` the other.
    match (guests::iso9660(bytes), disk::parse(bytes)) {
        (Some(file_system), _) => Content::FileSystem(file_system),
        (None, Some(disk)) => Content::Disk(disk),
        (None, None) => Content::Unknown,
    }
}

/// The file system that calf may mount, from the first [`MOUNTABLE_PREFIX`] bytes of its device.
pub(crate) fn mountable(prefix: &[u8]) -> Option<FileSystem> {
    let bytes = Bytes(prefix);
    ext::parse(bytes).or_else(|| xfs::parse(bytes))
}

#[cfg(test)]
mod tests;
