//! A mounted file system, opened at its root.

use std::os::fd::OwnedFd;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::{places, targets};
use crate::sys::{DeviceNumber, Target};

/// The root directory of a mounted file system, which it keeps mounted.
pub(super) struct Mounted {
    pub(super) root: OwnedFd,
    pub(super) device: DeviceNumber,
    /// Whether the mount accepts writes, and no error made the file system read-only.
    pub(super) is_writable: bool,
}

/// Opens the file system that is mounted at `path`.
pub(super) fn open(operation: &'static str, path: &Path) -> Result<Mounted> {
    let failed = |errno| Error::io(operation, path.display(), errno);
    let Target::FileSystem { device, read_only, failed: broken } = targets::look(path)? else {
        let why = "no file system is mounted there";
        return Err(Error::new(ErrorKind::NotFound, operation, path.display(), why));
    };
    let root = places::find(path)?.open_directory().map_err(failed)?;
    let found = rustix::fs::fstat(&root).map_err(failed)?;
    if DeviceNumber::from_dev(found.st_dev) != device {
        let why = "what is mounted there changed during the call";
        return Err(Error::new(ErrorKind::Internal, operation, path.display(), why)
            .remedy("repeat the call"));
    }
    Ok(Mounted { root, device, is_writable: !read_only && !broken })
}
