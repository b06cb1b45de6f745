//! Turns the spec of a volume into its record.

use std::time::Duration;

use jiff::Timestamp;

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::limits::{MAX_SIZE, SECTOR};
use crate::model::policy::{Backing, Reserve};
use crate::model::units::exact_size;
use crate::model::volume::VolumeSpec;
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::record::{TemplateRecord, VolumeRecord};
use crate::pool::snapshots::SnapshotRecord;
use crate::volume::agreement;
use crate::volume::plan::step::store_length;

const OPERATION: &str = "create volume";

/// Refuses a spec that is invalid for every template.
pub(crate) fn check(spec: &VolumeSpec) -> Result<()> {
    volume_id::check(&spec.id)?;
    let invalid = |what: String, remedy: &'static str| {
        Error::new(ErrorKind::InvalidArgument, OPERATION, &spec.id, what).remedy(remedy)
    };
    if !cow::is_chunk_size(spec.chunk_size) {
        return Err(invalid(
            format!("its chunks are to have {}", exact_size(spec.chunk_size)),
            "give a power of two from 4Ki to 1Mi",
        ));
    }
    if spec.cow_limit.is_some_and(|limit| limit < spec.chunk_size) {
        return Err(invalid(
            format!("its limit is smaller than one chunk of {}", exact_size(spec.chunk_size)),
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

/// Refuses a size that no volume can have.
pub(crate) fn check_size(id: &str, size: u64) -> Result<()> {
    if !size.is_multiple_of(SECTOR) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "set the size of volume",
            id,
            format!("{} is not a multiple of {SECTOR} bytes", exact_size(size)),
        )
        .remedy("give a multiple of 512 bytes, preferably of 4 KiB"));
    }
    if size > MAX_SIZE {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            "set the size of volume",
            id,
            format!("{} is more than the largest size, {}", exact_size(size), exact_size(MAX_SIZE)),
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
    let why =
        format!("{} is more than volumes may have here, {}", exact_size(size), exact_size(bound));
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
    let base = Base {
        name: &template.name,
        digest: &template.digest,
        size: template.size,
        fs_type: template.fs_type.as_ref(),
    };
    let size = spec.size.unwrap_or(template.size);
    if size < template.size {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            OPERATION,
            &spec.id,
            format!(
                "{} is smaller than template {}, {}",
                exact_size(size),
                template.name,
                exact_size(template.size)
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
    Ok(written(spec, base, size, spec.chunk_size, backing, boot))
}

/// Makes the record of a new volume that starts from the content of a snapshot or of another volume.
pub(crate) fn record_of_copy(
    spec: &VolumeSpec,
    content: &SnapshotRecord,
    boot: String,
) -> Result<VolumeRecord> {
    let refused = |kind, why: String, remedy: String| {
        Err(Error::new(kind, OPERATION, &spec.id, why).remedy(remedy))
    };
    let source = agreement::described(spec.source.as_ref());
    if !spec.template.is_empty() && spec.template != content.template {
        let why = format!("{source} is of template {}, not {}", content.template, spec.template);
        let remedy = format!("name template {}, or none", content.template);
        return refused(ErrorKind::InvalidArgument, why, remedy);
    }
    let size = spec.size.unwrap_or(content.size);
    if size < content.size {
        let why =
            format!("{} is smaller than {source}, {}", exact_size(size), exact_size(content.size));
        return refused(ErrorKind::OutOfRange, why, "give at least that size, or no size".into());
    }
    if spec.reserve == Reserve::Full {
        let why =
            format!("reserve is set, but it shares its space with {source} until it is written");
        return refused(ErrorKind::Unsupported, why, "leave reserve out".into());
    }
    let base = Base {
        name: &content.template,
        digest: &content.digest,
        size: content.template_size,
        fs_type: content.fs_type.as_ref(),
    };
    let record = written(spec, base, size, content.chunk_size, Backing::Snapshot, boot);
    if store_length(&record) < content.stored {
        let held = content.chunks.saturating_mul(content.chunk_size);
        let why = format!("its limit is lower than what {source} holds, {}", exact_size(held));
        return refused(ErrorKind::OutOfRange, why, "give a higher limit, or none".into());
    }
    Ok(record)
}

/// The template's content that a volume rests on.
struct Base<'a> {
    name: &'a str,
    digest: &'a Digest,
    size: u64,
    fs_type: Option<&'a String>,
}

/// Makes the record of `spec` over a template's content.
fn written(
    spec: &VolumeSpec,
    template: Base<'_>,
    size: u64,
    chunk_size: u64,
    backing: Backing,
    boot: String,
) -> VolumeRecord {
    VolumeRecord {
        id: spec.id.clone(),
        template: template.name.to_owned(),
        digest: template.digest.clone(),
        template_size: template.size,
        fs_type: template.fs_type.cloned(),
        size,
        cow_limit: spec.cow_limit,
        chunk_size,
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
        source: spec.source.clone(),
        cut: None,
    }
}
