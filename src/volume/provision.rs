//! Turns the spec of a volume into its record.

use std::time::Duration;

use jiff::Timestamp;

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::limits::{MAX_SIZE, SECTOR};
use crate::model::policy::{Backing, Reserve};
use crate::model::units::{format_size, parse_size};
use crate::model::volume::VolumeSpec;
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::record::{TemplateRecord, VolumeRecord};

const OPERATION: &str = "create volume";

/// Refuses a spec that is invalid for every template.
pub(crate) fn check(spec: &VolumeSpec) -> Result<()> {
    volume_id::check(&spec.id)?;
    let invalid = |what: String, remedy: &'static str| {
        Error::new(ErrorKind::InvalidArgument, OPERATION, &spec.id, what).remedy(remedy)
    };
    if !cow::is_chunk_size(spec.chunk_size) {
        return Err(invalid(
            format!("its chunks are to have {}", exact(spec.chunk_size)),
            "give a power of two from 4Ki to 1Mi",
        ));
    }
    if spec.cow_limit.is_some_and(|limit| limit < spec.chunk_size) {
        return Err(invalid(
            format!("its limit is smaller than one chunk of {}", exact(spec.chunk_size)),
            "give at least one chunk, or no limit",
        ));
    }
    if spec.owner.mode & !0o777 != 0 {
        return Err(invalid(
            format!("the device's mode is {:#o}", spec.owner.mode),
            "give permission bits only, such as 0660",
        ));
    }
    if spec.owner.uid == u32::MAX || spec.owner.gid == u32::MAX {
        // To chown(2), this number means "leave unchanged".
        return Err(invalid(
            format!("the device's owner is {}:{}", spec.owner.uid, spec.owner.gid),
            "give numbers up to 4294967294",
        ));
    }
    if spec.ttl.is_some_and(|ttl| ttl < Duration::from_secs(1)) {
        return Err(invalid("ttl is shorter than one second".into(), "give 1s or more"));
    }
    if let Some(size) = spec.size {
        check_size(&spec.id, size)?;
    }
    Ok(())
}

/// A size for people, who may have to tell it from one that is nearly the same.
fn exact(bytes: u64) -> String {
    let short = format_size(bytes);
    match parse_size("size", &short.replace(' ', "")) {
        Ok(same) if same == bytes => short,
        _ => format!("{short} ({bytes} bytes)"),
    }
}

/// Refuses a size that no volume can have.
pub(crate) fn check_size(id: &str, size: u64) -> Result<()> {
    if !size.is_multiple_of(SECTOR) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "set the size of volume",
            id,
            format!("{} is not a multiple of {SECTOR} bytes", exact(size)),
        )
        .remedy("give a multiple of 512 bytes, preferably of 4 KiB"));
    }
    if size > MAX_SIZE {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            "set the size of volume",
            id,
            format!("{} is more than the largest size, {}", exact(size), exact(MAX_SIZE)),
        )
        .remedy("give at most 15Ti"));
    }
    Ok(())
}

/// Refuses to make a volume of `size` bytes, or to grow one to it, above the pool's bound.
pub(crate) fn check_bound(pool: &PoolDir, id: &str, size: u64) -> Result<()> {
    let bound = pool.max_volume_size();
    if size <= bound {
        return Ok(());
    }
    let why = format!("{} is more than volumes may have here, {}", exact(size), exact(bound));
    Err(Error::new(ErrorKind::OutOfRange, "set the size of volume", id, why).remedy(
        "ask for less; an administrator sets the bound with `calf serve --max-volume-size`",
    ))
}

/// Makes the record of a new volume of `template`.
pub(crate) fn record(
    spec: &VolumeSpec,
    template: &TemplateRecord,
    backing: Backing,
    boot: String,
) -> Result<VolumeRecord> {
    let size = spec.size.unwrap_or(template.size);
    if size < template.size {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            OPERATION,
            &spec.id,
            format!(
                "{} is smaller than template {}, {}",
                exact(size),
                template.name,
                exact(template.size)
            ),
        )
        .remedy("give at least the template's size, or no size"));
    }
    if spec.cow_limit.is_some() && backing != Backing::Snapshot {
        return Err(Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            &spec.id,
            "it is to have a limit, but a private copy has no COW store to limit",
        )
        .remedy("leave the limit out, or use a kernel with dm-snapshot"));
    }
    if spec.reserve == Reserve::Full && backing == Backing::Reflink {
        return Err(Error::new(
            ErrorKind::Unsupported,
            OPERATION,
            &spec.id,
            "reserve is set, but a reflink copy shares its space until it is written",
        )
        .remedy("leave reserve out, or use a kernel with dm-snapshot, or `--fallback copy`"));
    }
    Ok(VolumeRecord {
        id: spec.id.clone(),
        template: template.name.clone(),
        digest: template.digest.clone(),
        template_size: template.size,
        fs_type: template.fs_type.clone(),
        size,
        cow_limit: spec.cow_limit,
        chunk_size: spec.chunk_size,
        durability: spec.durability,
        owner: spec.owner,
        backing,
        inline: spec.inline,
        kata_direct: spec.kata_direct,
        boot,
        created: Timestamp::now(),
        reserve: spec.reserve,
        ttl: spec.ttl.map(|ttl| ttl.as_secs()),
        target: None,
    })
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
            OPERATION,
            &spec.id,
            format!("it exists with {field} {has}, {requested} was requested"),
        )
        .remedy("use another name, or request the same properties"))
    };
    let limit = |limit: Option<u64>| limit.map_or("none".to_owned(), exact);
    if spec.template != record.template {
        return differs("template", record.template.clone(), spec.template.clone());
    }
    // A spec without a size means the template's size. The volume may have been expanded since.
    if let Some(size) = spec.size.filter(|size| *size != record.size) {
        return differs("size", exact(record.size), exact(size));
    }
    if spec.chunk_size != record.chunk_size {
        return differs("chunk size", exact(record.chunk_size), exact(spec.chunk_size));
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
