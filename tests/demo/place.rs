//! The paths of the demonstration.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::Result;

/// Everything that does not depend on the kernel, below `target`.
#[derive(Clone)]
pub(crate) struct Place {
    /// The `calf` in the directory of this program.
    pub(crate) calf: PathBuf,
    /// Kernel and modules for the microVM.
    pub(crate) kernel: PathBuf,
    /// The cache, which is the only thing that stays.
    pub(crate) cache: PathBuf,
    /// The logs of the driver and the microVM. They stay after a failure.
    pub(crate) logs: PathBuf,
    /// Files of one run, removed at its end.
    pub(crate) run: PathBuf,
    /// Held while the demonstration runs.
    lock: PathBuf,
}

impl Place {
    pub(crate) fn find() -> Result<Self> {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find this program: {error}"))?;
        // target/debug/examples/demo
        let above = |levels| program.ancestors().nth(levels).unwrap_or(Path::new("/"));
        let (profile, target) = (above(2), above(3));
        if program.to_string_lossy().contains(char::is_whitespace) {
            return Err(format!(
                "a kernel's command line cannot name {}: move the project to a path without spaces",
                program.display()
            ));
        }
        let demo = target.join("demo");
        let place = Self {
            calf: profile.join("calf"),
            kernel: target.join("tools/qemu-kernel"),
            cache: demo.join("cache"),
            logs: demo.join("logs"),
            run: demo.join("run"),
            lock: demo.join("lock"),
        };
        for needed in [&place.calf, &place.kernel.join("release")] {
            if !needed.exists() {
                return Err(format!("{} is missing: run `make demo`", needed.display()));
            }
        }
        Ok(place)
    }

    /// Makes the directories, and refuses to run beside another demonstration.
    pub(crate) fn claim(&self) -> Result<File> {
        for dir in [&self.cache, &self.logs] {
            make_directory(dir)?;
        }
        let failed = |error: std::io::Error| format!("{}: {error}", self.lock.display());
        let lock = File::create(&self.lock).map_err(failed)?;
        lock.try_lock().map_err(|_| "another demo is running from this directory".to_owned())?;
        Ok(lock)
    }

    pub(crate) fn driver_log(&self) -> PathBuf {
        self.logs.join("driver.log")
    }

    pub(crate) fn microvm_log(&self) -> PathBuf {
        self.logs.join("microvm.log")
    }

    /// Early user space of the microVM.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.cache.join("initramfs")
    }
}

/// A kernel with dm-snapshot, and the directories in which the demonstration may write.
pub(crate) struct Stage {
    pub(crate) place: Place,
    pub(crate) image: PathBuf,
    /// The pool. The full copy for comparison is next to it.
    pub(crate) pool: PathBuf,
    /// Socket, staging directories and targets, as in kubelet's directories.
    pub(crate) runtime: PathBuf,
}

impl Stage {
    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime.join("csi/csi.sock")
    }

    pub(crate) fn staging(&self, volume: &str) -> PathBuf {
        self.runtime.join("staging").join(volume)
    }

    pub(crate) fn target(&self, volume: &str) -> PathBuf {
        self.runtime.join("targets").join(volume)
    }

    pub(crate) fn full_copy(&self) -> PathBuf {
        self.pool.with_extension("full-copy")
    }
}

pub(crate) fn make_directory(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))
}

/// Removes a directory with its content. Succeeds if it does not exist.
pub(crate) fn remove_directory(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a file. Succeeds if it does not exist.
pub(crate) fn remove_file(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", file.display()))
        }
        _ => Ok(()),
    }
}
