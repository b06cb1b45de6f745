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
    match live(DeviceNumber { major, minor }).map_err(failed)? {
        Some((_, inode)) => Ok(Some(inode)),
        None => Ok(None),
    }
}

/// The kernel's driver of the file system that it has on a device, mounted or not; `None` if it has none,
/// or one that does not show in sysfs.
pub(super) fn driver_of(number: DeviceNumber) -> Option<&'static str> {
    Some(live(number).ok()??.0)
}

/// The driver of the file system on a device, and the inode of its directory in sysfs.
fn live(number: DeviceNumber) -> io::Result<Option<(&'static str, u64)>> {
    let Ok(name) = sysfs::kernel_name(number) else { return Ok(None) };
    for driver in ["xfs", "ext4", "f2fs"] {
        match PathBuf::from("/sys/fs").join(driver).join(&name).metadata() {
            Ok(found) => return Ok(Some((driver, found.ino()))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}
