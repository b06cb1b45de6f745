//! Loop and device-mapper devices: the types in [`Host`](super::Host)'s interface.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;

/// Major and minor number of a block device. Displays as `major:minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceNumber {
    /// The major number: the driver.
    pub major: u32,
    /// The minor number: the device of that driver.
    pub minor: u32,
}

impl DeviceNumber {
    /// Splits a `dev_t` from `stat`.
    pub fn from_dev(dev: u64) -> Self {
        Self { major: rustix::fs::major(dev), minor: rustix::fs::minor(dev) }
    }

    /// The `dev_t` for `mknod`.
    pub fn to_dev(self) -> u64 {
        rustix::fs::makedev(self.major, self.minor)
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// How to attach a file to a loop device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopSpec {
    /// The backing file.
    pub file: PathBuf,
    /// Refuse writes.
    pub read_only: bool,
    /// Detach automatically at the last close.
    pub autoclear: bool,
    /// Drop flushes before they reach the backing file (`write through` in `queue/write_cache`):
    /// fast, but a crash of the node loses data.
    pub elide_flushes: bool,
}

/// A loop device attached to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    /// Its number.
    pub number: DeviceNumber,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it refuses writes.
    pub read_only: bool,
}

/// An attached loop device, held open. Dropping it closes the device.
pub struct LoopHandle {
    /// The loop device.
    pub number: DeviceNumber,
    hold: Box<dyn Any + Send>,
}

impl LoopHandle {
    /// A handle on loop device `number` that keeps `hold` (an open file) open.
    pub fn new(number: DeviceNumber, hold: impl Any + Send) -> Self {
        Self { number, hold: Box::new(hold) }
    }

    /// What the handle keeps open, if that is a `T`.
    pub(crate) fn held<T: Any>(&self) -> Option<&T> {
        self.hold.downcast_ref()
    }
}

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopHandle({})", self.number)
    }
}

/// A device-mapper table of one target. calf makes only these kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// `snapshot <origin> <cow> PO <chunk>`, followed by `1 discard_zeroes_cow` for `discard`
    Snapshot {
        /// The read-only device over the template.
        origin: DeviceNumber,
        /// The device over the COW store.
        cow: DeviceNumber,
        /// Size of the device, in bytes.
        size: u64,
        /// Chunk size, in bytes.
        chunk_size: u64,
        /// Discards free space in the COW store; otherwise the device supports no discards.
        discard: bool,
    },
    /// `snapshot <origin> <cow> PO <chunk>`, loaded read-only: the kernel reads the COW store, and never writes
    /// to it.
    Frozen {
        /// The read-only device over the template.
        origin: DeviceNumber,
        /// The device over the COW store, which may be read-only.
        cow: DeviceNumber,
        /// Size of the device, in bytes.
        size: u64,
        /// Chunk size, in bytes.
        chunk_size: u64,
    },
    /// `snapshot-merge <origin> <cow> PO <chunk>`: a snapshot whose chunks the kernel moves into its origin, while it
    /// is used.
    Merge {
        /// The device that the chunks go to.
        origin: DeviceNumber,
        /// The device over the COW store that they are in.
        cow: DeviceNumber,
        /// Size of the device, in bytes.
        size: u64,
        /// Chunk size, in bytes.
        chunk_size: u64,
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
            Self::Snapshot { size, .. }
            | Self::Frozen { size, .. }
            | Self::Merge { size, .. }
            | Self::ReadOnly { size, .. } => *size,
        }
    }
}

/// The state of a device-mapper device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number: the node is `/dev/dm-<minor>`.
    pub number: DeviceNumber,
    /// The open count, including mounts and devices on top.
    pub open_count: u32,
    /// Whether the device is suspended: no I/O flows. Not set on a device that never had a table.
    pub suspended: bool,
    /// Whether a table waits in the inactive slot.
    pub inactive_table: bool,
    /// The live table; `None` before the first resume.
    pub table: Option<Table>,
    /// Usage of the COW store; only for a live snapshot that can be written.
    pub usage: Option<SnapshotUsage>,
}

/// The state of a live snapshot device that one ioctl returns: enough to see that there is nothing
/// to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotGlance {
    /// Size of the device, in bytes.
    pub size: u64,
    /// Whether the device is suspended: no I/O flows.
    pub suspended: bool,
    /// Whether a table waits in the inactive slot.
    pub inactive_table: bool,
    /// Usage of the COW store.
    pub usage: SnapshotUsage,
}

/// A snapshot target's report on its COW store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotUsage {
    /// The store is valid.
    Valid {
        /// Bytes of the COW store in use, metadata included.
        used: u64,
        /// Size of the COW store, in bytes.
        total: u64,
        /// Bytes of metadata among those in use.
        metadata: u64,
    },
    /// An I/O error on the COW store made the volume unreadable.
    Invalid,
    /// The COW store is full: reads still work, writes fail.
    Overflow,
}
