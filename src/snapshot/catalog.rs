//! The snapshots of a pool, and how much space they occupy.

use crate::error::{Error, Result};
use crate::model::device_id::DeviceId;
use crate::model::identity::SnapshotIdentity;
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::pool::snapshots::{self, SnapshotRecord};
use crate::snapshot::device;
use crate::sys::DeviceNumber;
use crate::volume::commitment::allocated;
use crate::volume::start::unknown;

/// The present state of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotStatus {
    /// The snapshot's record.
    pub record: SnapshotRecord,
    /// What identifies the snapshot in every pool that it is exported to.
    pub identity: SnapshotIdentity,
    /// Bytes that the snapshot occupies in the pool. It may share them with its volume, other snapshots
    /// of it, and the volumes that started from it.
    pub allocated: u64,
    /// The snapshot's block device, while it is active.
    pub device: Option<DeviceNumber>,
}

/// Returns the present state of the snapshot `name`. `NotFound` if there is none.
pub(crate) fn snapshot(pool: &PoolDir, name: &str) -> Result<SnapshotStatus> {
    const OPERATION: &str = "find snapshot";
    let record = snapshots::read(pool, &Key::of(name))?.ok_or_else(|| unknown(OPERATION, name))?;
    describe(pool, record)
}

/// Lists all snapshots whose records can be read, sorted by name, and the errors of the others.
pub(crate) fn survey(pool: &PoolDir) -> Result<(Vec<SnapshotStatus>, Vec<Error>)> {
    let (records, damaged) = snapshots::survey(pool)?;
    // One request for all of them, since few have a device.
    let names = pool.host().device_names()?;
    let look = |record: SnapshotRecord| match names
        .contains(&DeviceId::of_snapshot(pool.id(), &record.key()).name)
    {
        true => describe(pool, record),
        false => inactive(pool, record),
    };
    let all = records.into_iter().map(look).collect::<Result<_>>()?;
    Ok((all, damaged))
}

/// Adds to a record what is not in it.
pub(super) fn describe(pool: &PoolDir, record: SnapshotRecord) -> Result<SnapshotStatus> {
    let device = device::find(pool, &record.key())?.map(|device| device.number);
    Ok(SnapshotStatus { device, ..inactive(pool, record)? })
}

/// The same for a snapshot without a device.
fn inactive(pool: &PoolDir, record: SnapshotRecord) -> Result<SnapshotStatus> {
    let allocated = allocated(pool, &pool.layout().snapshot_store(&record.key()))?;
    let identity = record.identity(pool.id());
    Ok(SnapshotStatus { record, identity, allocated, device: None })
}
