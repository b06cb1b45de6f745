//! Volumes: what to do about them, in which order, and with which guarantees.
//!
//! ```text
//!            create                activate             publish
//!   absent ─────────▸ inactive ───────────────▸ active ─────────▸ published
//!          ◂─────────          ◂───────────────        ◂─────────
//!            delete               deactivate            unpublish
//! ```
//!
//! This module decides and makes no system call: `plan` turns what is wanted and what is
//! observed into steps, `execute` runs the steps on a [`Host`](crate::sys::Host), and
//! `reconcile` does so for everything that a crash left behind.

mod access;
pub mod cow;
mod direct;
mod execute;
mod existing;
mod health;
mod inspect;
mod lifecycle;
#[cfg(feature = "micro")]
#[doc(hidden)]
pub mod micro;
mod observe;
mod origin;
mod plan;
mod publish;
mod reconcile;
mod report;
mod spare;
mod spec;
mod stage;
mod step;
mod target;
mod teardown;
mod warm;

pub use access::Access;
pub use direct::DEFAULT_KATA_ROOT;
pub(crate) use health::Health;
pub use health::Losses;
pub(crate) use inspect::survey;
pub(crate) use observe::keys;
pub use report::{ReconcileOptions, ReconcileReport, Removal, RemovalKind, Repair};
pub(crate) use spare::{discard_all as discard_spares, settle};
pub use spec::MAX_SIZE;
pub(crate) use spec::{SECTOR, is_valid_id};
pub use warm::{MAX_WARM, SpareReport};

use std::path::PathBuf;
use std::time::Duration;

use crate::pool::record::{Durability, NodeOwner, Reserve, VolumeRecord};
use crate::sys::{DeviceNumber, FileSystemUsage};

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// The volume's id: 1 to 128 bytes, no control characters.
    pub id: String,
    /// Name of the template.
    pub template: String,
    /// Size in bytes, a multiple of 512; `None` for the template's.
    pub size: Option<u64>,
    /// Most bytes that the volume may write; `None` for all of it.
    pub cow_limit: Option<u64>,
    /// Bytes per chunk: a power of two from 4 KiB to 1 MiB.
    pub chunk_size: u64,
    /// What a reboot or crash of the node may cost.
    pub durability: Durability,
    /// Owner of the published device node.
    pub owner: NodeOwner,
    /// How much of the pool's space is set aside for the volume when it is made.
    pub reserve: Reserve,
    /// How long after its creation reconciliation may delete the volume, if nobody uses it then;
    /// in whole seconds.
    pub ttl: Option<Duration>,
    /// Made by an inline ephemeral Publish; deleted by its Unpublish.
    pub inline: bool,
    /// Mount access is given to Kata: the guest mounts the file system, the host never does.
    pub kata_direct: bool,
}

impl VolumeSpec {
    /// Bytes per chunk unless told otherwise.
    pub const DEFAULT_CHUNK_SIZE: u64 = 4096;

    /// A volume of `template` with everything else at its default.
    pub fn new(id: impl Into<String>, template: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            template: template.into(),
            size: None,
            cow_limit: None,
            chunk_size: Self::DEFAULT_CHUNK_SIZE,
            durability: Durability::default(),
            owner: NodeOwner::default(),
            reserve: Reserve::default(),
            ttl: None,
            inline: false,
            kata_direct: false,
        }
    }
}

/// A volume as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// What was asked for.
    pub record: VolumeRecord,
    /// What the kernel has of it.
    pub state: VolumeState,
    /// Its block device, while active.
    pub device: Option<DeviceNumber>,
    /// Bytes that the volume occupies in the pool.
    pub allocated: u64,
    /// Bytes of the COW store in use and in total, metadata included, while active.
    pub cow: Option<(u64, u64)>,
}

/// What the kernel has of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VolumeState {
    /// No device.
    Inactive,
    /// Its device is in order.
    Active,
    /// Its device is suspended or half made, as a crash leaves it until the next call.
    Interrupted,
    /// An I/O error on the COW store made it unreadable.
    Invalid,
    /// Its COW store is full: reads go on, writes fail.
    Overflow,
}

impl VolumeState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Inactive, Self::Active, Self::Interrupted, Self::Invalid, Self::Overflow];

    /// A word for people, metrics and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Interrupted => "interrupted",
            Self::Invalid => "invalid",
            Self::Overflow => "overflow",
        }
    }

    /// Whether the kernel gave the volume up: nothing brings it back.
    pub fn is_lost(self) -> bool {
        matches!(self, Self::Invalid | Self::Overflow)
    }
}

/// A staging, as in NodeStageVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where to mount the file system; unused for block access.
    pub path: PathBuf,
    /// Block or mount.
    pub access: Access,
    /// Every use of the volume is for reading: use a device that refuses writes.
    pub read_only: bool,
}

impl Stage {
    /// Whether the device must refuse writes: by the mode of access, or by the mount option.
    fn is_read_only(&self) -> bool {
        let option = matches!(&self.access, Access::Mount { options, .. }
            if options.iter().any(|option| option == "ro"));
        self.read_only || option
    }
}

/// A publication, as in NodePublishVolume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where the volume is to appear.
    pub target: PathBuf,
    /// The staging that it rests on, made (again) where it is missing.
    pub stage: Stage,
    /// This publication is for reading.
    pub read_only: bool,
    /// No other target may have the volume published.
    pub exclusive: bool,
}

/// Size and use of a volume, as NodeGetVolumeStats wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeStatistics {
    /// The volume.
    pub volume: Volume,
    /// Use of the file system if `path` was a mounted one that still answers.
    pub file_system: Option<FileSystemUsage>,
    /// The file system at `path` was mounted for writing, and an error made it read-only since.
    pub file_system_failed: bool,
}

impl Publish {
    /// Whether the target must refuse writes.
    fn is_read_only(&self) -> bool {
        self.read_only || self.stage.is_read_only()
    }
}
