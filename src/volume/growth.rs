//! Whether what the kernel writes when it grows a file system fits into the volume and into the pool.
//!
//! If not, calf refuses the growth before anything is written: a store that is full half-way would stop the
//! volume.

use std::path::Path;

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::model::limits::SECTOR;
use crate::model::policy::{Backing, Reserve};
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::{DeviceNumber, SnapshotUsage};
use crate::template::superblock::{self, FileSystem, MOUNTABLE_PREFIX};
use crate::volume::plan::state::Observed;
use crate::volume::usage::mounts_of_device;

/// How exactly the largest growth is found, in bytes.
const PRECISION: u64 = 1 << 20;

/// The file system on a device, if it is of a type that calf mounts.
pub(crate) fn on_device(pool: &PoolDir, device: DeviceNumber) -> Result<Option<FileSystem>> {
    Ok(superblock::mountable(&pool.host().device_start(device, MOUNTABLE_PREFIX)?))
}

/// Refuses a new volume whose file system the host would grow, and could not.
#[cfg(feature = "driver")]
pub(crate) fn check_new(pool: &PoolDir, record: &VolumeRecord) -> Result<()> {
    if record.size == record.template_size {
        return Ok(());
    }
    match in_content(pool, &record.digest)? {
        Some(found) => check(pool, record, &found, record.cow_limit),
        None => Ok(()),
    }
}

/// The largest size up to `most` that a new volume, which is like that of `record` otherwise, can have if the
/// host grows its file system.
pub(crate) fn largest_new(pool: &PoolDir, record: &VolumeRecord, most: u64) -> Result<u64> {
    let Some(found) = in_content(pool, &record.digest)? else { return Ok(most) };
    let fits = |size| match check(
        pool,
        &VolumeRecord { size, ..record.clone() },
        &found,
        record.cow_limit,
    ) {
        Err(error) if error.kind() == ErrorKind::OutOfRange => Ok(false),
        checked => checked.map(|()| true),
    };
    if most <= record.template_size || fits(most)? {
        return Ok(most);
    }
    // The more a file system grows, the more growing it writes.
    let (mut good, mut bad) = (record.template_size, most);
    while bad - good > PRECISION {
        let middle = good + (bad - good) / 2;
        match fits(middle)? {
            true => good = middle,
            false => bad = middle,
        }
    }
    Ok(good - (good - record.template_size) % SECTOR)
}

/// The file system in the content of a template, if it is of a type that calf mounts.
fn in_content(pool: &PoolDir, digest: &Digest) -> Result<Option<FileSystem>> {
    let path = pool.layout().image(digest);
    let image = pool.host().open_image(&path, crate::sys::OpenMode::Read)?;
    let mut prefix = vec![0; MOUNTABLE_PREFIX];
    image
        .fill_from(&mut prefix, 0)
        .map_err(|e| Error::io("read the superblock in", path.display(), e))?;
    Ok(superblock::mountable(&prefix))
}

/// Refuses to grow the file system `found` on the device of an active volume to the volume's size.
pub(crate) fn check_active(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    found: &FileSystem,
) -> Result<()> {
    let device = DeviceId::new(pool.id(), key, Role::Snapshot);
    let room = pool.host().glance(&device)?.map(|glance| match glance.usage {
        SnapshotUsage::Valid { used, total, .. } => total.saturating_sub(used),
        SnapshotUsage::Invalid | SnapshotUsage::Overflow => 0,
    });
    // The store of a volume without a limit grows with the volume.
    check(pool, record, found, room.filter(|_| record.cow_limit.is_some()))
}

/// Does the same for the file system of `device` that is mounted at `path`.
pub(crate) fn check_mounted(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    device: DeviceNumber,
    path: &Path,
) -> Result<()> {
    let Some(mut found) = on_device(pool, device)? else { return Ok(()) };
    if found.fs_type == "xfs" {
        // The kernel writes XFS's superblock later, and past the device's page cache.
        let total = pool.host().target_usage(path)?.total;
        found = found.grown_to(total);
    }
    check_active(pool, key, record, &found)
}

/// Does the same for a volume, which was `before` as it was, if the host has mounted its file system for
/// writing.
pub(crate) fn check_expansion(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    before: &Observed,
) -> Result<()> {
    let Some(device) = before.device(false) else { return Ok(()) };
    let mounts = mounts_of_device(pool, key, device)?;
    match mounts.iter().find(|mount| !mount.node && !mount.read_only) {
        Some(mount) => check_mounted(pool, key, record, device, &mount.path),
        None => Ok(()),
    }
}

/// `room` is what the volume may still write, if that is limited.
fn check(
    pool: &PoolDir,
    record: &VolumeRecord,
    found: &FileSystem,
    room: Option<u64>,
) -> Result<()> {
    let chunk_size = match record.backing {
        Backing::Snapshot => record.chunk_size,
        Backing::Reflink | Backing::Copy => u64::from(found.block_size),
    };
    let writes = found.growth_to(record.size).in_chunks(chunk_size);
    if writes == 0 {
        return Ok(());
    }
    if let Some(room) = room
        && writes > room
    {
        let limit = record.cow_limit.map(format_size).unwrap_or_default();
        let why = format!("its cowLimit of {limit} leaves {}", format_size(room));
        return Err(refused(
            record,
            found,
            writes,
            &why,
            "give the volume a higher cowLimit (`calf volume recover --cow-limit` if it exists)",
        ));
    }
    if record.reserve == Reserve::Full {
        return Ok(());
    }
    let needed = match record.backing {
        Backing::Snapshot => cow::store_size(record.size, Some(writes), chunk_size),
        Backing::Reflink | Backing::Copy => writes,
    };
    let capacity = pool.capacity()?;
    if needed > capacity.available {
        let why = format!(
            "the pool at {} has {} free above its reserve of {}",
            pool.root().display(),
            format_size(capacity.available),
            format_size(capacity.reserve),
        );
        return Err(refused(record, found, needed, &why, "make room in the pool"));
    }
    Ok(())
}

fn refused(
    record: &VolumeRecord,
    found: &FileSystem,
    writes: u64,
    limit: &str,
    remedy: &str,
) -> Error {
    let why = format!(
        "growing its {} from {} to {} may write {}, and {limit}",
        found.fs_type,
        format_size(found.size),
        format_size(record.size),
        format_size(writes),
    );
    Error::new(ErrorKind::OutOfRange, "grow the file system of volume", &record.id, why).remedy(format!(
        "{remedy}, ask for a smaller volume, or import a template that is as large: its holes cost nothing"
    ))
}
