//! A volume as a caller asks for it, and the states that it may be in.

use std::time::Duration;

use crate::model::policy::{Durability, NodeOwner, Reserve};

/// A volume to be made.
///
/// Made by [`new`](Self::new), and by a method for each property that is not to have its default:
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
    /// Name of the template.
    pub template: String,
    /// Size in bytes, a multiple of 512; `None` for the template's.
    pub size: Option<u64>,
    /// Most bytes that the volume may write; `None` for all of it.
    pub cow_limit: Option<u64>,
    /// Bytes per chunk: a power of two from 4 KiB to 1 MiB.
    pub chunk_size: u64,
    /// What survives a reboot or a crash of the node.
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

    /// Size in bytes, a multiple of 512; `None` for the template's.
    #[must_use]
    pub fn size(mut self, size: impl Into<Option<u64>>) -> Self {
        self.size = size.into();
        self
    }

    /// Most bytes that the volume may write; `None` for all of it.
    #[must_use]
    pub fn cow_limit(mut self, cow_limit: impl Into<Option<u64>>) -> Self {
        self.cow_limit = cow_limit.into();
        self
    }

    /// Bytes per chunk: a power of two from 4 KiB to 1 MiB.
    #[must_use]
    pub fn chunk_size(mut self, chunk_size: u64) -> Self {
        self.chunk_size = chunk_size;
        self
    }

    /// What survives a reboot or a crash of the node.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Owner of the published device node.
    #[must_use]
    pub fn owner(mut self, owner: NodeOwner) -> Self {
        self.owner = owner;
        self
    }

    /// How much of the pool's space is set aside for the volume when it is made.
    #[must_use]
    pub fn reserve(mut self, reserve: Reserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// How long after its creation reconciliation may delete the volume, if nobody uses it then.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Whether it is made by an inline ephemeral Publish and deleted by its Unpublish.
    #[must_use]
    pub fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// Whether mount access is given to Kata: the guest mounts the file system, the host never does.
    #[must_use]
    pub fn kata_direct(mut self, kata_direct: bool) -> Self {
        self.kata_direct = kata_direct;
        self
    }
}

/// What the kernel has of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
