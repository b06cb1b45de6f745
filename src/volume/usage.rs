//! Finds where a volume is used: where its devices are mounted, bound, or published to Kata.

use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::layout::Layout;
use crate::sys::{DeviceNumber, MountedAt};
use crate::volume::kata;
use crate::volume::machine::observe;
use crate::volume::plan::state::Observed;

/// Whether `number` is one of the devices of the volume with this key.
pub(crate) fn is_device_of(pool: &PoolDir, key: &Key, number: DeviceNumber) -> Result<bool> {
    if let Some(uuid) = pool.host().device_uuid(number)? {
        return Ok(DeviceId::parse_uuid(pool.id(), &uuid).is_some_and(|(owner, _)| owner == *key));
    }
    Ok(observe::observe(pool, key)?.copies.iter().any(|copy| copy.number == number))
}

/// Lists where a device of the volume with this key is mounted, or its node bound.
pub(crate) fn mounts_of_device(
    pool: &PoolDir,
    key: &Key,
    number: DeviceNumber,
) -> Result<Vec<MountedAt>> {
    let is_other = |shown: &Path| Layout::node_owner(shown).is_some_and(|owner| owner != *key);
    pool.host().mounts_of(number, &is_other)
}

/// Lists where the observed volume is mounted, its node bound, or the volume published to Kata.
pub(crate) fn mounts_of(pool: &PoolDir, key: &Key, observed: &Observed) -> Result<Vec<MountedAt>> {
    let mut mounts = Vec::new();
    for number in observed.devices() {
        mounts.extend(mounts_of_device(pool, key, number)?);
    }
    if let Some(record) = &observed.record {
        mounts.extend(kata::targets(pool, record)?);
    }
    Ok(mounts)
}

/// Refuses with `InUse` if the volume is mounted or published. A bound device node does not keep
/// its device open. If the device were removed, the node could later refer to another volume's
/// device.
pub(crate) fn refuse_if_mounted(
    pool: &PoolDir,
    key: &Key,
    observed: &Observed,
    id: impl fmt::Display,
    operation: &'static str,
) -> Result<()> {
    match mounts_of(pool, key, observed)?.first() {
        None => Ok(()),
        Some(mount) => Err(Error::new(
            ErrorKind::InUse,
            operation,
            id,
            format!("it is mounted or published at {}", mount.path.display()),
        )
        .remedy("unpublish and unstage it first")),
    }
}

/// Returns the error for a path where the volume is not.
pub(crate) fn elsewhere(operation: &'static str, id: &str, path: &Path) -> Error {
    let why = format!("it is not staged or published at {}", path.display());
    Error::new(ErrorKind::NotFound, operation, id, why)
        .remedy("give a path where the volume is staged or published")
}
