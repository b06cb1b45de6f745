//! When the kernel writes ext4's inode tables.
//!
//! A table that is not in use is written nevertheless: by a thread of the kernel that goes through the
//! file system in the minutes after a mount (`init_itable`), or else within the ioctl that adds the
//! table's part of the file system (`noinit_itable`). Both write zeros to a volume that reads as zeros
//! there. So calf grows with the first option, and sets the second afterwards: nobody then writes a table
//! before its first use. `e2fsck` finds nothing to correct, since each group's descriptor says whether its
//! table was written.

use std::path::Path;

use crate::error::Result;
use crate::sys::linux::mounted::{self, Mounted};
use crate::sys::linux::options::{INIT_TABLES_LATER, NEVER_INIT_TABLES};

/// Ends the kernel's thread for the file system mounted at `path`.
pub(super) fn leave_alone(path: &Path) -> Result<()> {
    const OPERATION: &str = "end background writes to the file system at";
    mounted::open(OPERATION, path)?.reconfigure(OPERATION, path, (NEVER_INIT_TABLES, None))
}

/// Has an ext4 that is about to grow leave the tables of its new part alone.
pub(super) fn write_later(operation: &'static str, path: &Path, mounted: &Mounted) -> Result<()> {
    mounted.reconfigure(operation, path, (INIT_TABLES_LATER.0, Some(INIT_TABLES_LATER.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_a_mounted_ext4_has_such_a_thread() {
        let directory = tempfile::tempdir().unwrap();
        let error = leave_alone(directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
