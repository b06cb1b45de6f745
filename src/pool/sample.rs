//! Sample records for tests. A test changes only the fields that matter: `VolumeRecord { size,
//! ..sample::volume() }`.

use jiff::Timestamp;

use crate::model::digest::Digest;
use crate::model::policy::{Backing, Durability, NodeOwner, Reserve};
use crate::model::snapshot::Consistency;
use crate::pool::record::VolumeRecord;
use crate::pool::snapshots::SnapshotRecord;

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
        source: None,
        cut: None,
    }
}

/// Returns the record of a snapshot of that volume, in which one chunk was written.
pub(crate) fn snapshot() -> SnapshotRecord {
    let VolumeRecord { id, template, digest, template_size, fs_type, size, chunk_size, .. } =
        volume();
    SnapshotRecord {
        name: "s".into(),
        volume: id,
        template,
        digest,
        template_size,
        fs_type,
        size,
        chunk_size,
        chunks: 1,
        stored: 3 * chunk_size,
        consistency: Consistency::Crash,
        created: Timestamp::UNIX_EPOCH,
        group: None,
        imported: None,
    }
}
