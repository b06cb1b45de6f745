//! Policies of a volume: how its content is kept, for how long, and who may open its node.

use serde::{Deserialize, Serialize};

/// How much of the pool's space is reserved for a volume when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reserve {
    /// Nothing: the volume takes space as it writes, as long as the pool has any.
    #[default]
    None,
    /// All that the volume may write: it cannot run out of space, and returns none to the pool.
    Full,
}

impl Reserve {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// What part of a volume's content survives a reboot or a crash of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Nothing survives: after any reboot, clean or not, the volume starts from its template again.
    /// Flushes are elided.
    #[default]
    Ephemeral,
    /// Synced content survives reboots and crashes. Flushes are honoured.
    Durable,
}

/// How a volume's private content is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// A dm-snapshot of the template.
    Snapshot,
    /// Fallback: a reflink copy of the template.
    Reflink,
    /// Fallback: a full (sparse) copy of the template.
    Copy,
}

/// Owner and mode of a published device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeOwner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Default for NodeOwner {
    /// `root:root 0600`
    fn default() -> Self {
        Self { uid: 0, gid: 0, mode: 0o600 }
    }
}
