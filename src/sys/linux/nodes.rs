//! Device nodes: nodes that calf publishes, and nodes that a container's `/dev` lacks.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::{O_EXCL, O_NOFOLLOW};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid};

use crate::error::{Error, Result};
use crate::model::policy::NodeOwner;
use crate::sys::DeviceNumber;
use crate::sys::linux::{files, sysfs};

/// How to open a block device. Closing a device that was open for writing makes udev read its
/// content, so open it for writing only if necessary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// Fails with `EBUSY` if the device is mounted, under a device-mapper table, or the like.
    ReadExclusive,
    Write,
}

/// Creates or corrects the block device node at `path`, atomically.
pub(super) fn make(path: &Path, number: DeviceNumber, owner: NodeOwner) -> Result<()> {
    if is_right(path, number, owner) {
        return Ok(());
    }
    let failed = |e: io::Error| {
        let denied = e.kind() == io::ErrorKind::PermissionDenied;
        let error = Error::io("make device node", path.display(), e);
        if denied {
            error.remedy("run calf as root with CAP_MKNOD, privileged if in a container")
        } else {
            error
        }
    };
    let temporary = files::temporary_name(path);
    let make = || -> io::Result<()> {
        mknod(&temporary, FileType::BlockDevice, number, 0o600)?;
        // Set the mode before the owner: changing the mode of another user's file needs CAP_FOWNER.
        rustix::fs::chmod(&temporary, Mode::from_raw_mode(owner.mode & 0o777))?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chown(&temporary, Some(uid), Some(gid))?;
        fs::rename(&temporary, path)
    };
    make().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        failed(e)
    })
}

fn is_right(path: &Path, number: DeviceNumber, owner: NodeOwner) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| {
        found.file_type().is_block_device()
            && DeviceNumber::from_dev(found.rdev()) == number
            && (found.uid(), found.gid()) == (owner.uid, owner.gid)
            && found.mode() & 0o7777 == owner.mode & 0o777
    })
}

fn mknod(path: &Path, kind: FileType, number: DeviceNumber, mode: u32) -> io::Result<()> {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode), number.to_dev())?;
    Ok(())
}

/// The path of a block device's node in devtmpfs.
pub(super) fn block_node(number: DeviceNumber) -> io::Result<PathBuf> {
    Ok(Path::new("/dev").join(sysfs::kernel_name(number)?))
}

/// Opens a block device by its number, and creates its node if that is missing.
pub(super) fn open_block(number: DeviceNumber, access: Access) -> io::Result<File> {
    let path = block_node(number)?;
    let open = || {
        let exclusive = if access == Access::ReadExclusive { O_EXCL } else { 0 };
        OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .custom_flags(O_NOFOLLOW | exclusive)
            .open(&path)
    };
    let file = open_or_make(open, || mknod(&path, FileType::BlockDevice, number, 0o660))?;
    let found = file.metadata()?;
    if found.file_type().is_block_device() && DeviceNumber::from_dev(found.rdev()) == number {
        return Ok(file);
    }
    Err(io::Error::other(format!(
        "{} is not block device {number}: remove it, or give calf the host's /dev",
        path.display()
    )))
}

/// Opens a control device of the kernel (misc major 10, with the fixed `minor` of
/// `linux/miscdevice.h`). Opening it loads the driver's module if possible; otherwise, removes a
/// node that this call made.
pub(super) fn open_control(path: &Path, minor: u32) -> io::Result<File> {
    let made = Cell::new(false);
    let opened = open_or_make(
        || OpenOptions::new().read(true).write(true).open(path),
        || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let number = DeviceNumber { major: 10, minor };
            mknod(path, FileType::CharacterDevice, number, 0o600)?;
            made.set(true);
            Ok(())
        },
    );
    if made.get() && opened.is_err() {
        let _ = fs::remove_file(path);
    }
    opened
}

fn open_or_make(
    open: impl Fn() -> io::Result<File>,
    make: impl FnOnce() -> io::Result<()>,
) -> io::Result<File> {
    match open() {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => match make() {
            Ok(()) => open(),
            // Another thread, or devtmpfs, created it first.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open(),
            Err(e) => {
                Err(io::Error::new(e.kind(), format!("it is missing and cannot be made: {e}")))
            }
        },
        other => other,
    }
}

/// The number of the block device whose node is at `path`; follows no symlink.
pub(super) fn number_of(path: &Path) -> Result<Option<DeviceNumber>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_block_device() => {
            Ok(Some(DeviceNumber::from_dev(found.rdev())))
        }
        Ok(_) => Ok(None),
        Err(e) => Err(Error::io("look at", path.display(), e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn current_owner(path: &Path, mode: u32) -> NodeOwner {
        let found = fs::metadata(path).unwrap();
        NodeOwner { uid: found.uid(), gid: found.gid(), mode }
    }

    #[test]
    fn a_node_is_made_and_remade() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node");
        let owner = current_owner(directory.path(), 0o640);
        let number = DeviceNumber { major: 7, minor: 300 };
        match make(&path, number, owner) {
            Ok(()) => {}
            // Without the privilege to make nodes, the error must say so, and nothing must be left
            // behind.
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Permission);
                assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
                return;
            }
        }
        assert_eq!(number_of(&path).unwrap(), Some(number));
        let inode = fs::metadata(&path).unwrap().ino();
        make(&path, number, owner).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode, "nothing was to be done");

        let other = DeviceNumber { major: 7, minor: 1 };
        make(&path, other, NodeOwner { mode: 0o600, ..owner }).unwrap();
        assert_eq!(number_of(&path).unwrap(), Some(other));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
