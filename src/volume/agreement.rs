//! Compares an existing volume with the spec of a repeated creation.

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::snapshot::VolumeSource;
use crate::model::units::exact_size;
use crate::model::volume::VolumeSpec;
use crate::pool::record::VolumeRecord;

/// What a volume starts from, for people.
pub(super) fn described(source: Option<&VolumeSource>) -> String {
    match source {
        None => "its template".to_owned(),
        Some(VolumeSource::Snapshot(name)) => format!("snapshot {name}"),
        Some(VolumeSource::Volume(id)) => format!("volume {id}"),
    }
}

/// Whether a limit allows as many chunks as the limit of the volume of `record`.
pub(crate) fn is_same_limit(requested: Option<u64>, record: &VolumeRecord) -> bool {
    let chunks =
        |limit: Option<u64>| limit.map(|bytes| cow::size::limit_chunks(bytes, record.chunk_size));
    chunks(requested) == chunks(record.cow_limit)
}

/// Checks that the volume of `record` has the properties of `spec`.
///
/// The template is compared by name. The name may point to other content by now, but a repeated
/// call still means the volume that the first call made.
pub(crate) fn agrees(spec: &VolumeSpec, record: &VolumeRecord) -> Result<()> {
    let differs = |field: &str, has: String, requested: String| {
        Err(Error::new(
            ErrorKind::AlreadyExists,
            "create volume",
            &spec.id,
            format!("it exists with {field} {has}, {requested} was requested"),
        )
        .remedy("use another name, or request the same properties"))
    };
    let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), exact_size);
    if spec.source != record.source {
        return differs(
            "start",
            described(record.source.as_ref()),
            described(spec.source.as_ref()),
        );
    }
    let is_copy = record.source.is_some();
    if spec.template != record.template && !(is_copy && spec.template.is_empty()) {
        return differs("template", record.template.clone(), spec.template.clone());
    }
    // A spec without a size means the template's size. The volume may have been expanded since.
    if let Some(size) = spec.size.filter(|size| *size != record.size) {
        return differs("size", exact_size(record.size), exact_size(size));
    }
    if spec.chunk_size != record.chunk_size && !is_copy {
        return differs("chunk size", exact_size(record.chunk_size), exact_size(spec.chunk_size));
    }
    if !is_same_limit(spec.cow_limit, record) {
        return differs("limit", limit(record.cow_limit), limit(spec.cow_limit));
    }
    if spec.durability != record.durability {
        return differs(
            "durability",
            format!("{:?}", record.durability).to_lowercase(),
            format!("{:?}", spec.durability).to_lowercase(),
        );
    }
    if spec.owner != record.owner {
        return differs("owner", format!("{:?}", record.owner), format!("{:?}", spec.owner));
    }
    if spec.reserve != record.reserve {
        return differs(
            "reserve",
            format!("{:?}", record.reserve).to_lowercase(),
            format!("{:?}", spec.reserve).to_lowercase(),
        );
    }
    if spec.ttl.map(|ttl| ttl.as_secs()) != record.ttl {
        let seconds = |ttl: Option<u64>| ttl.map_or("none".to_owned(), |ttl| format!("{ttl}s"));
        let requested = spec.ttl.map(|ttl| ttl.as_secs());
        return differs("ttl", seconds(record.ttl), seconds(requested));
    }
    if spec.inline != record.inline {
        return differs("inline", record.inline.to_string(), spec.inline.to_string());
    }
    if spec.kata_direct != record.kata_direct {
        let (has, requested) = (record.kata_direct.to_string(), spec.kata_direct.to_string());
        return differs("kataDirectVolume", has, requested);
    }
    Ok(())
}
