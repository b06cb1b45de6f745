//! Large files of a run: sparse disks, the guest's root. They do not outlive the run for long.
//!
//! A run holds a lock on its directory. A directory whose lock is free belonged to a run that
//! was killed, and the next run removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::built;

/// A directory below `target/tmp/kernel`, removed when dropped.
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let parent = built::target_tmp().join("kernel");
        fs::create_dir_all(&parent)?;
        // Otherwise a new directory would seem abandoned until its lock is taken.
        let making = File::create(parent.join("making"))?;
        making.lock()?;
        remove_abandoned(&parent)?;
        let path = parent.join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        let lock = File::create(lock_of(&path))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A new sparse file of `length` bytes in place of an older one of that name.
    pub(crate) fn sparse_file(&self, name: &str, length: u64) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        File::create(&path)?.set_len(length)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(lock_of(&self.path));
    }
}

/// The lock is next to the directory, so that it can be held while the directory is removed.
fn lock_of(directory: &Path) -> PathBuf {
    directory.with_extension("lock")
}

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        if let Ok(lock) = File::open(&path)
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(path.with_extension(""));
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}
