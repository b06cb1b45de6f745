//! The steps of a plan. Each is one change, and a crash may follow it.

use std::fmt;
use std::path::PathBuf;

use crate::cow;
use crate::model::device_id::Role;
use crate::model::digest::Digest;
use crate::model::policy::{Backing, Reserve};
use crate::pool::record::VolumeRecord;
use crate::sys::{DeviceNumber, Quiesce};
use crate::volume::plan::stack::Stack;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Commit the intent.
    WriteRecord {
        /// The intent.
        record: Box<VolumeRecord>,
        /// Whether the record replaces another.
        commit: Commit,
    },
    /// Make the store of a volume.
    CreateStore(Box<VolumeRecord>),
    /// Keep the store that the volume starts from, for its starts after a reboot.
    CreateSeed {
        /// The store that the volume starts from.
        from: PathBuf,
    },
    /// Make the COW store of a volume with the content of another.
    CopyStore {
        /// The volume.
        record: Box<VolumeRecord>,
        /// The other store; `None` for the one that an earlier step kept.
        from: Option<PathBuf>,
    },
    /// Cut off the hole at the end of the COW store, so that the kernel makes small tables over it.
    ShortenStore {
        /// Length in bytes that stays at the least.
        least: u64,
        /// Bytes that stay after what the store holds.
        after_content: u64,
    },
    /// Make the store longer.
    ExtendStore {
        /// Kind of the volume's store.
        of: Backing,
        /// New length in bytes.
        length: u64,
    },
    /// Allocate the space of the whole store, and extend the store if it is shorter.
    AllocateStore {
        /// Kind of the volume's store.
        of: Backing,
        /// Its length in bytes.
        length: u64,
    },
    /// Move the file at a path in the pool into the place of the COW store, durably.
    ReplaceStore {
        /// The file.
        by: PathBuf,
    },
    /// The store is another one: forget that the file system lost writes to the former.
    ForgetLostWrites,
    /// Remove the store, and that of an overlay.
    RemoveStore {
        /// Kind of the volume's store.
        of: Backing,
    },
    /// Acquire a loop device over the volume's template, of at least the volume's size.
    AttachOrigin(Box<VolumeRecord>),
    /// Grow the template's loop device, which a live table uses, to at least this size.
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
        /// Access that the loop device gives.
        access: CopyAccess,
    },
    /// Let a loop device of the volume take on the new size of its file.
    RefreshLoop(DeviceNumber),
    /// Let the loop device that an earlier step attached to the COW store take on its new size.
    RefreshStore,
    /// Detach a loop device from the private copy.
    DetachCopy {
        /// Kind of the private copy.
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
    /// Mark the store of a volume that the kernel gave up as valid again.
    ReviveStore,
    /// Stop I/O.
    Suspend(Role, Quiesce),
    /// Make the loaded table live and let I/O flow.
    Resume(Role),
    /// Remove the device.
    RemoveDevice(Role),
    /// Wait until no loop device is attached to the store.
    AwaitRelease {
        /// Which store.
        of: StoreFile,
        /// The loop device that was attached.
        number: DeviceNumber,
    },
    /// Remove the intent: from now on the volume does not exist.
    RemoveRecord,
    /// Remove the volume's directory with what is left in it, durably.
    RemoveDirectory,
}

/// A COW store of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreFile {
    /// The volume's own.
    Own,
    /// That of its overlay.
    Overlay,
}

/// How to write a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// The first record of a volume. Its COW store shows whether it was used, so one flush
    /// suffices.
    First,
    /// A record that replaces another, or the first of a private copy or of a copied store, which do not
    /// show their use.
    Replacement,
}

/// Access to a private copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyAccess {
    /// For reading and writing.
    ReadWrite,
    /// For reading only.
    ReadOnly,
}

/// A table to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// The table of the volume's snapshot.
    Snapshot {
        /// The volume.
        record: Box<VolumeRecord>,
        /// The loop devices below it.
        over: Loops,
    },
    /// The table of the read-only view.
    View {
        /// Size in bytes.
        size: u64,
        /// The snapshot device below it.
        over: Below,
    },
}

