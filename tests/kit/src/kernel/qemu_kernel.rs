//! Debian's kernel for guests in QEMU, in the directory of tests/qemu-kernel.sh.

use std::fs;
use std::path::{Path, PathBuf};

/// A kernel image and its modules.
pub struct QemuKernel {
    pub image: PathBuf,
    pub modules_dir: PathBuf,
}

impl QemuKernel {
    /// The kernel that the script has put into `directory`.
    pub fn at(directory: &Path) -> Result<Self, String> {
        let release = fs::read_to_string(directory.join("release")).map_err(|error| {
            format!(
                "no kernel for QEMU in {} ({error}): fetch it with tests/qemu-kernel.sh",
                directory.display()
            )
        })?;
        let release = release.trim();
        Ok(Self {
            image: directory.join("boot").join(format!("vmlinuz-{release}")),
            modules_dir: directory.join("lib/modules").join(release),
        })
    }
}
