//! Real file systems on real disks, for pools.
//!
//! A loop device would interfere with the tests, so the guest has sparse disks of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags};

use super::environment::{DISKS, work_dir};

/// How many disks a machine has, and so how many pools on disk one test can have.
pub(crate) const DISK_COUNT: usize = 2;

/// Size of each disk; disks are sparse, and occupy only what is written.
pub const DISK_BYTES: u64 = 8 << 30;

/// A file system for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fs {
    Ext4,
    /// With reflink.
    Xfs,
    Btrfs,
    /// In memory; takes no disk.
    Tmpfs,
}

/// A mounted, empty file system. Unmounted when dropped.
pub struct PoolDir {
    path: PathBuf,
    takes_a_disk: bool,
}

/// How many of the machine's disks have pools.
static DISKS_USED: AtomicUsize = AtomicUsize::new(0);

/// A new, empty file system of 8 GiB (tmpfs: 1 GiB), mounted.
pub fn pool_dir(fs: Fs) -> PoolDir {
    open(fs, true)
}

/// The file system that [`pool_dir`] made before [`super::crash_and_reboot`]: the first call
/// opens the first disk, and so on.
pub fn reopen_pool_dir(fs: Fs) -> PoolDir {
    open(fs, false)
}

fn open(fs: Fs, format: bool) -> PoolDir {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    let number = OPENED.fetch_add(1, Ordering::Relaxed);
    let path = work_dir().join(format!("pool-{number}"));
    fs::create_dir_all(&path).expect("make a mount point");
    let (device, options) = match fs {
        Fs::Tmpfs => ("tmpfs".to_owned(), c"size=1G"),
        _ => {
            let device = disk(DISKS_USED.fetch_add(1, Ordering::Relaxed));
            if format {
                make_file_system(fs, &device);
            }
            // The background writes of a lazy ext4 would disturb what tests measure.
            (device, if fs == Fs::Ext4 { c"noinit_itable" } else { c"" })
        }
    };
    rustix::mount::mount(&device, &path, fs.name(), MountFlags::empty(), options)
        .unwrap_or_else(|error| panic!("cannot mount {device} as {}: {error}", fs.name()));
    PoolDir { path, takes_a_disk: fs != Fs::Tmpfs }
}

/// The device of one of the machine's disks, for a test that needs no pool on it.
pub fn disk(index: usize) -> String {
    let disks = std::env::var(DISKS).unwrap_or_default();
    let disk = disks.split(':').filter(|disk| !disk.is_empty()).nth(index);
    disk.unwrap_or_else(|| panic!("a test has {DISK_COUNT} disks (here: {disks:?})")).to_owned()
}

fn make_file_system(fs: Fs, device: &str) {
    let (program, arguments): (_, &[&str]) = match fs {
        Fs::Ext4 => ("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1"]),
        Fs::Xfs => ("mkfs.xfs", &["-q", "-f", "-m", "reflink=1"]),
        Fs::Btrfs => ("mkfs.btrfs", &["-q", "-f"]),
        Fs::Tmpfs => return,
    };
    let output = Command::new(program).args(arguments).arg(device).output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {device}: {}: {said}", output.status);
}

// === impl Fs ===

impl Fs {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
        }
    }
}

// === impl PoolDir ===

impl PoolDir {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PoolDir {
    fn drop(&mut self) {
        if self.takes_a_disk {
            DISKS_USED.fetch_sub(1, Ordering::Relaxed);
        }
        // A loop device whose last user has just gone may briefly hold a file.
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            match rustix::mount::unmount(&self.path, UnmountFlags::empty()) {
                Err(rustix::io::Errno::BUSY) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(()) => break,
                // The leak check fails the test; this message explains why the mount is left.
                Err(error) => {
                    let error = io::Error::from(error);
                    eprintln!("cannot unmount the pool at {}: {error}", self.path.display());
                    break;
                }
            }
        }
    }
}
