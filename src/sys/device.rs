//! Loop and device-mapper devices, as [`Host`](super::Host) speaks of them.

use std::any::Any;
use std::fmt;
use std::io;
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

/// What the first bytes of a COW store say, as dm-snapshot keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreHeader {
    /// Nothing: no device has been made over it yet.
    New,
    /// A store in order.
    Valid {
        /// Chunk size, in bytes.
        chunk_size: u64,
    },
    /// The kernel gave the store up after an error.
    Invalid,
    /// It is no COW store.
    Foreign,
}

impl StoreHeader {
    /// Bytes of a header.
    pub const LENGTH: usize = 16;

    /// Reads the header of a store from its first byte on. What is shorter is no store.
    pub(super) fn read(mut store: impl io::Read) -> io::Result<Self> {
        let mut header = [0; Self::LENGTH];
        match store.read_exact(&mut header) {
            Ok(()) => Ok(Self::parse(header)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Self::Foreign),
            Err(e) => Err(e),
        }
    }

    /// Reads a header: four little-endian words, namely magic, valid, version and chunk size in
    /// sectors (`struct disk_header` of Linux, `drivers/md/dm-snap-persistent.c`).
    pub fn parse(header: [u8; Self::LENGTH]) -> Self {
        const MAGIC: u32 = u32::from_le_bytes(*b"SnAp");
        const VERSION: u32 = 1;
        let word = |n: usize| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|byte| header[4 * n + byte]);
            u32::from_le_bytes([a, b, c, d])
        };
        match (word(0), word(1), word(2)) {
            (0, ..) => Self::New,
            (MAGIC, 0, VERSION) => Self::Invalid,
            (MAGIC, _, VERSION) => Self::Valid { chunk_size: u64::from(word(3)) * 512 },
            _ => Self::Foreign,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_whose_it_is() {
        let header = |words: [u32; 4]| {
            let mut bytes = [0; StoreHeader::LENGTH];
            for (n, word) in words.into_iter().enumerate() {
                bytes[4 * n..4 * n + 4].copy_from_slice(&word.to_le_bytes());
            }
            StoreHeader::parse(bytes)
        };
        let magic = u32::from_le_bytes(*b"SnAp");
        assert_eq!(header([0; 4]), StoreHeader::New);
        assert_eq!(header([magic, 1, 1, 8]), StoreHeader::Valid { chunk_size: 4096 });
        assert_eq!(header([magic, 0, 1, 8]), StoreHeader::Invalid);
        assert_eq!(header([magic, 1, 2, 8]), StoreHeader::Foreign);
        assert_eq!(header([0x464c_457f, 1, 1, 8]), StoreHeader::Foreign);
    }
}
