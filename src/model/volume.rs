//! A volume as a caller asks for it, and the states that it may be in.

use std::time::Duration;

use crate::model::policy::{Durability, NodeOwner, Reserve};

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
