//! The steps that plans are made of: each one change, which a crash may follow.

use std::fmt;

use crate::cow;
use crate::model::device_id::Role;
use crate::model::digest::Digest;
use crate::model::policy::Backing;
use crate::pool::record::VolumeRecord;
use crate::sys::DeviceNumber;
use crate::volume::plan::stack::Stack;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commit the intent.
    WriteRecord {
        /// The intent.
        record: Box<VolumeRecord>,
        /// Whether it replaces one.
        commit: Commit,
    },
    /// Make the store of a volume.
    CreateStore(Box<VolumeRecord>),
    /// Make the store longer.
    ExtendStore {
        /// Which of the volume's stores.
        of: Backing,
        /// New length in bytes.
        length: u64,
    },
    /// Allocate the space of the whole store; a shorter one becomes that long.
    AllocateStore {
        /// Which of the volume's stores.
        of: Backing,
        /// Its length in bytes.
        length: u64,
    },
    /// Remove the store.
    RemoveStore {
        /// Which of the volume's stores.
        of: Backing,
    },
    /// Have a loop device over the template of the volume, of at least the volume's size.
    AttachOrigin(Box<VolumeRecord>),
    /// Make the template's loop device, which a live table uses, at least this large.
    GrowOrigin {
        /// The template's content.
        digest: Digest,
        /// The loop device.
        origin: DeviceNumber,
        /// The volume's size in bytes.
        size: u64,
    },
    /// Attach a loop device to the COW store of the volume.
    AttachStore(Box<VolumeRecord>),
    /// Attach a loop device to the private copy of the volume.
    AttachCopy {
        /// The volume.
        record: Box<VolumeRecord>,
        /// What it is attached for.
        access: CopyAccess,
    },
    /// Tell a loop device of ours that its file has grown.
    RefreshLoop(DeviceNumber),
    /// Detach a loop device from the private copy.
    DetachCopy {
        /// How the copy was made.
        of: Backing,
        /// The loop device.
        number: DeviceNumber,
    },
    /// Make an empty device.
    CreateDevice(Role),
    /// Load a table into the inactive slot of its device.
    LoadTable(Load),
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

/// Whether a record replaces one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// There was none, and the COW store tells whether it was used: waits for the disk once.
    First,
    /// There was one, or nothing else would tell of the volume.
    Replacement,
}

/// What a private copy is attached for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyAccess {
    /// Reading and writing.
    ReadWrite,
    /// Reading.
    ReadOnly,
}

/// A table to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The volume's snapshot.
    Snapshot {
        /// The volume.
        record: Box<VolumeRecord>,
        /// What it rests on.
        over: Loops,
    },
    /// The read-only view.
    View {
        /// Size in bytes.
        size: u64,
        /// The snapshot device.
        over: Below,
    },
}

/// The loop devices below a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loops {
    /// Those that earlier steps of the plan attached.
    Attached,
    /// Those that its live table uses.
    Live(Stack),
}

/// The snapshot device below a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// The one that an earlier step of the plan made.
    Made,
    /// The one that is there.
    Live(DeviceNumber),
}

impl Load {
    /// The device that the table is of.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Snapshot { .. } => Role::Snapshot,
            Self::View { .. } => Role::ReadOnlyView,
        }
    }
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
            Self::WriteRecord { .. } => f.write_str("write record"),
            Self::CreateStore(record) => write!(f, "create store of {}", store_length(record)),
            Self::ExtendStore { length, .. } => write!(f, "extend store to {length}"),
            Self::AllocateStore { length, .. } => write!(f, "allocate {length} of the store"),
            Self::RemoveStore { .. } => f.write_str("remove store"),
            Self::AttachOrigin(record) => write!(f, "attach origin of {}", record.size),
            Self::GrowOrigin { origin, size, .. } => write!(f, "grow origin {origin} to {size}"),
            Self::AttachStore(_) => f.write_str("attach store"),
            Self::AttachCopy { access: CopyAccess::ReadWrite, .. } => f.write_str("attach copy"),
            Self::AttachCopy { access: CopyAccess::ReadOnly, .. } => {
                f.write_str("attach copy for reading")
            }
            Self::RefreshLoop(number) => write!(f, "refresh loop {number}"),
            Self::DetachCopy { number, .. } => write!(f, "detach copy {number}"),
            Self::CreateDevice(role) => write!(f, "create device {role:?}"),
            Self::LoadTable(load) => write!(f, "load table {:?}", load.role()),
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
