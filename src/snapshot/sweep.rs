//! Ends what interrupted calls left of snapshots and forks.

use crate::error::Result;
use crate::model::key::Key;
use crate::pool::{PoolDir, snapshots};
use crate::snapshot::{fork, remove};
use crate::sys::FileKind;
use crate::sys::lock::Mode;

/// Removes directories without the record of a snapshot, and the volumes of forks that were not completed;
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
            remove::clear(pool, &key)?;
        }
        removed.push(key);
    }
    Ok(removed)
}

/// Whether there is a directory with this key, and no snapshot.
fn is_unfinished(pool: &PoolDir, key: &Key) -> Result<bool> {
    let (host, layout) = (pool.host(), pool.layout());
    let directory = host.file(&layout.snapshot_directory(key))?;
    let is_directory = directory.is_some_and(|found| found.kind == FileKind::Directory);
    Ok(is_directory && host.file(&layout.snapshot_record(key))?.is_none())
}
