//! Ends what interrupted calls left of snapshots and forks.

use crate::error::{ErrorKind, Result};
use crate::model::key::Key;
use crate::pool::{PoolDir, groups, snapshots};
use crate::snapshot::{fork, group, remove};
use crate::sys::FileKind;
use crate::sys::lock::Mode;

/// Removes directories without a snapshot, and what there is of forks and groups that were not completed;
/// returns the keys of the directories. With `dry_run`, only lists them. Leaves those alone that a call works on.
pub(crate) fn sweep(pool: &PoolDir, dry_run: bool) -> Result<Vec<Key>> {
    let mut removed = Vec::new();
    for key in snapshots::keys(pool)? {
        if !is_unfinished(pool, &key)? {
            continue;
        }
        let Some(_lock) = pool.try_lock_snapshot(&key, Mode::Exclusive)? else { continue };
        if !is_unfinished(pool, &key)? {
            continue;
        }
        if !dry_run {
            fork::undo(pool, &key)?;
            group::undo(pool, &key)?;
            remove::clear(pool, &key)?;
        }
        removed.push(key);
    }
    Ok(removed)
}

/// Whether there is a directory with this key, and neither a snapshot nor a group.
fn is_unfinished(pool: &PoolDir, key: &Key) -> Result<bool> {
    let (host, layout) = (pool.host(), pool.layout());
    let directory = host.file(&layout.snapshot_directory(key))?;
    let is_directory = directory.is_some_and(|found| found.kind == FileKind::Directory);
    let is_snapshot = host.file(&layout.snapshot_record(key))?.is_some();
    Ok(is_directory && !is_snapshot && !is_group(pool, key)?)
}

/// Whether there is a group with this key. One whose record is damaged is left to people: the pool reports it.
fn is_group(pool: &PoolDir, key: &Key) -> Result<bool> {
    match groups::read(pool, key) {
        Ok(group) => Ok(group.is_some_and(|group| group.complete)),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(true),
        Err(error) => Err(error),
    }
}
