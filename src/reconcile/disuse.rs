//! Finds volumes that are no longer needed.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::Result;
use crate::model::key::Key;
use crate::pool::moment::Moment;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, record};
use crate::reconcile::report::{ReconcileOptions, RemovalKind};
use crate::volume::kata;
use crate::volume::machine::teardown;
use crate::volume::plan::state::Observed;
use crate::volume::usage::mounts_of_device;

/// Returns why the volume is no longer needed; `None` if it is still needed.
pub(super) fn superfluous(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    observed: &Observed,
    options: &ReconcileOptions,
) -> Result<Option<RemovalKind>> {
    let kind = if is_expired(pool, key, record, options)? {
        RemovalKind::Expired
    } else if record.inline && is_abandoned(pool, key, record, options)? {
        RemovalKind::Inline
    } else {
        return Ok(None);
    };
    // A publication to Kata counts as use, unless its pod is gone: then both go with the volume.
    let shown = kind == RemovalKind::Expired && !kata::targets(pool, record)?.is_empty();
    Ok((!shown && !is_used(pool, key, observed, options.dry_run)?).then_some(kind))
}

/// Whether the volume's time to live is over.
fn is_expired(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    options: &ReconcileOptions,
) -> Result<bool> {
    let Some(ttl) = record.ttl else { return Ok(false) };
    let path = pool.layout().lifetime(key);
    let now = Moment::now(pool.host())?;
    let Some(created) = record::read_usable::<Moment>(pool.host(), &path)? else {
        // An older calf created it, or a loss of power took the file.
        return Ok(record.expires().is_some_and(|end| end <= Timestamp::now()));
    };
    if let Some(corrected) = created.corrected(&now).filter(|_| !options.dry_run) {
        pool.host().write_hint(&path, &record::to_bytes(&corrected))?;
    }
    Ok(created.until(&now) >= Duration::from_secs(ttl))
}

/// Whether the volume is open or mounted, or its node is bound. A frozen file system that is mounted
/// nowhere does not count, and is thawed.
fn is_used(pool: &PoolDir, key: &Key, observed: &Observed, dry_run: bool) -> Result<bool> {
    // The view's table holds the snapshot open.
    let view = observed.view.as_ref().map_or(0, |view| view.open_count);
    let held = u32::from(observed.view.as_ref().is_some_and(|view| view.table.is_some()));
    let open = observed.snapshot.as_ref().map_or(0, |snapshot| snapshot.open_count);
    let is_frozen = || {
        let devices = observed.open_devices();
        !dry_run && devices.iter().any(|device| teardown::thaw_abandoned(pool.host(), *device))
    };
    if (view > 0 || open > held) && !is_frozen() {
        return Ok(true);
    }
    for number in observed.devices() {
        if !mounts_of_device(pool, key, number)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the directory of an inline volume's target has been gone for the grace period. The first
/// check that misses the directory records the time.
fn is_abandoned(
    pool: &PoolDir,
    key: &Key,
    record: &VolumeRecord,
    options: &ReconcileOptions,
) -> Result<bool> {
    let Some(parent) = record.target.as_deref().and_then(|t| Path::new(t).parent()) else {
        return Ok(false);
    };
    let path = pool.layout().abandoned(key);
    if pool.host().file(parent)?.is_some() {
        if !options.dry_run && pool.host().file(&path)?.is_some() {
            pool.host().remove_file(&path)?;
        }
        return Ok(false);
    }
    let now = Moment::now(pool.host())?;
    let since = match record::read_usable::<Moment>(pool.host(), &path)? {
        Some(since) => since,
        None => {
            if !options.dry_run {
                pool.host().write_record(&path, &record::to_bytes(&now))?;
            }
            now.clone()
        }
    };
    Ok(since.until(&now) >= options.grace)
}
