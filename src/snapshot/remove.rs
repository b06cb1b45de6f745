//! Removes snapshots, and what is left of interrupted calls.

use crate::error::Result;
use crate::model::key::Key;
use crate::model::volume_id;
use crate::pool::PoolDir;
use crate::pool::snapshots;
use crate::sys::FileKind;
use crate::sys::lock::Mode;
use crate::volume::{lock, reclaim};

/// Deletes the snapshot `name`. Succeeds if there is none. The volumes that started from it stay as they are.
pub(crate) fn delete(pool: &PoolDir, name: &str) -> Result<()> {
    volume_id::check_snapshot(name)?;
    let key = Key::of(name);
    let _lock = lock::snapshot(pool, &key, name, "delete snapshot", Mode::Exclusive)?;
    let record = snapshots::read(pool, &key)?;
    // From now on it does not exist; reconciliation removes what is left.
    pool.host().remove_file(&pool.layout().snapshot_record(&key))?;
    clear(pool, &key)?;
    if let Some(record) = record
        && let Err(error) = reclaim::release_image(pool, &record.digest)
    {
        tracing::warn!(
            snapshot = name,
            error = error.report(),
            "could not remove unused content; reconciliation will retry"
        );
    }
    Ok(())
}

/// Removes the directory of a snapshot, durably. The caller holds its lock.
pub(super) fn clear(pool: &PoolDir, key: &Key) -> Result<()> {
    let directory = pool.layout().snapshot_directory(key);
    match pool.host().file(&directory)?.map(|found| found.kind) {
        Some(FileKind::Directory) => pool.host().remove_directory(&directory),
        _ => Ok(()),
    }
}

/// Removes directories without a record, which interrupted calls left; returns their keys. With `dry_run`,
/// only lists them. Leaves those alone that a call works on.
pub(crate) fn sweep(pool: &PoolDir, dry_run: bool) -> Result<Vec<Key>> {
    let mut removed = Vec::new();
    for key in snapshots::keys(pool)? {
        let record = pool.layout().snapshot_record(&key);
        let directory = pool.host().file(&pool.layout().snapshot_directory(&key))?;
        let is_directory = directory.is_some_and(|found| found.kind == FileKind::Directory);
        if !is_directory || pool.host().file(&record)?.is_some() {
            continue;
        }
        let Some(_lock) = pool.try_lock_snapshot(&key, Mode::Exclusive)? else { continue };
        if pool.host().file(&record)?.is_some() {
            continue;
        }
        if !dry_run {
            clear(pool, &key)?;
        }
        removed.push(key);
    }
    Ok(removed)
}
