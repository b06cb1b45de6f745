//! A file system without free space.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Takes space until it is dropped.
pub struct Filler(PathBuf);

impl Filler {
    /// Takes all but `free` bytes of the file system of `directory`.
    pub fn leaving(directory: &Path, free: u64) -> Self {
        rustix::fs::sync();
        let path = directory.join("filler");
        let file = File::create(&path).expect("a file");
        let space = statvfs(directory).expect("statvfs");
        // Root can use the blocks that ext4 reserves for root.
        let available = space.f_bfree * space.f_frsize;
        let mut take = available.saturating_sub(free);
        // The block map of such a large file takes space too.
        while let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, take) {
            assert_eq!(error, rustix::io::Errno::NOSPC);
            take -= 1 << 20;
        }
        // Btrfs reports free space that is not available for data.
        let probe = directory.join("probe");
        let trial = File::create(&probe).expect("a file");
        let try_it = || fallocate(&trial, FallocateFlags::empty(), 0, free);
        while free > 0
            && let Err(error) = try_it()
        {
            assert_eq!(error, rustix::io::Errno::NOSPC);
            take = take.checked_sub(1 << 20).expect("the file system is too small");
            file.set_len(take).expect("a smaller file");
            rustix::fs::sync();
        }
        fs::remove_file(probe).expect("unlink");
        rustix::fs::sync();
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
