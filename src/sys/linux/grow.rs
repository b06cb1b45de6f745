//! Grows a mounted file system by its own ioctl, which needs no child process and no installed tools.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use nix::libc::{EAGAIN, ENOTTY, EOPNOTSUPP};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::{frozen, inode_tables, mounted, options, raw, sysfs};

const OPERATION: &str = "grow the file system at";

pub(super) fn grow(path: &Path, fs_type: &str, size: u64) -> Result<()> {
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
    let mounted = mounted::open(OPERATION, path)?;
    let size = size.min(sysfs::size(mounted.device)?);
    let root = mounted.root.as_fd();
    match fs_type {
        _ if options::is_ext(fs_type) => {
            inode_tables::write_later(OPERATION, path, &mounted)?;
            grow_ext4(root, size)
        }
        "xfs" => {
            // Growing a frozen one would wait.
            frozen::refuse_xfs(OPERATION, path)?;
            grow_xfs(root, size)
        }
        _ => {
            let why = format!("calf cannot grow {fs_type}");
            return Err(Error::new(ErrorKind::Unsupported, OPERATION, path.display(), why)
                .remedy("grow it from inside the volume, or use ext4 or XFS"));
        }
    }
    .map_err(failed)
}

fn grow_ext4(root: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    let block_size = rustix::fs::fstatvfs(root)?.f_frsize;
    // Requesting the present size does nothing.
    rustix::fs::ext4_ioc_resize_fs(root, size / block_size)?;
    Ok(())
}

fn grow_xfs(root: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    let geometry = raw::xfs_geometry(root)?;
    let blocks = size / u64::from(geometry.block_size);
    if blocks > geometry.data_blocks {
        raw::xfs_grow(root, blocks, geometry.inode_percent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mounted_file_system_grows() {
        let directory = tempfile::tempdir().unwrap();
        let error = grow(directory.path(), "ext4", 1 << 30).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
