//! The handle of a snapshot, and the snapshots of a pool.

use std::fmt;

use crate::api::{Device, Pool};
use crate::error::Result;
#[cfg(feature = "driver")]
use crate::model::key::Key;
use crate::model::volume_id;
#[cfg(feature = "driver")]
use crate::pool::snapshots::{self, SnapshotRecord};
use crate::snapshot::catalog::{self, SnapshotStatus};
use crate::snapshot::{device, remove};

/// A snapshot of a pool, by its name. Cheap to clone.
///
/// As with [`Volume`](crate::Volume), the handle is a name: the snapshot need not exist. Volumes start from it
/// by [`VolumeSpec::from_source`](crate::VolumeSpec::from_source).
#[derive(Clone)]
pub struct Snapshot {
    pool: Pool,
    name: String,
}

impl Snapshot {
    /// The snapshot's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The snapshot's pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The present state of the snapshot. `NotFound` if there is none.
    pub fn status(&self) -> Result<SnapshotStatus> {
        catalog::snapshot(&self.pool.0, &self.name)
    }

    /// Brings up a block device that shows what the snapshot holds, unless it is up. Writes to it fail, nothing in
    /// the pool changes, and volumes can be made of the snapshot meanwhile. After a reboot, the device is gone.
    ///
    /// # Errors
    ///
    /// `NotFound`; `InProgress`; `Corrupt` if the snapshot's store was replaced or is damaged.
    pub fn activate(&self) -> Result<Device> {
        self.pool.device(device::activate(&self.pool.0, &self.name)?)
    }

    /// Takes the snapshot's device down; succeeds if there is none. `InUse` (naming the holder) while something
    /// has it open.
    pub fn deactivate(&self) -> Result<()> {
        device::deactivate(&self.pool.0, &self.name)
    }

    /// Deletes the snapshot, and takes down its device; succeeds if it does not exist. Volumes that started from it
    /// stay as they are.
    ///
    /// # Errors
    ///
    /// `InUse` (naming the holder) while its device is open; `InProgress` while a volume is being made of it; `Corrupt` if its record cannot be read.
    pub fn delete(&self) -> Result<()> {
        remove::delete(&self.pool.0, &self.name)
    }
}

impl Pool {
    /// The snapshot with this name, which need not exist: see [`Snapshot`].
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for a name that no snapshot can have.
    pub fn snapshot(&self, name: &str) -> Result<Snapshot> {
        volume_id::check_snapshot(name)?;
        Ok(Snapshot { pool: self.clone(), name: name.to_owned() })
    }

    /// All snapshots whose records can be read, ordered by name; [`damage`](Self::damage) reports the
    /// others.
    pub fn snapshots(&self) -> Result<Vec<SnapshotStatus>> {
        Ok(catalog::survey(&self.0)?.0)
    }

    /// The keys of all snapshots, and of what is left of snapshots and forks, in ascending order.
    #[cfg(feature = "driver")]
    pub(crate) fn snapshot_keys(&self) -> Result<Vec<Key>> {
        snapshots::keys(&self.0)
    }

    /// The record of the snapshot with this key, if there is one.
    #[cfg(feature = "driver")]
    pub(crate) fn snapshot_record(&self, key: &Key) -> Result<Option<SnapshotRecord>> {
        snapshots::read(&self.0, key)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&self.name).finish()
    }
}
