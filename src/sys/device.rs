//! Loop and device-mapper devices, as [`Host`](super::Host) speaks of them.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;

/// Major and minor number of a block device. Displays as `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of the driver's devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// Splits a `dev_t` as `stat` gives it.
    pub fn from_dev(dev: u64) -> Self {
        Self { major: rustix::fs::major(dev), minor: rustix::fs::minor(dev) }
    }

    /// The `dev_t` that `mknod` takes.
    pub fn to_dev(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// How a file is to be attached to a loop device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopSpec {
    /// The backing file.
    pub file: PathBuf,
    /// Refuse writes.
    pub read_only: bool,
    /// Detach by itself at the last close.
    pub autoclear: bool,
    /// Drop flushes before they reach the backing file (`write through` in
    /// `queue/write_cache`): fast, and lost with the node.
    pub elide_flushes: bool,
}

/// A loop device that is attached to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    /// Its number.
    pub number: DeviceNumber,
    /// Its size in bytes.
    pub size: u64,
    /// It refuses writes.
    pub read_only: bool,
}

/// An attached loop device, held open. Dropping it closes the device.
pub struct LoopHandle {
    /// The loop device.
    pub number: DeviceNumber,
    _hold: Box<dyn Any + Send>,
}

impl LoopHandle {
    /// A handle on loop device `number` that keeps `hold` (an open file) alive.
    pub fn new(number: DeviceNumber, hold: impl Any + Send) -> Self {
        Self { number, _hold: Box::new(hold) }
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopHandle({})", self.number)
    }
}

/// A device-mapper table of one target, the only kinds that calf makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// `snapshot <origin> <cow> PO <chunk>`, with `1 discard_zeroes_cow` behind it for `discard`
    Snapshot {
        /// The read-only device over the template.
        origin: DeviceNumber,
        /// The device over the COW store.
        cow: DeviceNumber,
        /// Size of the device, in bytes.
        size: u64,
        /// Chunk size, in bytes.
        chunk_size: u64,
        /// Discards free space in the COW store; otherwise the device takes none.
        discard: bool,
    },
    /// `linear <device> 0`, loaded read-only.
    ReadOnly {
        /// The device underneath.
        device: DeviceNumber,
        /// Size of the device, in bytes.
        size: u64,
    },
}

impl Table {
    /// Size of the device that the table describes, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Snapshot { size, .. } | Self::ReadOnly { size, .. } => *size,
        }
    }
}

/// A device-mapper device as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number: the node is `/dev/dm-<minor>`.
    pub number: DeviceNumber,
    /// How many have it open, mounts and devices on top included.
    pub open_count: u32,
    /// No I/O flows. Not set on a device that never had a table.
    pub suspended: bool,
    /// A table waits in the inactive slot.
    pub inactive_table: bool,
    /// The live table; `None` before the first resume.
    pub table: Option<Table>,
    /// How full the COW store is; only for a live snapshot.
    pub usage: Option<SnapshotUsage>,
}

/// What one question tells of a live snapshot device: enough to see that nothing is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotGlance {
    /// Size of the device, in bytes.
    pub size: u64,
    /// No I/O flows.
    pub suspended: bool,
    /// A table waits in the inactive slot.
    pub inactive_table: bool,
    /// How full the COW store is.
    pub usage: SnapshotUsage,
}

/// What a snapshot target reports of its COW store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotUsage {
    /// In order.
    Valid {
        /// Bytes of the COW store in use, metadata included.
        used: u64,
        /// Size of the COW store, in bytes.
        total: u64,
        /// Bytes of those that are metadata.
        metadata: u64,
    },
    /// An I/O error on the COW store made the volume unreadable.
    Invalid,
    /// The COW store is full: reads go on, writes fail.
    Overflow,
}

/// Who keeps a device busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A block device on top, by its kernel name, with the process-visible backing for loops.
    Device(String),
    /// A process that has the device open.
    Process {
        /// Its id, in the reader's PID namespace.
        pid: u32,
        /// Its command name.
        command: String,
    },
    /// A mount, with the id of a process that sees it.
    Mount {
        /// Where.
        path: PathBuf,
        /// A process in whose mount namespace it is.
        pid: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "block device {name}"),
            Self::Process { pid, command } => write!(f, "process {pid} ({command})"),
            Self::Mount { path, pid } => {
                write!(f, "mount {} (seen by process {pid})", path.display())
            }
        }
    }
}
