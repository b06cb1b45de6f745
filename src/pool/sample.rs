//! Sample records for tests. A test changes only the fields that matter: `VolumeRecord { size,
//! ..sample::volume() }`.

use jiff::Timestamp;

use crate::model::digest::Digest;
use crate::model::policy::{Backing, Durability, NodeOwner, Reserve};
use crate::pool::record::VolumeRecord;

/// Returns the record of a volume of 1 MiB, the size of its template, with all other properties at
/// their defaults.
pub(crate) fn volume() -> VolumeRecord {
    VolumeRecord {
        id: "v".into(),
        template: "base".into(),
        digest: Digest::parse(&"0a".repeat(32)).expect("a digest"),
        template_size: 1 << 20,
        fs_type: None,
        size: 1 << 20,
        cow_limit: None,
        chunk_size: 4096,
        durability: Durability::Ephemeral,
        owner: NodeOwner::default(),
        backing: Backing::Snapshot,
        inline: false,
        kata_direct: false,
        boot: "b".into(),
        created: Timestamp::UNIX_EPOCH,
        reserve: Reserve::None,
        ttl: None,
        target: None,
    }
}
