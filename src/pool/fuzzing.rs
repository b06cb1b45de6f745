//! Fuzzing of the records on disk.

use serde::Serialize;

use crate::cow;
use crate::pool::record;
use crate::pool::record::{PoolRecord, Record, TemplateRecord, VolumeRecord};

/// Parses records. An accepted record survives writing and reading unchanged, and its values are
/// safe to use.
pub fn records(data: &[u8]) {
    if let Some(volume) = check::<VolumeRecord>(data) {
        let size = cow::store_size(volume.size, volume.cow_limit, volume.chunk_size);
        assert!(size >= 2 * volume.chunk_size && size < 1 << 45, "{volume:?}");
        assert!(volume.expires().is_none_or(|end| end >= volume.created), "{volume:?}");
        assert!((1..=2).contains(&volume.format()));
        assert_eq!(volume.digest.as_str().len(), 64);
    }
    if let Some(template) = check::<TemplateRecord>(data) {
        assert!(!template.name.contains('/') && !template.name.starts_with('.'));
        assert_eq!(template.digest.as_str().len(), 64);
    }
    check::<PoolRecord>(data);
}

fn check<T: Record + Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) -> Option<T> {
    let record: T = record::parse(data).ok()?;
    let again: T = record::parse(&record::to_bytes(&record)).expect("what was written can be read");
    assert_eq!(record, again);
    Some(record)
}
