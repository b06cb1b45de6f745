//! The growth of a file system that the host has mounted: in steps, and only if it fits.
//!
//! If what the kernel writes does not fit into the volume or into the pool, calf refuses the growth before
//! anything is written: a store that is full half-way would stop the volume.

use std::path::Path;

use crate::cow;
use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::limits::SECTOR;
use crate::model::policy::{Backing, Reserve};
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::{DeviceNumber, SnapshotUsage};
use crate::template::superblock::{self, FileSystem, Impact, MOUNTABLE_PREFIX};
use crate::volume::mountable::Content;
use crate::volume::plan::state::Observed;
use crate::volume::usage::mounts_of_device;

/// How exactly the largest growth is found, in bytes.
const PRECISION: u64 = 1 << 20;
/// What an error about growing says.
pub(crate) const GROW: &str = "grow the file system of volume";

/// The file system on a device, if it is of a type that calf mounts.
pub(crate) fn on_device(pool: &PoolDir, device: DeviceNumber) -> Result<Option<FileSystem>> {
    Ok(superblock::mountable(&pool.host().device_start(device, MOUNTABLE_PREFIX)?))
}

/// A volume to be made, whose file system the host is to grow.
#[cfg(feature = "driver")]
pub(crate) struct Growing {
    /// Its record, with the size to which the file system grows.
    pub(crate) record: VolumeRecord,
    /// The size from which it grows, in bytes; `None` for that in the template.
    pub(crate) from: Option<u64>,
    /// Bytes that the new volume has been written already.
    pub(crate) held: u64,
}

/// Refuses a new volume whose file system the host would grow, and could not.
#[cfg(feature = "driver")]
pub(crate) fn check_new(pool: &PoolDir, growing: &Growing, content: &Content<'_>) -> Result<()> {
    let Some(found) = content.file_system(pool)? else { return Ok(()) };
    let Growing { record, from, held } = growing;
    match found.findings_with(is_not_growable).next() {
        None => {
            let found = from.map_or_else(|| found.clone(), |size| found.clone().grown_to(size));
            check(pool, record, &found, record.cow_limit.map(|limit| limit.saturating_sub(*held)))
        }
        Some(finding) => {
            let why = format!("its {} {finding}", found.fs_type);
            Err(Error::new(ErrorKind::Unsupported, GROW, &record.id, why).remedy(finding.remedy))
        }
    }
}

/// The largest size up to `most` that a new volume, which is like that of `record` otherwise, can have if the
/// host grows its file system.
pub(crate) fn largest_new(
    pool: &PoolDir,
    record: &VolumeRecord,
    content: &Content<'_>,
    most: u64,
) -> Result<u64> {
    let Some(found) = content.file_system(pool)? else { return Ok(most) };
    if found.findings_with(is_not_growable).next().is_some() {
        return Ok(most.min(record.template_size));
    }
    let fits =
        |size| match check(pool, &VolumeRecord { size, ..record.clone() }, found, record.cow_limit)
        {
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

fn is_not_growable(impact: Impact) -> bool {
    impact == Impact::NotGrowable
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
    match mounted(pool, device, path)? {
        Some(found) => check_active(pool, key, record, &found),
        None => Ok(()),
    }
}

/// The file system of `device`, which is mounted at `path`, as it is now.
fn mounted(pool: &PoolDir, device: DeviceNumber, path: &Path) -> Result<Option<FileSystem>> {
    match on_device(pool, device)? {
        // The kernel writes XFS's superblock later, and past the device's page cache.
        Some(found) if found.fs_type == "xfs" => {
            Ok(Some(found.grown_to(pool.host().target_usage(path)?.total)))
        }
        found => Ok(found),
    }
}

/// Grows the file system of `device`, which is mounted at `path`, to the volume's size. Between two steps,
/// `cancel` ends the growth; a repeated call goes on from there, by one step at least.
pub(crate) fn grow(
    pool: &PoolDir,
    record: &VolumeRecord,
    device: DeviceNumber,
    path: &Path,
    cancel: &Cancel,
) -> Result<()> {
    let fs_type = record.fs_type.as_deref().unwrap_or_default();
    let mut found = mounted(pool, device, path)?;
    while let Some(stop) = found.as_ref().and_then(|found| found.first_stop(record.size)) {
        pool.host().grow_file_system(path, fs_type, stop)?;
        if cancel.is_requested() {
            let (has, wanted) = (format_size(stop), format_size(record.size));
            let why = format!("the call was ended early, at {has} of {wanted}");
            return Err(Error::new(ErrorKind::Cancelled, GROW, &record.id, why)
                .remedy("repeat the call: it goes on from there"));
        }
        found = found.map(|found| found.grown_to(stop));
    }
    pool.host().grow_file_system(path, fs_type, record.size)
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
    match pool.lacks_free(needed)? {
        Some(has) => Err(refused(record, found, needed, &has, "make room in the pool")),
        None => Ok(()),
    }
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
    Error::new(ErrorKind::OutOfRange, GROW, &record.id, why).remedy(format!(
        "{remedy}, ask for a smaller volume, or import a template that is as large: its holes cost nothing"
    ))
}
