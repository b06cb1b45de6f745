//! Removes snapshots.

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::volume_id;
use crate::pool::snapshots::{self, GroupMembership, SnapshotRecord};
use crate::pool::{PoolDir, groups};
use crate::snapshot::device;
use crate::sys::FileKind;
use crate::sys::lock::Mode;
use crate::volume::{lock, reclaim};

/// Deletes the snapshot `name`, and takes down its device. Succeeds if there is none. The volumes that started from it
/// stay as they are.
pub(crate) fn delete(pool: &PoolDir, name: &str) -> Result<()> {
    volume_id::check_snapshot(name)?;
    let key = Key::of(name);
    let _lock = lock::snapshot(pool, &key, name, "delete snapshot", Mode::Exclusive)?;
    let record = snapshots::read(pool, &key)?;
    if let Some(group) = record.as_ref().and_then(|record| record.group.as_ref()) {
        refuse_member(pool, name, group)?;
    }
    erase(pool, &key, record.as_ref())
}

/// Refuses to delete a snapshot that can only be deleted with its group.
fn refuse_member(pool: &PoolDir, name: &str, group: &GroupMembership) -> Result<()> {
    match groups::find(pool, &Key::of(&group.name))? {
        Some(record) if record.cut == group.cut => {
            let why = format!("it is part of group {}, which is deleted as a whole", group.name);
            Err(Error::new(ErrorKind::InvalidArgument, "delete snapshot", name, why)
                .remedy(format!("delete the group: `calf snapshot group delete {}`", group.name)))
        }
        _ => Ok(()),
    }
}

/// Removes a snapshot with its device, or what is there of it, and then its content if nobody else needs it. The
/// caller holds its lock.
pub(super) fn erase(pool: &PoolDir, key: &Key, record: Option<&SnapshotRecord>) -> Result<()> {
    device::take_down(pool, key, record.map_or(key.as_str(), |record| &record.name))?;
    // From now on it does not exist; reconciliation removes what is left.
    pool.host().remove_file(&pool.layout().snapshot_record(key))?;
    clear(pool, key)?;
    if let Some(record) = record
        && let Err(error) = reclaim::release_image(pool, &record.digest)
    {
        tracing::warn!(
            snapshot = record.name,
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
