//! When the kernel writes ext4's inode tables.
//!
//! A table that is not in use is written nevertheless: by a thread of the kernel that goes through the
//! file system in the minutes after a mount (`init_itable`), or else within the ioctl that adds the
//! table's part of the file system (`noinit_itable`). Both write zeros to a volume that reads as zeros
//! there. So calf grows with the first option, and sets the second afterwards: nobody then writes a table
//! before its first use. `e2fsck` finds nothing to correct, since each group's descriptor says whether its
//! table was written.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::FsPickFlags;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::linux::mounted::{self, Mounted};
use crate::sys::linux::options::{self, INIT_TABLES_LATER, NEVER_INIT_TABLES};
use crate::sys::linux::refusal::Refusal;

/// Ends the kernel's thread for the file system mounted at `path`.
pub(super) fn leave_alone(path: &Path, fs_type: &str) -> Result<()> {
    const OPERATION: &str = "end background writes to the file system at";
    if !options::is_ext(fs_type) {
        return Ok(());
    }
    reconfigure(OPERATION, path, &mounted::open(OPERATION, path)?, (NEVER_INIT_TABLES, None))
}

/// Has an ext4 that is about to grow leave the tables of its new part alone.
pub(super) fn write_later(operation: &'static str, path: &Path, mounted: &Mounted) -> Result<()> {
    reconfigure(operation, path, mounted, (INIT_TABLES_LATER.0, Some(INIT_TABLES_LATER.1)))
}

/// Changes an option of a mounted file system. Leaves one that is read-only alone, which would become
/// writable.
fn reconfigure(
    operation: &'static str,
    path: &Path,
    mounted: &Mounted,
    (key, value): (&str, Option<&str>),
) -> Result<()> {
    if !mounted.is_writable {
        return Ok(());
    }
    let failed = |errno: Errno| Error::io(operation, path.display(), errno);
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = rustix::mount::fspick(&mounted.root, "", flags).map_err(failed)?;
    set(context.as_fd(), key, value)
        .and_then(|()| rustix::mount::fsconfig_reconfigure(context.as_fd()))
        .map_err(|errno| {
            let refusal = Refusal::read(context.as_fd(), errno, format!("the option {key}"));
            let error = |kind| Error::new(kind, operation, path.display(), refusal);
            match errno {
                // Only a frozen file system is too busy for this.
                Errno::BUSY => error(ErrorKind::InUse)
                    .remedy("it is frozen: thaw it (`fsfreeze --unfreeze`), and repeat the call"),
                _ => error(ErrorKind::Internal),
            }
        })
}

fn set(context: BorrowedFd<'_>, key: &str, value: Option<&str>) -> rustix::io::Result<()> {
    match value {
        Some(value) => rustix::mount::fsconfig_set_string(context, key, value),
        None => rustix::mount::fsconfig_set_flag(context, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mounted_ext4_has_such_a_thread() {
        let directory = tempfile::tempdir().unwrap();
        leave_alone(directory.path(), "xfs").unwrap();
        let error = leave_alone(directory.path(), "ext4").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
