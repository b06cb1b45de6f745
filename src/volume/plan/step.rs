//! The steps that plans are made of: each one change, which a crash may follow.

use std::fmt;

use crate::cow;
use crate::model::device_id::Role;
use crate::model::policy::Backing;
use crate::pool::record::VolumeRecord;
use crate::sys::DeviceNumber;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commit the intent.
    WriteRecord(Box<VolumeRecord>),
    /// Make the store of a volume.
    CreateStore(Box<VolumeRecord>),
    /// Make the store longer.
    ExtendStore {
        /// New length in bytes.
        length: u64,
    },
    /// Allocate the space of the whole store; a shorter one becomes that long.
    AllocateStore {
        /// Its length in bytes.
        length: u64,
    },
    /// Remove the store.
    RemoveStore,
    /// Have a loop device over the template, of at least the volume's size.
    AttachOrigin {
        /// The volume's size in bytes.
        size: u64,
    },
    /// Make the template's loop device, which a live table uses, at least this large.
    GrowOrigin {
        /// The loop device.
        origin: DeviceNumber,
        /// The volume's size in bytes.
        size: u64,
    },
    /// Attach a loop device to the COW store.
    AttachStore,
    /// Attach a loop device to the private copy.
    AttachCopy {
        /// Refuse writes.
        read_only: bool,
    },
    /// Tell a loop device of ours that its file has grown.
    RefreshLoop(DeviceNumber),
    /// Detach a loop device from the private copy.
    DetachCopy(DeviceNumber),
    /// Make an empty device.
    CreateDevice(Role),
    /// Load the device's table into the inactive slot.
    LoadTable(Role),
    /// Empty the device's inactive slot.
    ClearTable(Role),
    /// Stop I/O.
    Suspend(Role),
    /// Make the loaded table live and let I/O flow.
    Resume(Role),
    /// Remove the device.
    RemoveDevice(Role),
    /// Wait until no loop device is attached to the store.
    AwaitRelease {
        /// The loop device that was.
        number: DeviceNumber,
    },
    /// Remove the intent: from here on the volume does not exist.
    RemoveRecord,
    /// Remove the volume's directory with what is left in it, durably.
    RemoveDirectory,
}

/// Length of the store that `record` asks for, in bytes.
pub(crate) fn store_length(record: &VolumeRecord) -> u64 {
    match record.backing {
        Backing::Snapshot => cow::store_size(record.size, record.cow_limit, record.chunk_size),
        Backing::Reflink | Backing::Copy => record.size,
    }
}

// === impl Display ===

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteRecord(_) => f.write_str("write record"),
            Self::CreateStore(record) => write!(f, "create store of {}", store_length(record)),
            Self::ExtendStore { length } => write!(f, "extend store to {length}"),
            Self::AllocateStore { length } => write!(f, "allocate {length} of the store"),
            Self::RemoveStore => f.write_str("remove store"),
            Self::AttachOrigin { size } => write!(f, "attach origin of {size}"),
            Self::GrowOrigin { origin, size } => write!(f, "grow origin {origin} to {size}"),
            Self::AttachStore => f.write_str("attach store"),
            Self::AttachCopy { read_only } => write!(f, "attach copy, read-only {read_only}"),
            Self::RefreshLoop(number) => write!(f, "refresh loop {number}"),
            Self::DetachCopy(number) => write!(f, "detach copy {number}"),
            Self::CreateDevice(role) => write!(f, "create device {role:?}"),
            Self::LoadTable(role) => write!(f, "load table {role:?}"),
            Self::ClearTable(role) => write!(f, "clear table {role:?}"),
            Self::Suspend(role) => write!(f, "suspend {role:?}"),
            Self::Resume(role) => write!(f, "resume {role:?}"),
            Self::RemoveDevice(role) => write!(f, "remove device {role:?}"),
            Self::AwaitRelease { number } => write!(f, "await release of loop {number}"),
            Self::RemoveRecord => f.write_str("remove record"),
            Self::RemoveDirectory => f.write_str("remove directory"),
        }
    }
}