/// The loop devices below a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loops {
    /// The devices that earlier steps of the plan attached.
    Attached,
    /// The devices that its live table uses.
    Live(Stack),
    /// The origin that its live table uses, and the store's that an earlier step of the plan attached.
    Renewed {
        /// The loop device over the template.
        origin: DeviceNumber,
    },
}

/// The snapshot device below a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// The device that an earlier step of the plan made.
    Made,
    /// The existing device.
    Live(DeviceNumber),
}

impl Load {
    /// Returns the role of the device that gets the table.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Snapshot { .. } => Role::Snapshot,
            Self::View { .. } => Role::ReadOnlyView,
        }
    }
}

/// Returns the length of the store of `record`, in bytes.
pub(crate) fn store_length(record: &VolumeRecord) -> u64 {
    match record.backing {
        Backing::Snapshot => cow::store_size(record.size, record.cow_limit, record.chunk_size),
        Backing::Reflink | Backing::Copy => record.size,
    }
}

/// Returns the length with which the store of `record` is made, and with which the kernel loads its first
/// table, in bytes. The whole of a reserved store is allocated from the start.
pub(crate) fn first_length(record: &VolumeRecord) -> u64 {
    let full = store_length(record);
    match (record.backing, record.reserve) {
        (Backing::Snapshot, Reserve::None) => cow::length_to_load(full, record.chunk_size),
        _ => full,
    }
}

// === impl Display ===

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteRecord { .. } => f.write_str("write record"),
            Self::CreateStore(record) => write!(f, "create store of {}", first_length(record)),
            Self::CreateSeed { .. } => f.write_str("create seed"),
            Self::CopyStore { record, from: None } => {
                write!(f, "copy seed to a store of {}", store_length(record))
            }
            Self::CopyStore { record, .. } => write!(f, "copy store of {}", store_length(record)),
            Self::ShortenStore { least, .. } => write!(f, "shorten store to {least}"),
            Self::ExtendStore { length, .. } => write!(f, "extend store to {length}"),
            Self::AllocateStore { length, .. } => write!(f, "allocate {length} of the store"),
            Self::ReplaceStore { .. } => f.write_str("replace store"),
            Self::ForgetLostWrites => f.write_str("forget lost writes"),
            Self::RemoveStore { .. } => f.write_str("remove store"),
            Self::AttachOrigin(record) => write!(f, "attach origin of {}", record.size),
            Self::GrowOrigin { origin, size, .. } => write!(f, "grow origin {origin} to {size}"),
            Self::AttachStore(_) => f.write_str("attach store"),
            Self::AttachCopy { access: CopyAccess::ReadWrite, .. } => f.write_str("attach copy"),
            Self::AttachCopy { access: CopyAccess::ReadOnly, .. } => {
                f.write_str("attach copy for reading")
            }
            Self::RefreshLoop(number) => write!(f, "refresh loop {number}"),
            Self::RefreshStore => f.write_str("refresh loop of store"),
            Self::DetachCopy { number, .. } => write!(f, "detach copy {number}"),
            Self::CreateDevice(role) => write!(f, "create device {role:?}"),
            Self::LoadTable(load) => write!(f, "load table {:?}", load.role()),
            Self::ClearTable(role) => write!(f, "clear table {role:?}"),
            Self::ReviveStore => f.write_str("revive store"),
            Self::Suspend(role, _) => write!(f, "suspend {role:?}"),
            Self::Resume(role) => write!(f, "resume {role:?}"),
            Self::RemoveDevice(role) => write!(f, "remove device {role:?}"),
            Self::AwaitRelease { number, .. } => write!(f, "await release of loop {number}"),
            Self::RemoveRecord => f.write_str("remove record"),
            Self::RemoveDirectory => f.write_str("remove directory"),
        }
    }
}
