//! Grows a mounted file system to fill its device, by the file system's own ioctl, which needs no
//! child process and no installed tools.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use nix::libc::{EAGAIN, ENOTTY, EOPNOTSUPP};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::{places, raw, sysfs, targets};
use crate::sys::{DeviceNumber, Target};

const OPERATION: &str = "grow the file system at";

pub(super) fn grow(path: &Path, fs_type: &str) -> Result<()> {
    let failed = |e: io::Error| {
        let kind = match e.raw_os_error() {
            Some(ENOTTY | EOPNOTSUPP) => Some(ErrorKind::Unsupported),
            Some(EAGAIN) => Some(ErrorKind::InProgress),
            _ => None,
        };
        let error = Error::io(OPERATION, path.display(), e);
        match kind {
            Some(kind) => error.with_kind(kind),
            None => error,
        }
    };
    let Target::FileSystem { device, .. } = targets::look(path)? else {
        let why = "no file system is mounted there";
        return Err(Error::new(ErrorKind::NotFound, OPERATION, path.display(), why));
    };
    let size = sysfs::size(device)?;
    let root = places::find(path)?.open_directory().map_err(|e| failed(e.into()))?;
    let found = rustix::fs::fstat(&root).map_err(|e| failed(e.into()))?;
    if DeviceNumber::from_dev(found.st_dev) != device {
        let why = "what is mounted there changed during the call";
        return Err(Error::new(ErrorKind::Internal, OPERATION, path.display(), why)
            .remedy("repeat the call"));
    }
    let root = File::from(root);
    match fs_type {
        "ext2" | "ext3" | "ext4" => grow_ext4(&root, size),
        "xfs" => grow_xfs(&root, size),
        _ => {
            let why = format!("calf cannot grow {fs_type}");
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, path.display(), why)
                .remedy("grow it from inside the volume, or use ext4 or XFS"));
        }
    }
    .map_err(failed)
}

fn grow_ext4(root: &File, size: u64) -> io::Result<()> {
    let block_size = rustix::fs::fstatvfs(root)?.f_frsize;
    // Requesting the present size does nothing.
    rustix::fs::ext4_ioc_resize_fs(root, size / block_size)?;
    Ok(())
}

fn grow_xfs(root: &File, size: u64) -> io::Result<()> {
    let geometry = raw::xfs_geometry(root.as_fd())?;
    let blocks = size / u64::from(geometry.block_size);
    if blocks > geometry.data_blocks {
        raw::xfs_grow(root.as_fd(), blocks, geometry.inode_percent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mounted_file_system_grows() {
        let directory = tempfile::tempdir().unwrap();
        let error = grow(directory.path(), "ext4").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
