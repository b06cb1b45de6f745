//! Fuzzing of the records on disk.

use serde::Serialize;

use crate::cow;
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::pool::record;
use crate::pool::record::{PoolRecord, Record, TemplateRecord, VolumeRecord};
use crate::pool::snapshots::{ForkRecord, SnapshotRecord};

/// Parses records. An accepted record survives writing and reading unchanged, and its values are
/// safe to use.
pub fn records(data: &[u8]) {
    if let Some(volume) = check::<VolumeRecord>(data) {
        let size = cow::store_size(volume.size, volume.cow_limit, volume.chunk_size);
        assert!(size >= 2 * volume.chunk_size && size < 1 << 45, "{volume:?}");
        assert!(volume.expires().is_none_or(|end| end >= volume.created), "{volume:?}");
        assert!(record::FORMATS.contains(&volume.format()));
        assert!(is_file_name(&volume.digest));
    }
    if let Some(template) = check::<TemplateRecord>(data) {
        assert!(!template.name.contains('/') && !template.name.starts_with('.'));
        assert!(is_file_name(&template.digest));
    }
    if let Some(snapshot) = check::<SnapshotRecord>(data) {
        let full = cow::store_size(snapshot.size, None, snapshot.chunk_size);
        assert!(snapshot.stored <= full && full < 1 << 45, "{snapshot:?}");
        assert!(snapshot.chunks.checked_mul(snapshot.chunk_size).is_some(), "{snapshot:?}");
        assert!(is_key(snapshot.key().as_str()) && is_file_name(&snapshot.digest), "{snapshot:?}");
    }
    if let Some(fork) = check::<ForkRecord>(data) {
        assert!(is_key(&fork.cut), "{fork:?}");
        assert!(fork.volumes.iter().all(|id| is_key(Key::of(id).as_str())), "{fork:?}");
    }
    check::<PoolRecord>(data);
}

/// Whether it is the name of a directory of one object.
fn is_key(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it leads nowhere else than to the directory of content.
fn is_file_name(digest: &Digest) -> bool {
    let name = digest.as_str();
    let digits = name.strip_prefix("commit-").unwrap_or(name);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check<T: Record + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let record: T = record::parse(data).ok()?;
    let again: T = record::parse(&record::to_bytes(&record)).expect("what was written can be read");
    assert_eq!(record, again);
    Some(record)
}
