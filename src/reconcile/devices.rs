//! Removes devices whose volume or snapshot is gone.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::reconcile::report::{ReconcileOptions, ReconcileReport, Removal, RemovalKind};
use crate::snapshot::device;
use crate::volume::machine::execute::Executor;
use crate::volume::machine::observe;
use crate::volume::plan::step::Step;
use crate::volume::usage;

/// Removes devices of this pool whose volume no longer has a directory, and those of snapshots that are gone or
/// whose activation was interrupted.
pub(super) fn remove_orphans(
    pool: &PoolDir,
    keys: &[Key],
    names: &BTreeSet<String>,
    options: &ReconcileOptions,
    report: &mut ReconcileReport,
) -> Result<()> {
    let mut orphans: Vec<(Role, Key, DeviceId)> = Vec::new();
    for name in names {
        let known = DeviceId::parse_name(pool.id(), name)
            .is_some_and(|(key, _)| keys.binary_search(&key).is_ok());
        if known {
            continue;
        }
        // The UUID identifies the owner: an administrator may have renamed the device.
        let Some(id) = pool.host().device_id(name)? else { continue };
        if let Some((key, role)) = DeviceId::parse_uuid(pool.id(), &id.uuid) {
            orphans.push((role, key, id));
        } else if let Some(key) = DeviceId::parse_snapshot_uuid(pool.id(), &id.uuid) {
            note(device::sweep(pool, &key, options.dry_run), id, report);
        }
    }
    // Views first: they hold the snapshots open.
    orphans.sort_by_key(|(role, ..)| std::cmp::Reverse(*role));
    for (role, key, id) in orphans {
        note(remove_orphan(pool, role, &key, options), id, report);
    }
    Ok(())
}

/// Takes note of a device that was removed, or not.
fn note(removed: Result<bool>, id: DeviceId, report: &mut ReconcileReport) {
    match removed {
        Ok(true) => {
            let what = format!("device {}", id.name);
            report.removed.push(Removal { kind: RemovalKind::Device, what });
        }
        Ok(false) => {}
        Err(error) => report.failed.push(error.report()),
    }
}

fn remove_orphan(
    pool: &PoolDir,
    role: Role,
    key: &Key,
    options: &ReconcileOptions,
) -> Result<bool> {
    // The common case, decided without a lock. Anything else in the directory's place is reported
    // with the volume.
    if pool.host().file(&pool.layout().volume_directory(key))?.is_some() {
        return Ok(false);
    }
    let Some(guard) = pool.try_lock_volume(key)? else { return Ok(false) };
    let observed = observe::observe(pool, key)?;
    if observed.directory {
        return Ok(false);
    }
    if !options.dry_run {
        usage::refuse_if_mounted(
            pool,
            key,
            &observed,
            key,
            "remove the leftover device of volume",
        )?;
        Executor::new(pool, &guard).run(&[Step::RemoveDevice(role)])?;
    }
    Ok(true)
}
