//! The mounted file system that a path is on.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use crate::error::{Error, Result};
use crate::sys::DeviceNumber;
use crate::sys::linux::{mountinfo, raw, sysfs};

/// The inode of the root of each Btrfs subvolume.
const BTRFS_ROOT: u64 = 256;

/// Whether the directory at `path` is the root of a file system or of a Btrfs subvolume. A container
/// sees a mount at each directory that it was given; what is mounted there tells.
pub(super) fn is_root(path: &Path) -> Result<bool> {
    let failed = |e: io::Error| Error::io("look for a mount at", path.display(), e);
    let mask = StatxFlags::INO | StatxFlags::MNT_ID;
    let status = statx(CWD, path, AtFlags::empty(), mask).map_err(|e| failed(e.into()))?;
    let entries = mountinfo::own()?;
    let Some(mount) = entries.into_iter().find(|entry| entry.id == status.stx_mnt_id) else {
        return Ok(false);
    };
    let path = std::fs::canonicalize(path).map_err(failed)?;
    let is_whole = match mount.fs_type.as_str() {
        "btrfs" => status.stx_ino == BTRFS_ROOT,
        _ => mount.root == Path::new("/"),
    };
    Ok(mount.mount_point == path && is_whole)
}

/// The inode of the directory in sysfs that the kernel makes for a file system when it is mounted and
/// removes when it is unmounted. sysfs counts its inodes up.
pub(super) fn instance(path: &Path) -> Result<Option<u64>> {
    let failed = |e: io::Error| Error::io("identify the file system of", path.display(), e);
    let (major, minor) = raw::decode_dev(path.metadata().map_err(failed)?.dev());
    let Ok(name) = sysfs::kernel_name(DeviceNumber { major, minor }) else { return Ok(None) };
    let directory = |fs: &str| PathBuf::from("/sys/fs").join(fs).join(&name);
    for fs in ["xfs", "ext4", "f2fs"] {
        match directory(fs).metadata() {
            Ok(found) => return Ok(Some(found.ino())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(None)
}
