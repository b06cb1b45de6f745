//! The disk under the pool's file system, and its counters.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::world::World;

/// The disk, as the kernel counts its requests.
pub(super) struct PoolDisk {
    statistics: PathBuf,
    root: File,
}

/// What the disk has done since the start, or between two looks.
pub(super) struct Counters {
    pub(super) reads: u64,
    pub(super) writes: u64,
    /// Bytes.
    pub(super) written: u64,
    pub(super) flushes: u64,
}

impl PoolDisk {
    pub(super) fn of(world: &World) -> Self {
        let device = fs::metadata(world.path()).expect("the pool's file system").dev();
        let number = calf::sys::DeviceNumber::from_dev(device);
        let disk = PathBuf::from(format!("/sys/dev/block/{number}"));
        // A mapped device counts requests before the kernel joins them; the disk below counts what it gets.
        let below = fs::read_dir(disk.join("slaves")).ok().and_then(|mut all| all.next()?.ok());
        Self {
            statistics: below.map_or(disk, |entry| entry.path()).join("stat"),
            root: File::open(world.path()).expect("the pool's file system"),
        }
    }

    /// What the disk does for some work, until all that was written has reached it. Nothing that was written
    /// earlier counts. Returns the result of the work too.
    pub(super) fn counted<T>(&self, work: impl FnOnce() -> T) -> (Counters, T) {
        rustix::fs::syncfs(&self.root).expect("sync the pool");
        let before = self.counters();
        let result = work();
        rustix::fs::syncfs(&self.root).expect("sync the pool");
        (self.counters().since(&before), result)
    }

    /// Fields 1, 5, 7 and 16 of the kernel's `Documentation/block/stat.rst`. Empty if the file system has
    /// no device number of its own disk (Btrfs).
    fn counters(&self) -> Counters {
        let text = fs::read_to_string(&self.statistics).unwrap_or_default();
        let field = |number: usize| {
            text.split_whitespace().nth(number - 1).and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        Counters { reads: field(1), writes: field(5), written: field(7) * 512, flushes: field(16) }
    }
}

impl Counters {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            writes: self.writes.saturating_sub(earlier.writes),
            written: self.written.saturating_sub(earlier.written),
            flushes: self.flushes.saturating_sub(earlier.flushes),
        }
    }

    /// All requests.
    pub(super) fn requests(&self) -> u64 {
        self.reads + self.writes + self.flushes
    }
}
