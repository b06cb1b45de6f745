//! Where a file's bytes are on the disk.
//!
//! Two files of one file system that have a block at the same place have the same block. That is so only where a
//! place names a block: on XFS (its realtime files have a disk of their own) and on Btrfs, whose places are in one
//! space for all disks.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc::O_NOFOLLOW;
use rustix::fs::fstatfs;

use crate::error::{Error, Result};
use crate::sys::Extent;
use crate::sys::linux::raw::{self, FileMap, FileMapExtent};

/// `XFS_SUPER_MAGIC`
const XFS: u64 = 0x5846_5342;
/// `BTRFS_SUPER_MAGIC`
const BTRFS: u64 = 0x9123_683e;
/// `FS_XFLAG_REALTIME`
const REALTIME: u32 = 1;

/// `FIEMAP_EXTENT_LAST`
const LAST: u32 = 0x1;
/// `FIEMAP_EXTENT_MERGED`
const MERGED: u32 = 0x1000;
/// `FIEMAP_EXTENT_SHARED`
const SHARED: u32 = 0x2000;

/// The extents of the file at `path`; `None` if its file system does not say reliably where they are.
pub(super) fn of(path: &Path) -> Result<Option<Vec<Extent>>> {
    let failed = |e: io::Error| Error::io("find the blocks of", path.display(), e);
    let file = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path).map_err(failed)?;
    let file_system = fstatfs(&file).map_err(|e| failed(e.into()))?.f_type as u64;
    let is_reliable = match file_system {
        XFS => raw::file_flags(file.as_fd()).map_err(failed)? & REALTIME == 0,
        other => other & u64::from(u32::MAX) == BTRFS,
    };
    if !is_reliable {
        return Ok(None);
    }
    let mut map = FileMap::new();
    let mut extents = Vec::new();
    let mut next = 0;
    loop {
        let found = map.read(file.as_fd(), next).map_err(failed)?;
        let Some(last) = found.last() else { return Ok(Some(extents)) };
        extents.extend(found.iter().map(describe));
        let end = last.logical + last.length;
        if end <= next {
            return Err(failed(io::Error::other("the file system lists its extents out of order")));
        }
        next = end;
        if last.flags & LAST != 0 {
            return Ok(Some(extents));
        }
    }
}

/// Flags that are not known here say that the place is none, or none of these bytes.
fn describe(extent: &FileMapExtent) -> Extent {
    let is_plain = extent.flags & !(LAST | MERGED | SHARED) == 0;
    Extent {
        offset: extent.logical,
        length: extent.length,
        place: is_plain.then_some(extent.physical),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn only_a_plain_extent_has_a_place() {
        const { assert!(LAST | MERGED | SHARED == 0x3001) };
        let told = |flags| {
            let mut extent = FileMapExtent::default();
            (extent.logical, extent.physical, extent.length, extent.flags) = (1, 2, 3, flags);
            describe(&extent)
        };
        for flags in [0, LAST, MERGED, SHARED, LAST | SHARED] {
            assert_eq!(told(flags), Extent { offset: 1, length: 3, place: Some(2) }, "{flags:#x}");
        }
        // Unknown, delayed, encoded, encrypted, not aligned, inline, in a tail, unwritten, and what comes.
        for bit in (0..32).map(|n| 1 << n).filter(|bit| (LAST | MERGED | SHARED) & bit == 0) {
            assert_eq!(told(bit | SHARED).place, None, "{bit:#x}");
        }
    }

    #[test]
    fn a_missing_file_and_a_symlink_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, [1; 8192]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(of(&link).is_err());
        assert_eq!(of(&directory.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        // Whatever the file system here, it maps all bytes or none.
        if let Some(extents) = of(&file).unwrap() {
            assert!(extents.iter().map(|it| it.length).sum::<u64>() >= 8192);
        }
    }
}
