//! The content of the kernel and of a pool's directory at one moment, for comparison with another.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// An autoclear loop device is detached shortly after its last user has gone.
const SETTLE: Duration = Duration::from_secs(3);

/// Device-mapper devices, attached loop devices, mounts, and the files of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    pub mapped: BTreeSet<String>,
    pub loops: BTreeSet<PathBuf>,
    pub mounts: BTreeSet<String>,
    pub files: BTreeSet<PathBuf>,
}

impl Inventory {
    /// The present content, including files of the pool at `pool`.
    pub fn take(pool: &Path) -> Self {
        let mut all = Self::of_kernel();
        walk(pool, &mut all.files);
        all
    }

    /// The content of the kernel.
    pub fn of_kernel() -> Self {
        let mut all = Self::default();
        for entry in fs::read_dir("/sys/block").expect("sysfs").flatten() {
            if let Ok(name) = fs::read_to_string(entry.path().join("dm/name")) {
                all.mapped.insert(name.trim().to_owned());
            }
            if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
                all.loops.insert(file.trim().into());
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        all.mounts.extend(mounts.lines().filter_map(|l| l.split(' ').nth(4)).map(String::from));
        all
    }

    /// The items that are not in `before`, one line each.
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        let mut left = Vec::new();
        left.extend(self.mapped.difference(&before.mapped).map(|name| format!("device {name}")));
        let loops = self.loops.difference(&before.loops);
        left.extend(loops.map(|file| format!("loop device on {}", file.display())));
        left.extend(self.mounts.difference(&before.mounts).map(|path| format!("mount on {path}")));
        let files = self.files.difference(&before.files);
        left.extend(files.map(|file| format!("file {}", file.display())));
        left
    }

    /// The items that are left in kernel and pool beyond `self`, after some time to settle.
    pub fn left(&self, pool: &Path) -> Vec<String> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let left = Self::take(pool).beyond(self);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Everything below `directory`, except the hint of a template's last loop device, which is written
/// at first use.
fn walk(directory: &Path, files: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name() == "loop" {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), files);
        }
        files.insert(entry.path());
    }
}
