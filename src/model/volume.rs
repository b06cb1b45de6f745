//! The specification of a volume, and the states of a volume.

use std::time::Duration;

use crate::model::policy::{Durability, NodeOwner, Reserve};
use crate::model::snapshot::VolumeSource;

/// The specification of a volume to be made.
///
/// Start with [`new`](Self::new), and set each property that should differ from its default with a
/// method:
///
/// ```
/// # use calf::{Durability, VolumeSpec};
/// let spec = VolumeSpec::new("vm1", "debian-12").size(20 << 30).durability(Durability::Durable);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeSpec {
    /// The volume's id: 1 to 128 bytes, no control characters.
    pub id: String,
    /// Name of the template. Empty for a volume with a source, it means the source's template.
    pub template: String,
    /// What the volume starts from; `None` for its template.
    pub source: Option<VolumeSource>,
    /// Size in bytes, a multiple of 512; `None` for the size of the template or the source.
    pub size: Option<u64>,
    /// Maximum number of bytes that the volume may write; `None` for its whole size.
    pub cow_limit: Option<u64>,
    /// Bytes per chunk: a power of two from 4 KiB to 1 MiB. A volume with a source has the source's.
    pub chunk_size: u64,
    /// What survives a reboot or a crash of the node.
    pub durability: Durability,
    /// Owner of the published device node.
    pub owner: NodeOwner,
    /// How much of the pool's space is reserved for the volume when it is made.
    pub reserve: Reserve,
    /// Age at which reconciliation deletes the volume, if it is unused; in whole seconds.
    pub ttl: Option<Duration>,
    /// The volume is made by an inline ephemeral Publish, and deleted by its Unpublish.
    pub inline: bool,
    /// Kata handles mount access: the guest mounts the file system, the host never does.
    pub kata_direct: bool,
}

impl VolumeSpec {
    /// Default number of bytes per chunk.
    pub const DEFAULT_CHUNK_SIZE: u64 = 4096;

    /// Returns the specification of a volume of `template`, with every other property at its
    /// default.
    pub fn new(id: impl Into<String>, template: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            template: template.into(),
            source: None,
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

    /// Returns the specification of a volume that starts from `source`, with every other property at
    /// its default.
    pub fn from_source(id: impl Into<String>, source: VolumeSource) -> Self {
        Self { source: Some(source), ..Self::new(id, "") }
    }

    /// Sets what the volume starts from; `None` for its template.
    #[must_use]
    pub fn source(mut self, source: impl Into<Option<VolumeSource>>) -> Self {
        self.source = source.into();
        self
    }

    /// Sets the size in bytes, a multiple of 512; `None` for the size of the template or the source.
    #[must_use]
    pub fn size(mut self, size: impl Into<Option<u64>>) -> Self {
        self.size = size.into();
        self
    }

    /// Sets the maximum number of bytes that the volume may write; `None` for its whole size.
    #[must_use]
    pub fn cow_limit(mut self, cow_limit: impl Into<Option<u64>>) -> Self {
        self.cow_limit = cow_limit.into();
        self
    }

    /// Sets the bytes per chunk: a power of two from 4 KiB to 1 MiB.
    #[must_use]
    pub fn chunk_size(mut self, chunk_size: u64) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// Sets what survives a reboot or a crash of the node.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the owner of the published device node.
    #[must_use]
    pub fn owner(mut self, owner: NodeOwner) -> Self {
        self.owner = owner;
        self
    }

    /// Sets how much of the pool's space is reserved for the volume when it is made.
    #[must_use]
    pub fn reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// Sets the age at which reconciliation deletes the volume, if it is unused.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Sets whether the volume is made by an inline ephemeral Publish and deleted by its Unpublish.
    #[must_use]
    pub fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// Sets whether Kata handles mount access: the guest mounts the file system, the host never
    /// does.
    #[must_use]
    pub fn kata_direct(mut self, kata_direct: bool) -> Self {
        self.kata_direct = kata_direct;
        self
    }
}

/// The state of a volume in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VolumeState {
    /// The volume has no device.
    Inactive,
    /// Its device works.
    Active,
    /// Its device is suspended or half made, as after a crash, until the next call.
    Interrupted,
    /// The pool is nearly full, and a guard suspended its device: reads and writes wait until there is
    /// room.
    Suspended,
    /// A write to the COW store failed, most often since the pool was full: nothing can be read or
    /// written.
    Invalid,
    /// Its COW store is full: reads work, writes fail.
    Overflow,
}

impl VolumeState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Inactive,
        Self::Active,
        Self::Interrupted,
        Self::Suspended,
        Self::Invalid,
        Self::Overflow,
    ];

    /// The name of the state for people, metrics and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Active => "active",
            Self::Interrupted => "interrupted",
            Self::Suspended => "suspended",
            Self::Invalid => "invalid",
            Self::Overflow => "overflow",
        }
    }

    /// Whether the kernel stopped the volume. [`Volume::recover`](crate::Volume::recover) brings it back.
    pub fn is_stopped(self) -> bool {
        matches!(self, Self::Invalid | Self::Overflow)
    }
}
