//! A mounted file system, opened at its root.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::FsPickFlags;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::refusal::Refusal;
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

impl Mounted {
    /// Changes an option of the file system. `InUse` if it is frozen. Leaves one that is read-only alone,
    /// which would become writable.
    pub(super) fn reconfigure(
        &self,
        operation: &'static str,
        path: &Path,
        (key, value): (&str, Option<&str>),
    ) -> Result<()> {
        if !self.is_writable {
            return Ok(());
        }
        let failed = |errno: Errno| Error::io(operation, path.display(), errno);
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context = rustix::mount::fspick(&self.root, "", flags).map_err(failed)?;
        set(context.as_fd(), key, value)
            .and_then(|()| rustix::mount::fsconfig_reconfigure(context.as_fd()))
            .map_err(|errno| {
                let refusal = Refusal::read(context.as_fd(), errno, format!("the option {key}"));
                let error = |kind| Error::new(kind, operation, path.display(), refusal);
                match errno {
                    // Only a frozen file system is too busy for this.
                    Errno::BUSY => error(ErrorKind::InUse).remedy(
                        "it is frozen: thaw it (`fsfreeze --unfreeze`), and repeat the call",
                    ),
                    _ => error(ErrorKind::Internal),
                }
            })
    }
}

fn set(context: BorrowedFd<'_>, key: &str, value: Option<&str>) -> rustix::io::Result<()> {
    match value {
        Some(value) => rustix::mount::fsconfig_set_string(context, key, value),
        None => rustix::mount::fsconfig_set_flag(context, key),
    }
}
