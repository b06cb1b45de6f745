//! A disk that delays or fails, and whose behaviour can change while a pool is on it: a device-mapper device
//! over one of the machine's disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::kernel;
use crate::real_pool::run;
use rustix::mount::{MountFlags, UnmountFlags};

/// Bytes of a sector, the unit of tables.
const SECTOR: u64 = 512;

/// A file system on a disk that fails on demand. Unmounted and removed when dropped.
pub struct Disk {
    name: String,
    below: String,
    size: u64,
    fs: kernel::Fs,
    mount: PathBuf,
}

impl Disk {
    /// A new file system on the first `size` bytes of the machine's disk `index`. In `table`,
    /// `{}` stands for the disk.
    pub fn new(name: &str, index: usize, size: u64, fs: kernel::Fs, table: &str) -> Self {
        let below = kernel::disk(index);
        let mount = kernel::work_dir().join(name);
        let disk = Self { name: name.to_owned(), below, size, fs, mount };
        let create = ["create", name, "--table", &disk.line(table)];
        run("dmsetup", &create, &[]);
        // Do not discard: the disk's earlier content is not part of the test.
        let (program, options): (_, &[&str]) = match fs {
            kernel::Fs::Ext4 => ("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"]),
            kernel::Fs::Xfs => ("mkfs.xfs", &["-q", "-f", "-K", "-m", "reflink=1"]),
            other => panic!("no {other:?} on a disk that fails"),
        };
        run(program, options, &[&disk.node()]);
        disk.mount().expect("mount the new file system");
        disk
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The device of the disk.
    pub fn node(&self) -> PathBuf {
        node(&self.name)
    }

    /// From now on the disk behaves as `table` describes. I/O in flight may stay in flight.
    pub fn becomes(&self, table: &str) {
        run("dmsetup", &["suspend", "--noflush", "--nolockfs", &self.name], &[]);
        run("dmsetup", &["load", &self.name, "--table", &self.line(table)], &[]);
        run("dmsetup", &["resume", &self.name], &[]);
    }

    /// Stalls the disk: all I/O waits, and nothing fails.
    pub fn stall(&self) {
        run("dmsetup", &["suspend", "--noflush", "--nolockfs", &self.name], &[]);
    }

    /// Ends [`stall`](Self::stall).
    pub fn go_on(&self) {
        run("dmsetup", &["resume", &self.name], &[]);
    }

    pub fn mount(&self) -> rustix::io::Result<()> {
        mount(&self.node(), &self.mount, self.fs)
    }

    pub fn unmount(&self) {
        unmount(&self.mount);
    }

    fn line(&self, table: &str) -> String {
        format!("0 {} {}", self.size / SECTOR, table.replace("{}", &self.below))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.mount);
        remove(&self.name);
    }
}

/// The node of a device-mapper device.
pub fn node(name: &str) -> PathBuf {
    Path::new("/dev/mapper").join(name)
}

pub fn mount(device: &Path, path: &Path, fs: kernel::Fs) -> rustix::io::Result<()> {
    fs::create_dir_all(path).expect("a mount point");
    rustix::mount::mount(device, path, fs.name(), MountFlags::empty(), None)
}

/// Unmounts the file system; a loop device whose last user has just gone may briefly hold a file.
pub fn unmount(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while rustix::mount::unmount(path, UnmountFlags::empty()) == Err(rustix::io::Errno::BUSY)
        && Instant::now() < deadline
    {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Removes a device-mapper device; the kit reports devices that stay.
pub fn remove(name: &str) {
    let _ = std::process::Command::new("dmsetup").args(["remove", "--retry", name]).status();
}
